/** What bytes that are stored already really are: counted, hashed and looked at in one pass from the store. */
import { createHash } from 'node:crypto'
import { type AssetType, assetTypes, type FileFacts, mimeTypesOf } from '../asset.ts'
import { Fault, fileFault } from '../errors.ts'
import { createInspector } from '../intake/container/inspector.ts'
import { inspectZip } from '../intake/container/zip.ts'
import { createMeasure } from '../intake/measure.ts'
import { withBothSides } from '../intake/receive-file.ts'
import type { Blob, Blobs } from './blobs.ts'

export type Declared = { type: AssetType; contentType: string; sizeBytes: number; sha256: string | null }

export type Verified = FileFacts & { sizeBytes: number; sha256: string }

/**
 * @throws {Fault} what is wrong with the file, with what was declared, what was found and what is allowed;
 *   `service_unavailable` where it cannot be read
 */
export async function verifyBlob(
  blobs: Blobs,
  blobKey: string,
  declared: Declared,
  allowed: ReadonlySet<AssetType>,
): Promise<Verified> {
  const blob = await blobs.open(blobKey)
  if (blob === null) throw unreadable(new Error(`the blob ${blobKey} is missing`))
  try {
    const measured = await measureAndInspect(blob, declared, allowed)
    if (measured.sizeBytes !== declared.sizeBytes) throw sizeMismatch(declared, measured.sizeBytes)
    if (declared.sha256 !== null && measured.sha256 !== declared.sha256) {
      throw checksumMismatch(declared.sha256, measured.sha256)
    }
    if (measured.type !== declared.type) throw typeMismatch(declared, measured.type, allowed)
    return measured
  } catch (error) {
    if (!(error instanceof Fault)) throw unreadable(error)
    throw withBothSides(error, declared.contentType, allowed)
  } finally {
    await blob.close().catch(() => {}) // its stream may have closed it
  }
}

async function measureAndInspect(
  blob: Blob,
  declared: Declared,
  allowed: ReadonlySet<AssetType>,
): Promise<Verified> {
  const measure = createMeasure(Math.max(blob.sizeBytes, 1))
  const hash = createHash('sha256')
  const isZip = declared.type === 'zip' && (await startsAsZip(blob))
  const inspector = isZip ? null : createInspector({ allowed })
  const facts = isZip ? await inspectZip({ sizeBytes: blob.sizeBytes, read: readerOf(blob) }) : null
  for await (const slice of blob.stream(0, blob.sizeBytes - 1, 'passing')) {
    measure.write(slice)
    hash.update(slice)
    inspector?.write(slice)
  }
  const { sizeBytes } = measure.end()
  const found = facts ?? inspector?.end()
  if (found === undefined) throw new Error('nothing has looked at the file')
  return { ...found, sizeBytes, sha256: hash.digest('hex') }
}

async function startsAsZip(blob: Blob): Promise<boolean> {
  const head = await readerOf(blob)(0, Math.min(4, blob.sizeBytes))
  return head.equals(Buffer.from('PK\x03\x04')) || head.equals(Buffer.from('PK\x05\x06'))
}

function readerOf(blob: Blob): (start: number, end: number) => Promise<Buffer> {
  return async (start, end) => {
    if (end <= start) return Buffer.alloc(0)
    return blob.read(start, end)
  }
}

function unreadable(cause: unknown): Fault {
  return new Fault(
    'service_unavailable',
    'The bytes of this upload cannot be read at the moment. They are kept; complete it again shortly.',
    { retryAfterSeconds: 5, cause },
  )
}

export function sizeMismatch(declared: { sizeBytes: number }, foundBytes: number) {
  return fileFault(
    'size_mismatch',
    `The file has ${foundBytes} bytes, and ${declared.sizeBytes} were declared. Send exactly the bytes that were declared, or declare anew.`,
    { declared: declared.sizeBytes, detected: foundBytes },
  )
}

export function checksumMismatch(declared: string, found: string) {
  return fileFault(
    'checksum_mismatch',
    'The SHA-256 of the bytes that came is another one than was declared. Send the file again, or declare its own.',
    { declared, detected: found },
    'checksum_sha256',
  )
}

function typeMismatch(declared: Declared, found: AssetType, allowed: ReadonlySet<AssetType>) {
  const detected = assetTypes[found].mimeType
  return fileFault(
    'type_mismatch',
    `The file was declared as ${declared.contentType}, and its bytes are ${detected}. Declare what it is.`,
    { declared: declared.contentType, detected, allowed: mimeTypesOf(allowed) },
  )
}
