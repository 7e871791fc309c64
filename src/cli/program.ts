/** The command line: one file a command, all of them named here. */
import { Command, CommanderError } from 'commander'
import packageJson from '../../package.json' with { type: 'json' }
import { prepareWriter } from '../adapters/sqlite-thread.ts'
import { StoreRefused } from '../adapters/store-refused.ts'
import { openRecordsOf, type Records } from '../adapters/stores.ts'
import { ConfigError, readStoreConfig, type StoreConfig } from '../config.ts'
import { Fault } from '../errors.ts'
import { addAssetCommands } from './assets.ts'
import { addCareCommands } from './care.ts'
import { addCopyCommand } from './copy.ts'
import { exitCodes } from './exit-codes.ts'
import { CommandFailure } from './failure.ts'
import { addKeyCommands } from './keys.ts'
import { addTokenCommands } from './tokens.ts'
import { addUpkeepCommands } from './upkeep.ts'

const program = new Command('assetd')
  .description(packageJson.description)
  .version(packageJson.version)
  .exitOverride()
  .configureHelp({ showGlobalOptions: true })
  .showHelpAfterError('(add --help for what there is)')
  .addHelpText('after', '\nSettings are environment variables; docs/configuration.md lists them.')

program
  .command('serve')
  .description('run the service; settings are environment variables (ASSETD_…)')
  .action(async () => {
    if (!process.env.ASSETD_DATABASE_URL && !process.env.ASSETD_DATABASE_URL_FILE) prepareWriter()
    // Loaded only here: the other commands need none of it and start faster without.
    const { serve } = await import('./serve.ts')
    await serve(process.env)
  })
addAssetCommands(program)
addKeyCommands(program, withRecords)
addTokenCommands(program, withRecords)
addUpkeepCommands(program, withRecords)
addCopyCommand(program)
addCareCommands(program, withRecords)

async function withRecords(work: (records: Records, config: StoreConfig) => Promise<void>): Promise<void> {
  const config = readStoreConfig(process.env)
  const records = await openRecordsOf(config)
  try {
    await work(records, config)
  } finally {
    await records.database.close()
  }
}

process.umask(0o077)
process.stdout.on('error', () => {}) // who reads what we print may have gone; the work goes on to its end
try {
  await program.parseAsync()
} catch (error) {
  if (error instanceof CommanderError) {
    process.exitCode = error.exitCode === 0 ? 0 : exitCodes.usage
  } else if (error instanceof ConfigError) {
    for (const line of error.lines) console.error(`assetd: ${line}`)
    process.exitCode = exitCodes.usage
  } else if (error instanceof CommandFailure || error instanceof StoreRefused) {
    console.error(`assetd: ${error.message}`)
    process.exitCode = exitCodes.failure
  } else if (error instanceof Fault) {
    console.error(`assetd: ${error.message}${error.cause === undefined ? '' : ` (${error.cause})`}`)
    process.exitCode = exitCodes.failure
  } else throw error
}
