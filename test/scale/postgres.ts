/** A PostgreSQL of our own: a fresh cluster in a temporary folder, on loopback, gone when the tests are over. */
import { execFileSync, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { chmodSync, existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Client } from 'pg'
import { freePort } from './programs.ts'

const debian = '/usr/lib/postgresql'

/** Debian keeps one folder for each version; the newest counts. */
const binaries: string | undefined = (existsSync(debian) ? readdirSync(debian) : [])
  .toSorted((one, other) => Number(other) - Number(one))
  .map((version) => join(debian, version, 'bin'))
  .find((folder) => existsSync(join(folder, 'initdb')))

/** Its client program, where it is installed. */
export const psql: string | undefined = binaries === undefined ? undefined : join(binaries, 'psql')

/** Why PostgreSQL cannot run here, or false. */
export const noPostgres: string | false =
  binaries === undefined ? 'PostgreSQL is not installed (Debian: postgresql)' : false

export type PostgresServer = {
  /** All its processes, to stop and to let go on. */
  processes(): number[]
  start(): Promise<void>
  /** At once, as a crash would. */
  kill(): Promise<void>
  stop(): Promise<void>
  /** The URL of a new and empty database. */
  freshUrl(settings?: Record<string, string>): Promise<string>
  remove(): Promise<void>
}

/** @param settings of the whole server, such as `fsync` */
export async function startPostgres(settings: Record<string, string> = {}): Promise<PostgresServer> {
  if (binaries === undefined) throw new Error(String(noPostgres))
  const folder = mkdtempSync(join(tmpdir(), 'assetd-postgres-'))
  const port = await freePort()
  // PostgreSQL does not run as root.
  const user = process.getuid?.() === 0 ? idOf('nobody') : undefined
  if (user !== undefined) execFileSync('chown', [`${user.uid}:${user.gid}`, folder])
  chmodSync(folder, 0o700)
  const data = join(folder, 'data')
  // A server that sorts as people do, not by bytes: our tables must not care.
  const speaking = ['--locale=C.UTF-8', '--locale-provider=icu', '--icu-locale=en-US']
  const initdb = ['-D', data, '-U', 'assetd', '-A', 'trust', '-E', 'UTF8', '--no-sync', ...speaking]
  try {
    execFileSync(join(binaries, 'initdb'), initdb, { ...user, cwd: folder, stdio: 'ignore' })
  } catch (error) {
    rmSync(folder, { recursive: true })
    throw error
  }
  const program = join(binaries, 'postgres')
  const own = { listen_addresses: '127.0.0.1', port: String(port), unix_socket_directories: folder }
  const all = Object.entries({ ...own, max_connections: '300', ...settings })
  const options = all.flatMap(([name, value]) => ['-c', `${name}=${value}`])
  const url = (name: string): string => `postgres://assetd:secret@127.0.0.1:${port}/${name}`
  let process_: ReturnType<typeof spawn> | undefined

  const end = async (signal: NodeJS.Signals): Promise<void> => {
    const running = process_
    if (running === undefined || running.exitCode !== null || running.signalCode !== null) return
    const ended = new Promise((resolve) => running.once('exit', resolve))
    running.kill(signal)
    await ended
  }
  const server: PostgresServer = {
    processes() {
      const main = process_?.pid ?? 0
      const children = execFileSync('ps', ['-o', 'pid=', '--ppid', String(main)], { encoding: 'utf8' })
      return [main, ...children.split('\n').filter(Boolean).map(Number)]
    },
    async start() {
      process_ = spawn(program, ['-D', data, ...options], { ...user, cwd: folder, stdio: 'ignore' })
      for (const endMs = performance.now() + 30_000; ; await sleep(50)) {
        const client = new Client(url('postgres'))
        client.on('error', () => {})
        try {
          await client.connect()
          await client.end()
          return
        } catch (error) {
          if (performance.now() > endMs) throw error
        }
      }
    },
    kill: () => end('SIGQUIT'),
    stop: () => end('SIGINT'),
    async freshUrl(own = {}) {
      const name = `t${randomBytes(6).toString('hex')}`
      const client = new Client(url('postgres'))
      await client.connect()
      await client.query(`CREATE DATABASE ${name}`)
      for (const [setting, value] of Object.entries(own))
        await client.query(`ALTER DATABASE ${name} SET ${setting} = '${value}'`)
      await client.end()
      return url(name)
    },
    async remove() {
      await end('SIGQUIT')
      rmSync(folder, { recursive: true, force: true })
    },
  }
  await server.start()
  return server
}

function idOf(name: string): { uid: number; gid: number } {
  const ask = (flag: string): number => Number(execFileSync('id', [flag, name], { encoding: 'utf8' }))
  return { uid: ask('-u'), gid: ask('-g') }
}
