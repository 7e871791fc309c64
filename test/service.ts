/**
 * The service as a user has it: a process of its own, started by the launcher, spoken to over HTTP. Nothing of its
 * inside is imported, so the same tests can run against any other build or setting of it.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { after } from 'node:test'
import { fileURLToPath } from 'node:url'

export const launcher = fileURLToPath(new URL('../bin/assetd.mjs', import.meta.url))
export const exampleFile = fileURLToPath(new URL('../examples/first-upload.png', import.meta.url))

export type RunningService = {
  url: string
  host: string
  port: number
  /** The key given as ASSETD_API_KEY. */
  key: string
  dataDir: string
  child: ChildProcess
  /** Its exit status, once it has ended: null where a signal ended it. */
  exited: Promise<number | null>
  /** Everything on standard output so far. */
  output(): string
  /** The log lines on standard error so far. */
  log(): Record<string, unknown>[]
  /** The log line of one request, once it is there. */
  logOf(requestId: string | null): Promise<Record<string, unknown>>
  /** Ends it by SIGTERM; gives its exit status. Removes the data folder unless `keepData`. */
  stop(options?: { keepData?: boolean; signal?: NodeJS.Signals }): Promise<number | null>
}

const running = new Set<ChildProcess>()
// A test that fails before it stops its service must not keep the whole run waiting.
after(() => {
  for (const child of running) child.kill('SIGKILL')
})

export type StartOptions = { env?: Record<string, string>; dataDir?: string }

/** Starts a service on a free port with a folder of its own; resolves once it is ready. */
export async function startService({ env = {}, dataDir }: StartOptions = {}): Promise<RunningService> {
  const folder = dataDir ?? mkdtempSync(join(tmpdir(), 'assetd-test-'))
  const key = env.ASSETD_API_KEY ?? `test-${randomBytes(20).toString('hex')}`
  const child = spawn(process.execPath, [launcher, 'serve'], {
    env: {
      ...withoutSettings(process.env),
      ASSETD_PORT: '0',
      ASSETD_DATA_DIR: folder,
      ASSETD_API_KEY: key,
      ASSETD_RATE_LIMIT: 'off',
      ...env,
    },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  running.add(child)
  child.once('exit', () => running.delete(child))
  let output = ''
  let errors = ''
  child.stdout.setEncoding('utf8').on('data', (text) => {
    output += text
  })
  child.stderr.setEncoding('utf8').on('data', (text) => {
    errors += text
  })
  const exited = new Promise<number | null>((resolve) => child.once('exit', resolve))
  const url = await new Promise<string>((resolve, reject) => {
    child.stdout.on('data', () => {
      const found = /listens on (http:\/\/\S+),/.exec(output)?.[1]
      if (found !== undefined) resolve(found)
    })
    exited.then((status) => reject(new Error(`the service ended with ${status}: ${output}${errors}`)))
  })
  const log = (): Record<string, unknown>[] =>
    errors
      .split('\n')
      .filter((line) => line.startsWith('{'))
      .map((line) => JSON.parse(line))
  return {
    url,
    host: new URL(url).hostname,
    port: Number(new URL(url).port),
    key,
    dataDir: folder,
    child,
    exited,
    output: () => output,
    log,
    async logOf(requestId) {
      return eventually(() => {
        const line = log().find((one) => one.request_id === requestId)
        if (line === undefined) throw new Error(`no log line of request ${requestId} in:\n${errors}`)
        return line
      })
    },
    async stop({ keepData = false, signal = 'SIGTERM' } = {}) {
      child.kill(signal)
      const status = await exited
      if (!keepData) rmSync(folder, { recursive: true, force: true })
      return status
    },
  }
}

/** The environment without settings of ours, so that a developer's own do not leak into tests. */
export function withoutSettings(env: NodeJS.ProcessEnv): Record<string, string | undefined> {
  return Object.fromEntries(Object.entries(env).filter(([name]) => !name.startsWith('ASSETD_')))
}

/** Tries until it no longer throws. @param withinMs how long to go on */
export async function eventually<T>(check: () => T | Promise<T>, withinMs = 5_000): Promise<T> {
  const end = performance.now() + withinMs
  for (;;) {
    try {
      return await check()
    } catch (error) {
      if (performance.now() > end) throw error
      await new Promise((resolve) => setTimeout(resolve, 25))
    }
  }
}

/** What the service keeps: files of blobs, unfinished files, and the rows of each table. */
export function contentsOf(dataDir: string): {
  blobs: string[]
  incoming: string[]
  assets: Record<string, unknown>[]
  keys: Record<string, unknown>[]
} {
  const blobsDir = join(dataDir, 'blobs')
  const database = new DatabaseSync(join(dataDir, 'assetd.sqlite'), { readOnly: true })
  try {
    return {
      blobs: readdirSync(blobsDir).flatMap((shard) => readdirSync(join(blobsDir, shard))),
      incoming: readdirSync(join(dataDir, 'incoming')),
      assets: database.prepare('SELECT * FROM assets').all(),
      keys: database.prepare('SELECT * FROM idempotency_keys').all(),
    }
  } finally {
    database.close()
  }
}

/** Uploads by fetch, as a browser would. */
export async function upload(
  service: Pick<RunningService, 'url' | 'key'>,
  file: Uint8Array | string,
  headers: Record<string, string> = {},
): Promise<Response> {
  const form = new FormData()
  const bytes = typeof file === 'string' ? readFileSync(file) : file
  form.append('file', new Blob([new Uint8Array(bytes)]), 'a-file')
  return fetch(`${service.url}/v3/assets`, {
    method: 'POST',
    headers: { 'x-api-key': service.key, ...headers },
    body: form,
  })
}
