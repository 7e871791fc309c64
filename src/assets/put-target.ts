/**
 * Where the bytes of an announced upload are put: to the service, by a URL that it has signed, or past it to the bucket
 * itself. What comes after that is one and the same.
 */
import { randomName } from '../asset.ts'
import type { NewDirectUpload } from '../records/direct-uploads.ts'
import type { Blobs, Presign } from './blobs.ts'

export interface PutTarget {
  /** The most that one PUT can bring. */
  maxBytes: number
  /** Under which the bytes will be; null: they get one when they come, and until then there are none. */
  newBlobKey(): string | null
  /** Whether there is something under the key of an upload that is to be completed. */
  hasBytes(blobKey: string): Promise<boolean>
  /** What whoever puts the bytes has to be told. */
  grant(announced: NewDirectUpload): Promise<{ url: string; headers: Record<string, string> }>
}

export type OwnTargetOptions = {
  /** Without a trailing slash. */
  publicUrl: () => string
  /** The query that gives the right to put the bytes. */
  sign(announced: NewDirectUpload): string
}

/** The bucket itself, where there is one. */
export function createPutTarget(blobs: Blobs, options: OwnTargetOptions): PutTarget {
  return blobs.presign === undefined ? createOwnTarget(options) : createBucketTarget(blobs, blobs.presign)
}

/** The service takes them in itself, and writes their key down once they are whole. */
function createOwnTarget({ publicUrl, sign }: OwnTargetOptions): PutTarget {
  return {
    maxBytes: Number.POSITIVE_INFINITY,
    newBlobKey: () => null,
    hasBytes: async () => true,
    grant: async (announced) => ({
      url: `${publicUrl()}/uploads/${announced.asset_id}${sign(announced)}`,
      // Lower-case: a client that adds a header of its own in another case would send it twice.
      headers: { 'content-type': announced.content_type },
    }),
  }
}

/** What S3 takes in one PUT. */
const largestPutBytes = 5 * 1024 ** 3

/** The store takes them in: it alone knows when they are there, and refuses others than were declared. */
function createBucketTarget(blobs: Blobs, presign: Presign): PutTarget {
  return {
    maxBytes: largestPutBytes,
    newBlobKey: randomName,
    hasBytes: async (blobKey) => (await blobs.stat(blobKey)) !== null,
    async grant({ blob_key, size_bytes, content_type, sha256, created_at_ms, expires_at_ms }) {
      if (blob_key === null) throw new Error('a URL of the bucket needs a key')
      return presign.put(blob_key, {
        sizeBytes: size_bytes,
        contentType: content_type,
        sha256,
        signedAtMs: created_at_ms,
        expiresSeconds: Math.round((expires_at_ms - created_at_ms) / 1000),
      })
    },
  }
}
