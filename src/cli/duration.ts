import { InvalidArgumentError } from 'commander'

const seconds = { s: 1, m: 60, h: 3_600, d: 86_400 } as const

/**
 * Parses an age: a duration, or `0s`.
 * @returns seconds
 * @throws {InvalidArgumentError}
 */
export function parseAge(text: string): number {
  return /^0[smhd]$/.test(text) ? 0 : parseDuration(text)
}

/**
 * Parses `30s`, `15m`, `12h` or `90d`.
 * @returns seconds, at least 1
 * @throws {InvalidArgumentError}
 */
export function parseDuration(text: string): number {
  const [, count, unit] = /^([1-9]\d{0,5})([smhd])$/.exec(text) ?? []
  if (count === undefined)
    throw new InvalidArgumentError('Give a number and a unit, such as 90d, 12h, 15m or 30s.')
  return Number(count) * seconds[unit as keyof typeof seconds]
}
