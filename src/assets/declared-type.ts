/** What a client says a file is, as far as that is one of the types that we know. */
import { type AssetType, assetTypes } from '../asset.ts'

/** Other names that are in use for some of our types. */
const equals: Readonly<Record<string, AssetType>> = {
  'audio/x-wav': 'wav',
  'audio/wave': 'wav',
  'audio/vnd.wave': 'wav',
  'audio/mp3': 'mp3',
  'image/jpg': 'jpeg',
  'application/x-zip-compressed': 'zip',
}

/** @returns null for a type that we do not know, and for what is no media type; parameters and case are ignored */
export function declaredType(contentType: string): AssetType | null {
  const [essence = ''] = contentType.split(';')
  const name = essence.trim().toLowerCase()
  const known = (Object.keys(assetTypes) as AssetType[]).find((type) => assetTypes[type].mimeType === name)
  return known ?? (Object.hasOwn(equals, name) ? (equals[name] ?? null) : null)
}
