/** For Node.js alone: files on disk. */
import { createHash } from 'node:crypto'
import { openAsBlob } from 'node:fs'
import { basename } from 'node:path'
import { fileUnreadable } from './errors.ts'

/** A file to upload. It is read as it is sent, so its size does not matter; one that changes meanwhile fails to. */
export async function openFile(path: string): Promise<File> {
  return new File([await openAsBlob(path)], basename(path))
}

/** Of all bytes, in hex, for the `checksumSha256` of an upload: then the service refuses whatever is not this file. */
export async function sha256Of(file: Blob, signal?: AbortSignal): Promise<string> {
  const hash = createHash('sha256')
  const reader = file.stream().getReader()
  for (;;) {
    signal?.throwIfAborted()
    const { done, value } = await reader.read().catch((error) => {
      throw fileUnreadable(error)
    })
    if (done) return hash.digest('hex')
    hash.update(value)
  }
}
