/** Runs a command: what its failures look like, and what its process may do. */
import { StoreRefused } from '../adapters/store-refused.ts'
import { ConfigError } from '../config.ts'
import { Fault } from '../errors.ts'
import { exitCodes } from './exit-codes.ts'
import { CommandFailure } from './failure.ts'

/** Sets the exit code and prints one line a fault; only a defect of ours is thrown on. */
export async function run(command: () => Promise<unknown>): Promise<void> {
  process.umask(0o077)
  process.stdout.on('error', () => {}) // who reads what we print may have gone; the work goes on to its end
  try {
    await command()
  } catch (error) {
    if (error instanceof ConfigError) {
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
}
