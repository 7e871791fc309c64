/** Programs of others that the service is tried with. They are no dependencies of ours: each has a folder of its own. */
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir, userInfo } from 'node:os'
import { join } from 'node:path'

/** @returns the folder of the package, or why it cannot be had; kept from one run to the next */
export function installed(name: string, version: string): { folder: string } | { missing: string } {
  const cache = join(tmpdir(), `assetd-official-${userInfo().uid}`)
  const home = join(cache, `${name.replaceAll('/', '+')}@${version}`)
  const folder = join(home, 'node_modules', name)
  if (existsSync(join(folder, 'package.json'))) return { folder }
  mkdirSync(cache, { recursive: true, mode: 0o700 })
  const fresh = mkdtempSync(join(cache, 'fresh-')) // whole or not there: a run may be cut off
  try {
    writeFileSync(join(fresh, 'package.json'), '{"private": true}')
    const args = [
      'install',
      '--ignore-scripts',
      '--no-audit',
      '--no-fund',
      '--loglevel=error',
      `${name}@${version}`,
    ]
    const { status, stderr, error } = spawnSync('npm', args, {
      cwd: fresh,
      encoding: 'utf8',
      timeout: 300_000,
    })
    if (status !== 0) {
      const why =
        error?.message ?? stderr.split('\n').find((line) => line !== '') ?? `npm ended with ${status}`
      return { missing: `${name} cannot be installed from the npm registry: ${why}` }
    }
    rmSync(home, { recursive: true, force: true })
    renameSync(fresh, home)
    return { folder }
  } finally {
    rmSync(fresh, { recursive: true, force: true })
  }
}

/** The file of a command of an installed package. */
export function commandOf(folder: string, command: string): string {
  const { bin } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as {
    bin: string | Record<string, string>
  }
  const path = typeof bin === 'string' ? bin : bin[command]
  if (path === undefined) throw new Error(`${folder} has no command ${command}`)
  return join(folder, path)
}
