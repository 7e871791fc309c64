/** What three judges say of a file: ours, the program `file`, and the library `file-type`; in one language. */
import { fileTypeFromBuffer } from 'file-type'
import { type MediaType, mediaTypes } from '../../src/asset.ts'
import { run } from '../media/encode.ts'
import type { verdictOf } from '../media/judge.ts'

export type Judge = 'file' | 'file-type'

/** `whole`: accepted. `broken`: of a type of ours, but not whole. `strange`: of another type; null: of none we know. */
export type Ours = { finding: 'whole' | 'broken' | 'strange' | 'empty'; mime: string | null; message: string }

export function oursOf(verdict: ReturnType<typeof verdictOf>): Ours {
  if ('type' in verdict) return { finding: 'whole', mime: mediaTypes[verdict.type].mimeType, message: '' }
  const finding =
    ({ corrupt_file: 'broken', empty_file: 'empty' } as const)[String(verdict.reason)] ?? 'strange'
  return { finding, mime: (verdict.detected ?? null) as string | null, message: verdict.message }
}

/** Names for the same thing, each by the one that we use. */
const sameAs: Readonly<Record<string, string>> = {
  'image/apng': 'image/png',
  'audio/x-wav': 'audio/wav',
  'audio/vnd.wave': 'audio/wav',
  'audio/x-m4a': 'audio/mp4',
  'video/x-m4v': 'video/mp4',
  'video/matroska': 'video/x-matroska',
  'audio/matroska': 'video/x-matroska',
  'application/ogg': 'audio/ogg',
  'video/ogg': 'audio/ogg',
  'audio/x-flac': 'audio/flac',
  'audio/x-hx-aac-adts': 'audio/aac',
  'audio/x-aiff': 'audio/aiff',
  'audio/vnd.dolby.dd-raw': 'audio/ac3',
  'video/vnd.avi': 'video/x-msvideo',
  'video/MP2T': 'video/mp2t',
  'video/MP1S': 'video/mpeg',
  'video/MP2P': 'video/mpeg',
  'application/vnd.ms-asf': 'video/x-ms-asf',
  'image/vnd.microsoft.icon': 'image/x-icon',
  'image/x-ms-bmp': 'image/bmp',
}

export const ourMimes: ReadonlySet<string> = new Set(
  (Object.keys(mediaTypes) as MediaType[]).map((type) => mediaTypes[type].mimeType),
)

/** One name for each thing; null for "I don't know". */
function inOneLanguage(said: string | undefined): string | null {
  const mime = said?.split(';')[0]?.trim()
  if (mime === undefined || mime === 'application/octet-stream') return null
  return sameAs[mime] ?? mime
}

/** What `file` says of each, in their order. */
export async function saidByFile(paths: readonly string[]): Promise<(string | null)[]> {
  const answers: (string | null)[] = []
  for (let at = 0; at < paths.length; at += 200) {
    const some = paths.slice(at, at + 200)
    const lines = (await run('file', ['--brief', '--mime-type', '--', ...some]))
      .toString()
      .trimEnd()
      .split('\n')
    if (lines.length !== some.length)
      throw new Error(`file gave ${lines.length} answers on ${some.length} files`)
    answers.push(...lines.map(inOneLanguage))
  }
  return answers
}

export async function saidByFileType(content: Buffer): Promise<string | null> {
  return inOneLanguage((await fileTypeFromBuffer(content).catch(() => undefined))?.mime)
}
