/** Copies that are all started at once, on a database and a bucket that nobody has used before. */
import assert from 'node:assert/strict'
import { it } from 'node:test'
import { isShort } from '../form.ts'
import { startCopy } from './copy-process.ts'
import { noPostgres, startPostgres } from './postgres.ts'
import { credentials, freshBucket } from './s3.ts'
import { noVersitygw, startVersitygw } from './versitygw.ts'

it('five copies that start at once on an empty bucket all start, each time', {
  skip: noPostgres || noVersitygw,
}, async (context) => {
  const postgres = await startPostgres()
  context.after(() => postgres.remove())
  const s3 = await startVersitygw()
  context.after(() => s3.remove())
  for (let round = 0; round < (isShort ? 2 : 5); round++) {
    const { bucket } = await freshBucket(s3)
    const settings = {
      ASSETD_API_KEY: 'k'.repeat(40),
      ASSETD_DATABASE_URL: await postgres.freshUrl(),
      ASSETD_S3_BUCKET: bucket,
      ASSETD_S3_ENDPOINT: `http://127.0.0.1:${s3.port}`,
      ASSETD_S3_REGION: 'us-east-1',
      ASSETD_S3_FORCE_PATH_STYLE: 'on',
      ...credentials,
    }
    const started = await Promise.allSettled(Array.from({ length: 5 }, () => startCopy(settings)))
    for (const one of started) if (one.status === 'fulfilled') await one.value.stop()
    const refused = started.filter((one) => one.status === 'rejected').map(({ reason }) => String(reason))
    assert.deepEqual(refused, [])
  }
})
