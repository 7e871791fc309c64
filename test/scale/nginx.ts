/** An nginx of our own with the configuration of `deploy/`, on loopback, with a folder of its own. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { findProgram } from './programs.ts'

const found = findProgram('nginx')

/** Why nginx cannot run here, or false. */
export const noNginx: string | false =
  found === undefined ? 'nginx is not installed (Debian: nginx-light)' : false

export type NginxServer = {
  /** Of its first process. */
  pid: number
  port: number
  url: string
  /** The lines of its own log of requests, so far. */
  requests(): Record<string, unknown>[]
  /** Takes copies out, or in again, as an operator does: new requests go to the others. */
  reload(down: readonly number[]): Promise<void>
  /** What it had to complain about, so far. */
  complaints(): string
  stop(): Promise<void>
}

const deployed = (name: string): string =>
  readFileSync(new URL(`../../deploy/nginx/${name}`, import.meta.url), 'utf8')

/** Writes the deployed configuration for these ports; nothing of it is changed but where it listens, logs and asks. */
function configure(folder: string, { port, copies, blobs }: Front, down: readonly number[] = []): string {
  const replace = (text: string, what: RegExp | string, by: string): string => {
    const changed = text.replace(what, by)
    if (changed === text) throw new Error(`the configuration has no ${what}`)
    return changed
  }
  const servers = copies.map(
    (copy) => `server 127.0.0.1:${copy} max_fails=3 fail_timeout=5s${down.includes(copy) ? ' down' : ''};`,
  )
  const upstream = replace(
    deployed('upstream.conf'),
    /(?:\s*server 127\.0\.0\.1:\d+ max_fails=3 fail_timeout=5s;)+/,
    `\n${servers.join('\n')}`,
  )
  let site = replace(
    replace(deployed('assetd.conf'), 'listen 80;', `listen 127.0.0.1:${port};`),
    '/var/log/nginx/assetd.log',
    join(folder, 'requests.log'),
  )
  if (blobs !== undefined) {
    const accel = replace(deployed('accel.conf'), 'alias /var/lib/assetd/blobs/;', `alias ${blobs}/;`)
    writeFileSync(join(folder, 'accel.conf'), accel)
    site = replace(site, '# include /etc/nginx/assetd-accel.conf;', `include ${join(folder, 'accel.conf')};`)
  }
  writeFileSync(join(folder, 'upstream.conf'), upstream)
  writeFileSync(join(folder, 'assetd.conf'), site)
  const places = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map(
    (name) => `${name}_temp_path ${join(folder, name)};`,
  )
  const main = join(folder, 'nginx.conf')
  writeFileSync(
    main,
    [
      ...(process.getuid?.() === 0 ? ['user root;'] : []),
      `daemon off; worker_processes 2; pid ${join(folder, 'pid')};`,
      `error_log ${join(folder, 'error.log')} warn;`,
      `events { worker_connections 1024; }`,
      `http { ${places.join(' ')} include ${folder}/upstream.conf; include ${folder}/assetd.conf; }`,
    ].join('\n'),
  )
  return main
}

type Front = {
  port: number
  /** Ports that it spreads requests over. */
  copies: readonly number[]
  /** The folder of all blobs, where it sends files itself. */
  blobs?: string
}

/** @param copies ports that it spreads requests over */
export async function startNginx(
  port: number,
  copies: readonly number[],
  { blobs }: Pick<Front, 'blobs'> = {},
): Promise<NginxServer> {
  if (found === undefined) throw new Error(String(noNginx))
  const folder = mkdtempSync(join(tmpdir(), 'assetd-nginx-'))
  const front: Front = { port, copies, ...(blobs === undefined ? {} : { blobs }) }
  const file = configure(folder, front)
  const args = ['-e', join(folder, 'error.log'), '-c', file]
  execFileSync(found, [...args, '-t'], { stdio: 'pipe' })
  const child = spawn(found, args, { stdio: 'ignore' })
  await isListening(child, port)
  const log = (name: string): string => readFileSync(join(folder, name), 'utf8')
  return {
    pid: child.pid ?? 0,
    port,
    url: `http://127.0.0.1:${port}`,
    requests: () =>
      log('requests.log')
        .split('\n')
        .filter(Boolean)
        .map((line) => JSON.parse(line)),
    async reload(down) {
      configure(folder, front, down)
      const workers = workersOf(child)
      child.kill('SIGHUP')
      // The old ones go once what they have is done; until then they know the old list.
      const areOldThere = (): boolean => workersOf(child).some((pid) => workers.includes(pid))
      for (const endMs = performance.now() + 20_000; areOldThere() && performance.now() < endMs; )
        await sleep(20)
    },
    complaints: () => log('error.log'),
    async stop() {
      const ended = new Promise((resolve) => child.once('exit', resolve))
      if (child.exitCode === null && child.signalCode === null) {
        child.kill('SIGTERM')
        await ended
      }
      rmSync(folder, { recursive: true, force: true })
    },
  }
}

function workersOf({ pid }: ChildProcess): string[] {
  return readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').split(' ').filter(Boolean)
}

async function isListening(child: ChildProcess, port: number): Promise<void> {
  for (const endMs = performance.now() + 10_000; ; await sleep(20)) {
    const isOpen = await new Promise<boolean>((resolve) => {
      const socket = connect(port, '127.0.0.1')
      socket.once('connect', () => resolve(true)).once('error', () => resolve(false))
      socket.once('connect', () => socket.destroy())
    })
    if (isOpen) return
    if (child.exitCode !== null || performance.now() > endMs) throw new Error('nginx does not start')
  }
}
