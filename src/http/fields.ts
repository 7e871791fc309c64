/** The fields of a JSON object, each read as what it must be; a fault names the path of the field. */
import { Fault, type Reason } from '../errors.ts'

export interface Fields {
  /** @throws {Fault} where it is missing, not a string, empty, or longer */
  text(name: string, maxLength: number): string
  /** Likewise, or null where it is missing or null. */
  optionalText(name: string, maxLength: number): string | null
  /** @throws {Fault} where it is missing or not a whole number from `min` on */
  integer(name: string, min: number): number
  /** Objects. @throws {Fault} where it is missing, no list, or has too few or too many */
  list(name: string, limits: { min: number; max: number }): Fields[]
  /** The path of a field, for `param`: `files[17].size_bytes`. */
  path(name: string): string
}

export function fieldsOf(value: Record<string, unknown>, parent = ''): Fields {
  const path = (name: string): string => (parent === '' ? name : `${parent}.${name}`)
  const own = (name: string): unknown => (Object.hasOwn(value, name) ? value[name] : undefined)
  const present = (name: string): unknown => {
    const found = own(name)
    if (found === undefined || found === null) {
      throw fieldFault(path(name), 'missing_value', 'It is missing. Send it.')
    }
    return found
  }
  const optionalText = (name: string, maxLength: number): string | null => {
    const found = own(name) ?? null
    if (found === null) return null
    if (typeof found !== 'string' || found === '' || found.length > maxLength) {
      const saw = typeof found === 'string' ? `a string of ${found.length} characters` : kindOf(found)
      throw fieldFault(
        path(name),
        'invalid_value',
        `It must be a string of 1 to ${maxLength} characters; it is ${saw}.`,
      )
    }
    // PostgreSQL keeps no text with this character, and no name or id of anybody's has it.
    if (found.includes('\0'))
      throw fieldFault(path(name), 'invalid_value', 'It has the character U+0000. Send it without.')
    return found
  }
  return {
    path,
    optionalText,
    text(name, maxLength) {
      present(name)
      return optionalText(name, maxLength) as string
    },
    integer(name, min) {
      const found = present(name)
      if (typeof found !== 'number' || !Number.isSafeInteger(found) || found < min) {
        const saw = typeof found === 'number' ? String(found) : kindOf(found)
        throw fieldFault(
          path(name),
          'invalid_value',
          `It must be a whole number from ${min} on; it is ${saw}.`,
        )
      }
      return found
    },
    list(name, { min, max }) {
      const found = present(name)
      if (!Array.isArray(found) || found.length < min || found.length > max) {
        const saw = Array.isArray(found) ? `a list of ${found.length}` : kindOf(found)
        throw fieldFault(
          path(name),
          'invalid_value',
          `It must be a list of ${min} to ${max} objects; it is ${saw}.`,
        )
      }
      return found.map((one: unknown, at) => {
        const here = `${path(name)}[${at}]`
        if (typeof one === 'object' && one !== null && !Array.isArray(one)) {
          return fieldsOf(one as Record<string, unknown>, here)
        }
        throw fieldFault(here, 'invalid_value', `It must be an object; it is ${kindOf(one)}.`)
      })
    },
  }
}

/** @param what a sentence or two: what we saw, what we allow */
export function fieldFault(
  path: string,
  reason: Reason,
  what: string,
  details: Record<string, unknown> = {},
): Fault {
  return new Fault('invalid_parameter', `The field ${path} cannot be used. ${what}`, {
    param: path,
    details: { reason, ...details },
  })
}

function kindOf(value: unknown): string {
  if (value === null) return 'null'
  if (Array.isArray(value)) return 'a list'
  return typeof value === 'object' ? 'an object' : `a ${typeof value}`
}
