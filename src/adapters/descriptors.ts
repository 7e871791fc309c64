/**
 * Files by their bare descriptors. Of the ways that Node.js has, this costs an upload the least; a `FileHandle` costs more
 * than the call to the system that it is made for. Who opens one has to close it.
 */
import { fdatasync, fsync, open, read, writev } from 'node:fs'
import { promisify } from 'node:util'
import { poolThreads } from '../config.ts'

export const openFile: (path: string, flags: string | number, mode?: number) => Promise<number> =
  promisify(open)

const syncsAtOnce = Math.max(1, poolThreads - 3)
const line: (() => void)[] = []
let syncs = 0

/** Makes a file, which must not be there. */
export function openNew(path: string): Promise<number> {
  return openFile(path, 'wx', 0o600)
}

/** Resolves when bytes, size and times are on the disk. */
export const syncFile: (file: number) => Promise<void> = inTurn(promisify(fsync))

/** Likewise, but for what is not needed to read the bytes again. */
export const datasyncFile: (file: number) => Promise<void> = inTurn(promisify(fdatasync))

/**
 * Of Node's threads a few are always left for what is quick: on a slow disk a download would wait for as many syncs as
 * there are uploads before it.
 */
function inTurn(sync: (file: number) => Promise<void>): (file: number) => Promise<void> {
  return async (file) => {
    if (syncs >= syncsAtOnce) await new Promise<void>((resolve) => line.push(resolve))
    else syncs++
    try {
      return await sync(file)
    } finally {
      const next = line.shift()
      if (next === undefined) syncs--
      else next()
    }
  }
}

/** @returns how many bytes were written, which may be fewer than there are */
export function writeSlices(file: number, slices: readonly Buffer[], position: number): Promise<number> {
  return new Promise((resolve, reject) => {
    writev(file, slices, position, (error, bytesWritten) => {
      if (error === null) resolve(bytesWritten)
      else reject(error)
    })
  })
}

/** @returns how many bytes were read, which may be fewer; 0 at the end of the file */
export function readSome(file: number, into: Buffer, length: number, position: number): Promise<number> {
  return new Promise((resolve, reject) => {
    read(file, into, 0, length, position, (error, bytesRead) => {
      if (error === null) resolve(bytesRead)
      else reject(error)
    })
  })
}
