/** Records and blobs that do not belong together are not brought together. */
import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { createDiskBlobs } from '../src/adapters/disk-blobs.ts'
import { openSqlite } from '../src/adapters/sqlite.ts'
import { randomName } from '../src/asset.ts'
import type { Blobs } from '../src/assets/blobs.ts'
import { joinStore } from '../src/assets/store-identity.ts'
import { findBlobStore, insertRecordsId } from '../src/records/blob-store.ts'

function folder(context: TestContext): string {
  const made = mkdtempSync(join(tmpdir(), 'assetd-store-'))
  context.after(() => rmSync(made, { recursive: true }))
  return made
}

async function records(context: TestContext) {
  const database = await openSqlite(join(folder(context), 'a.sqlite'))
  context.after(() => database.close())
  return database
}

async function withBlob(dir: string) {
  const blobs = await createDiskBlobs(dir)
  const writer = blobs.create('abc')
  await writer.write(Buffer.from('x'))
  await writer.store()
  return blobs
}

const shared = { adopts: false }

test('an empty store becomes that of the records that come first, of many copies at once too', async (context) => {
  const database = await records(context)
  const dir = folder(context)
  const blobs = await createDiskBlobs(dir)
  const all = await Promise.all(Array.from({ length: 10 }, () => joinStore(database, blobs, shared)))
  assert.deepEqual(all, Array(10).fill(null))
  assert.match(readFileSync(join(dir, 'store-id'), 'utf8'), /^[0-9a-z]{26,}\.[0-9a-z]{26,}\n$/)
  await withBlob(dir)
  assert.equal(await joinStore(database, await createDiskBlobs(dir), shared), null, 'the next start')
  const others = await records(context)
  assert.equal(await joinStore(others, blobs, shared), 'store_of_others')
  assert.equal(
    await joinStore(others, await createDiskBlobs(folder(context)), shared),
    null,
    'none was taken',
  )
})

test('an empty folder on another machine is not taken for the store', async (context) => {
  const database = await records(context)
  assert.equal(await joinStore(database, await createDiskBlobs(folder(context)), shared), null)
  const other = folder(context)
  assert.equal(await joinStore(database, await createDiskBlobs(other), shared), 'other_store')
  assert.equal(await (await createDiskBlobs(other)).identity(), null, 'it stays as it was')
})

test('case 49: of two folders at once one is the store, and only who has that one starts', async (context) => {
  const database = await records(context)
  const [one, two] = [await createDiskBlobs(folder(context)), await createDiskBlobs(folder(context))]
  const first = await Promise.all([joinStore(database, one, shared), joinStore(database, two, shared)])
  assert.deepEqual(first.toSorted(), [null, 'other_store'])
  const again = [await joinStore(database, one, shared), await joinStore(database, two, shared)]
  assert.deepEqual(again, first)
})

test('files that nobody has put a name to are not taken over, but in the folder of the records', async (context) => {
  const blobs = await withBlob(folder(context))
  assert.equal(await joinStore(await records(context), blobs, shared), 'unknown_blobs')
  assert.equal(await blobs.identity(), null)
  assert.equal(await joinStore(await records(context), blobs, { adopts: true }), null)
})

test('what another copy tries a fresh store with, or has stored there just now, does not stop this one', async (context) => {
  const tried = await withBlob(folder(context))
  let tell = (): void => {}
  const seen = new Promise<void>((resolve) => {
    tell = resolve
  })
  const watched: Blobs = {
    ...tried,
    async *list() {
      for await (const names of tried.list()) {
        if (names.length > 0) tell()
        yield names
      }
    },
  }
  const waiting = joinStore(await records(context), watched, shared)
  await seen
  await tried.remove('abc')
  assert.equal(await waiting, null)

  const database = await records(context)
  const used = await withBlob(folder(context))
  const late = joinStore(database, used, shared)
  const recordsId = await context.waitFor(
    async () => {
      const id = (await findBlobStore(database))?.records_id
      assert.ok(id)
      return id
    },
    { timeout: 2_000 }, // what it waits for a name to come is longer
  )
  await used.identify(`${recordsId}.${randomName()}`)
  assert.equal(await late, null)
})

test('a start that was cut off before the records knew goes on', async (context) => {
  const database = await records(context)
  const blobs = await createDiskBlobs(folder(context))
  await database.write([insertRecordsId(database, 'ours')])
  await blobs.identify('ours.store')
  assert.equal(await joinStore(database, blobs, shared), null)
  assert.equal((await findBlobStore(database))?.store_id, 'ours.store')
})

test('a folder that is copied whole, or comes from a version without ids, goes on', async (context) => {
  const database = await records(context)
  const dir = folder(context)
  assert.equal(await joinStore(database, await createDiskBlobs(dir), { adopts: true }), null)
  rmSync(join(dir, 'store-id'))
  assert.equal(await joinStore(database, await createDiskBlobs(dir), { adopts: true }), null)
})
