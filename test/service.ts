/**
 * The service as a user has it: a process of its own, started by the launcher, spoken to over HTTP. Nothing of its
 * inside is imported, so the same tests can run against any other build or setting of it.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdtempSync, readdirSync, readFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { after } from 'node:test'
import { fileURLToPath } from 'node:url'
import { allHeld, assertDescribed, holdAnswersOf } from './described.ts'
import { begunBlobs, type Row, removeStores, settingsOf, storedBlobs, tablesOf } from './stores.ts'

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
  /**
   * Ends it by SIGTERM; gives its exit status. Removes the data folder, and its stores, unless `keepData`. SIGKILL goes
   * to the process that serves: a launcher alone would leave it time to end in good order.
   */
  stop(options?: { keepData?: boolean; signal?: NodeJS.Signals }): Promise<number | null>
}

const running = new Set<ChildProcess>()
/** What every service of this file has printed, and the key that it was given. */
const printed: { key: string; text(): string }[] = []
after(async () => {
  // A test that fails before it stops its service must not keep the whole run waiting.
  for (const child of running) child.kill('SIGKILL')
  // Case 103, over the whole of every suite: whatever was sent, nothing that may be secret is in any output.
  for (const { key, text } of printed) assertNoSecrets(text(), key)
  await allHeld()
  assertDescribed()
})

/** Keys that a service was given or has made, access tokens, and the marked queries of the tests. */
export function assertNoSecrets(text: string, key: string): void {
  const secret = new RegExp(`${key}|assetd_[0-9a-f]{12}_[0-9A-Za-z]|eyJ[\\w-]+\\.[\\w-]+|canary`).exec(text)
  if (secret === null) return
  throw new Error(`a secret was printed: …${text.slice(Math.max(0, secret.index - 200), secret.index + 60)}…`)
}

export type StartOptions = {
  env?: Record<string, string>
  dataDir?: string
  /** What Node.js runs; not given: the launcher, as a user does. */
  program?: readonly string[]
  /** A program that runs Node.js in its own place, such as `['prlimit', '--nofile=256']`. */
  through?: readonly string[]
  /** The user that it runs as; not given: ours. */
  uid?: number
  /** Where its log goes: an open file, or nowhere, to a pipe that nobody reads. Not given: to `log()`. */
  log?: number | 'unread'
}

/** Starts a service on a free port with a folder of its own; resolves once it is ready. */
export async function startService({
  env = {},
  dataDir,
  program = [launcher, 'serve'],
  through = [],
  uid,
  log: logTo,
}: StartOptions = {}): Promise<RunningService> {
  const folder = dataDir ?? mkdtempSync(join(tmpdir(), 'assetd-test-'))
  const key = env.ASSETD_API_KEY ?? `test-${randomBytes(20).toString('hex')}`
  const [command = process.execPath, ...args] = [...through, process.execPath, ...program]
  const child = spawn(command, args, {
    env: {
      ...withoutSettings(process.env),
      ASSETD_PORT: '0',
      ...settingsOf(folder),
      ASSETD_API_KEY: key,
      ASSETD_RATE_LIMIT: 'off',
      ...env,
    },
    stdio: ['ignore', 'pipe', typeof logTo === 'number' ? logTo : 'pipe'],
    ...(uid === undefined ? {} : { uid, gid: uid }),
  })
  running.add(child)
  child.once('exit', () => running.delete(child))
  let output = ''
  let errors = ''
  child.stdout?.setEncoding('utf8').on('data', (piece) => {
    output += piece
  })
  if (logTo === undefined) {
    child.stderr?.setEncoding('utf8').on('data', (piece) => {
      errors += piece
    })
  }
  printed.push({ key, text: () => output + errors })
  const exited = new Promise<number | null>((resolve) => child.once('exit', resolve))
  const url = await new Promise<string>((resolve, reject) => {
    child.stdout?.on('data', () => {
      const found = /listens on (http:\/\/\S+),/.exec(output)?.[1]
      if (found !== undefined) resolve(found)
    })
    exited.then((status) => reject(new Error(`the service ended with ${status}: ${output}${errors}`)))
  })
  holdAnswersOf(url)
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
      const server = signal === 'SIGKILL' ? workingPid(child) : null
      if (server === null) child.kill(signal)
      else process.kill(server, signal)
      const status = await exited
      if (!keepData) removeStores(folder)
      return status
    },
  }
}

/** The process that does the work: the launcher's child, where its Node.js cannot put another process in its own place. */
export function workingPid({ pid }: ChildProcess): number | null {
  if (process.platform !== 'linux') return null
  for (const entry of readdirSync('/proc')) {
    if (!/^\d+$/.test(entry)) continue
    try {
      const stat = readFileSync(`/proc/${entry}/stat`, 'latin1')
      const [, parent] = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
      if (Number(parent) === pid) return Number(entry)
    } catch {
      // That process has just ended.
    }
  }
  return pid ?? null
}

export type CommandResult = { status: number | null; stdout: string; stderr: string }

/** Runs another command of ours on a data folder, to its end. */
export function assetd(dataDir: string, ...args: string[]): CommandResult {
  const env = { ...withoutSettings(process.env), ...settingsOf(dataDir) }
  return spawnSync(process.execPath, [launcher, ...args], { encoding: 'utf8', env })
}

/** Likewise, while this process goes on. */
export async function assetdBeside(dataDir: string, ...args: string[]): Promise<CommandResult> {
  const env = { ...withoutSettings(process.env), ...settingsOf(dataDir) }
  const child = spawn(process.execPath, [launcher, ...args], { env, stdio: ['ignore', 'pipe', 'pipe'] })
  running.add(child)
  child.once('exit', () => running.delete(child))
  const [stdout, stderr, status] = await Promise.all([
    text(child.stdout),
    text(child.stderr),
    new Promise<number | null>((resolve) => child.once('exit', resolve)),
  ])
  return { status, stdout, stderr }
}

/** The environment without settings of ours, so that a developer's own do not leak into tests. */
export function withoutSettings(env: NodeJS.ProcessEnv): Record<string, string | undefined> {
  return Object.fromEntries(Object.entries(env).filter(([name]) => !name.startsWith('ASSETD_')))
}

/**
 * Tries until it no longer throws.
 * @param withinMs how long to go on: what is only late on a slow machine, or on its way to a bucket, is no fault
 */
export async function eventually<T>(check: () => T | Promise<T>, withinMs = 20_000): Promise<T> {
  const end = performance.now() + withinMs
  for (;;) {
    const started = performance.now()
    try {
      return await check()
    } catch (error) {
      if (performance.now() > end) throw error
      // A check that asks another program holds up all that this process does beside, such as a slow line.
      const tookMs = performance.now() - started
      await new Promise((resolve) => setTimeout(resolve, Math.max(25, tookMs)))
    }
  }
}

/** What the service keeps: the keys of blobs, what is in the store of unfinished ones, and the rows of each table. */
export function contentsOf(dataDir: string): {
  blobs: string[]
  incoming: string[]
  assets: Row[]
  keys: Row[]
  directUploads: Row[]
} {
  const rows = tablesOf(dataDir, 'assets', 'idempotency_keys', 'direct_uploads')
  return {
    blobs: storedBlobs(dataDir),
    incoming: begunBlobs(dataDir),
    assets: rows.assets,
    keys: rows.idempotency_keys,
    directUploads: rows.direct_uploads,
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
