/** What stands behind the `?` of a target, read with its limits. Unknown names are ignored. */
import type { FastifyRequest } from 'fastify'
import { Fault } from '../errors.ts'

export interface Query {
  /** Null where it is not there. @throws {Fault} where it comes twice, or has more than `maxLength` characters */
  text(name: string, maxLength?: number): string | null
  /** A whole number within the limits, or what stands for it where there is none. @throws {Fault} */
  integer(name: string, limits: { min: number; max: number; otherwise: number }): number
  /** One of these, or null where it is not there. @throws {Fault} */
  oneOf<const Word extends string>(name: string, words: readonly Word[]): Word | null
}

export function readQuery(request: FastifyRequest): Query {
  const values = request.query as Record<string, string | string[] | undefined>
  const text = (name: string, maxLength = 1_000): string | null => {
    const value = values[name]
    if (value === undefined) return null
    if (typeof value !== 'string')
      throw invalidParameter(name, `It came ${value.length} times. Send it once.`)
    if (value.length > maxLength) {
      throw invalidParameter(name, `It has ${value.length} characters, and at most ${maxLength} are allowed.`)
    }
    if (value.includes('\0')) throw invalidParameter(name, 'It has the character U+0000. Send it without.')
    return value
  }
  return {
    text,
    integer(name, { min, max, otherwise }) {
      const value = text(name)
      if (value === null) return otherwise
      const number = /^\d{1,9}$/.test(value) ? Number(value) : Number.NaN
      if (!(number >= min && number <= max)) {
        throw invalidParameter(
          name,
          `It must be a whole number from ${min} to ${max}; it is ${shown(value)}.`,
        )
      }
      return number
    },
    oneOf(name, words) {
      const value = text(name)
      const word = words.find((one) => one === value)
      if (value !== null && word === undefined) {
        throw invalidParameter(name, `It must be one of ${words.join(', ')}; it is ${shown(value)}.`)
      }
      return word ?? null
    },
  }
}

/** @param what a sentence or two: what we saw, what we allow */
export function invalidParameter(name: string, what: string): Fault {
  return new Fault('invalid_parameter', `The parameter ${name} cannot be used. ${what}`, {
    param: name,
    details: { reason: 'invalid_value' },
  })
}

export function missingParameter(name: string): Fault {
  return new Fault('invalid_parameter', `The parameter ${name} is missing. Send it.`, {
    param: name,
    details: { reason: 'missing_value' },
  })
}

function shown(value: string): string {
  return JSON.stringify(value.length > 40 ? `${value.slice(0, 40)}…` : value)
}
