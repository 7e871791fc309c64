import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { createDiskBlobs } from '../adapters/disk-blobs.ts'
import { openSqlite } from '../adapters/sqlite.ts'
import { completePending, findPublicFile, insertPending } from '../records/assets.ts'
import { type Database, databaseUnavailable, type Step, step } from '../records/database.ts'
import {
  claimForBytes,
  claimForVerification,
  findDirectUpload,
  insertDirectUpload,
  settle,
} from '../records/direct-uploads.ts'
import type { Blobs } from './blobs.ts'
import { removeAsset, sweepDirectUploads } from './direct-sweep.ts'
import { type DirectDoor, takeBytes } from './direct-uploads.ts'
import { createVerifier } from './verifier.ts'

const file = Buffer.from('bytes')
const startMs = 1_700_000_000_000
const hourMs = 3_600_000

/** A door whose second write, that which keeps the bytes, is told to have failed, and is carried out while what is left is removed. */
function doubtful(database: Database, blobs: Blobs) {
  let writes = 0
  let late: readonly Step[] = []
  const carryOut = async (): Promise<void> => {
    const steps = late
    late = []
    if (steps.length > 0) await database.write(steps)
  }
  const door = {
    database: {
      ...database,
      write(steps: readonly Step[]) {
        if (++writes !== 2) return database.write(steps)
        late = steps
        return Promise.reject(databaseUnavailable('no answer'))
      },
    },
    blobs: {
      ...blobs,
      async remove(key: string) {
        await carryOut() // at the worst moment: it is decided what is to be removed
        await blobs.remove(key)
      },
    },
    clock: { wallMs: () => 0, steadyMs: () => 0 },
    leases: { serviceId: 's', untilMs: () => 0, hold: () => () => {}, tryAgain: () => assert.fail() },
    admission: { enter: async () => () => {} },
    onTrouble: (_: string, error: unknown) => assert.fail(String(error)),
  }
  return door as unknown as DirectDoor
}

/** A store that has announced uploads whose bytes were put, and which expire an hour after the start. */
async function withAnnounced(context: TestContext, ids = ['a']) {
  const dir = mkdtempSync(join(tmpdir(), 'assetd-direct-'))
  const database = await openSqlite(join(dir, 'assetd.sqlite'))
  const blobs = await createDiskBlobs(dir)
  context.after(async () => {
    await database.close()
    rmSync(dir, { recursive: true })
  })
  const keys = await Promise.all(ids.map((id) => announce(database, blobs, id)))
  return { database, blobs, keys }
}

async function announce(database: Database, blobs: Blobs, assetId: string): Promise<string> {
  const key = blobs.newKey()
  const writer = blobs.create(key)
  await writer.write(file)
  await writer.store()
  const announced = {
    asset_id: assetId,
    workspace: 'w',
    owner: 'o',
    name: 'a.png',
    content_type: 'image/png',
    size_bytes: file.length,
    sha256: null,
    created_at_ms: startMs,
    expires_at_ms: startMs + hourMs,
    batch_id: null,
    item_index: null,
    blob_key: key,
  }
  await database.write([insertDirectUpload(database, announced)])
  return key
}

test('bytes whose keeping is in doubt: the row never names bytes that were removed', async (context) => {
  const { database, blobs } = await withAnnounced(context)
  const row = await findDirectUpload(database, 'a')
  assert.ok(row)
  const body = { read: async (receiver: { write(slice: Buffer): unknown }) => void receiver.write(file) }
  await assert.rejects(takeBytes(doubtful(database, blobs), row, body), /cannot be used/)
  const after = await findDirectUpload(database, 'a')
  assert.ok(after)
  assert.notEqual(await blobs.stat(String(after.blob_key)), null, 'the bytes that the row names')
  assert.deepEqual([after.token, after.scratch_blob_key], [null, null])
})

test('case 85: bytes that were put are not removed because somebody set the date', async (context) => {
  const { database, blobs, keys } = await withAnnounced(context)
  const sweepAt = async (wallMs: number, steadyMs: number): Promise<boolean> => {
    const clock = { wallMs: () => wallMs, steadyMs: () => steadyMs }
    const leases = { serviceId: 's', untilMs: () => steadyMs }
    await sweepDirectUploads({ database, blobs, clock, leases } as unknown as DirectDoor)
    const row = await findDirectUpload(database, 'a')
    assert.equal((await blobs.stat(String(keys[0]))) !== null, row !== null)
    return row !== null
  }
  assert.equal(await sweepAt(startMs + 24 * hourMs, startMs), true, 'the date was set a day ahead')
  assert.equal(await sweepAt(startMs - 24 * hourMs, startMs + 2 * hourMs), true, 'and then back')
  assert.equal(await sweepAt(startMs + 2 * hourMs, startMs + 2 * hourMs), false, 'an hour has passed')
})

/** Of a door: what time it is, and a blob that cannot be removed. */
function stuck(database: Database, blobs: Blobs, key: string, nowMs: number) {
  const again: (() => Promise<void>)[] = []
  const door = {
    database,
    blobs: {
      ...blobs,
      remove: (other: string) => (other === key ? Promise.reject(new Error('stuck')) : blobs.remove(other)),
    },
    clock: { wallMs: () => nowMs, steadyMs: () => nowMs },
    leases: {
      serviceId: 's',
      untilMs: () => nowMs,
      hold: () => () => {},
      tryAgain: (work: () => Promise<void>) => void again.push(work),
    },
    onTrouble: () => {},
  }
  return { door: door as unknown as DirectDoor, again }
}

test('a blob that cannot be removed holds up no other upload that has expired', async (context) => {
  const { database, blobs, keys } = await withAnnounced(context, ['a', 'b', 'c'])
  const { door, again } = stuck(database, blobs, String(keys[0]), startMs + 2 * hourMs)
  await assert.rejects(sweepDirectUploads(door), /stuck/)
  for (const id of ['b', 'c']) assert.equal(await findDirectUpload(database, id), null, id)
  for (const key of keys.slice(1)) assert.equal(await blobs.stat(key), null)
  const left = await findDirectUpload(database, 'a')
  assert.equal(left?.scratch_blob_key, keys[0], 'its row still names the bytes')

  assert.equal(again.length, 1)
  await assert.rejects(again[0]?.() ?? Promise.resolve(), /stuck/)
  Object.assign(door.blobs, blobs) // the disk is mended
  await again[0]?.()
  assert.equal(await blobs.stat(String(keys[0])), null)
  await sweepDirectUploads(door)
  assert.equal(await findDirectUpload(database, 'a'), null)
})

test('a blob that cannot be removed holds up no other upload that a dead process held', async (context) => {
  const { database, blobs, keys } = await withAnnounced(context, ['a', 'b', 'c'])
  const dead = { token: 'dead', serviceId: 'dead', leaseExpiresAtMs: startMs }
  const claims = ['a', 'b', 'c'].map((id, index) =>
    claimForBytes(database, id, { ...dead, token: id }, `scratch${index}`),
  )
  assert.ok((await database.write(claims)).written)
  const { door } = stuck(database, blobs, 'scratch0', startMs + 1)
  await sweepDirectUploads(door)
  const tokens = await Promise.all(
    ['b', 'c'].map(async (id) => (await findDirectUpload(database, id))?.token),
  )
  assert.deepEqual(tokens, [null, null], 'these are free')
  assert.equal((await findDirectUpload(database, 'a'))?.scratch_blob_key, 'scratch0')
  for (const key of keys) assert.notEqual(await blobs.stat(key), null)
})

test('an upload that becomes an asset while it is deleted is deleted', async (context) => {
  const { database, blobs, keys } = await withAnnounced(context)
  const { door } = stuck(database, blobs, '', startMs)
  const blobKey = String(keys[0])
  const asset = { asset_id: 'a', workspace: 'w', owner: 'o', token: 't', blob_key: blobKey }
  const pending = { ...asset, service_id: 's', created_at_ms: startMs, lease_expires_at_ms: startMs }
  const file = { type: 'png', width: 1, height: 1, name: null, sizeBytes: 5, sha256: '' } as const
  const completion = [
    claimForVerification(database, 'a', blobKey, { token: 't', serviceId: 's', leaseExpiresAtMs: startMs }),
    insertPending(database, pending),
    completePending(database, 'a', 't', { ...file, completedAtMs: startMs }),
    settle(database, 'a', 't', { state: 'completed', error: null, atMs: startMs }),
    step(database.build.updateTable('direct_uploads').set({ token: null, scratch_blob_key: null })),
  ]
  let isLookedFor = false
  const read: Database['read'] = async (query) => {
    const rows = await database.read(query)
    if (!isLookedFor) assert.ok((await database.write(completion)).written)
    isLookedFor = true
    return rows
  }
  await removeAsset({ ...door, database: { ...database, read } }, 'w', 'a')
  assert.equal(await findPublicFile(database, 'a'), null)
  assert.equal(await blobs.stat(blobKey), null)
  await assert.rejects(removeAsset(door, 'w', 'a'), /no such asset/)
})

test('uploads whose verification goes on failing hold up none behind them', async (context) => {
  const ids = Array.from({ length: 230 }, (_, index) => String(index).padStart(3, '0'))
  const { database, blobs } = await withAnnounced(context, ids)
  await database.write(ids.map((id) => sealed(database, id)))
  const queued: string[] = []
  const door = {
    ...stuck(database, blobs, '', startMs).door,
    reservations: {
      reserve: (_principal: unknown, _key: unknown, { assetId }: { assetId: string }) => {
        queued.push(assetId)
        return Promise.reject(databaseUnavailable('not now'))
      },
    },
  } as unknown as DirectDoor
  const verifier = createVerifier(door)
  verifier.wake()
  await context.waitFor(() => assert.equal(queued.length, ids.length), { timeout: 20_000 })
  await verifier.stop()
  assert.deepEqual(queued.toSorted(), ids, 'each once')
})

const sealed = (database: Database, assetId: string): Step =>
  step(
    database.build.updateTable('direct_uploads').set({ state: 'processing' }).where('asset_id', '=', assetId),
  )
