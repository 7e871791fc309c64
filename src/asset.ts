/** What an asset is: its id, its states and the seven types it may have. */
import { randomBytes } from 'node:crypto'

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

/** `pending`: reserved, its bytes not yet proven. `completed`: public. */
export type AssetState = 'pending' | 'completed'

/** What the bytes themselves say: the type, and the pixels where the header tells them. */
export type Inspection = { type: MediaType; width: number | null; height: number | null }

const alphabet = '0123456789abcdefghjkmnpqrstvwxyz' // 32 letters and digits, none easily mistaken for another

/** 26 characters of 5 random bits each: 130 bits, so no two are ever equal and none can be guessed. */
export function randomName(): string {
  let name = ''
  for (const byte of randomBytes(26)) name += alphabet[byte & 31]
  return name
}

/** A new asset id: `asset_` and 130 random bits. */
export function newAssetId(): string {
  return `asset_${randomName()}`
}

/** The last part of an asset's public URL. */
export function publicFileName(assetId: string, type: MediaType): string {
  return `${assetId}.${type}`
}

/** A new request id, for the header `X-Request-Id` and the log. */
export function newRequestId(): string {
  return `req_${randomName()}`
}
