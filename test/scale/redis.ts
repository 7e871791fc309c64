/** A Redis of our own: in memory alone, on loopback, with a folder of its own, gone when the tests are over. */
import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { createClient } from '@redis/client'
import { fakedClock, noFaketime } from '../crash/faketime.ts'
import { findProgram, freePort } from './programs.ts'

/** Why Redis cannot run here, or false. */
export const noRedis: string | false = findProgram('redis-server')
  ? false
  : 'Redis is not installed (Debian: redis-server)'

/** Why Redis cannot run on a clock that a test sets, or false. */
export const noRedisClock: string | false = noFaketime || noRedis

export type RedisServer = {
  port: number
  url: string
  /** Its process, to stop and to let go on. */
  pid(): number
  start(): Promise<void>
  /** At once, as a crash would. */
  kill(): Promise<void>
  /** What an administrator types; by the user `default`. */
  command(...words: string[]): Promise<unknown>
  remove(): Promise<void>
}

/** @param settings as in redis.conf, each with its words; @param env that its process gets on top of ours */
export async function startRedis(
  settings: Record<string, string> = {},
  env: Record<string, string> = {},
): Promise<RedisServer> {
  if (noRedis !== false) throw new Error(noRedis)
  const folder = mkdtempSync(join(tmpdir(), 'assetd-redis-'))
  const port = await freePort()
  const own = { bind: '127.0.0.1', port: String(port), save: '""', appendonly: 'no', dir: folder }
  const lines = Object.entries({ ...own, ...settings }).map(([name, value]) => `${name} ${value}\n`)
  const file = join(folder, 'redis.conf')
  writeFileSync(file, lines.join(''))
  let child: ChildProcess | undefined

  const url = `redis://127.0.0.1:${port}`
  const command = async (...words: string[]): Promise<unknown> => {
    const client = createClient({
      url,
      RESP: 2,
      ...(settings.requirepass === undefined ? {} : { password: settings.requirepass }),
    })
    client.on('error', () => {})
    try {
      await client.connect()
      return await client.sendCommand(words)
    } finally {
      client.destroy()
    }
  }
  const server: RedisServer = {
    port,
    url,
    command,
    pid: () => child?.pid ?? 0,
    async start() {
      child = spawn('redis-server', [file], { cwd: folder, stdio: 'ignore', env: { ...process.env, ...env } })
      for (const endMs = performance.now() + 10_000; ; await sleep(20)) {
        try {
          await command('PING')
          return
        } catch (error) {
          if (performance.now() > endMs) throw error
        }
      }
    },
    async kill() {
      const running = child
      if (running === undefined || running.exitCode !== null || running.signalCode !== null) return
      const ended = new Promise((resolve) => running.once('exit', resolve))
      running.kill('SIGKILL')
      await ended
    },
    async remove() {
      await server.kill()
      rmSync(folder, { recursive: true, force: true })
    },
  }
  await server.start()
  return server
}

export type ClockedRedis = RedisServer & {
  /** Its clock stands still but for this. */
  pass(seconds: number): void
}

/** A Redis whose clock the test moves. */
export async function startClockedRedis(): Promise<ClockedRedis> {
  let nowMs = Date.now()
  const shown = (): string => (nowMs / 1000).toFixed(6)
  const clock = fakedClock(shown())
  const server = await startRedis(
    {},
    {
      ...clock.env,
      FAKETIME_FMT: '%s',
      // Memory by the C library: jemalloc asks the clock before libfaketime has begun, and both wait for each other.
      LD_PRELOAD: `${clock.env.LD_PRELOAD}:libc.so.6`,
    },
  )
  return {
    ...server,
    pass(seconds) {
      nowMs += seconds * 1000
      clock.set(shown())
    },
    async remove() {
      await server.remove()
      clock.remove()
    },
  }
}
