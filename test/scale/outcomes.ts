/** A reporter of `node --test` for a run whose outcome another test looks at: a line of JSON for each test. */
import { relative } from 'node:path'
import type { TestEvent } from 'node:test/reporters'

export type Outcome = {
  file: string
  name: string
  /** What was skipped has its reason; what failed has what it said. */
  outcome: 'passed' | 'skipped' | 'failed'
  why: string
}

export default async function* outcomes(events: AsyncIterable<TestEvent>): AsyncGenerator<string> {
  for await (const { type, data } of events) {
    if (type !== 'test:pass' && type !== 'test:fail') continue
    const { file = '', name, skip, details } = data
    // A suite fails with the tests in it; one that is skipped has none, and counts.
    if (details.type === 'suite' && skip === undefined && type === 'test:pass') continue
    const outcome = type === 'test:fail' ? 'failed' : skip === undefined ? 'passed' : 'skipped'
    const why = type === 'test:fail' ? told(data.details.error) : typeof skip === 'string' ? skip : ''
    yield `${JSON.stringify({ file: relative(process.cwd(), file), name, outcome, why } satisfies Outcome)}\n`
  }
}

function told(error: Error): string {
  const { cause } = error
  return cause instanceof Error ? (cause.stack ?? cause.message) : String(cause ?? error.message)
}
