/** A server under test: started on a free loopback port with a folder of its own, and ended again. */
import { type ChildProcess, spawn } from 'node:child_process'
import { readdirSync, statSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import { join } from 'node:path'
import { Unable } from './programs.ts'

export type Target = {
  mode: 'multipart' | 'put' | 'tus' | 'get'
  url: string
  /** Statuses that count as success, with commas between. */
  expect: string
  /** X-Api-Key; none where it is absent. */
  key?: string
  /** The form's part; `file` where it is absent. */
  field?: string
}

export type Server = {
  name: string
  /** Of the processes that were started; what they started in turn counts with them. */
  pids: number[]
  /** Absent where it only gives files out. */
  upload?: Target
  /** Uploads the file once and tells where it can be read; absent where the server gives no files out. */
  publish?: (file: string) => Promise<string>
  /** The folder that what is uploaded comes to be in. */
  files: string
  stop(): Promise<void>
}

/** Why a peer is left out. */
export type Missing = { missing: string }

/** What every peer is started with. */
export type Place = {
  /** Its own folder, which is there and empty. */
  dir: string
  port: number
  /** Peers that are not here may be fetched. */
  mayInstall: boolean
}

export type Peer = { name: string; start(place: Place): Promise<Server | Missing> }

/** Settings of a developer's own must not change what is measured. */
export function cleanEnvironment(): NodeJS.ProcessEnv {
  return Object.fromEntries(
    Object.entries(process.env).filter(([name]) => !/^(ASSETD_|NODE_OPTIONS$|UV_)/.test(name)),
  )
}

export type Started = { pid: number; stop(): Promise<void> }

/** Starts a program and waits until it takes connections. */
export async function startProgram(
  program: string,
  args: readonly string[],
  { dir, port }: Place,
  env: NodeJS.ProcessEnv = {},
): Promise<Started> {
  const child = spawn(program, args, {
    cwd: dir,
    env: { ...cleanEnvironment(), ...env },
    stdio: ['ignore', 'ignore', 'inherit'],
  })
  if (child.pid === undefined) throw new Unable(`${program} could not be started`)
  await listening(program, child, port)
  return { pid: child.pid, stop: () => end(child) }
}

export function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const probe = createServer().once('error', reject)
    probe.listen(0, '127.0.0.1', () => {
      const address = probe.address()
      probe.close(() => resolve(typeof address === 'object' ? (address?.port ?? 0) : 0))
    })
  })
}

async function listening(program: string, child: ChildProcess, port: number): Promise<void> {
  for (let tries = 0; tries < 300; tries++) {
    if (child.exitCode !== null)
      throw new Unable(`${program} ended with ${child.exitCode} before it was ready`)
    if (await accepts(port)) return
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
  await end(child)
  throw new Unable(`${program} does not listen after 15 seconds`)
}

function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1')
    socket.once('connect', () => resolve(true)).once('error', () => resolve(false))
    socket.once('connect', () => socket.destroy())
  })
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const ended = new Promise((resolve) => child.once('exit', resolve))
  child.kill('SIGTERM')
  const late = setTimeout(() => child.kill('SIGKILL'), 10_000)
  await ended
  clearTimeout(late)
}

export function filesIn(dir: string): { path: string; sizeBytes: number }[] {
  return readdirSync(dir, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .map((path) => ({ path, sizeBytes: statSync(path).size }))
}
