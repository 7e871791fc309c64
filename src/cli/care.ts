/** `assetd doctor` and `assetd migrate`: what an operator asks before and after a change. */
import type { Command } from 'commander'
import type { Records } from '../adapters/stores.ts'
import { readConfig } from '../config.ts'
import { migrations } from '../records/migrations.ts'
import { CommandFailure } from './failure.ts'

type WithRecords = (work: (records: Records) => Promise<void>) => Promise<void>

export function addCareCommands(program: Command, withRecords: WithRecords): void {
  program
    .command('doctor')
    .description('try everything that the settings name, and say what works and what to do')
    .option('--json', 'print JSON, a line for each')
    .action((options) => examineAll(options))
  program
    .command('migrate')
    .description("bring the records up to this program's version; a start does so by itself")
    .action(() =>
      withRecords(async () =>
        console.log(`The records have schema ${migrations.length} or a newer one that works.`),
      ),
    )
}

async function examineAll({ json = false }: { json?: boolean }): Promise<void> {
  const config = readConfig(process.env) // a setting that cannot be used is told by itself
  const { examine } = await import('../adapters/doctor.ts')
  let wrong = 0
  for await (const { verdict, what, line } of examine(config)) {
    if (verdict === 'FAIL') wrong++
    console.log(
      json
        ? JSON.stringify({ what, verdict: verdict.toLowerCase(), found: line })
        : `${verdict.padEnd(4)}  ${what}: ${line}`,
    )
  }
  if (wrong > 0) throw new CommandFailure(`${wrong} of what the settings name cannot be used as it is`)
}
