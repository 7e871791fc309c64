/** Builds and runs the load generator, a Go program: it must not be what limits the rate. */
import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { Unable } from './programs.ts'
import type { Target } from './servers.ts'

const run = promisify(execFile)

export type Load = { file: string; uploads: number; parallel: number; idempotency: boolean; prefix: string }

export type LoadResult = {
  count: number
  errors: number
  firstError?: string
  seconds: number
  /** What the generator itself used. */
  cpuSeconds: number
  latenciesMs: number[]
}

export type LoadGenerator = (target: Target, load: Load) => Promise<LoadResult>

/**
 * @param go the Go compiler; nothing is downloaded, for the program has no dependencies
 * @throws {Unable}
 */
export async function buildLoadGenerator(go: string, dir: string): Promise<LoadGenerator> {
  const program = join(dir, 'load')
  const env = { ...process.env, GOTOOLCHAIN: 'local', GOFLAGS: '', GOWORK: 'off', CGO_ENABLED: '0' }
  await run(go, ['build', '-buildvcs=false', '-o', program, '.'], {
    cwd: fileURLToPath(new URL('./load', import.meta.url)),
    env: { HOME: dir, ...env },
  }).catch((error: Error) => {
    throw new Unable(`the load generator cannot be built. ${error.message.trim()}`)
  })
  return async (target, load) => {
    const options = {
      mode: target.mode,
      url: target.url,
      expect: target.expect,
      key: target.key,
      file: load.file,
      uploads: load.uploads,
      parallel: load.parallel,
      idempotency: load.idempotency && target.mode === 'multipart',
      prefix: load.prefix,
    }
    const words = Object.entries(options).map(([name, value]) => `-${name}=${value}`)
    const { stdout } = await run(program, words, { maxBuffer: 64 * 1024 * 1024 })
    return JSON.parse(stdout) as LoadResult
  }
}
