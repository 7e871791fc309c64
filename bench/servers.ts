/** The servers that are compared, each with a folder and a free loopback port of its own. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdirSync, openSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import { userInfo } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { findProgram, Unable } from './programs.ts'

const launcher = fileURLToPath(new URL('../bin/assetd.mjs', import.meta.url))

export type Target = {
  mode: 'multipart' | 'put'
  url: string
  /** Statuses that count as success. */
  expect: string
  key: string
}

export type Server = {
  name: string
  /** Of the process that was started; what it started in turn counts with it. */
  pid: number
  target: Target
  /** Removes what was uploaded, and tells how many files there were of this size. */
  removeUploads(sizeBytes: number): number
  stop(): Promise<void>
}

/** Started as a user does, by its launcher, with a rate limit that is checked but never met. */
export async function startAssetd(dir: string): Promise<Server> {
  mkdirSync(dir, { recursive: true })
  const key = `bench-${randomBytes(24).toString('hex')}`
  const log = openSync(join(dir, 'log'), 'a')
  const dataDir = join(dir, 'data')
  // Settings of a developer's own must not change what is measured.
  const environment = Object.fromEntries(
    Object.entries(process.env).filter(([name]) => !name.startsWith('ASSETD_')),
  )
  const child = spawn(process.execPath, [launcher, 'serve'], {
    env: {
      ...environment,
      ASSETD_PORT: '0',
      ASSETD_DATA_DIR: dataDir,
      ASSETD_API_KEY: key,
      ASSETD_RATE_LIMIT: '1000000/sec',
      ASSETD_LOG_LEVEL: 'info',
    },
    stdio: ['ignore', 'pipe', log],
  })
  const url = await new Promise<string>((resolve, reject) => {
    let output = ''
    child.stdout?.setEncoding('utf8').on('data', (text) => {
      output += text
      const found = /listens on (http:\/\/\S+),/.exec(output)?.[1]
      if (found !== undefined) resolve(found)
    })
    child.once('error', reject)
    child.once('exit', (status) => reject(new Unable(`assetd ended with ${status} before it was ready`)))
  })
  return {
    name: 'assetd',
    pid: pidOf(child),
    target: { mode: 'multipart', url: `${url}/v3/assets`, expect: '200', key },
    removeUploads: (sizeBytes) => removeFiles(join(dataDir, 'blobs'), sizeBytes),
    stop: () => end(child),
  }
}

/** Null and why, where this machine has no nginx that can take a PUT. */
export async function startNginx(dir: string): Promise<Server | { missing: string }> {
  const program = findProgram('nginx')
  if (program === null) return { missing: 'nginx is missing: assetd is measured alone' }
  const built = versionOf(program)
  if (!built.includes('http_dav_module')) {
    return { missing: 'nginx is built without its WebDAV module: assetd is measured alone' }
  }
  const files = join(dir, 'files')
  mkdirSync(files, { recursive: true })
  const port = await freePort()
  writeFileSync(join(dir, 'nginx.conf'), nginxConf(dir, files, port, built))
  const child = spawn(program, ['-p', dir, '-e', join(dir, 'error.log'), '-c', join(dir, 'nginx.conf')], {
    stdio: ['ignore', 'ignore', 'inherit'],
  })
  await listening(child, port)
  return {
    name: 'nginx',
    pid: pidOf(child),
    target: { mode: 'put', url: `http://127.0.0.1:${port}/uploads`, expect: '201,204', key: '' },
    removeUploads: (sizeBytes) => removeFiles(files, sizeBytes),
    stop: () => end(child),
  }
}

/** nginx writes `-V` to standard error. */
export function versionOf(program: string): string {
  return execFileSync('/bin/sh', ['-c', '"$0" -V 2>&1', program], { encoding: 'utf8' })
}

/** As Debian has it but for what WebDAV needs, and with everything it writes in our folder. */
function nginxConf(dir: string, files: string, port: number, built: string): string {
  const { uid, username } = userInfo()
  const others = ['proxy', 'fastcgi', 'uwsgi', 'scgi'].filter(
    (name) => !built.includes(`without-http_${name}`),
  )
  return `
daemon off;
worker_processes auto;
${uid === 0 ? `user ${username};` : ''}
pid ${quoted(join(dir, 'nginx.pid'))};
events { worker_connections 768; }
http {
  access_log ${quoted(join(dir, 'access.log'))};
  client_max_body_size 64m;
  client_body_temp_path ${quoted(join(dir, 'body'))};
  ${others.map((name) => `${name}_temp_path ${quoted(join(dir, name))};`).join('\n  ')}
  server {
    listen 127.0.0.1:${port};
    root ${quoted(files)};
    location / {
      dav_methods PUT;
      create_full_put_path on;
    }
  }
}
`
}

function quoted(path: string): string {
  return `"${path.replaceAll(/["\\$]/g, '\\$&')}"`
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const probe = createServer().once('error', reject)
    probe.listen(0, '127.0.0.1', () => {
      const address = probe.address()
      probe.close(() => resolve(typeof address === 'object' ? (address?.port ?? 0) : 0))
    })
  })
}

async function listening(child: ChildProcess, port: number): Promise<void> {
  for (let tries = 0; tries < 100; tries++) {
    if (child.exitCode !== null) throw new Unable(`nginx ended with ${child.exitCode} before it was ready`)
    if (await accepts(port)) return
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
  await end(child)
  throw new Unable('nginx does not listen after 5 seconds')
}

function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1')
    socket.once('connect', () => resolve(true)).once('error', () => resolve(false))
    socket.once('connect', () => socket.destroy())
  })
}

function pidOf(child: ChildProcess): number {
  if (child.pid === undefined) throw new Error(`${child.spawnfile} could not be started`)
  return child.pid
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const ended = new Promise((resolve) => child.once('exit', resolve))
  child.kill('SIGTERM')
  await ended
}

function removeFiles(dir: string, sizeBytes: number): number {
  let found = 0
  for (const entry of readdirSync(dir, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue
    const path = join(entry.parentPath, entry.name)
    if (statSync(path).size === sizeBytes) found++
    rmSync(path)
  }
  return found
}
