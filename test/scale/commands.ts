/** A command of ours on the stores that the settings name. */
import { execFileSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'

const launcher = fileURLToPath(new URL('../../bin/assetd.mjs', import.meta.url))

/** @returns what it printed; @throws where it ended with another status than 0 */
export function assetdOn(settings: Record<string, string>, ...args: string[]): string {
  return execFileSync(process.execPath, [launcher, ...args], {
    env: { ...process.env, ...settings },
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
  })
}
