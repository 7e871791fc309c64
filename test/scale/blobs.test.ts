/** The contract of the blobs, held by two S3 servers that none of us wrote. */
import { after, before, describe } from 'node:test'
import { openS3Blobs } from '../../src/adapters/s3-blobs.ts'
import { blobsContract } from '../contract/blobs.ts'
import { noRadosgw, startRadosgw } from './radosgw.ts'
import { freshBucket, type S3Server } from './s3.ts'
import { noVersitygw, startVersitygw } from './versitygw.ts'

const stores = [
  { name: 'versitygw', skip: noVersitygw, start: () => startVersitygw(), prefix: '' },
  {
    name: 'versitygw, under a prefix',
    skip: noVersitygw,
    start: () => startVersitygw(),
    prefix: 'media/assetd/',
  },
  {
    name: 'versitygw with ETags of its own',
    skip: noVersitygw,
    start: () => startVersitygw({ more: ['--data-integrity-etag'] }),
    prefix: '',
  },
  { name: 'radosgw', skip: noRadosgw, start: startRadosgw, prefix: '' },
]

for (const { name, skip, start, prefix } of stores) {
  describe(name, { skip }, () => {
    let server: S3Server
    before(async () => {
      server = await start()
    })
    after(() => server.remove())

    blobsContract({
      name,
      async place(context) {
        const options = await freshBucket(server)
        return async () => {
          const blobs = openS3Blobs({ ...options, prefix })
          context.after(() => blobs.close())
          return blobs
        }
      },
    })
  })
}
