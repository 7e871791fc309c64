/** Proves that rows and blobs agree: every completed asset has its bytes, and every blob has its row. */
import {
  type CompletedFile,
  countCompleted,
  findPublicFile,
  markDamaged,
  pagesOfCompleted,
} from '../records/assets.ts'
import type { Database } from '../records/database.ts'
import type { Blobs } from './blobs.ts'
import { type Damage, damageByHash, damageBySize } from './damage.ts'
import { unownedBlobs } from './gc.ts'

export type Disagreement =
  | ({ asset_id: string; blob_key: string; expected: string } & Damage)
  /** An earlier look at all bytes has found it damaged; this one has looked at its size alone. */
  | { kind: 'marked'; asset_id: string; blob_key: string }
  | { kind: 'unowned'; blob_key: string }

export type FsckOptions = {
  /** Reads every byte. What is found damaged is marked so, and no longer served; what is good again is unmarked. */
  deep: boolean
  nowMs: number
  onFound(found: Disagreement): void
  onProgress(done: number, total: number): void
}

export type FsckOutcome = { assets: number; bytes: number; disagreements: number }

/** @throws {Fault} `service_unavailable` */
export async function fsck(database: Database, blobs: Blobs, options: FsckOptions): Promise<FsckOutcome> {
  const outcome = { assets: 0, bytes: 0, disagreements: 0 }
  const report = (found: Disagreement): void => {
    outcome.disagreements++
    options.onFound(found)
  }
  const total = await countCompleted(database)
  for await (const page of pagesOfCompleted(database)) {
    for (const file of page) {
      const damage = await (options.deep ? damageByHash : damageBySize)(blobs, file)
      // What cannot be read now may be whole: one that is, is not to be taken from its readers.
      const isUnknown = damage?.kind === 'unreadable'
      if (isUnknown) await blobs.assertUsable()
      // Deleted since the page was read: no row, no disagreement.
      if (damage !== null && (await findPublicFile(database, file.asset_id)) !== null) {
        report({
          asset_id: file.asset_id,
          blob_key: file.blob_key,
          expected: expected(file, damage),
          ...damage,
        })
      }
      if (damage === null && !options.deep && file.damaged_at_ms !== null) {
        report({ kind: 'marked', asset_id: file.asset_id, blob_key: file.blob_key })
      }
      if (options.deep && !isUnknown) await mark(database, file, damage === null ? null : options.nowMs)
      outcome.assets++
      outcome.bytes += file.size_bytes
      options.onProgress(outcome.assets, Math.max(total, outcome.assets))
    }
  }
  for await (const key of unownedBlobs(database, blobs, () => {})) {
    // Removed since the folder was read: nothing is there that could disagree.
    if ((await blobs.stat(key)) !== null) report({ kind: 'unowned', blob_key: key })
  }
  return outcome
}

async function mark(database: Database, file: CompletedFile, atMs: number | null): Promise<void> {
  if ((file.damaged_at_ms === null) === (atMs === null)) return
  await database.write([markDamaged(database, file.asset_id, atMs)])
}

function expected(file: CompletedFile, { kind }: Damage): string {
  return kind === 'wrong_bytes' ? file.sha256 : `${file.size_bytes} bytes`
}
