/** The command line: one file a command, all of them named here. */
import { Command, CommanderError } from 'commander'
import packageJson from '../../package.json' with { type: 'json' }
import { openRecordsOf, type Records } from '../adapters/stores.ts'
import { readStoreConfig, type StoreConfig } from '../config.ts'
import { addAssetCommands } from './assets.ts'
import { addCareCommands } from './care.ts'
import { addCopyCommand } from './copy.ts'
import { exitCodes } from './exit-codes.ts'
import { addKeyCommands } from './keys.ts'
import { run } from './run.ts'
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

await run(async () => {
  try {
    await program.parseAsync()
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error
    process.exitCode = error.exitCode === 0 ? 0 : exitCodes.usage
  }
})
