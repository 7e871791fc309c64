/** What goes up to the store and how, and that what it kept is what we sent. */
import { createHash } from 'node:crypto'
import { Readable } from 'node:stream'
import {
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  PutObjectCommand,
  UploadPartCommand,
} from '@aws-sdk/client-s3'
import { isNotFound, type S3 } from './s3-connection.ts'
import { headObject, ObjectStream } from './s3-reader.ts'

/** What the objects say they are. Nothing that a browser would show: the public answers have headers of their own. */
export const contentType = 'application/octet-stream'

export type Part = { sizeBytes: number; md5: Buffer }

export interface PartBody extends Part {
  slices: Buffer[]
  /** A try failed: it may not be over, for all that we know. */
  isRetried: boolean
  add(slice: Buffer): void
}

export function beginPart(): PartBody {
  const hash = createHash('md5')
  let md5: Buffer | null = null
  return {
    slices: [],
    sizeBytes: 0,
    isRetried: false,
    get md5() {
      md5 ??= hash.digest()
      return md5
    },
    add(slice) {
      hash.update(slice)
      this.slices.push(slice)
      this.sizeBytes += slice.length
    },
  }
}

/** A fresh stream for each try. The store refuses it where the bytes changed on their way: by Content-MD5, which is signed. */
function bodyOf(part: PartBody) {
  return {
    Body: Readable.from(part.slices, { objectMode: false }),
    ContentLength: part.sizeBytes,
    ContentMD5: part.md5.toString('base64'),
  }
}

export async function putObject(s3: S3, name: string, part: PartBody, signal: AbortSignal): Promise<void> {
  const input = { Bucket: s3.bucket, Key: name, ContentType: contentType }
  const onRetry = (): void => {
    part.isRetried = true
  }
  await s3.run(
    (client, options) => client.send(new PutObjectCommand({ ...input, ...bodyOf(part) }), options),
    { ...s3.withBytes, signal, onRetry },
  )
}

export interface Multipart {
  /** Those that the store has. */
  readonly parts: readonly Part[]
  /** There may be uploads of this name whose ids we were never told. */
  readonly isRetried: boolean
  /** The first one begins the upload. */
  send(part: PartBody): Promise<void>
  complete(): Promise<void>
}

export function createMultipart(s3: S3, name: string, signal: AbortSignal): Multipart {
  const target = { Bucket: s3.bucket, Key: name }
  const parts: (Part & { etag: string | undefined })[] = []
  let uploadId: string | undefined
  let isRetried = false

  return {
    parts,
    get isRetried() {
      return isRetried
    },
    async send(part) {
      uploadId ??= await s3.run(
        async (client, options) => {
          const input = { ...target, ContentType: contentType }
          const begun = await client.send(new CreateMultipartUploadCommand(input), options)
          if (begun.UploadId === undefined) throw new Error('the store began an upload without an id')
          return begun.UploadId
        },
        {
          signal,
          onRetry: () => {
            isRetried = true
          },
        },
      )
      const input = { ...target, UploadId: uploadId, PartNumber: parts.length + 1 }
      const { ETag: etag } = await s3.run(
        (client, options) => client.send(new UploadPartCommand({ ...input, ...bodyOf(part) }), options),
        {
          ...s3.withBytes,
          signal,
          onRetry: () => {
            part.isRetried = true
          },
        },
      )
      parts.push({ sizeBytes: part.sizeBytes, md5: part.md5, etag })
    },
    async complete() {
      const Parts = parts.map(({ etag }, index) => ({ PartNumber: index + 1, ETag: etag }))
      const input = { ...target, UploadId: uploadId, MultipartUpload: { Parts } }
      let isAgain = false
      try {
        await s3.run((client, options) => client.send(new CompleteMultipartUploadCommand(input), options), {
          ...s3.withBytes,
          signal,
          onRetry: () => {
            isAgain = true
          },
        })
      } catch (error) {
        // The try whose answer we did not get has completed it. Whether it has is seen by what is there.
        if (!isAgain || !isNotFound(error)) throw error
      }
    },
  }
}

/**
 * Of the bytes of an object a store says as its ETag their MD5, or of one that came in parts, the MD5 of theirs. Where it
 * says something else (it is encrypted with a key, or the store has ways of its own), the bytes are read back.
 * @param count of the parts, where it came in parts
 * @throws where what is there is not what was sent
 */
export async function assertKept(
  s3: S3,
  name: string,
  parts: readonly Part[],
  count: number | null,
): Promise<void> {
  const sizeBytes = parts.reduce((sum, part) => sum + part.sizeBytes, 0)
  const found = await headObject(s3, name)
  if (found === null) throw new Error('the store took the object, and says that there is none')
  if (found.sizeBytes !== sizeBytes) {
    throw new Error(`the store kept ${found.sizeBytes} bytes of ${sizeBytes}`)
  }
  const [first] = parts
  const sums = createHash('md5').update(Buffer.concat(parts.map(({ md5 }) => md5)))
  const expected = count === null ? first?.md5.toString('hex') : `${sums.digest('hex')}-${count}`
  if (found.etag?.replaceAll('"', '') !== expected) await readBack(s3, name, found.etag, parts)
}

async function readBack(s3: S3, name: string, etag: string | null, parts: readonly Part[]): Promise<void> {
  let start = 0
  for (const { sizeBytes, md5 } of parts) {
    if (sizeBytes === 0) continue
    const hash = createHash('md5')
    const range = { name, etag, start, end: start + sizeBytes - 1 }
    for await (const slice of new ObjectStream(s3, range)) hash.update(slice)
    if (!hash.digest().equals(md5)) throw new Error('the store kept other bytes than were sent')
    start += sizeBytes
  }
}
