/** `next_token`: where a page ends, as text that clients hand back as they got it. */
import { invalidParameter } from './query.ts'

/** @param end what the next page needs to know to begin behind it */
export function toPageToken(end: readonly (string | number)[]): string {
  return Buffer.from(JSON.stringify(end)).toString('base64url')
}

/**
 * @param shape an example of what `toPageToken` was given: the same number of values, of the same kinds
 * @returns null where there is no token
 * @throws {Fault} for one that is not ours
 */
export function fromPageToken<const Shape extends readonly (string | number)[]>(
  token: string | null,
  shape: Shape,
): { [At in keyof Shape]: Shape[At] extends number ? number : string } | null {
  if (token === null || token === '') return null
  const end = parsed(token)
  const fits =
    Array.isArray(end) &&
    end.length === shape.length &&
    shape.every((example, at) => typeof end[at] === typeof example && !/\0|^NaN$/.test(String(end[at])))
  if (!fits) throw invalidParameter('token', 'Send the next_token of the page before as it is.')
  return end as never
}

function parsed(token: string): unknown {
  try {
    return JSON.parse(Buffer.from(token, 'base64url').toString())
  } catch {
    return null
  }
}
