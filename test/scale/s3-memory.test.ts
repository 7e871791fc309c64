/** What a large blob costs in memory: in a process of its own, where nothing else does. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { openS3Blobs } from '../../src/adapters/s3-blobs.ts'
import { randomName } from '../../src/asset.ts'
import { freshBucket } from './s3.ts'
import { noVersitygw, startVersitygw } from './versitygw.ts'

test('a large blob is written and read at flat memory', { skip: noVersitygw }, async (context) => {
  const server = await startVersitygw()
  context.after(() => server.remove())
  const blobs = openS3Blobs(await freshBucket(server))
  context.after(() => blobs.close())
  const slice = Buffer.alloc(64 * 1024, 7)
  const sizeBytes = 400 * 1024 * 1024
  const key = randomName()
  const writer = blobs.create(key)
  let mostBytes = 0
  for (let sent = 0; sent < sizeBytes; sent += slice.length) {
    await writer.write(slice)
    mostBytes = Math.max(mostBytes, process.memoryUsage.rss())
  }
  await writer.store()
  let readBytes = 0
  for await (const read of (await blobs.open(key))?.stream(0, sizeBytes - 1) ?? []) {
    readBytes += read.length
    mostBytes = Math.max(mostBytes, process.memoryUsage.rss())
  }
  assert.equal(readBytes, sizeBytes)
  assert.ok(mostBytes < 250 * 1024 * 1024, `${mostBytes} bytes`)
  await blobs.remove(key)
})
