/** What the S3 servers of the tests have in common. */

import { randomBytes } from 'node:crypto'
import { CreateBucketCommand, S3Client } from '@aws-sdk/client-s3'
import type { S3Options } from '../../src/adapters/s3-connection.ts'

/** The whole environment that the SDK's chain looks at: nothing of this machine's own gets into a test. */
export const credentials = {
  AWS_ACCESS_KEY_ID: 'assetdtests',
  AWS_SECRET_ACCESS_KEY: 'not-a-secret-of-anybody',
}

Object.assign(process.env, credentials)

export type S3Server = {
  name: string
  port: number
  /** All its processes, to stop and to let go on. */
  processes(): number[]
  start(): Promise<void>
  /** At once, as a crash would. */
  kill(): Promise<void>
  remove(): Promise<void>
}

/** A new and empty bucket on a server of the tests. */
export async function freshBucket({ port }: { port: number }): Promise<S3Options> {
  const bucket = `t${randomBytes(6).toString('hex')}`
  const client = clientOf(port)
  await client.send(new CreateBucketCommand({ Bucket: bucket }))
  client.destroy()
  return { ...placeOf(port), bucket }
}

export function placeOf(port: number): Omit<S3Options, 'bucket'> {
  return { endpoint: `http://127.0.0.1:${port}`, region: null, forcePathStyle: true, prefix: '' }
}

export function clientOf(port: number): S3Client {
  return new S3Client({ ...placeOf(port), endpoint: `http://127.0.0.1:${port}`, region: 'us-east-1' })
}

/** The settings of a service that keeps its bytes there. */
export function settingsOf({ bucket, endpoint, prefix }: S3Options): Record<string, string> {
  return {
    ...credentials,
    ASSETD_S3_BUCKET: bucket,
    ASSETD_S3_ENDPOINT: String(endpoint),
    ASSETD_S3_FORCE_PATH_STYLE: 'on',
    ...(prefix === '' ? {} : { ASSETD_S3_PREFIX: prefix }),
  }
}
