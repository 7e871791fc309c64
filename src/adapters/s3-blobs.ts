/**
 * Blobs as objects of a bucket, each under a key that is used for one attempt alone. A PUT that we gave up may still land
 * later; then it is an object that no row names, and `gc` takes it.
 */
import { createHash } from 'node:crypto'
import {
  GetObjectCommand,
  HeadBucketCommand,
  ListObjectsV2Command,
  ListPartsCommand,
  PutObjectCommand,
} from '@aws-sdk/client-s3'
import { randomName } from '../asset.ts'
import type { Blobs } from '../assets/blobs.ts'
import { createBlockPool } from './blocks.ts'
import { connectS3, type S3, S3Fault, type S3Options } from './s3-connection.ts'
import { createPresign } from './s3-presign.ts'
import { headObject, openObject } from './s3-reader.ts'
import { abortUploads, pagesOfUploads, removeObject } from './s3-removal.ts'
import { createS3Writer } from './s3-writer.ts'

/** What says which store this is; no blob. */
const identityName = 'store-id'

/** What `/readyz` waits for at most. */
const usableMs = 2_000

export type S3Blobs = Blobs & { close(): Promise<void> }

export function openS3Blobs(options: S3Options): S3Blobs {
  const s3 = connectS3(options)
  const blocks = createBlockPool()

  return {
    newKey: randomName,
    presign: createPresign(s3),
    create: (key, hashed) =>
      createS3Writer(s3, key, blocks, hashed === undefined ? null : createHash('sha256')),
    open: (key) => openObject(s3, s3.nameOf(key)),
    async remove(key) {
      const name = s3.nameOf(key)
      await abortUploads(s3, name) // first: one that is just being completed would else put the object back
      await removeObject(s3, name)
    },
    async *list() {
      const prefix = s3.nameOf('')
      const keysOf = (names: (string | undefined)[]): string[] =>
        names
          .flatMap((name) =>
            name === undefined || name === s3.nameOf(identityName) ? [] : name.slice(prefix.length),
          )
          .filter((key) => !key.includes('/')) // of a service with a longer prefix
      for await (const uploads of pagesOfUploads(s3, prefix)) yield keysOf(uploads.map(({ Key }) => Key))
      for (let at: string | undefined; ; ) {
        const input = { Bucket: s3.bucket, Prefix: prefix, Delimiter: '/', ContinuationToken: at }
        const page = await s3.run((client, call) => client.send(new ListObjectsV2Command(input), call))
        yield keysOf((page.Contents ?? []).map(({ Key }) => Key))
        if (page.IsTruncated !== true || page.NextContinuationToken === undefined) return
        at = page.NextContinuationToken
      }
    },
    async stat(key) {
      const found = await headObject(s3, s3.nameOf(key))
      return found === null ? statUpload(s3, s3.nameOf(key)) : found
    },
    async removeUnfinished() {}, // others may be writing to the bucket
    async assertUsable() {
      const limits = { attemptMs: usableMs, callMs: usableMs }
      await s3.run((client, call) => client.send(new HeadBucketCommand({ Bucket: s3.bucket }), call), limits)
    },
    freeBytes: async () => Number.POSITIVE_INFINITY,
    identity: () => identityOf(s3),
    identify: (id) => identify(s3, id),
    close: async () => s3.close(),
  }
}

async function statUpload(s3: S3, name: string): Promise<{ sizeBytes: number; modifiedAtMs: number } | null> {
  for await (const uploads of pagesOfUploads(s3, name)) {
    const upload = uploads.find(({ Key }) => Key === name)
    if (upload === undefined) continue
    const input = { Bucket: s3.bucket, Key: name, UploadId: upload.UploadId }
    const listed = await s3.find((client, call) => client.send(new ListPartsCommand(input), call))
    const sizeBytes = (listed?.Parts ?? []).reduce((sum, part) => sum + (part.Size ?? 0), 0)
    return { sizeBytes, modifiedAtMs: upload.Initiated?.getTime() ?? 0 }
  }
  return null
}

async function identityOf(s3: S3): Promise<string | null> {
  const input = { Bucket: s3.bucket, Key: s3.nameOf(identityName) }
  return s3.run(async (client, call) => {
    try {
      const { Body } = await client.send(new GetObjectCommand(input), call)
      return (await Body?.transformToString()) ?? null
    } catch (error) {
      if ((error as Error).name === 'NoSuchKey') return null // not NoSuchBucket, which is a 404 too
      throw error
    }
  })
}

/** The first one stays where the store knows If-None-Match; where it does not, the last of those that come at once. */
async function identify(s3: S3, id: string): Promise<void> {
  if ((await identityOf(s3)) !== null) return
  const input = { Bucket: s3.bucket, Key: s3.nameOf(identityName), Body: id, IfNoneMatch: '*' }
  try {
    await s3.run((client, call) => client.send(new PutObjectCommand(input), call))
  } catch (error) {
    const isTaken = error instanceof S3Fault && (error.status === 412 || error.status === 409)
    if (!isTaken) throw error
  }
}
