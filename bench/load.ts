/** Builds and runs the load generator, a Go program: it must not be what limits the rate. */
import { execFile, spawn } from 'node:child_process'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { Unable } from './programs.ts'
import type { Target } from './server.ts'

const run = promisify(execFile)

export type Load = {
  /** What is sent; null for `get`. */
  file: string | null
  requests: number
  parallel: number
  /** A fresh Idempotency-Key with each upload. */
  idempotency: boolean
  /** How names begin, where the client gives them. */
  prefix: string
  /** How long the body of each answer has to be; -1: any. */
  bodyBytes: number
}

export type LoadResult = {
  count: number
  errors: number
  firstError?: string
  seconds: number
  /** What the generator itself used. */
  cpuSeconds: number
  latenciesMs: number[]
}

export interface LoadGenerator {
  run(target: Target, load: Load): Promise<LoadResult>
  /** Goes on until the call that comes back, which gives what came of it. */
  begin(target: Target, load: Load): () => Promise<LoadResult>
}

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
  return {
    async run(target, load) {
      const { stdout } = await run(program, wordsOf(target, load), { maxBuffer: 64 * 1024 * 1024 })
      return JSON.parse(stdout) as LoadResult
    },
    begin(target, load) {
      const child = spawn(program, [...wordsOf(target, load), '-forever'], {
        stdio: ['pipe', 'pipe', 'inherit'],
      })
      let output = ''
      child.stdout.setEncoding('utf8').on('data', (text) => {
        output += text
      })
      const ended = new Promise((resolve) => child.once('close', resolve))
      return async () => {
        child.stdin.end()
        await ended
        return JSON.parse(output) as LoadResult
      }
    },
  }
}

function wordsOf(target: Target, load: Load): string[] {
  const options = {
    mode: target.mode,
    url: target.url,
    expect: target.expect,
    key: target.key ?? '',
    field: target.field ?? 'file',
    file: load.file ?? '',
    requests: load.requests,
    parallel: load.parallel,
    idempotency: load.idempotency,
    prefix: load.prefix,
    bytes: load.bodyBytes,
  }
  return Object.entries(options).map(([name, value]) => `-${name}=${value}`)
}
