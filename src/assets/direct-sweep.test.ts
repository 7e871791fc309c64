import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { createDiskBlobs } from '../adapters/disk-blobs.ts'
import { openSqlite } from '../adapters/sqlite.ts'
import { findDirectUpload, insertDirectUpload } from '../records/direct-uploads.ts'
import { sweepDirectUploads } from './direct-sweep.ts'
import type { DirectDoor } from './direct-uploads.ts'

const startMs = 1_700_000_000_000
const hourMs = 3_600_000

test('case 85: bytes that were put are not removed because somebody set the date', async (context) => {
  const dir = mkdtempSync(join(tmpdir(), 'assetd-direct-'))
  const database = await openSqlite(join(dir, 'assetd.sqlite'))
  const blobs = await createDiskBlobs(dir)
  context.after(async () => {
    await database.close()
    rmSync(dir, { recursive: true })
  })
  const key = blobs.newKey()
  const writer = blobs.create(key)
  await writer.write(Buffer.from('bytes'))
  await writer.store()
  const announced = {
    asset_id: 'a',
    workspace: 'w',
    owner: 'o',
    name: 'a.png',
    content_type: 'image/png',
    size_bytes: 5,
    sha256: null,
    created_at_ms: startMs,
    expires_at_ms: startMs + hourMs,
    batch_id: null,
    item_index: null,
    blob_key: key,
  }
  await database.write([insertDirectUpload(database, announced)])
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
