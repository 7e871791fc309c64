/** A versitygw of our own: an S3 server over a temporary folder, on loopback, gone when the tests are over. */
import { type ChildProcess, spawn } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { findProgram, freePort } from './programs.ts'
import { credentials, type S3Server } from './s3.ts'

const program = findProgram('versitygw')

/** Why it cannot run here, or false. */
export const noVersitygw: string | false =
  program === undefined
    ? 'versitygw is not installed (go install github.com/versity/versitygw/cmd/versitygw@latest)'
    : false

export type Versitygw = S3Server & {
  /** The folder in which each bucket is a folder, and each object a file. */
  buckets: string
}

export type VersitygwOptions = {
  /** Of how it keeps things, such as `--data-integrity-etag`. */
  more?: readonly string[]
  /** It speaks TLS with these files. */
  tls?: { cert: string; key: string }
  /** What its process gets on top of ours. */
  env?: Record<string, string>
}

export async function startVersitygw({
  more = [],
  tls,
  env = {},
}: VersitygwOptions = {}): Promise<Versitygw> {
  if (program === undefined) throw new Error(String(noVersitygw))
  const folder = mkdtempSync(join(tmpdir(), 'assetd-versitygw-'))
  const buckets = join(folder, 'buckets')
  mkdirSync(buckets)
  const port = await freePort()
  const secure = tls === undefined ? [] : ['--cert', tls.cert, '--key', tls.key]
  const common = ['--port', `127.0.0.1:${port}`, '--keep-alive', '--quiet', ...secure]
  const args = [...common, 'posix', ...more, buckets]
  const root = {
    ROOT_ACCESS_KEY_ID: credentials.AWS_ACCESS_KEY_ID,
    ROOT_SECRET_ACCESS_KEY: credentials.AWS_SECRET_ACCESS_KEY,
  }
  let running: ChildProcess | undefined
  const server: Versitygw = {
    name: 'versitygw',
    buckets,
    port,
    processes: () => [running?.pid ?? 0],
    async start() {
      running = spawn(program, args, { env: { ...process.env, ...root, ...env }, stdio: 'ignore' })
      await answers(port)
    },
    kill: () => end(running),
    async remove() {
      await end(running)
      rmSync(folder, { recursive: true, force: true })
    },
  }
  await server.start()
  return server
}

export async function end(running: ChildProcess | undefined): Promise<void> {
  if (running === undefined || running.exitCode !== null || running.signalCode !== null) return
  const ended = new Promise((resolve) => running.once('exit', resolve))
  running.kill('SIGKILL')
  await ended
}

export async function answers(port: number): Promise<void> {
  for (const endMs = performance.now() + 60_000; ; await sleep(50)) {
    try {
      await listens(port)
      return
    } catch (error) {
      if (performance.now() > endMs) throw error
    }
  }
}

function listens(port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1')
    socket.once('error', reject)
    socket.once('connect', () => {
      socket.destroy()
      resolve()
    })
  })
}
