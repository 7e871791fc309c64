/** The command line: one file a command, all of them named here. */
import { Command, CommanderError } from 'commander'
import packageJson from '../../package.json' with { type: 'json' }
import { FolderUnusable, openExistingRecords } from '../adapters/data-folder.ts'
import { readDataDir } from '../config.ts'
import type { Database } from '../records/database.ts'
import { exitCodes } from './exit-codes.ts'
import { CommandFailure } from './failure.ts'
import { addKeyCommands } from './keys.ts'
import { addTokenCommands } from './tokens.ts'

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
addKeyCommands(program, withRecords)
addTokenCommands(program, withRecords)

async function withRecords(work: (database: Database) => Promise<void>): Promise<void> {
  process.umask(0o077)
  const database = await openExistingRecords(readDataDir(process.env))
  try {
    await work(database)
  } finally {
    await database.close()
  }
}

try {
  await program.parseAsync()
} catch (error) {
  if (error instanceof CommanderError) {
    process.exitCode = error.exitCode === 0 ? 0 : exitCodes.usage
  } else if (error instanceof CommandFailure || error instanceof FolderUnusable) {
    console.error(`assetd: ${error.message}`)
    process.exitCode = exitCodes.failure
  } else throw error
}
