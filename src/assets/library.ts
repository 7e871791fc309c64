/** Deleting an asset: its URL stops at once, then its bytes go. */
import { randomName } from '../asset.ts'
import { Fault } from '../errors.ts'
import { deletePending } from '../records/assets.ts'
import type { Database } from '../records/database.ts'
import { findAsset, withdrawAsset } from '../records/library.ts'
import type { Blobs } from './blobs.ts'
import type { Leases } from './leases.ts'

export type LibraryOptions = {
  database: Database
  blobs: Blobs
  leases: Leases
  onTrouble(message: string, error: unknown): void
}

/**
 * Takes an asset out of its workspace. Who reads it just now may read it to the end.
 * @returns false where the workspace has no such asset
 * @throws {Fault} `service_unavailable`
 */
export async function deleteAsset(
  { database, blobs, leases, onTrouble }: LibraryOptions,
  workspace: string,
  assetId: string,
): Promise<boolean> {
  const asset = await findAsset(database, workspace, assetId)
  if (asset === null) return false
  const token = randomName()
  const heir = { token, serviceId: leases.serviceId, leaseExpiresAtMs: leases.untilMs() }
  const outcome = await database.write([withdrawAsset(database, workspace, assetId, heir)])
  if (!outcome.written) return false // another request was faster
  const removeBytes = async (): Promise<void> => {
    await blobs.remove(asset.blob_key)
    await database.write([deletePending(database, assetId, token)])
  }
  await removeBytes().catch((error) => {
    // It is deleted all the same. Its row names what is left: should this process end first, the sweep takes it.
    onTrouble('the bytes of a deleted asset could not be removed yet', error)
    leases.tryAgain(removeBytes)
  })
  return true
}

export function assetNotFound(): Fault {
  return new Fault('asset_not_found', 'There is no such asset here: it is unknown, or was deleted.')
}
