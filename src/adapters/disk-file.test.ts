import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { closeSync, constants, mkdtempSync, openSync, readFileSync, rmSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, it } from 'node:test'
import { blockBytes, createBlockPool } from './blocks.ts'
import { createDiskFile } from './disk-file.ts'

const folder = mkdtempSync(join(tmpdir(), 'assetd-disk-file-'))
after(() => rmSync(folder, { recursive: true }))

/** What this machine's disk says of writes past the page cache: some have no such thing, some do not mind memory. */
function errorOfDirectWrite(): string | null {
  try {
    const file = openSync(join(folder, 'asked'), constants.O_CREAT | constants.O_WRONLY | constants.O_DIRECT)
    try {
      writeSync(file, crooked(), 0, blockBytes, 0)
    } finally {
      closeSync(file)
    }
    return null
  } catch (error) {
    return `${(error as NodeJS.ErrnoException).syscall} ${(error as NodeJS.ErrnoException).code}`
  }
}
const skip =
  errorOfDirectWrite() === 'write EINVAL' ? false : 'this disk does not ask for memory at whole pages'

function crooked(): Buffer {
  return Buffer.from(new ArrayBuffer(blockBytes + 1), 1, blockBytes)
}

/** Twelve blocks and a bit: the first four go by way of the page cache, the others may go past it. */
const bytes = randomBytes(12 * blockBytes + 1_000)

async function writeBlocks(path: string, directWrites: { areRefused: boolean }, take: () => Buffer) {
  const file = await createDiskFile(path, directWrites)
  for (let at = 0; at < bytes.length; at += 2 * blockBytes) {
    const slices = [at, at + blockBytes]
      .filter((from) => from < bytes.length)
      .map((from) => {
        const block = take()
        return block.subarray(0, bytes.copy(block, 0, from, from + blockBytes))
      })
    await file.append(slices)
  }
  await file.syncAndClose()
}

it('whole blocks of our own memory are taken past the page cache', { skip }, async () => {
  const path = join(folder, 'aligned')
  const directWrites = { areRefused: false }
  await writeBlocks(path, directWrites, createBlockPool().take)
  assert.ok(readFileSync(path).equals(bytes))
  assert.equal(directWrites.areRefused, false)
})

it('memory that the disk does not take goes by way of the page cache, and is whole', { skip }, async () => {
  const path = join(folder, 'crooked')
  const directWrites = { areRefused: false }
  await writeBlocks(path, directWrites, crooked)
  assert.ok(readFileSync(path).equals(bytes))
  assert.equal(directWrites.areRefused, true)
})
