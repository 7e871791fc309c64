/** Copies the bytes of all completed assets from one store to another, proving each on its way. */
import { countCompleted, markDamaged, pagesOfCompleted } from '../records/assets.ts'
import type { Database, Step } from '../records/database.ts'
import type { Blobs, BlobWriter } from './blobs.ts'
import { type Damage, damageByHash, type Recorded } from './damage.ts'

export type CopyOptions = {
  nowMs: number
  onDamaged(assetId: string, damage: Damage): void
  onProgress(done: number, total: number): void
}

export type CopyOutcome = { assets: number; bytes: number; damaged: number }

/** Each copy is synced on its own; a few at once keep the disk busy. */
const copiedAtOnce = 8

/**
 * @param database the records that go with the copies: what is damaged is marked in them
 * @throws {Fault} `service_unavailable` where a copy cannot be stored
 */
export async function copyAssets(
  database: Database,
  from: Blobs,
  to: Blobs,
  options: CopyOptions,
): Promise<CopyOutcome> {
  const outcome = { assets: 0, bytes: 0, damaged: 0 }
  const total = await countCompleted(database)
  for await (const page of pagesOfCompleted(database)) {
    for (let at = 0; at < page.length; at += copiedAtOnce) {
      const some = page.slice(at, at + copiedAtOnce)
      const damages = await Promise.all(some.map((file) => copyBlob(from, to, file, { keepsDamaged: true })))
      const marks: Step[] = []
      for (const [index, file] of some.entries()) {
        const damage = damages[index] ?? null
        outcome.assets++
        outcome.bytes += file.size_bytes
        if (damage === null && file.damaged_at_ms === null) continue
        marks.push(markDamaged(database, file.asset_id, damage === null ? null : options.nowMs))
        if (damage === null) continue
        outcome.damaged++
        options.onDamaged(file.asset_id, damage)
      }
      if (marks.length > 0) await database.write(marks)
      options.onProgress(outcome.assets, total)
    }
  }
  return outcome
}

/**
 * @param keepsDamaged true: bytes that are not the right ones are copied too, since they may be all that is left
 * @returns null where the copy is what was recorded
 */
export async function copyBlob(
  from: Blobs,
  to: Blobs,
  file: Recorded,
  { keepsDamaged }: { keepsDamaged: boolean },
): Promise<Damage | null> {
  const writer = to.create(file.blob_key)
  let copiedBytes = 0
  const target = watched(writer)
  try {
    const damage = await damageByHash(from, file, (slice) => {
      copiedBytes += slice.length
      return target.write(slice)
    })
    target.assertGood()
    if (copiedBytes === 0 || (damage !== null && !keepsDamaged)) await writer.discard()
    else await writer.store()
    return damage
  } catch (error) {
    await writer.discard().catch(() => {}) // the copy as a whole has failed, and is known to be unfinished
    throw error
  }
}

/** Tells a target that does not take the bytes from a source that does not give them: only the latter is damage. */
function watched(writer: BlobWriter) {
  let failure: unknown = null
  return {
    async write(slice: Buffer): Promise<void> {
      try {
        await writer.write(slice)
      } catch (error) {
        failure = error
        throw error
      }
    },
    assertGood(): void {
      if (failure !== null) throw failure
    },
  }
}
