import assert from 'node:assert/strict'
import { test } from 'node:test'
import { emptyZip, zip } from '../../../test/media/zip.ts'
import { Fault } from '../../errors.ts'
import { inspectZip } from './zip.ts'

/** Looks at it, and counts what was read. */
async function look(bytes: Buffer): Promise<{ verdict: string; readBytes: number }> {
  let readBytes = 0
  const file = {
    sizeBytes: bytes.length,
    async read(start: number, end: number): Promise<Buffer> {
      assert.ok(start >= 0 && start <= end && end <= bytes.length, `${start} to ${end} of ${bytes.length}`)
      readBytes += end - start
      return bytes.subarray(start, end)
    },
  }
  try {
    return { verdict: (await inspectZip(file)).type, readBytes }
  } catch (error) {
    assert.ok(error instanceof Fault, String(error))
    assert.equal(error.details?.reason, 'corrupt_file')
    return { verdict: error.message, readBytes }
  }
}

const three = zip({ 'a.txt': 'one', 'folder/b.txt': 'two'.repeat(100), 'ü.txt': '' })

test('whole archives are taken: of no files, of some, with a comment, with bytes before the first', async () => {
  const comment = Buffer.from(three)
  comment.writeUInt16LE(7, comment.length - 2)
  for (const [name, bytes] of Object.entries({
    emptyZip,
    three,
    comment: Buffer.concat([comment, Buffer.from('comment')]),
  })) {
    assert.equal((await look(bytes)).verdict, 'zip', name)
  }
})

test('case 39: cut anywhere, it is refused', async () => {
  for (let bytes = 1; bytes < three.length; bytes++) {
    assert.notEqual((await look(three.subarray(0, bytes))).verdict, 'zip', `${bytes} bytes`)
  }
})

test('an entry that does not lie within it is refused', async () => {
  for (const faults of [
    { localOffset: 10_000 },
    { compressedSize: 10_000 },
    { compressedSize: 0xfffffff0 },
  ]) {
    assert.match((await look(zip({ a: 'b' }, faults))).verdict, /entry 1 does not lie within it/)
  }
})

test('case 94: of 200 MB the directory alone is read, whatever its entries would inflate to', async () => {
  const data = Buffer.alloc(200 * 1024 * 1024)
  const { verdict, readBytes } = await look(zip({ 'bomb.bin': data }))
  assert.equal(verdict, 'zip')
  assert.ok(readBytes < 200_000, `${readBytes} bytes`)
})

test('case 38: a directory of too many entries or of too many bytes is refused by its budget', async () => {
  const many = Object.fromEntries(Array.from({ length: 3 }, (_, at) => [`${at}`, '']))
  const bytes = zip(many)
  const end = bytes.length - 22
  for (const [at, value] of [
    [8, 0xfffe],
    [10, 0xfffe],
  ] as const)
    bytes.writeUInt16LE(value, end + at)
  assert.match((await look(bytes)).verdict, /directory is damaged at entry 4/)
  const large = Buffer.from(three)
  large.writeUInt32LE(0x7fffffff, large.length - 22 + 12)
  assert.match((await look(large)).verdict, /more than \d+ bytes/)
})

test('the 64-bit forms are read, and lie no better', async () => {
  const entries = zip({ a: 'b' }).subarray(0, -22)
  const directoryBytes = 46 + 1
  const offset = entries.length - directoryBytes
  const end64 = Buffer.alloc(56)
  end64.write('PK\x06\x06', 'latin1')
  end64.writeBigUInt64LE(44n, 4)
  end64.writeBigUInt64LE(1n, 24)
  end64.writeBigUInt64LE(1n, 32)
  end64.writeBigUInt64LE(BigInt(directoryBytes), 40)
  end64.writeBigUInt64LE(BigInt(offset), 48)
  const locator = Buffer.alloc(20)
  locator.write('PK\x06\x07', 'latin1')
  locator.writeBigUInt64LE(BigInt(entries.length), 8)
  locator.writeUInt32LE(1, 16)
  const end = Buffer.concat([
    Buffer.from('PK\x05\x06'),
    Buffer.alloc(4),
    Buffer.alloc(12, 0xff),
    Buffer.alloc(2),
  ])
  const whole = Buffer.concat([entries, end64, locator, end])
  assert.equal((await look(whole)).verdict, 'zip')
  for (const [at, value] of [
    [entries.length + 48, 2n ** 64n - 1n],
    [entries.length + 40, 2n ** 63n],
    [entries.length + 56 + 8, 2n ** 64n - 1n],
  ] as const) {
    const lying = Buffer.from(whole)
    lying.writeBigUInt64LE(value, at)
    assert.notEqual((await look(lying)).verdict, 'zip')
  }
})

test('any bytes have a verdict', async () => {
  for (let seed = 1; seed < 2_000; seed++) {
    const bytes = Buffer.from(three)
    for (let times = 0; times < 3; times++) {
      const at = (seed * 7_919 + times * 104_729) % bytes.length
      bytes[at] = (seed * 31 + times) & 255
    }
    await look(bytes)
  }
})
