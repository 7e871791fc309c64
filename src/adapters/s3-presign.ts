/** URLs by which others put and get one object, without us in between, until they end. */
import { GetObjectCommand, PutObjectCommand } from '@aws-sdk/client-s3'
import { getSignedUrl } from '@aws-sdk/s3-request-presigner'
import type { Presign } from '../assets/blobs.ts'
import { type S3, S3Fault } from './s3-connection.ts'

export function createPresign(s3: S3): Presign {
  return {
    async put(key, { sizeBytes, contentType, sha256, signedAtMs, expiresSeconds }) {
      const command = new PutObjectCommand({
        Bucket: s3.bucket,
        Key: s3.nameOf(key),
        ContentType: contentType,
        ContentLength: sizeBytes,
        ...(sha256 === null ? {} : { ChecksumSHA256: Buffer.from(sha256, 'hex').toString('base64') }),
      })
      // All that was declared is signed as headers: a PUT that sends others is refused by the store itself.
      const bound = ['content-length', 'content-type', 'x-amz-checksum-sha256']
      const url = await signed(() =>
        getSignedUrl(s3.client, command, {
          signingDate: new Date(signedAtMs),
          expiresIn: expiresSeconds,
          signableHeaders: new Set(['host', ...bound]),
          unhoistableHeaders: new Set(bound),
        }),
      )
      const headers: Record<string, string> = { 'content-type': contentType }
      if (sha256 !== null) headers['x-amz-checksum-sha256'] = Buffer.from(sha256, 'hex').toString('base64')
      return { url, headers }
    },
    async get(key, { contentType, contentDisposition, cacheControl, signedAtMs, expiresSeconds }) {
      const command = new GetObjectCommand({
        Bucket: s3.bucket,
        Key: s3.nameOf(key),
        ResponseContentType: contentType,
        ResponseContentDisposition: contentDisposition,
        ResponseCacheControl: cacheControl,
      })
      const signing = { signingDate: new Date(signedAtMs), expiresIn: expiresSeconds }
      return signed(() => getSignedUrl(s3.client, command, signing))
    },
    async origin() {
      const any = new GetObjectCommand({ Bucket: s3.bucket, Key: s3.nameOf('any') })
      return new URL(await signed(() => getSignedUrl(s3.client, any, { expiresIn: 1 }))).origin
    },
  }
}

/** Nothing is sent, but the credentials may have to be fetched first. */
async function signed(sign: () => Promise<string>): Promise<string> {
  try {
    return await sign()
  } catch (error) {
    throw new S3Fault(error)
  }
}
