/**
 * Files by their bare descriptors. Of the ways that Node.js has, this costs an upload the least; a `FileHandle` costs more
 * than the call to the system that it is made for. Who opens one has to close it.
 */
import { fdatasync, fsync, open, writev } from 'node:fs'
import { promisify } from 'node:util'

const openFile = promisify(open)

/** Makes a file, which must not be there. */
export function openNew(path: string): Promise<number> {
  return openFile(path, 'wx', 0o600)
}

/** Resolves when bytes, size and times are on the disk. */
export const syncFile: (file: number) => Promise<void> = promisify(fsync)

/** Likewise, but for what is not needed to read the bytes again. */
export const datasyncFile: (file: number) => Promise<void> = promisify(fdatasync)

/** @returns how many bytes were written, which may be fewer than there are */
export function writeSlices(file: number, slices: readonly Buffer[], position: number): Promise<number> {
  return new Promise((resolve, reject) => {
    writev(file, slices, position, (error, bytesWritten) => {
      if (error === null) resolve(bytesWritten)
      else reject(error)
    })
  })
}
