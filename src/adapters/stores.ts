/**
 * Opens what the settings name: records in SQLite or PostgreSQL, bytes in the data folder or a bucket. What an embedded
 * service does not need is not even loaded.
 */
import type { Blobs } from '../assets/blobs.ts'
import { findMismatch, joinStore, type Mismatch } from '../assets/store-identity.ts'
import { type Clock, systemClock } from '../clock.ts'
import type { StoreConfig } from '../config.ts'
import { findBlobStore, serveCopy } from '../records/blob-store.ts'
import { type Database, SchemaTooNew } from '../records/database.ts'
import { makeFolder, openExistingRecords, openRecords, unusable } from './data-folder.ts'
import { createDiskBlobs, openDiskBlobs } from './disk-blobs.ts'
import { lockFolder } from './service-lock.ts'
import { StoreRefused } from './store-refused.ts'

export type Records = { database: Database; clock: Clock }

export type OpenStores = Records & {
  blobs: Blobs
  /** True where no other service can work on these records: what earlier runs left under way is abandoned. */
  isAlone: boolean
  /** Where it all is, in words; no secrets. */
  place: string
  close(): Promise<void>
}

/**
 * For a service.
 * @param isJoining true for a further process of a service that has the data folder already
 * @throws {StoreRefused}
 */
export async function openStores(config: StoreConfig, isJoining: boolean): Promise<OpenStores> {
  const opened = await openWhole(config, isJoining)
  const known = await findBlobStore(opened.database)
  if (known?.copy_state === 'whole') await opened.database.write([serveCopy(opened.database)])
  if (known?.copy_state === 'unfinished') {
    await opened.close()
    throw new StoreRefused(
      'a copy into these records was not finished: run assetd copy again, to its end, before a service starts on them',
    )
  }
  return opened
}

/**
 * To be copied into: nothing else starts on a data folder meanwhile.
 * @throws {StoreRefused}
 */
export function openTarget(config: StoreConfig): Promise<OpenStores> {
  return openWhole(config, false)
}

async function openWhole(config: StoreConfig, isJoining: boolean): Promise<OpenStores> {
  const { dataDir, stores } = config
  const isEmbedded = stores.database === null
  if (isEmbedded || stores.s3 === null) makeFolder(dataDir, { hasRecords: isEmbedded })
  const unlock = isEmbedded && !isJoining ? lockOrExplain(dataDir) : () => {}
  const records = isEmbedded
    ? { database: await openRecords(dataDir), clock: systemClock }
    : await openSharedRecords(config)
  let blobs: (Blobs & { close?(): Promise<void> }) | undefined
  const close = async (): Promise<void> => {
    await records.database.close()
    await blobs?.close?.()
    unlock()
  }
  try {
    blobs = await createBlobs(config)
    await assertJoined(records, blobs, config)
  } catch (error) {
    await close() // what is open would keep a command from ending
    throw error
  }
  return { ...records, blobs, isAlone: isEmbedded && !isJoining, place: placeOf(config), close }
}

/**
 * The records alone, for a command beside a running service.
 * @throws {StoreRefused} where no service has ever been started on them
 */
export async function openRecordsOf(config: StoreConfig): Promise<Records> {
  if (config.stores.database !== null) return openSharedRecords(config)
  return { database: await openExistingRecords(config.dataDir), clock: systemClock }
}

/** The blobs alone, likewise. Nothing is made by this. */
export async function openBlobsOf({ dataDir, stores }: StoreConfig): Promise<Blobs> {
  if (stores.s3 !== null) {
    const { openS3Blobs } = await import('./s3-blobs.ts')
    return openS3Blobs(stores.s3)
  }
  return openDiskBlobs(dataDir)
}

async function openSharedRecords({ stores: { database } }: StoreConfig): Promise<Records> {
  if (database === null) throw new Error('no database is set')
  const { openPostgres } = await import('./postgres.ts')
  const { placeOf: postgresAt } = await import('./postgres-connection.ts')
  const opened = await openPostgres(database).catch((error) => {
    throw error instanceof SchemaTooNew
      ? new StoreRefused(`${postgresAt(database.url)} cannot be used: ${error.message}`)
      : error
  })
  return { database: opened, clock: opened.clock }
}

async function createBlobs({ dataDir, stores }: StoreConfig): Promise<Blobs & { close?(): Promise<void> }> {
  if (stores.s3 !== null) {
    const { assertS3Usable } = await import('./s3-probe.ts')
    await assertS3Usable(stores.s3)
    const { openS3Blobs } = await import('./s3-blobs.ts')
    return openS3Blobs(stores.s3)
  }
  return createDiskBlobs(dataDir).catch((error) => {
    throw unusable(dataDir, error)
  })
}

/** What a mismatch means to whoever starts us, after the name of the store. */
const mismatches: Record<Mismatch, string> = {
  store_of_others:
    'belongs to the records of another service: name a store of its own for each database, or the database that this one belongs to',
  other_store:
    'is not the one that these records belong to. Copies on several machines need one store in common, a bucket or a shared folder; to move to another store, use assetd copy',
  unknown_blobs:
    'has files already, and these records know none of them: name an empty one, or move the records with assetd copy',
}

/**
 * For a command that works on both.
 * @throws {StoreRefused} where they are not of one service
 */
export async function assertTogether(database: Database, blobs: Blobs, config: StoreConfig): Promise<void> {
  refuse(await findMismatch(database, blobs, { adopts: adopts(config) }), config)
}

/** Blobs are those of the records by where they are, in one data folder. */
const adopts = ({ stores }: StoreConfig): boolean => stores.database === null && stores.s3 === null

async function assertJoined({ database }: Records, blobs: Blobs, config: StoreConfig): Promise<void> {
  refuse(await joinStore(database, blobs, { adopts: adopts(config) }), config)
}

function refuse(mismatch: Mismatch | null, { stores, dataDir }: StoreConfig): void {
  if (mismatch === null) return
  const place = stores.s3 === null ? `the blob folder ${dataDir}` : `the bucket ${stores.s3.bucket}`
  throw new StoreRefused(`${place} ${mismatches[mismatch]}`)
}

function placeOf({ dataDir, stores }: StoreConfig): string {
  const files = stores.s3 === null ? dataDir : `the bucket ${stores.s3.bucket}`
  if (stores.database !== null) return `its records in PostgreSQL, its files in ${files}`
  return stores.s3 === null ? `its data in ${dataDir}` : `its records in ${dataDir}, its files in ${files}`
}

function lockOrExplain(dataDir: string): () => void {
  try {
    return lockFolder(dataDir)
  } catch (error) {
    throw error instanceof StoreRefused ? error : unusable(dataDir, error)
  }
}
