/** PDF, by its two ends (ISO 32000-1, 7.5.2 and 7.5.5); its objects are not read. */
import { corrupt } from './refusal.ts'
import { tail, take, type Walk } from './walk.ts'

/** Readers look for the end in the last 1,024 bytes (ISO 32000-1, annex H.3); some files have more after it. */
const endBytes = 2048

export function* pdf(): Walk {
  const start = yield* take(5)
  if (start.toString('latin1') !== '%PDF-') throw corrupt('pdf', 'there are other bytes before its "%PDF-"')
  const { last, sizeBytes } = yield* tail(endBytes)
  const text = last.toString('latin1')
  const end = text.lastIndexOf('%%EOF')
  if (end < 0) throw corrupt('pdf', `there is no "%%EOF" in its last ${endBytes} bytes`)
  const keyword = text.lastIndexOf('startxref', end)
  if (keyword < 0)
    throw corrupt('pdf', `there is no "startxref" before the "%%EOF" in its last ${endBytes} bytes`)
  const offset = Number.parseInt(text.slice(keyword + 'startxref'.length, end), 10)
  // A file "optimised for the web" has a first end near its beginning that says 0 (annex F.3.4): a file that
  // stops there is cut.
  if (!(offset > 0 && offset < sizeBytes)) {
    throw corrupt('pdf', `its "startxref" does not point into the file of ${sizeBytes} bytes`)
  }
  return { type: 'pdf', width: null, height: null }
}
