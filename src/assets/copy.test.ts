import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { createDiskBlobs } from '../adapters/disk-blobs.ts'
import { Fault } from '../errors.ts'
import type { Blobs } from './blobs.ts'
import { copyBlob } from './copy.ts'

for (const keepsDamaged of [true, false]) {
  test(`a target that takes no more bytes is no damage of the source (${keepsDamaged ? 'backup' : 'copy'})`, async (context) => {
    const dir = mkdtempSync(join(tmpdir(), 'assetd-copy-'))
    context.after(() => rmSync(dir, { recursive: true }))
    const from = await createDiskBlobs(dir)
    const bytes = randomBytes(1_000_000)
    const key = from.newKey()
    const writer = from.create(key)
    await writer.write(bytes)
    await writer.store()
    let discarded = 0
    const full = new Fault('service_unavailable', 'The disk is full.')
    const to: Pick<Blobs, 'create'> = {
      create: () => ({
        write: () => Promise.reject(full),
        store: () => Promise.reject(full),
        sha256: () => Promise.reject(full),
        storeCopy: () => Promise.reject(full),
        discard: async () => void discarded++,
      }),
    }
    const sha256 = createHash('sha256').update(bytes).digest('hex')
    const file = { blob_key: key, size_bytes: bytes.length, sha256 }
    await assert.rejects(copyBlob(from, to as Blobs, file, { keepsDamaged }), full)
    assert.equal(discarded, 1)
  })
}
