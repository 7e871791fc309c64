/**
 * Records and bytes belong together: to look for files that no record owns, with the records of another service, would
 * remove them all. So the store of the blobs has an id, which its records know and which begins with theirs. The store
 * has it before the records say so: wherever a start is cut off, the next one goes on; and of two machines that give
 * each its own folder an id at once, the records take one.
 */
import { setTimeout } from 'node:timers/promises'
import { randomName } from '../asset.ts'
import { type BlobStore, findBlobStore, insertRecordsId, setStoreId } from '../records/blob-store.ts'
import type { Database } from '../records/database.ts'
import type { Blobs } from './blobs.ts'

/** As long as copies that are started together may be apart. */
const settlingMs = 2_500

/** Why records and blobs are not taken for those of one service. */
export type Mismatch =
  /** The store has the id of other records. */
  | 'store_of_others'
  /** These records have been with another store. */
  | 'other_store'
  /** The store has blobs and no id: whose they are is not known. */
  | 'unknown_blobs'

export type JoinOptions = {
  /** True where the blobs are those of the records by where they are, in one data folder. */
  adopts: boolean
}

/**
 * Sees whether they belong together; a store that has no id yet, and may be these records', gets it.
 * @returns null where they do
 * @throws {Fault} `service_unavailable`
 */
export async function joinStore(
  database: Database,
  blobs: Blobs,
  { adopts }: JoinOptions,
): Promise<Mismatch | null> {
  await database.write([insertRecordsId(database, randomName())])
  const ours = await knownStore(database)
  const found = await blobs.identity()
  if (found === null) {
    if (ours.store_id !== null && !adopts) return 'other_store'
    if (!adopts && !(await canBeginWith(blobs))) return 'unknown_blobs'
    await blobs.identify(ours.store_id ?? `${ours.records_id}.${randomName()}`)
  }
  const agreed = found ?? (await blobs.identity())
  if (agreed?.split('.')[0] !== ours.records_id)
    return ours.store_id === null ? 'store_of_others' : 'other_store'
  if (ours.store_id === null) await database.write([setStoreId(database, agreed)])
  return (await knownStore(database)).store_id === agreed ? null : 'other_store'
}

/**
 * Likewise, and changes nothing: what a start would find.
 * @throws {Fault} `service_unavailable`
 */
export async function findMismatch(
  database: Database,
  blobs: Blobs,
  { adopts }: JoinOptions,
): Promise<Mismatch | null> {
  const [ours, found] = [await findBlobStore(database), await blobs.identity()]
  if (found !== null) {
    if (found === ours?.store_id) return null
    if (ours?.store_id != null) return 'other_store'
    return found.split('.')[0] === ours?.records_id ? null : 'store_of_others'
  }
  if (adopts) return null
  if (ours?.store_id != null) return 'other_store'
  return (await isEmpty(blobs)) ? null : 'unknown_blobs'
}

async function knownStore(database: Database): Promise<BlobStore> {
  const known = await findBlobStore(database)
  if (known === null) throw new Error('the id of the records was written and is not there')
  return known
}

/**
 * Another copy that starts at this moment may have an object there with which it tries the store, or may have given the
 * store its id and taken the first upload: what is there now is looked at again for a while.
 */
async function canBeginWith(blobs: Blobs): Promise<boolean> {
  for (const endMs = performance.now() + settlingMs; ; await setTimeout(settlingMs / 10)) {
    if (await isEmpty(blobs)) return true
    if ((await blobs.identity()) !== null) return true
    if (performance.now() > endMs) return false
  }
}

async function isEmpty(blobs: Blobs): Promise<boolean> {
  for await (const keys of blobs.list()) if (keys.length > 0) return false
  return true
}
