/**
 * Takes everything that a service keeps to other stores: ids, URLs, keys and bytes stay as they are. Bytes go before the
 * row that names them, each proven on its way; so it can be cut off anywhere and run again, and does then what is left.
 */
import { randomName } from '../asset.ts'
import { pagesOfCompleted } from '../records/assets.ts'
import { beginCopy, endCopy, findBlobStore, insertRecordsId } from '../records/blob-store.ts'
import type { Database } from '../records/database.ts'
import { findCompletedIds } from '../records/library.ts'
import { findTokenIssuer } from '../records/token-issuer.ts'
import {
  assetsByCompletion,
  deleteTransferred,
  insertTransferred,
  putRow,
  rowsOf,
  type TransferredAsset,
  transferredTables,
} from '../records/transfer.ts'
import type { Blobs } from './blobs.ts'
import { copyBlob } from './copy.ts'
import type { Damage } from './damage.ts'

export type Kept = { database: Database; blobs: Blobs }

export type TransferOptions = {
  /** An asset that stays behind, since its bytes are not those that were acknowledged. */
  onWrong(assetId: string, damage: Damage): void
  onProgress(done: number): void
}

export type TransferOutcome = {
  copied: number
  copiedBytes: number
  /** They were there already. */
  skipped: number
  wrong: number
  /** Of an earlier run, and deleted since. */
  removed: number
}

/** What is there already is not a copy of these records. */
export class NotOurCopy extends Error {
  override readonly name = 'NotOurCopy'
}

/** Each is synced on its own; a few at once keep disk and network busy. */
const copiedAtOnce = 8

/**
 * @throws {NotOurCopy} where the target is in use already, or is a copy of another service
 * @throws {Fault} `service_unavailable`
 */
export async function transfer(from: Kept, to: Kept, options: TransferOptions): Promise<TransferOutcome> {
  const isServed = await begin(from.database, to.database)
  const outcome = { copied: 0, copiedBytes: 0, skipped: 0, wrong: 0, removed: 0 }
  for await (const page of assetsByCompletion(from.database)) {
    const there = await findCompletedIds(
      to.database,
      null,
      page.map(({ asset_id }) => asset_id),
    )
    const missing = page.filter(({ asset_id }) => !there.has(asset_id))
    outcome.skipped += page.length - missing.length
    for (let at = 0; at < missing.length; at += copiedAtOnce) {
      const some = missing.slice(at, at + copiedAtOnce)
      const damages = await Promise.all(some.map((asset) => copyAsset(from, to, asset)))
      const whole = some.filter((_, index) => damages[index] === null)
      // In the order of completion, which is that of search.
      await to.database.write(whole.flatMap((asset) => insertTransferred(to.database, asset)))
      for (const [index, { asset_id, size_bytes }] of some.entries()) {
        const damage = damages[index] ?? null
        if (damage === null) outcome.copied++
        else outcome.wrong++
        if (damage === null) outcome.copiedBytes += size_bytes
        else options.onWrong(asset_id, damage)
      }
      options.onProgress(outcome.copied + outcome.skipped + outcome.wrong)
    }
  }
  await copyOtherRows(from.database, to.database, { replaces: !isServed })
  if (!isServed) outcome.removed = await removeDeleted(from.database, to)
  await to.database.write([endCopy(to.database)])
  return outcome
}

/** @returns true where a service has gone its own way on the target: only what it has not is added then */
async function begin(from: Database, to: Database): Promise<boolean> {
  for (const database of [from, to]) await database.write([insertRecordsId(database, randomName())])
  const [source, target] = [await findBlobStore(from), await findBlobStore(to)]
  if (source === null || target === null)
    throw new Error('the id of the records was written and is not there')
  if (source.copy_state === 'unfinished') throw new NotOurCopy('are themselves a copy that was not finished')
  if (target.copied_from === null && (await findTokenIssuer(to)) !== null)
    throw new NotOurCopy('are those of a service already')
  const begun = await to.write([beginCopy(to, source.records_id)])
  if (!begun.written) throw new NotOurCopy('are a copy of another service')
  return target.copy_state === 'served'
}

/** What an earlier run left of the blob is in the way, and not known to be whole. */
async function copyAsset(from: Kept, to: Kept, asset: TransferredAsset): Promise<Damage | null> {
  if ((await to.blobs.stat(asset.blob_key)) !== null) await to.blobs.remove(asset.blob_key)
  const damage = await copyBlob(from.blobs, to.blobs, asset, { keepsDamaged: false })
  // What cannot be read since the whole store is away is not wrong: the copy ends here, and is unfinished.
  if (damage?.kind === 'unreadable') await from.blobs.assertUsable()
  return damage
}

async function copyOtherRows(
  from: Database,
  to: Database,
  { replaces }: { replaces: boolean },
): Promise<void> {
  for (const table of transferredTables) {
    for await (const rows of rowsOf(from, table)) {
      await to.write(rows.map((row) => putRow(to, table, row, { replaces })))
    }
  }
}

/** What was deleted since the earlier run must not come back to life. */
async function removeDeleted(from: Database, to: Kept): Promise<number> {
  let removed = 0
  for await (const page of pagesOfCompleted(to.database)) {
    const there = await findCompletedIds(
      from,
      null,
      page.map(({ asset_id }) => asset_id),
    )
    const deleted = page.filter(({ asset_id }) => !there.has(asset_id))
    for (const { blob_key } of deleted) await to.blobs.remove(blob_key)
    await to.database.write(deleted.map(({ asset_id }) => deleteTransferred(to.database, asset_id)))
    removed += deleted.length
  }
  return removed
}
