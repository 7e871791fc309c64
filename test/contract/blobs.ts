/**
 * What every implementation of the port to the bytes must prove. Each test gets a place of its own, empty at first; what
 * is opened there twice are two copies of the service.
 */
import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { buffer } from 'node:stream/consumers'
import { type TestContext, test } from 'node:test'
import fc from 'fast-check'
import { randomName } from '../../src/asset.ts'
import type { Blobs, BlobWriter } from '../../src/assets/blobs.ts'
import { isUnavailable } from './database.ts'

/** Opens the same store once more. */
export type BlobPlace = () => Promise<Blobs>

/** Makes a place for one test, and takes it away again when the test is over. */
export type BlobStore = { name: string; place(context: TestContext): Promise<BlobPlace> | BlobPlace }

const KiB = 1024
const MiB = 1024 * KiB

export async function keysIn(blobs: Blobs): Promise<string[]> {
  const keys = new Set<string>()
  for await (const some of blobs.list()) for (const key of some) keys.add(key)
  return [...keys].toSorted()
}

export async function stored(blobs: Blobs, bytes: Buffer, key = randomName()): Promise<string> {
  const writer = blobs.create(key)
  await write(writer, bytes)
  await writer.store()
  return key
}

/** As a body does: in slices whose memory is used again at once, and as patient as it is asked to be. */
export async function write(writer: BlobWriter, bytes: Buffer, sliceBytes = 64 * KiB): Promise<void> {
  const slice = Buffer.alloc(sliceBytes)
  for (let at = 0; at < bytes.length; at += sliceBytes) {
    const copied = bytes.copy(slice, 0, at)
    await writer.write(slice.subarray(0, copied))
    slice.fill(0)
  }
}

export async function bytesOf(blobs: Blobs, key: string): Promise<Buffer | null> {
  const blob = await blobs.open(key)
  if (blob === null) return null
  if (blob.sizeBytes === 0) return Buffer.alloc(0)
  return buffer(blob.stream(0, blob.sizeBytes - 1))
}

const sha256Of = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex')

/** For what is large: a difference is told in a word. */
function isSame(found: Buffer | null, expected: Buffer): void {
  assert.equal(found?.length, expected.length)
  assert.ok(found?.equals(expected), 'other bytes came back')
}

export function blobsContract(store: BlobStore): void {
  const it = (
    what: string,
    body: (blobs: Blobs, more: { context: TestContext; place: BlobPlace }) => Promise<void>,
  ) =>
    test(`${store.name}: ${what}`, async (context) => {
      const place = await store.place(context)
      await body(await place(), { context, place })
    })

  it('a blob is seen by nobody until it is stored, and then by every copy', async (blobs, { place }) => {
    const other = await place()
    const key = randomName()
    const writer = blobs.create(key)
    await write(writer, Buffer.from('hello '))
    await write(writer, Buffer.from('world'))
    assert.equal(await other.open(key), null)
    await writer.store()
    assert.equal(String(await bytesOf(other, key)), 'hello world')
    assert.deepEqual(await keysIn(other), [key])
  })

  it('what is written comes out as it was, for sizes about every boundary', async (blobs) => {
    const source = randomBytes(11 * MiB)
    const part = 5 * MiB
    const sizes = [1, 256 * KiB, 512 * KiB + 1, part - 1, part, part + 1, 2 * part, 2 * part + 12_345]
    for (const size of sizes) {
      const bytes = source.subarray(source.length - size)
      const key = await stored(blobs, bytes)
      isSame(await bytesOf(blobs, key), bytes)
      assert.equal((await blobs.stat(key))?.sizeBytes, size)
    }
    assert.equal((await keysIn(blobs)).length, sizes.length)
  })

  it('slices of any sizes, patient or not, come out in their order, and are hashed in it', async (blobs) => {
    const source = randomBytes(12 * MiB)
    const sizes = fc.array(fc.integer({ min: 1, max: 6 * MiB }), { minLength: 1, maxLength: 6 })
    await fc.assert(
      fc.asyncProperty(sizes, fc.boolean(), async (turns, patient) => {
        const key = randomName()
        const writer = blobs.create(key, 'hashed')
        let length = 0
        for (const turn of turns) {
          const slice = source.subarray(length, Math.min(length + turn, source.length))
          length += slice.length
          const wait = writer.write(slice)
          if (patient) await wait
        }
        await writer.store()
        isSame(await bytesOf(blobs, key), source.subarray(0, length))
        assert.equal(await writer.sha256(), sha256Of(source.subarray(0, length)))
        await blobs.remove(key)
      }),
      { numRuns: 12 },
    )
    assert.deepEqual(await keysIn(blobs), [])
  })

  it('case 80: whoever writes faster than can be stored is asked to wait, and let go when there is room', async (blobs) => {
    const writer = blobs.create(randomName())
    const slice = Buffer.alloc(64 * KiB)
    let taken = 0
    let wait: Promise<void> | undefined
    while (wait === undefined && taken < 100 * MiB) {
      wait = writer.write(slice)
      taken += slice.length
    }
    assert.ok(wait instanceof Promise, 'never asked to wait')
    assert.ok(taken <= 10 * MiB + slice.length, `${taken} bytes were held`)
    assert.equal(writer.write(slice), wait, 'one promise for all that wait')
    await wait
    assert.equal(writer.write(slice), undefined)
    await writer.discard()
  })

  it('discard leaves nothing, at every stage, and may be called again', async (blobs) => {
    const stages: Record<string, (writer: BlobWriter) => unknown> = {
      'before a byte': () => undefined,
      'with gathered bytes': (writer) => write(writer, Buffer.alloc(10)),
      'while some are sent': (writer) => void writer.write(Buffer.alloc(6 * MiB)),
      'while some are sent and others wait': (writer) => void writer.write(Buffer.alloc(11 * MiB)),
      'after some were sent': (writer) => write(writer, Buffer.alloc(11 * MiB)),
      'after it was stored': async (writer) => {
        await write(writer, Buffer.alloc(600))
        await writer.store()
      },
      'after it was stored in parts': async (writer) => {
        await write(writer, Buffer.alloc(6 * MiB))
        await writer.store()
      },
    }
    for (const [name, stage] of Object.entries(stages)) {
      const writer = blobs.create(randomName())
      await stage(writer)
      await writer.discard()
      await writer.discard()
      assert.deepEqual(await keysIn(blobs), [], name)
    }
  })

  it('after discard nothing more is taken', async (blobs) => {
    const writer = blobs.create(randomName())
    await writer.discard()
    assert.throws(() => writer.write(Buffer.alloc(1)), isUnavailable)
    await assert.rejects(writer.store(), isUnavailable)
    assert.deepEqual(await keysIn(blobs), [])
  })

  it('open: the size, and any part of the bytes; null where there is none', async (blobs) => {
    const bytes = randomBytes(700 * KiB)
    const key = await stored(blobs, bytes)
    const last = bytes.length - 1
    for (const [start, end] of [
      [0, last],
      [0, 0],
      [last, last],
      [1_000, 600_000],
    ] as const) {
      const blob = await blobs.open(key)
      assert.equal(blob?.sizeBytes, bytes.length)
      isSame(blob === null ? null : await buffer(blob.stream(start, end)), bytes.subarray(start, end + 1))
    }
    const blob = await blobs.open(key)
    isSame((await blob?.read(5, 300_000)) ?? null, bytes.subarray(5, 300_000))
    isSame((await blob?.read(last, last + 1)) ?? null, bytes.subarray(last))
    await blob?.close()
    assert.equal(await blobs.open(randomName()), null)
  })

  it('a stream that is left in the middle, or never begun, ends at once', async (blobs) => {
    const bytes = randomBytes(8 * MiB)
    const key = await stored(blobs, bytes)
    for (let round = 0; round < 3; round++) {
      const blob = await blobs.open(key)
      for await (const slice of blob?.stream(0, bytes.length - 1) ?? []) {
        isSame(slice, bytes.subarray(0, slice.length))
        break
      }
      const unread = (await blobs.open(key))?.stream(0, bytes.length - 1)
      const closed = new Promise((resolve) => unread?.once('close', resolve))
      unread?.destroy()
      await closed
      await (await blobs.open(key))?.close()
    }
    isSame(await bytesOf(blobs, key), bytes)
  })

  it('a blob that is removed while it is read: its bytes to the end, or an error, never fewer', async (blobs) => {
    const bytes = randomBytes(8 * MiB)
    const key = await stored(blobs, bytes)
    const stream = (await blobs.open(key))?.stream(0, bytes.length - 1)
    let read = 0
    try {
      for await (const slice of stream ?? []) {
        if (read === 0) await blobs.remove(key)
        isSame(slice, bytes.subarray(read, read + slice.length))
        read += slice.length
      }
      assert.equal(read, bytes.length)
    } catch (error) {
      assert.ok(!(error instanceof assert.AssertionError), String(error))
    }
    assert.equal(await blobs.open(key), null)
  })

  it('storeCopy: the bytes as they are now, whatever becomes of the other', async (blobs) => {
    for (const size of [1, 6 * MiB]) {
      const bytes = randomBytes(size)
      const from = await stored(blobs, bytes)
      const key = randomName()
      const writer = blobs.create(key)
      await writer.storeCopy(from)
      await blobs.remove(from)
      isSame(await bytesOf(blobs, key), bytes)
      assert.deepEqual(await keysIn(blobs), [key])
      await writer.discard()
      assert.deepEqual(await keysIn(blobs), [])
    }
    const writer = blobs.create(randomName())
    await assert.rejects(writer.storeCopy(randomName()), isUnavailable)
    await writer.discard()
    assert.deepEqual(await keysIn(blobs), [])
  })

  it('remove: stored, begun and left by a crash, and not there at all', async (blobs, { place }) => {
    const key = await stored(blobs, Buffer.from('x'))
    const other = await stored(blobs, Buffer.from('y'))
    const begun = randomName()
    const dead = (await place()).create(begun)
    await write(dead, Buffer.alloc(11 * MiB)) // and its process ends here
    await until(async () => assert.ok(((await blobs.stat(begun))?.sizeBytes ?? 0) >= 10 * MiB))
    for (const gone of [key, begun, randomName()]) await blobs.remove(gone)
    assert.deepEqual(await keysIn(blobs), [other])
    for (const gone of [key, begun]) {
      assert.equal(await blobs.open(gone), null)
      assert.equal(await blobs.stat(gone), null)
    }
    await dead.discard() // for this process, which lives on
  })

  it('list and stat tell of what is stored and of what is begun', async (blobs) => {
    const keys = await Promise.all(
      Array.from({ length: 30 }, (_, index) => stored(blobs, Buffer.alloc(index + 1))),
    )
    const begun = randomName()
    const writer = blobs.create(begun)
    await write(writer, Buffer.alloc(11 * MiB))
    await until(async () => assert.ok(((await blobs.stat(begun))?.sizeBytes ?? 0) > 0))
    assert.deepEqual(await keysIn(blobs), [...keys, begun].toSorted())
    for (const [index, key] of keys.entries()) {
      const found = await blobs.stat(key)
      assert.equal(found?.sizeBytes, index + 1)
      assert.ok(Math.abs((found?.modifiedAtMs ?? 0) - Date.now()) < 60_000)
    }
    const found = await blobs.stat(begun)
    assert.ok(Math.abs((found?.modifiedAtMs ?? 0) - Date.now()) < 60_000)
    assert.equal(await blobs.stat(randomName()), null)
    await writer.discard()
    assert.deepEqual(await keysIn(blobs), keys.toSorted())
  })

  it('many at once, each its own bytes', async (blobs) => {
    const sums = await Promise.all(
      Array.from({ length: 12 }, async (_, index) => {
        const bytes = randomBytes(index % 3 === 0 ? 6 * MiB : 40 * KiB)
        const writer = blobs.create(randomName(), 'hashed')
        await write(writer, bytes)
        await writer.store()
        return { key: await stored(blobs, bytes), sum: sha256Of(bytes), told: await writer.sha256() }
      }),
    )
    for (const { key, sum, told } of sums) {
      const bytes = await bytesOf(blobs, key)
      assert.equal(bytes === null ? null : sha256Of(bytes), sum)
      assert.equal(told, sum)
    }
  })

  it('the store has no id until it is given one, which is no blob, and the first one stays', async (blobs, {
    place,
  }) => {
    assert.equal(await blobs.identity(), null)
    const copies = await Promise.all(Array.from({ length: 5 }, () => place()))
    const ids = copies.map(() => randomName())
    await Promise.all(copies.map((copy, index) => copy.identify(ids[index] as string)))
    const winner = await blobs.identity()
    assert.ok(winner !== null && ids.includes(winner))
    await blobs.identify(randomName())
    assert.equal(await (await place()).identity(), winner)
    assert.deepEqual(await keysIn(blobs), [])
  })

  it('is usable, and says how much room there is', async (blobs) => {
    await blobs.assertUsable()
    assert.ok((await blobs.freeBytes()) > 0)
  })
}

/** What is sent beside the work has come when it has. */
async function until(check: () => Promise<void>): Promise<void> {
  for (const endMs = performance.now() + 30_000; ; ) {
    try {
      return await check()
    } catch (error) {
      if (performance.now() > endMs) throw error
      await new Promise((resolve) => setTimeout(resolve, 50))
    }
  }
}
