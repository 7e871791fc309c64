/**
 * Whether a ZIP archive is whole, by its central directory alone (APPNOTE.TXT 4.3.16 and 4.4): nothing is inflated and
 * nothing of the entries' own bytes is read, so a bomb costs what its directory costs.
 */
import type { FileFacts } from '../../asset.ts'
import { corrupt } from './refusal.ts'

export type RandomAccess = {
  sizeBytes: number
  /** @returns exactly the bytes from `start` up to `end`, which is not among them */
  read(start: number, end: number): Promise<Buffer>
}

const endBytes = 22
const maxCommentBytes = 0xffff
const locatorBytes = 20
const end64Bytes = 56
const entryBytes = 46
const localBytes = 30

const maxEntries = 100_000
const maxDirectoryBytes = 16 * 1024 * 1024

type Directory = { entries: number; offset: number; sizeBytes: number; endsAt: number }

/** @throws {Fault} `corrupt_file` with what is wrong, or which budget it exceeds */
export async function inspectZip(file: RandomAccess): Promise<FileFacts> {
  const directory = await findDirectory(file)
  if (directory.entries > maxEntries) throw bad(`it has more than ${maxEntries} entries`)
  if (directory.sizeBytes > maxDirectoryBytes) {
    throw bad(`its directory has more than ${maxDirectoryBytes} bytes`)
  }
  if (directory.offset + directory.sizeBytes !== directory.endsAt) {
    throw bad('its directory is not where its end says')
  }
  checkEntries(await file.read(directory.offset, directory.endsAt), directory)
  return { type: 'zip', width: null, height: null }
}

async function findDirectory(file: RandomAccess): Promise<Directory> {
  const tailAt = Math.max(0, file.sizeBytes - endBytes - maxCommentBytes)
  const tail = await file.read(tailAt, file.sizeBytes)
  const at = findEnd(tail)
  if (at === -1) throw bad('it has no end of its directory at its end')
  const end = tail.subarray(at)
  const entries = end.readUInt16LE(10)
  const sizeBytes = end.readUInt32LE(12)
  const offset = end.readUInt32LE(16)
  if (end.readUInt16LE(4) !== 0 || end.readUInt16LE(6) !== 0 || end.readUInt16LE(8) !== entries) {
    throw bad('it is one of several parts')
  }
  const is64 = entries === 0xffff || sizeBytes === 0xffffffff || offset === 0xffffffff
  return is64 ? findDirectory64(file, tailAt + at) : { entries, offset, sizeBytes, endsAt: tailAt + at }
}

/** The last signature whose comment ends where the file ends. */
function findEnd(tail: Buffer): number {
  for (let at = tail.length - endBytes; at >= 0; ) {
    const found = tail.lastIndexOf('PK\x05\x06', at, 'latin1')
    if (found === -1) return -1
    if (found + endBytes + tail.readUInt16LE(found + 20) === tail.length) return found
    at = found - 1
  }
  return -1
}

async function findDirectory64(file: RandomAccess, endAt: number): Promise<Directory> {
  const locatorAt = endAt - locatorBytes
  if (locatorAt < end64Bytes) throw bad('its directory is too large for the end that it has')
  const locator = await file.read(locatorAt, endAt)
  const at = number64(locator, 8)
  if (locator.toString('latin1', 0, 4) !== 'PK\x06\x07' || at + end64Bytes > locatorAt) {
    throw bad('the end of its directory is not where it says')
  }
  const end = await file.read(at, at + end64Bytes)
  if (end.toString('latin1', 0, 4) !== 'PK\x06\x06')
    throw bad('the end of its directory is not where it says')
  return { entries: number64(end, 32), sizeBytes: number64(end, 40), offset: number64(end, 48), endsAt: at }
}

/** Each entry lies between the start of the file and the directory. */
function checkEntries(directory: Buffer, { entries, offset }: Directory): void {
  let at = 0
  for (let nth = 1; nth <= entries; nth++) {
    const where = `its directory is damaged at entry ${nth}`
    if (at + entryBytes > directory.length || directory.toString('latin1', at, at + 4) !== 'PK\x01\x02') {
      throw bad(where)
    }
    const nameBytes = directory.readUInt16LE(at + 28)
    const extraBytes = directory.readUInt16LE(at + 30)
    const next = at + entryBytes + nameBytes + extraBytes + directory.readUInt16LE(at + 32)
    if (next > directory.length) throw bad(where)
    const extra = directory.subarray(at + entryBytes + nameBytes, at + entryBytes + nameBytes + extraBytes)
    const [stored, local] = placeOf(directory.subarray(at, at + entryBytes), extra)
    if (local + localBytes + nameBytes + stored > offset) throw bad(`entry ${nth} does not lie within it`)
    at = next
  }
  if (at !== directory.length) throw bad('its directory has more in it than its entries')
}

/** How many bytes an entry takes, and where it begins; of large ones both stand in an extra field (4.5.3). */
function placeOf(entry: Buffer, extra: Buffer): [stored: number, local: number] {
  let stored = entry.readUInt32LE(20)
  let local = entry.readUInt32LE(42)
  if (stored !== 0xffffffff && local !== 0xffffffff) return [stored, local]
  let field = extra64(extra)
  const take = (): number => {
    const value = field.length >= 8 ? number64(field, 0) : Number.POSITIVE_INFINITY
    field = field.subarray(8)
    return value
  }
  if (entry.readUInt32LE(24) === 0xffffffff) take() // the size once it is inflated is nobody's concern here
  if (stored === 0xffffffff) stored = take()
  if (local === 0xffffffff) local = take()
  return [stored, local]
}

function extra64(extra: Buffer): Buffer {
  for (let at = 0; at + 4 <= extra.length; ) {
    const bytes = extra.readUInt16LE(at + 2)
    if (extra.readUInt16LE(at) === 1) return extra.subarray(at + 4, at + 4 + bytes)
    at += 4 + bytes
  }
  return extra.subarray(0, 0)
}

/** Above 2^53 it is rounded, and too large for anything all the same. */
function number64(bytes: Buffer, at: number): number {
  return Number(bytes.readBigUInt64LE(at))
}

function bad(problem: string): Error {
  return corrupt('zip', problem)
}
