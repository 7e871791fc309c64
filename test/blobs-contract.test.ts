/** The contract of the blobs, held by a folder. Buckets: `npm run test:scale`. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createDiskBlobs } from '../src/adapters/disk-blobs.ts'
import { blobsContract } from './contract/blobs.ts'

blobsContract({
  name: 'disk',
  place(context) {
    const dir = mkdtempSync(join(tmpdir(), 'assetd-blobs-'))
    context.after(() => rmSync(dir, { recursive: true, force: true }))
    return () => createDiskBlobs(dir)
  },
})
