/** `assetd gc`, `fsck`, `backup` and `restore`: the upkeep of what is stored, beside a running service or without one. */
import { resolve } from 'node:path'
import type { Command } from 'commander'
import { databaseFile, FolderUnusable } from '../adapters/data-folder.ts'
import { copyDataFolder } from '../adapters/data-folder-copy.ts'
import { FolderInUse, lockFolder } from '../adapters/service-lock.ts'
import { integrityFaults } from '../adapters/sqlite-connection.ts'
import { assertTogether, openBlobsOf, type Records } from '../adapters/stores.ts'
import { isBlobKey, randomName } from '../asset.ts'
import type { Blobs } from '../assets/blobs.ts'
import type { Damage } from '../assets/damage.ts'
import { type Disagreement, fsck } from '../assets/fsck.ts'
import { removeUnowned } from '../assets/gc.ts'
import { sweepLapsed, sweepOlder } from '../assets/sweep.ts'
import { readStoreConfig, type StoreConfig } from '../config.ts'
import { Fault } from '../errors.ts'
import { parseAge } from './duration.ts'
import { CommandFailure } from './failure.ts'
import { notEmpty } from './not-empty.ts'
import { startProgress } from './progress.ts'

type WithRecords = (work: (records: Records, config: StoreConfig) => Promise<void>) => Promise<void>

export function addUpkeepCommands(program: Command, withRecords: WithRecords): void {
  program
    .command('gc')
    .description('remove what no asset owns; a running service does so by itself')
    .option('--older-than <age>', 'leave alone what is younger, such as 1h or 0s', parseAge, 3_600)
    .option('--dry-run', 'count, and remove nothing')
    .option('--json', 'print JSON')
    .action((options) => withRecords((records, config) => collect(records, config, options)))
  program
    .command('fsck')
    .description('prove that records and files agree; exits with 1 where they do not')
    .option('--deep', 'read every byte and compare its SHA-256; what is damaged is no longer served')
    .option('--json', 'print JSON, a line for each disagreement')
    .action((options) => withRecords((records, config) => check(records, config, options)))
  program
    .command('backup')
    .description('copy the data folder, of a running service too; every byte is proven on its way')
    .argument('<folder>', 'a new or empty folder', notEmpty)
    .option('--json', 'print JSON')
    .action((folder, options) => copy(embeddedDataDir('backup'), resolve(folder), 'backup', options))
  program
    .command('restore')
    .description('copy a backup to the data folder (ASSETD_DATA_DIR), which must be new or empty')
    .argument('<folder>', 'what `backup` made', notEmpty)
    .option('--json', 'print JSON')
    .action((folder, options) => copy(resolve(folder), embeddedDataDir('restore'), 'restore', options))
}

type JsonOption = { json?: boolean }

/** Should we die in the middle of it, another one goes on after this. */
const leaseMs = 60_000

/** PostgreSQL and buckets have better means of their own to be backed up. */
function embeddedDataDir(command: string): string {
  const { dataDir, stores } = readStoreConfig(process.env)
  if (stores.database === null && stores.s3 === null) return dataDir
  throw new CommandFailure(
    `${command} is for a data folder that has everything in it: with PostgreSQL or a bucket, use their own means (docs/scaling.md says how), or assetd copy`,
  )
}

async function collect(
  { database, clock }: Records,
  config: StoreConfig,
  options: JsonOption & { olderThan: number; dryRun?: boolean },
): Promise<void> {
  const blobs = await openBlobsOf(config)
  await assertTogether(database, blobs, config) // the files of others are nobody's in these records
  const notAfterMs = clock.wallMs() - options.olderThan * 1_000
  const uploads = options.dryRun
    ? 0
    : await takeBackUnfinished({ database, clock }, blobs, config, notAfterMs)
  const progress = startProgress('files seen')
  const { seen, removed, removedBytes } = await removeUnowned(database, blobs, {
    notAfterMs,
    dryRun: options.dryRun ?? false,
    onProgress: (count) => progress.update(count),
  }).finally(() => progress.end())
  if (options.json) {
    console.log(JSON.stringify({ seen, removed, removed_bytes: removedBytes, taken_back: uploads }))
    return
  }
  const verb = options.dryRun ? 'Would remove' : 'Removed'
  console.log(
    `${verb} ${removed} of ${seen} files, ${removedBytes} bytes; took back ${uploads} unfinished uploads.`,
  )
}

/**
 * While a service runs it knows better which of its uploads live; without one, none does. Whether a copy of it runs
 * somewhere on shared records is not to be seen: there the leases tell.
 */
async function takeBackUnfinished(
  { database, clock }: Records,
  blobs: Blobs,
  { dataDir, stores }: StoreConfig,
  notAfterMs: number,
): Promise<number> {
  const heirs = { serviceId: `gc-${randomName()}`, untilMs: () => clock.steadyMs() + leaseMs }
  if (stores.database !== null) return sweepLapsed(database, blobs, heirs, clock)
  let unlock: () => void
  try {
    unlock = lockFolder(dataDir)
  } catch (error) {
    if (error instanceof FolderInUse) return 0
    throw error
  }
  try {
    return await sweepOlder(database, blobs, heirs, notAfterMs)
  } finally {
    unlock()
  }
}

async function check(
  { database, clock }: Records,
  config: StoreConfig,
  { deep = false, json = false }: JsonOption & { deep?: boolean },
): Promise<void> {
  const blobs = await openBlobsOf(config)
  await assertTogether(database, blobs, config) // with another store every file would be missing
  const isEmbedded = config.stores.database === null
  const faults = isEmbedded ? integrityFaults(databaseFile(config.dataDir), deep) : []
  for (const fault of faults)
    console.log(json ? JSON.stringify({ kind: 'database', found: fault }) : `database: ${fault}`)
  const progress = startProgress('assets checked')
  const outcome = await fsck(database, blobs, {
    deep,
    nowMs: clock.wallMs(),
    onFound: (found) => {
      progress.end()
      console.log(json ? JSON.stringify(found) : inWords(found))
    },
    onProgress: (done, total) => progress.update(done, total),
  }).finally(() => progress.end())
  const wrong = outcome.disagreements + faults.length
  if (json) console.log(JSON.stringify({ ...outcome, disagreements: wrong, deep }))
  else
    console.log(
      `${outcome.assets} assets, ${outcome.bytes} bytes${deep ? ', all read' : ''}; ${wrong} disagreements.`,
    )
  if (wrong > 0)
    throw new CommandFailure('records and files do not agree; docs/operations.md says what to do')
}

function inWords(found: Disagreement): string {
  if (found.kind === 'unowned') {
    const isOurs = isBlobKey(found.blob_key)
    return `unowned: the file ${found.blob_key} belongs to no asset${isOurs ? '; gc removes it' : ', and was not made by assetd'}`
  }
  if (found.kind === 'marked') {
    return `marked: ${found.asset_id}, file ${found.blob_key}: found damaged earlier, and not served; fsck --deep looks again`
  }
  return `${found.kind}: ${found.asset_id}, file ${found.blob_key}: expected ${found.expected}${foundInWords(found)}`
}

function foundInWords(damage: Damage): string {
  if (damage.kind === 'missing') return ', there is none'
  return `, found ${damage.found}${damage.kind === 'wrong_size' ? ' bytes' : ''}`
}

/** What stopped a copy, for the person who asked for it; what was refused before it began has its own words. */
function unfinished(error: unknown, to: string, what: string): unknown {
  if (error instanceof FolderUnusable || error instanceof FolderInUse) return error
  const { cause, message } = error as Error
  const why = error instanceof Fault && cause instanceof Error ? cause.message : message
  return new CommandFailure(
    `the ${what} in ${to} could not be finished: ${why}; remove what is there, and do it again or into another folder`,
  )
}

async function copy(
  from: string,
  to: string,
  what: 'backup' | 'restore',
  { json = false }: JsonOption,
): Promise<void> {
  const progress = startProgress('assets copied')
  const { assets, bytes, damaged } = await copyDataFolder(from, to, {
    nowMs: Date.now(),
    onDamaged: (assetId, damage) => {
      progress.end()
      console.error(`${damage.kind}: ${assetId}${foundInWords(damage)}`)
    },
    onProgress: (done, total) => progress.update(done, total),
  })
    .catch((error) => {
      throw unfinished(error, to, what)
    })
    .finally(() => progress.end())
  if (json) console.log(JSON.stringify({ [what]: to, assets, bytes, damaged }))
  else console.log(`The ${what} in ${to} is whole: ${assets} assets, ${bytes} bytes.`)
  if (damaged > 0) {
    throw new CommandFailure(
      `${damaged} assets were damaged in ${from} already; their records are in the ${what}, marked, and are not served`,
    )
  }
}
