/** Asks the inspector about whole files, for tests: its answer, or its refusal in the parts that are compared. */
import assert from 'node:assert/strict'
import { type Inspection, type MediaType, mediaTypeNames } from '../../src/asset.ts'
import { Fault } from '../../src/errors.ts'
import { createInspector } from '../../src/intake/container/inspector.ts'

export const allTypes: ReadonlySet<MediaType> = new Set(mediaTypeNames)

export type Feeding = { sliceBytes?: number; allowed?: ReadonlySet<MediaType> }

/** Feeds the file in slices whose memory is overwritten afterwards, as a socket's buffers are. */
export function inspect(file: Buffer, { sliceBytes = 65_536, allowed = allTypes }: Feeding = {}): Inspection {
  const inspector = createInspector({ allowed })
  for (let at = 0; at < file.length; at += sliceBytes) {
    const slice = Buffer.from(file.subarray(at, at + sliceBytes))
    inspector.write(slice)
    slice.fill(0x55)
  }
  return inspector.end()
}

export type Refusal = { reason: unknown; detected: unknown; message: string }

/** The answer, or the refusal; anything thrown that is not a fault of the file fails the test. */
export function verdictOf(file: Buffer, feeding?: Feeding): Inspection | Refusal {
  try {
    return inspect(file, feeding)
  } catch (thrown) {
    assert.ok(thrown instanceof Fault, `threw ${String(thrown)}`)
    assert.equal(thrown.code, 'invalid_parameter')
    assert.equal(thrown.param, 'file')
    return { reason: thrown.details?.reason, detected: thrown.details?.detected, message: thrown.message }
  }
}

/** The type of an accepted file, or `reason detected` of a refused one: short enough for tables. */
export function inShort(file: Buffer, feeding?: Feeding): string {
  const verdict = verdictOf(file, feeding)
  return 'type' in verdict ? verdict.type : `${verdict.reason} ${verdict.detected}`
}

/** Asserts that the file is refused as damaged, in a message that has `part`. */
export function assertCorrupt(file: Buffer, part: string): void {
  const verdict = verdictOf(file)
  assert.ok('reason' in verdict, `accepted: ${JSON.stringify(verdict)}`)
  assert.equal(verdict.reason, 'corrupt_file', verdict.message)
  assert.ok(verdict.message.includes(part), `"${verdict.message}" does not say "${part}"`)
}
