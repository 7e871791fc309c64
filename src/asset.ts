/** What an asset is: its id, its states and the seven types it may have. */
import { randomFillSync } from 'node:crypto'

/** Short names as `ASSETD_ALLOWED_TYPES` has them; each is also the extension of the public URL. */
export const mediaTypes = {
  png: { mimeType: 'image/png', kind: 'image' },
  jpeg: { mimeType: 'image/jpeg', kind: 'image' },
  mp4: { mimeType: 'video/mp4', kind: 'video' },
  webm: { mimeType: 'video/webm', kind: 'video' },
  mp3: { mimeType: 'audio/mpeg', kind: 'audio' },
  wav: { mimeType: 'audio/wav', kind: 'audio' },
  pdf: { mimeType: 'application/pdf', kind: 'document' },
} as const satisfies Record<string, { mimeType: string; kind: 'image' | 'video' | 'audio' | 'document' }>

export type MediaType = keyof typeof mediaTypes

export const mediaTypeNames = Object.keys(mediaTypes) as MediaType[]

/** All that an asset may be: archives come in by direct upload alone, and are never shown by a browser. */
export const assetTypes = {
  ...mediaTypes,
  zip: { mimeType: 'application/zip', kind: 'document' },
} as const

export type AssetType = keyof typeof assetTypes

/** The MIME types of some of them, in a fixed order, as clients are told what is allowed. */
export function mimeTypesOf(types: ReadonlySet<AssetType>): string[] {
  const names = Object.keys(assetTypes) as AssetType[]
  return names.filter((name) => types.has(name)).map((name) => assetTypes[name].mimeType)
}

/** `pending`: reserved, its bytes not yet proven. `completed`: public. */
export type AssetState = 'pending' | 'completed'

/** What is known of a file from its bytes: the type, and the pixels where the header tells them. */
export type FileFacts = { type: AssetType; width: number | null; height: number | null }

/** What the bytes say of themselves while they pass by. */
export type Inspection = FileFacts & { type: MediaType }

const alphabet = '0123456789abcdefghjkmnpqrstvwxyz' // 32 letters and digits, none easily mistaken for another

/** 26 characters of 5 random bits each: 130 bits, so no two are ever equal and none can be guessed. */
export function randomName(): string {
  if (usedBytes + nameLength > pool.length) {
    randomFillSync(pool)
    usedBytes = 0
  }
  let name = ''
  for (const end = usedBytes + nameLength; usedBytes < end; usedBytes++) {
    name += alphabet[(pool[usedBytes] ?? 0) & 31]
  }
  return name
}

const nameLength = 26
/** Random bytes are asked for by the hundred names: an upload takes four, and each call costs as much as a name. */
const pool = Buffer.alloc(100 * nameLength)
let usedBytes = pool.length

/** True for a name that `randomName` may have given. */
export function isBlobKey(name: string): boolean {
  return /^[0-9a-hjkmnp-tv-z]{26}$/.test(name)
}

/** A new asset id: `asset_` and 130 random bits. */
export function newAssetId(): string {
  return `asset_${randomName()}`
}

/** The last part of an asset's public URL. */
export function publicFileName(assetId: string, type: AssetType): string {
  return `${assetId}.${type}`
}

/** @param filesUrl below which files are public; without a trailing slash */
export function publicFileUrl(filesUrl: string, assetId: string, type: AssetType): string {
  return `${filesUrl}/${publicFileName(assetId, type)}`
}

/** A new request id, for the header `X-Request-Id` and the log. */
export function newRequestId(): string {
  return `req_${randomName()}`
}
