import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { createDiskBlobs } from '../adapters/disk-blobs.ts'
import { openSqlite } from '../adapters/sqlite.ts'
import { type Database, databaseUnavailable, type Step } from '../records/database.ts'
import { findDirectUpload, insertDirectUpload } from '../records/direct-uploads.ts'
import type { Blobs } from './blobs.ts'
import { sweepDirectUploads } from './direct-sweep.ts'
import { type DirectDoor, takeBytes } from './direct-uploads.ts'

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

/** A store that has an announced upload, `a`, whose bytes were put, and which expires an hour after the start. */
async function withAnnounced(context: TestContext) {
  const dir = mkdtempSync(join(tmpdir(), 'assetd-direct-'))
  const database = await openSqlite(join(dir, 'assetd.sqlite'))
  const blobs = await createDiskBlobs(dir)
  context.after(async () => {
    await database.close()
    rmSync(dir, { recursive: true })
  })
  const key = blobs.newKey()
  const writer = blobs.create(key)
  await writer.write(file)
  await writer.store()
  const announced = {
    asset_id: 'a',
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
  return { database, blobs, key }
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
  const { database, blobs, key } = await withAnnounced(context)
  const sweepAt = async (wallMs: number, steadyMs: number): Promise<boolean> => {
    const clock = { wallMs: () => wallMs, steadyMs: () => steadyMs }
    const leases = { serviceId: 's', untilMs: () => steadyMs }
    await sweepDirectUploads({ database, blobs, clock, leases } as unknown as DirectDoor)
    const row = await findDirectUpload(database, 'a')
    assert.equal((await blobs.stat(key)) !== null, row !== null)
    return row !== null
  }
  assert.equal(await sweepAt(startMs + 24 * hourMs, startMs), true, 'the date was set a day ahead')
  assert.equal(await sweepAt(startMs - 24 * hourMs, startMs + 2 * hourMs), true, 'and then back')
  assert.equal(await sweepAt(startMs + 2 * hourMs, startMs + 2 * hourMs), false, 'an hour has passed')
})
