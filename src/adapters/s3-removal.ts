/** What is taken away again: objects, and uploads in parts that were never completed. */
import {
  AbortMultipartUploadCommand,
  DeleteObjectCommand,
  ListMultipartUploadsCommand,
  type MultipartUpload,
} from '@aws-sdk/client-s3'
import type { CallOptions, S3 } from './s3-connection.ts'

/** Silent where there is none. */
export async function removeObject(s3: S3, name: string, limits: CallOptions = {}): Promise<void> {
  const input = { Bucket: s3.bucket, Key: name }
  await s3.run((client, options) => client.send(new DeleteObjectCommand(input), options), limits)
}

/** A part that was on its way when its upload was ended may bring it back, as S3's documentation says. */
const roundsAtMost = 3

/** All that were begun under this name, also those whose ids died with whoever began them. */
export async function abortUploads(s3: S3, name: string, limits: CallOptions = {}): Promise<void> {
  for (let round = 0; round < roundsAtMost; round++) {
    let found = 0
    for await (const uploads of pagesOfUploads(s3, name, limits)) {
      for (const { Key, UploadId } of uploads) {
        if (Key !== name) continue
        found++
        const input = { Bucket: s3.bucket, Key, UploadId }
        // Null: it is gone, by another who removes it, or is completed by now.
        await s3.find(
          (client, options) => client.send(new AbortMultipartUploadCommand(input), options),
          limits,
        )
      }
    }
    if (found === 0) return
  }
}

export async function* pagesOfUploads(
  s3: S3,
  prefix: string,
  limits: CallOptions = {},
): AsyncGenerator<MultipartUpload[]> {
  let at: { KeyMarker?: string | undefined; UploadIdMarker?: string | undefined } = {}
  for (;;) {
    const input = { Bucket: s3.bucket, Prefix: prefix, ...at }
    const page = await s3.run(
      (client, options) => client.send(new ListMultipartUploadsCommand(input), options),
      limits,
    )
    if (page.Uploads !== undefined) yield page.Uploads
    if (page.IsTruncated !== true || page.NextKeyMarker === undefined) return
    at = { KeyMarker: page.NextKeyMarker, UploadIdMarker: page.NextUploadIdMarker }
  }
}
