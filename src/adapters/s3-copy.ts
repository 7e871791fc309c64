/** Copies an object inside of the store: its bytes never pass through us. */
import {
  CompleteMultipartUploadCommand,
  CopyObjectCommand,
  CreateMultipartUploadCommand,
  UploadPartCopyCommand,
} from '@aws-sdk/client-s3'
import type { S3 } from './s3-connection.ts'
import { contentType } from './s3-parts.ts'
import { headObject } from './s3-reader.ts'

/** A store copies this much in one call, in a time that can be waited for; larger ones go in pieces, which have no upper end. */
const pieceBytes = 128 * 1024 * 1024
const copiedAtOnce = 4
/** 2 MiB a second, for a store that really copies. */
const patience = { attemptMs: 60_000, callMs: 120_000 }

/** @throws where it could not be copied whole */
export async function copyObject(s3: S3, from: string, to: string, signal: AbortSignal): Promise<void> {
  const source = await headObject(s3, from)
  if (source === null) throw new Error('what was to be copied is not there')
  const input = {
    Bucket: s3.bucket,
    Key: to,
    CopySource: `${s3.bucket}/${from.split('/').map(encodeURIComponent).join('/')}`,
    // Others may be put in its place meanwhile, and no copy is to be of two.
    ...(source.etag === null ? {} : { CopySourceIfMatch: source.etag }),
  }
  if (source.sizeBytes <= pieceBytes) {
    // Whoever put it chose what it says of itself, such as Content-Encoding; a copy says nothing of that.
    const about = { MetadataDirective: 'REPLACE', ContentType: contentType } as const
    const limits = { ...patience, signal }
    await s3.run(
      (client, options) => client.send(new CopyObjectCommand({ ...input, ...about }), options),
      limits,
    )
  } else {
    await copyInPieces(s3, input, source.sizeBytes, signal)
  }
  const copied = await headObject(s3, to)
  if (copied?.sizeBytes !== source.sizeBytes) {
    throw new Error(`the store copied ${copied?.sizeBytes ?? 0} bytes of ${source.sizeBytes}`)
  }
}

type Input = { Bucket: string; Key: string; CopySource: string; CopySourceIfMatch?: string }

async function copyInPieces(s3: S3, input: Input, sizeBytes: number, signal: AbortSignal): Promise<void> {
  const target = { Bucket: input.Bucket, Key: input.Key }
  const limits = { ...patience, signal }
  const { UploadId } = await s3.run(
    (client, options) =>
      client.send(new CreateMultipartUploadCommand({ ...target, ContentType: contentType }), options),
    { signal },
  )
  const starts = Array.from({ length: Math.ceil(sizeBytes / pieceBytes) }, (_, index) => index * pieceBytes)
  const parts: { PartNumber: number; ETag: string | undefined }[] = []
  const waiting = starts.entries()
  const work = async (): Promise<void> => {
    for (const [index, start] of waiting) {
      const CopySourceRange = `bytes=${start}-${Math.min(start + pieceBytes, sizeBytes) - 1}`
      const piece = { ...input, UploadId, PartNumber: index + 1, CopySourceRange }
      const { CopyPartResult } = await s3.run(
        (client, options) => client.send(new UploadPartCopyCommand(piece), options),
        limits,
      )
      parts[index] = { PartNumber: index + 1, ETag: CopyPartResult?.ETag }
    }
  }
  await Promise.all(Array.from({ length: copiedAtOnce }, work))
  const completed = { ...target, UploadId, MultipartUpload: { Parts: parts } }
  await s3.find(
    (client, options) => client.send(new CompleteMultipartUploadCommand(completed), options),
    limits,
  ) // null: a try whose answer was lost has done it, which the size tells
}
