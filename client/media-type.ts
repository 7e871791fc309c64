/** What a file is, to declare it before its bytes are sent. The service looks for itself, and its word counts. */
import { fileUnreadable } from './errors.ts'

const byExtension: Record<string, string> = {
  png: 'image/png',
  jpg: 'image/jpeg',
  jpeg: 'image/jpeg',
  mp4: 'video/mp4',
  m4v: 'video/mp4',
  webm: 'video/webm',
  mp3: 'audio/mpeg',
  wav: 'audio/wav',
  pdf: 'application/pdf',
  zip: 'application/zip',
}

/** How files begin: bytes in hex, `..` for any. */
const byStart: readonly (readonly [pattern: RegExp, type: string])[] = [
  [/^89504e470d0a1a0a/, 'image/png'],
  [/^ffd8ff/, 'image/jpeg'],
  [/^.{8}66747970/, 'video/mp4'],
  [/^1a45dfa3/, 'video/webm'],
  [/^(494433|ff[ef][23ab])/, 'audio/mpeg'],
  [/^(52494646|52463634).{8}57415645/, 'audio/wav'],
  [/^25504446/, 'application/pdf'],
  [/^504b(0304|0506)/, 'application/zip'],
]

/** By its first bytes, else by its name, else as it says itself. */
export async function mediaTypeOf(file: Blob, name: string): Promise<string> {
  const bytes = await file
    .slice(0, 12)
    .arrayBuffer()
    .catch((error) => {
      throw fileUnreadable(error)
    })
  const start = new Uint8Array(bytes)
  const hex = Array.from(start, (byte) => byte.toString(16).padStart(2, '0')).join('')
  const found = byStart.find(([pattern]) => pattern.test(hex))
  if (found !== undefined) return found[1]
  const extension = /\.(\w+)$/.exec(name)?.[1]?.toLowerCase() ?? ''
  return byExtension[extension] ?? (file.type || 'application/octet-stream')
}
