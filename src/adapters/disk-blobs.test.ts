import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { buffer } from 'node:stream/consumers'
import { after, test } from 'node:test'
import fc from 'fast-check'
import { randomName } from '../asset.ts'
import { Fault } from '../errors.ts'
import { createDiskBlobs } from './disk-blobs.ts'
import { createDiskWriter } from './disk-writer.ts'

const root = mkdtempSync(join(tmpdir(), 'assetd-blobs-'))
after(() => rmSync(root, { recursive: true, force: true }))

let folders = 0
const freshFolder = (): string => {
  const path = join(root, String(folders++))
  mkdirSync(path)
  return path
}

const blobPath = (dir: string, key: string): string => join(dir, 'blobs', key.slice(0, 2), key)
const incomingOf = (dir: string): string[] => readdirSync(join(dir, 'incoming'))
const blobsOf = (dir: string): string[] =>
  readdirSync(join(dir, 'blobs'), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => entry.name)
const permissions = (path: string): string => (statSync(path).mode & 0o777).toString(8)

const isUnavailable = (error: unknown): boolean =>
  error instanceof Fault && error.code === 'service_unavailable' && (error.retryAfterSeconds ?? 0) >= 1

const KiB = 1024

/** Rejections that nobody handled, while these tests ran: there must be none. */
const unhandled: unknown[] = []
process.on('unhandledRejection', (reason) => unhandled.push(reason))
/** A slow disk's time. */
const late = { timeout: 20_000 }
const settled = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 30))

test('a blob is in its place once stored, under its own name, and nothing is left in incoming', async () => {
  const dir = freshFolder()
  const blobs = await createDiskBlobs(dir)
  const key = randomName()
  const writer = blobs.create(key)
  writer.write(Buffer.from('hello '))
  writer.write(Buffer.from('world'))
  assert.equal(await blobs.open(key), null)
  await writer.store()
  assert.equal(readFileSync(blobPath(dir, key), 'latin1'), 'hello world')
  assert.deepEqual(incomingOf(dir), [])
  assert.deepEqual(blobsOf(dir), [key])
})

test('until it is stored, a blob is in incoming alone', async (context) => {
  const dir = freshFolder()
  const blobs = await createDiskBlobs(dir)
  const key = randomName()
  const writer = blobs.create(key)
  writer.write(Buffer.alloc(2048 * KiB))
  await context.waitFor(() => assert.deepEqual(incomingOf(dir), [key]), late)
  assert.deepEqual(blobsOf(dir), [])
  await writer.discard()
})

test('files are 0600 and folders 0700, whatever the umask lets through', async (context) => {
  const before = process.umask(0)
  try {
    const dir = freshFolder()
    const blobs = await createDiskBlobs(dir)
    const key = randomName()
    const writer = blobs.create(key)
    writer.write(Buffer.alloc(600 * KiB))
    await context.waitFor(() => assert.equal(permissions(join(dir, 'incoming', key)), '600'), late)
    await writer.store()
    assert.equal(permissions(blobPath(dir, key)), '600')
    for (const path of ['incoming', 'blobs', join('blobs', key.slice(0, 2))])
      assert.equal(permissions(join(dir, path)), '700', path)
  } finally {
    process.umask(before)
  }
})

test('what is written comes out in its order, over every boundary of 512 KiB', async () => {
  const dir = freshFolder()
  const blobs = await createDiskBlobs(dir)
  const source = randomBytes(2_300 * KiB)
  const sizes = fc.array(fc.oneof(fc.integer({ min: 1, max: 300 }), fc.integer({ min: 1, max: 700 * KiB })), {
    minLength: 1,
    maxLength: 12,
  })
  const lengths = fc.oneof(
    fc.integer({ min: 1, max: source.length }),
    fc.constantFrom(1, 512 * KiB - 1, 512 * KiB, 512 * KiB + 1, 1024 * KiB, 1024 * KiB + 1),
  )
  await fc.assert(
    fc.asyncProperty(sizes, lengths, fc.boolean(), async (turns, length, patient) => {
      const key = randomName()
      const writer = blobs.create(key)
      // Small slices alone would be a million calls: every list has one that gets it on.
      const steps = [...turns, 40 * KiB]
      for (let at = 0, turn = 0; at < length; turn++) {
        const size = steps[turn % steps.length] ?? 1
        const wait = writer.write(source.subarray(at, Math.min(at + size, length)))
        if (patient) await wait
        at += size
      }
      await writer.store()
      assert.ok(readFileSync(blobPath(dir, key)).equals(source.subarray(0, length)))
      await blobs.remove(key)
    }),
    { numRuns: 40 },
  )
  assert.deepEqual(incomingOf(dir), [])
})

test('more slices than one write can take (IOV_MAX)', async () => {
  const dir = freshFolder()
  const blobs = await createDiskBlobs(dir)
  const key = randomName()
  const source = randomBytes(5_000)
  const writer = blobs.create(key)
  for (let at = 0; at < source.length; at++) writer.write(source.subarray(at, at + 1))
  await writer.store()
  assert.ok(readFileSync(blobPath(dir, key)).equals(source))
})

test('case 80: the writer asks to wait once a write runs and the next is full, and lets go when there is room', async () => {
  const dir = freshFolder()
  const blobs = await createDiskBlobs(dir)
  const writer = blobs.create(randomName())
  const slice = Buffer.alloc(64 * KiB)
  let taken = 0
  let wait: Promise<void> | undefined
  while (wait === undefined && taken < 10_000 * KiB) {
    wait = writer.write(slice)
    taken += slice.length
  }
  assert.ok(wait instanceof Promise, 'never asked to wait')
  assert.equal(taken, 512 * KiB)
  assert.equal(writer.write(slice), wait, 'one promise for all that wait')
  await wait
  assert.equal(writer.write(slice), undefined)
  await writer.discard()
})

test('discard leaves nothing, at every stage', async () => {
  const stages: Record<
    string,
    (writer: Awaited<ReturnType<typeof createWriter>>) => Promise<unknown> | undefined
  > = {
    'before a byte': () => undefined,
    'with gathered bytes': ({ writer }) => writer.write(Buffer.alloc(10)),
    'while a write runs': ({ writer }) => writer.write(Buffer.alloc(600 * KiB)),
    'while one runs and the next is asked to wait': ({ writer }) => {
      writer.write(Buffer.alloc(600 * KiB))
      writer.write(Buffer.alloc(600 * KiB))
      return undefined
    },
    'after a write': async ({ writer }) => {
      writer.write(Buffer.alloc(600 * KiB))
      await settled()
    },
    'after it was stored': async ({ writer }) => {
      writer.write(Buffer.alloc(600 * KiB))
      await writer.store()
    },
    'after it was discarded': async ({ writer }) => {
      writer.write(Buffer.alloc(600 * KiB))
      await writer.discard()
    },
  }
  async function createWriter() {
    const dir = freshFolder()
    const blobs = await createDiskBlobs(dir)
    return { dir, writer: blobs.create(randomName()) }
  }
  for (const [name, stage] of Object.entries(stages)) {
    const created = await createWriter()
    const under = stage(created)
    if (name.startsWith('after')) await under
    await created.writer.discard()
    await settled()
    assert.deepEqual([...incomingOf(created.dir), ...blobsOf(created.dir)], [], name)
  }
})

test('after discard nothing more is taken', async () => {
  const blobs = await createDiskBlobs(freshFolder())
  const writer = blobs.create(randomName())
  await writer.discard()
  assert.throws(() => writer.write(Buffer.alloc(1)), isUnavailable)
  await assert.rejects(writer.store(), isUnavailable)
})

test('a hash that cannot be begun, or fails, is service_unavailable, and no rejection is left alone', async (context) => {
  for (const update of [
    () => Promise.reject(new Error('the thread has ended')),
    () => {
      throw new Error('no thread can be started')
    },
  ]) {
    const dir = freshFolder()
    mkdirSync(join(dir, 'incoming'), { recursive: true })
    const given: Buffer[] = []
    const writer = createDiskWriter(join(dir, 'incoming', 'key'), join(dir, 'ke'), join(dir, 'ke', 'key'), {
      shards: { ensure: async () => {}, sync: async () => {}, forget: () => {} },
      blocks: { take: () => Buffer.alloc(256 * KiB), give: (used) => void given.push(...used) },
      directWrites: { areRefused: true },
      hash: { update, digest: async () => '', drop: () => {} },
      pathOf: (key) => key,
    })
    writer.write(Buffer.alloc(600 * KiB))
    await context.waitFor(() => assert.throws(() => writer.write(Buffer.alloc(0)), isUnavailable), late)
    await assert.rejects(writer.store(), isUnavailable)
    await writer.discard()
    await settled()
    assert.equal(given.length, 3, 'all blocks are given back')
    assert.deepEqual(incomingOf(dir), [])
  }
  assert.deepEqual(unhandled, [])
})

test('a key is for one attempt: a file that is there already is not overwritten', async () => {
  const dir = freshFolder()
  const blobs = await createDiskBlobs(dir)
  const key = randomName()
  writeFileSync(join(dir, 'incoming', key), 'of another')
  const writer = blobs.create(key)
  writer.write(Buffer.from('mine'))
  await assert.rejects(writer.store(), isUnavailable)
  assert.equal(readFileSync(join(dir, 'incoming', key), 'latin1'), 'of another')
})

test('case 70: when the folder vanishes every call fails as service_unavailable, and no rejection is left alone', async (context) => {
  const dir = freshFolder()
  const blobs = await createDiskBlobs(dir)
  const early = blobs.create(randomName())
  const begun = blobs.create(randomName())
  begun.write(Buffer.alloc(600 * KiB))
  await context.waitFor(() => assert.equal(incomingOf(dir).length, 1), late)
  rmSync(dir, { recursive: true })
  const dropped = early.write(Buffer.alloc(600 * KiB)) ?? early.write(Buffer.alloc(600 * KiB))
  assert.ok(dropped instanceof Promise) // nobody awaits it
  await context.waitFor(() => assert.throws(() => early.write(Buffer.alloc(0)), isUnavailable), late)
  await assert.rejects(early.store(), isUnavailable)
  await assert.rejects(begun.store(), isUnavailable)
  await assert.rejects(blobs.assertUsable(), isUnavailable)
  await early.discard()
  await begun.discard()
  const third = blobs.create(randomName())
  third.write(Buffer.from('x'))
  await assert.rejects(third.store(), isUnavailable)
  assert.equal(await blobs.open(randomName()), null)
  await settled()
  assert.deepEqual(unhandled, [])
})

test('case 69: a storage that failed and came back works again, without a restart', async () => {
  const dir = freshFolder()
  const blobs = await createDiskBlobs(dir)
  rmSync(join(dir, 'blobs'), { recursive: true })
  writeFileSync(join(dir, 'blobs'), 'no folder')
  const store = async (key: string): Promise<void> => {
    const writer = blobs.create(key)
    writer.write(Buffer.from('x'))
    try {
      await writer.store()
    } catch (error) {
      await writer.discard()
      throw error
    }
  }
  const key = randomName()
  await assert.rejects(store(key), isUnavailable)
  assert.deepEqual(incomingOf(dir), [])
  rmSync(join(dir, 'blobs'))
  mkdirSync(join(dir, 'blobs'))
  await store(key)
  assert.deepEqual(blobsOf(dir), [key])
})

test('open: the size, and any part of the bytes; null where there is no such blob', async () => {
  const blobs = await createDiskBlobs(freshFolder())
  const key = randomName()
  const bytes = randomBytes(300 * KiB)
  const writer = blobs.create(key)
  writer.write(bytes)
  await writer.store()
  const parts: [number, number][] = [
    [0, bytes.length - 1],
    [0, 0],
    [bytes.length - 1, bytes.length - 1],
    [1000, 200_000],
  ]
  for (const [start, end] of parts) {
    const blob = await blobs.open(key)
    assert.equal(blob?.sizeBytes, bytes.length)
    const read = blob === null ? null : await buffer(blob.stream(start, end))
    assert.ok(read?.equals(bytes.subarray(start, end + 1)))
  }
  const unread = await blobs.open(key)
  await unread?.close()
  assert.equal(await blobs.open(randomName()), null)
})

test('remove: stored, unfinished, and not there at all', async () => {
  const dir = freshFolder()
  const blobs = await createDiskBlobs(dir)
  const [stored, unfinished] = [randomName(), randomName()]
  const writer = blobs.create(stored)
  writer.write(Buffer.from('x'))
  await writer.store()
  writeFileSync(join(dir, 'incoming', unfinished), 'left by a crash')
  await blobs.remove(stored)
  await blobs.remove(unfinished)
  await blobs.remove(randomName())
  assert.deepEqual([...incomingOf(dir), ...blobsOf(dir)], [])
})

test('a folder that has blobs already is opened as it is', async () => {
  const dir = freshFolder()
  const key = randomName()
  const writer = (await createDiskBlobs(dir)).create(key)
  writer.write(Buffer.from('x'))
  await writer.store()
  const again = await createDiskBlobs(dir)
  const blob = await again.open(key)
  assert.equal(blob?.sizeBytes, 1)
  await blob?.close()
  await again.assertUsable()
  assert.ok(existsSync(blobPath(dir, key)))
})

test('no rejection was left unhandled', async () => {
  await settled()
  assert.deepEqual(unhandled, [])
})
