/** nginx with its WebDAV PUT, the yardstick: as Debian has it but for what WebDAV needs. */
import { execFileSync } from 'node:child_process'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { userInfo } from 'node:os'
import { join } from 'node:path'
import { findProgram } from '../programs.ts'
import { type Missing, type Peer, type Place, startProgram } from '../server.ts'

export const nginx: Peer = {
  name: 'nginx',
  async start(place) {
    const program = findNginx()
    if (typeof program !== 'string') return program
    const files = join(place.dir, 'files')
    mkdirSync(files)
    const location = `
    root ${quoted(files)};
    location / {
      dav_methods PUT;
      create_full_put_path on;
    }`
    const { pid, stop } = await startNginx(program, place, location)
    const url = `http://127.0.0.1:${place.port}/uploads`
    return {
      name: 'nginx',
      pids: [pid],
      upload: { mode: 'put', url, expect: '201,204' },
      async publish(file) {
        await fetch(`${url}/published`, { method: 'PUT', body: readFileSync(file) })
        return `${url}/published`
      },
      files,
      stop,
    }
  },
}

/** Debian's nginx and its likes, or why it is none that can take a PUT. */
export function findNginx(): string | Missing {
  const program = findProgram('nginx')
  if (program === null) return { missing: 'it is not installed (Debian: nginx-light)' }
  if (!versionOf(program).includes('http_dav_module')) return { missing: 'it is built without WebDAV' }
  return program
}

/** nginx writes `-V` to standard error. */
export function versionOf(program: string): string {
  return execFileSync('/bin/sh', ['-c', '"$0" -V 2>&1', program], { encoding: 'utf8' })
}

/** @param server what stands in the `server` block beside its address */
export function startNginx(program: string, place: Place, server: string) {
  const conf = join(place.dir, 'nginx.conf')
  writeFileSync(conf, nginxConf(place, versionOf(program), server))
  return startProgram(program, ['-p', place.dir, '-e', join(place.dir, 'error.log'), '-c', conf], place)
}

/** Everything that it writes is in our folder. */
function nginxConf({ dir, port }: Place, built: string, server: string): string {
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
  sendfile on;
  tcp_nopush on;
  access_log ${quoted(join(dir, 'access.log'))};
  client_max_body_size 64m;
  client_body_temp_path ${quoted(join(dir, 'body'))};
  ${others.map((name) => `${name}_temp_path ${quoted(join(dir, name))};`).join('\n  ')}
  server {
    listen 127.0.0.1:${port};
    ${server}
  }
}
`
}

export function quoted(path: string): string {
  return `"${path.replaceAll(/["\\$]/g, '\\$&')}"`
}
