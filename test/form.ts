/**
 * Long suites have a short form, for every change, and a long one, which is the default: `TEST_FORM=short npm run
 * test:crash`.
 */
export const isShort: boolean = process.env.TEST_FORM === 'short'

/** The steps from 1 to `last` that this form tries: all of them, or about `few` spread evenly, first and last included. */
export function stepsUpTo(last: number, few: number): number[] {
  const all = Array.from({ length: last }, (_, at) => at + 1)
  if (!isShort || last <= few) return all
  return [...new Set(Array.from({ length: few }, (_, at) => 1 + Math.round((at * (last - 1)) / (few - 1))))]
}
