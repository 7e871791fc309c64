/** `assetd copy`: takes everything to other stores, PostgreSQL and a bucket or back to a data folder. */
import { type Command, Option } from 'commander'
import { StoreRefused } from '../adapters/store-refused.ts'
import { assertTogether, openBlobsOf, openRecordsOf, openTarget } from '../adapters/stores.ts'
import type { Damage } from '../assets/damage.ts'
import { NotOurCopy, type TransferOutcome, transfer } from '../assets/transfer.ts'
import { ConfigError, readStoreConfig, type StoreConfig } from '../config.ts'
import { CommandFailure } from './failure.ts'
import { notEmpty } from './not-empty.ts'
import { startProgress } from './progress.ts'

/** Each option, and the setting that it stands for at the target. */
const targetSettings = {
  toDataDir: ['--to-data-dir <folder>', 'ASSETD_DATA_DIR', 'where records and files go that go nowhere else'],
  toDatabase: ['--to-database <url>', 'ASSETD_DATABASE_URL', 'a PostgreSQL for the records'],
  toDatabaseFile: ['--to-database-file <file>', 'ASSETD_DATABASE_URL_FILE', 'a file that holds that URL'],
  toS3Bucket: ['--to-s3-bucket <name>', 'ASSETD_S3_BUCKET', 'a bucket for the files'],
  toS3Endpoint: ['--to-s3-endpoint <url>', 'ASSETD_S3_ENDPOINT', 'of another S3 server than that of AWS'],
  toS3Region: ['--to-s3-region <region>', 'ASSETD_S3_REGION', 'of the bucket'],
  toS3ForcePathStyle: [
    '--to-s3-force-path-style <on|off>',
    'ASSETD_S3_FORCE_PATH_STYLE',
    'as in the setting',
  ],
  toS3Prefix: ['--to-s3-prefix <prefix>', 'ASSETD_S3_PREFIX', "what the objects' keys begin with"],
} as const

type Options = { [Name in keyof typeof targetSettings]?: string } & { json?: boolean }

export function addCopyCommand(program: Command): void {
  const command = program
    .command('copy')
    .description(
      'copy everything from the stores of the settings (ASSETD_…) to others, proving every byte; may be run again',
    )
    .option('--json', 'print JSON')
  for (const [flags, , description] of Object.values(targetSettings))
    command.addOption(new Option(flags, description).argParser(notEmpty))
  command.action((options: Options) => copy(readStoreConfig(process.env), targetOf(options), options))
}

/** @throws {ConfigError} whose lines name the options */
function targetOf(options: Options): StoreConfig {
  const env: Record<string, string> = {}
  for (const [name, [, setting]] of Object.entries(targetSettings)) {
    const value = options[name as keyof typeof targetSettings]
    if (value !== undefined) env[setting] = value
  }
  const hasRecords = env.ASSETD_DATABASE_URL !== undefined || env.ASSETD_DATABASE_URL_FILE !== undefined
  if (env.ASSETD_DATA_DIR === undefined && !(hasRecords && env.ASSETD_S3_BUCKET !== undefined)) {
    throw new ConfigError([
      'copy needs to know where records and files go: give --to-database and --to-s3-bucket, or --to-data-dir for what goes to neither',
    ])
  }
  try {
    return readStoreConfig(env)
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error
    throw new ConfigError(error.lines.map(asOption))
  }
}

function asOption(line: string): string {
  return Object.values(targetSettings)
    .toSorted(([, one], [, other]) => other.length - one.length)
    .reduce((text, [flags, setting]) => text.replaceAll(setting, flags.split(' ')[0] ?? ''), line)
}

async function copy(from: StoreConfig, to: StoreConfig, { json = false }: Options): Promise<void> {
  const source = { ...(await openRecordsOf(from)), blobs: await openBlobsOf(from) }
  try {
    await assertTogether(source.database, source.blobs, from) // with another store every file would be missing
    const target = await openTarget(to).catch((error) => {
      throw error instanceof StoreRefused ? new StoreRefused(asOption(error.message)) : error
    })
    const progress = startProgress('assets looked at')
    const onWrong = (assetId: string, damage: Damage): void => {
      progress.end()
      console.error(`wrong: ${assetId}: ${wordsOf(damage)}; it is not copied`)
    }
    const outcome = await transfer(source, target, { onWrong, onProgress: (done) => progress.update(done) })
      .catch((error) => {
        if (!(error instanceof NotOurCopy)) throw error
        throw new StoreRefused(`the records of the target ${error.message}: name an empty target`)
      })
      .finally(async () => {
        progress.end()
        await target.close()
      })
    tell(outcome, target.place, json)
  } finally {
    await source.database.close()
  }
}

function tell(outcome: TransferOutcome, place: string, json: boolean): void {
  const { copied, copiedBytes, skipped, wrong, removed } = outcome
  if (json) console.log(JSON.stringify({ copied, copied_bytes: copiedBytes, skipped, wrong, removed }))
  else {
    const gone = removed === 0 ? '' : ` ${removed} that were deleted since an earlier run were removed.`
    console.log(
      `${copied} assets copied (${copiedBytes} bytes), ${skipped} there already, ${wrong} wrong; the target has ${place}.${gone}`,
    )
  }
  if (wrong > 0)
    throw new CommandFailure(`${wrong} assets are not as they were acknowledged, and stay behind`)
}

function wordsOf(damage: Damage): string {
  if (damage.kind === 'missing') return 'its file is missing'
  if (damage.kind === 'wrong_size')
    return `its file has ${damage.found} bytes, another size than was recorded`
  if (damage.kind === 'wrong_bytes')
    return `the SHA-256 of its file is ${damage.found}, another one than was recorded`
  return `its file cannot be read (${damage.found})`
}
