/** The two ways a file is refused for what it is, in words for whoever sent it. */
import { type AssetType, assetTypes, mimeTypesOf } from '../../asset.ts'
import { type Fault, fileFault } from '../../errors.ts'
import type { Stranger } from './walk.ts'

const called = {
  png: 'a PNG image',
  jpeg: 'a JPEG image',
  mp4: 'an MP4 video',
  webm: 'a WebM video',
  mp3: 'an MP3 audio file',
  wav: 'a WAV audio file',
  pdf: 'a PDF document',
  zip: 'a ZIP archive',
} as const satisfies Record<AssetType, string>

/** The file starts as `type` and is then not whole. `problem` goes on after "but". */
export function corrupt(type: AssetType, problem: string): Fault {
  return fileFault(
    'corrupt_file',
    `The file starts as ${called[type]}, but ${problem}. Upload the complete file, or export it again and upload that.`,
    { detected: assetTypes[type].mimeType },
  )
}

/** The file is something else than this service takes. */
export function unsupported(found: Stranger | { type: AssetType }, allowed: ReadonlySet<AssetType>): Fault {
  const accepted = mimeTypesOf(allowed)
  const detected = found.type === null ? found.detected : assetTypes[found.type].mimeType
  const what = found.type === null ? found.what : called[found.type]
  const named = detected === null ? what : `${what} (${detected})`
  return fileFault(
    'unsupported_type',
    `The file is ${named}, judged by its bytes; its name and declared type do not count. ` +
      `Accepted are ${accepted.join(', ') || 'no types at all'}. Convert it to one of these and upload that.`,
    { detected, allowed: accepted },
  )
}

/** A four-character code from the file, safe to show: printable ASCII in quotes, anything else in hexadecimal. */
export function shownCode(code: Buffer): string {
  const printable = code.every((byte) => byte >= 0x20 && byte < 0x7f)
  return printable ? `"${code.toString('latin1')}"` : `0x${code.toString('hex')}`
}
