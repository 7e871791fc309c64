/**
 * An asset as other calls of the API take it: by its id, by a URL, or as base64. Each input becomes a verified asset, or
 * an error in its place. Nothing is public before the whole request has come.
 */
import { assetTypes, publicFileUrl } from '../asset.ts'
import { Fault } from '../errors.ts'
import { createInspector } from '../intake/container/inspector.ts'
import { createMeasure } from '../intake/measure.ts'
import { type ReceiveLimits, withBothSides } from '../intake/receive-file.ts'
import type { Principal } from '../principal.ts'
import type { Database } from '../records/database.ts'
import type { KeptAnswer, KeyScope } from '../records/idempotency-keys.ts'
import { findAsset } from '../records/library.ts'
import type { Admission } from './admission.ts'
import { createBase64Decoder } from './base64.ts'
import { declaredType } from './declared-type.ts'
import { assetNotFound } from './library.ts'
import type { Reservation, Reservations, StoredFile } from './reservations.ts'

export type ResolveDoor = {
  database: Database
  reservations: Reservations
  admission: Admission
  limits: ReceiveLimits
  /** Null: URLs are not taken. */
  fetchUrl: FetchUrl | null
  filesUrl: () => string
}

/**
 * Gets what a public URL has, handing on its bytes as they come.
 * @returns what its server says it is; null: nothing
 * @throws {Fault} `invalid_parameter` where it may not or cannot be fetched
 */
export type FetchUrl = (
  url: string,
  maxBytes: number,
  onSlice: (slice: Buffer) => Promise<void> | undefined,
) => Promise<string | null>

export type Resolved =
  | { asset: { asset_id: string; url: string; mime_type: string; size_bytes: number }; error: null }
  | { asset: null; error: Fault }

/** The bytes of one input on their way into the store; not public until `commit`. */
export interface Intake {
  write(slice: Buffer): Promise<void> | undefined
  /** @throws {Fault} what is wrong with the file, or with us; then it is released */
  commit(declared: { contentType: string | null; name: string | null; mustAgree: boolean }): Promise<Resolved>
  /** As that of a reservation. */
  release(cause?: unknown): Promise<unknown>
}

/** @returns an earlier answer where this input was taken in already under this key */
export async function openIntake(
  door: ResolveDoor,
  principal: Principal,
  key: KeyScope | null,
): Promise<Intake | KeptAnswer> {
  const reserved = await door.reservations.reserve(principal, key)
  if ('answer' in reserved) return reserved.answer
  return intakeInto(door, reserved)
}

function intakeInto({ limits, filesUrl }: ResolveDoor, reserved: Reservation): Intake {
  const measure = createMeasure(limits.maxFileBytes)
  const inspector = createInspector({ allowed: limits.allowedTypes })
  return {
    write(slice) {
      inspector.write(slice.subarray(0, measure.room))
      measure.write(slice)
      return reserved.writer.write(slice)
    },
    release: reserved.release,
    async commit({ contentType, name, mustAgree }) {
      try {
        const file = { ...measure.end(), ...inspector.end(), name }
        if (mustAgree && declaredType(contentType ?? '') !== file.type) throw disagreement(contentType, file)
        await reserved.writer.store()
        await reserved.commit({ ...file, sha256: await reserved.writer.sha256() })
        return { asset: factsOf(reserved.assetId, file, filesUrl()), error: null }
      } catch (error) {
        throw withBothSides(await reserved.release(error), contentType, limits.allowedTypes)
      }
    },
  }
}

function factsOf(
  assetId: string,
  { type, sizeBytes }: Pick<StoredFile, 'type' | 'sizeBytes'>,
  filesUrl: string,
) {
  return {
    asset_id: assetId,
    url: publicFileUrl(filesUrl, assetId, type),
    mime_type: assetTypes[type].mimeType,
    size_bytes: sizeBytes,
  }
}

/** @throws {Fault} `asset_not_found`, `service_unavailable` */
export async function resolveId(door: ResolveDoor, principal: Principal, assetId: string): Promise<Resolved> {
  const asset = await findAsset(door.database, principal.workspace, assetId)
  if (asset === null) throw assetNotFound()
  const facts = { type: asset.media_type, sizeBytes: asset.size_bytes }
  return { asset: factsOf(assetId, facts, door.filesUrl()), error: null }
}

/** @throws {Fault} `invalid_parameter`, `service_unavailable` */
export async function resolveUrl(
  door: ResolveDoor,
  principal: Principal,
  key: KeyScope | null,
  url: string,
): Promise<Resolved> {
  if (door.fetchUrl === null) {
    throw new Fault(
      'invalid_parameter',
      'Inputs by URL are not taken here. Send the file itself, or ask whoever runs the service to set ASSETD_URL_IMPORT=on.',
      { param: 'url', details: { reason: 'invalid_value' } },
    )
  }
  await door.admission.assertRoom() // the request was admitted by its own length alone
  const intake = await openIntake(door, principal, key)
  if (!('write' in intake)) return again(intake)
  const fetching = door.fetchUrl(url, door.limits.maxFileBytes, (slice) => intake.write(slice))
  const contentType = await fetching.catch(async (error) => {
    throw await intake.release(error)
  })
  return intake.commit({ contentType, name: nameIn(url), mustAgree: false })
}

/** The last part of its path, which is what a browser would call the file. */
function nameIn(url: string): string | null {
  const last = new URL(url).pathname.split('/').at(-1) ?? ''
  return last === '' ? null : last.slice(0, 1_024)
}

/** What was answered for this input before. */
export function again(kept: KeptAnswer): Resolved {
  const { data } = JSON.parse(kept.body) as { data: Extract<Resolved, { error: null }>['asset'] }
  return { asset: data, error: null }
}

/** Decodes a text as it comes, into an intake. */
export function decodeInto(intake: Intake): { write(piece: string): Promise<void>; end(): void } {
  const decoder = createBase64Decoder()
  return {
    async write(piece) {
      const bytes = decoder.write(piece)
      if (bytes === null) throw notBase64()
      if (bytes.length > 0) await intake.write(bytes)
    },
    end() {
      if (!decoder.end()) throw notBase64()
    },
  }
}

function notBase64(): Fault {
  return new Fault(
    'invalid_parameter',
    'The data is not base64: it must have the letters A-Z, a-z, 0-9, + and / alone, in groups of four, with = at its end.',
    { param: 'data', details: { reason: 'invalid_value' } },
  )
}

function disagreement(contentType: string | null, file: Pick<StoredFile, 'type'>): Fault {
  const detected = assetTypes[file.type].mimeType
  return new Fault(
    'invalid_parameter',
    `The file was declared as ${contentType ?? 'nothing'}, and its bytes are ${detected}. Declare what it is.`,
    { param: 'file', details: { reason: 'type_mismatch', declared: contentType, detected } },
  )
}
