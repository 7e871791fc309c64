/** Ceph's RADOS gateway with the least of a cluster below it: one monitor, and one disk in a file. All of it temporary. */
import { type ChildProcess, execFile, execFileSync, spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { findProgram, freePort } from './programs.ts'
import { credentials, type S3Server } from './s3.ts'
import { answers, end } from './versitygw.ts'

const programs = ['radosgw', 'ceph-mon', 'ceph-osd', 'ceph-authtool', 'monmaptool', 'radosgw-admin', 'ceph']
const missing = programs.filter((name) => findProgram(name) === undefined)

/** Why it cannot run here, or false. */
export const noRadosgw: string | false =
  missing.length > 0
    ? `${missing[0]} is not installed (Debian: radosgw ceph-mon ceph-osd ceph-common)`
    : false

/** Where Debian has what the programs load. */
const libraries = '/usr/lib/x86_64-linux-gnu'

const run = promisify(execFile)

/**
 * A monitor in its first seconds refuses commands now and then (EPERM, "problem getting command descriptions"), and
 * all that are given here may be given twice: so each is tried again for a minute and a half.
 */
async function runSoon(cwd: string, program: string, args: string[]): Promise<{ stdout: string }> {
  const deadlineMs = Date.now() + 90_000
  for (;;) {
    try {
      return await run(program, args, { cwd, timeout: 60_000 })
    } catch (error) {
      if (Date.now() > deadlineMs) throw error
      await sleep(500)
    }
  }
}

export type RadosGateway = S3Server & {
  /** One more user, who has no rights to the buckets of others. */
  addUser(name: string): Promise<{ id: string; secret: string }>
}

export async function startRadosgw(): Promise<RadosGateway> {
  if (noRadosgw !== false) throw new Error(noRadosgw)
  const folder = mkdtempSync(join(tmpdir(), 'assetd-radosgw-'))
  for (const name of ['mon', 'osd', 'rgw']) mkdirSync(join(folder, name))
  const [monitorPort, port, fsid] = [await freePort(), await freePort(), randomUUID()]
  const conf = join(folder, 'ceph.conf')
  writeFileSync(conf, settings({ folder, monitorPort, port, fsid }))
  const keyring = join(folder, 'keyring')
  const monmap = join(folder, 'monmap')
  const quiet = { cwd: folder, stdio: 'ignore' as const }
  const all = ['--cap', 'mon', 'allow *', '--cap', 'osd', 'allow *']
  execFileSync('ceph-authtool', ['--create-keyring', keyring, '--gen-key', '-n', 'mon.', ...all], quiet)
  execFileSync('ceph-authtool', [keyring, '--gen-key', '-n', 'client.admin', ...all], quiet)
  const address = `[v1:127.0.0.1:${monitorPort}]`
  execFileSync('monmaptool', ['--create', '--addv', 'a', address, '--fsid', fsid, monmap], quiet)
  const mkfs = ['-c', conf, '--mkfs', '-i']
  execFileSync('ceph-mon', [...mkfs, 'a', '--monmap', monmap, '--keyring', keyring], quiet)

  const children: ChildProcess[] = []
  const begin = (program: string, ...args: string[]): ChildProcess => {
    const child = spawn(program, ['-c', conf, ...args, '-f'], quiet)
    children.push(child)
    return child
  }
  const ceph = (...args: string[]) => runSoon(folder, 'ceph', ['-c', conf, ...args])
  let gateway: ChildProcess | undefined
  const addUser = async (name: string, id: string, secret: string): Promise<void> => {
    const user = [`--uid=${name}`, `--display-name=${name}`, `--access-key=${id}`, `--secret-key=${secret}`]
    await runSoon(folder, 'radosgw-admin', ['-c', conf, 'user', 'create', ...user])
  }
  const server: RadosGateway = {
    name: 'radosgw',
    port,
    processes: () => [gateway?.pid ?? 0],
    async start() {
      gateway = begin('radosgw', '-n', 'client.rgw.a')
      await answers(port)
    },
    kill: () => end(gateway),
    async addUser(name) {
      await addUser(name, name, `${name}-secret`)
      return { id: name, secret: `${name}-secret` }
    },
    async remove() {
      for (const child of children.toReversed()) await end(child)
      rmSync(folder, { recursive: true, force: true })
    },
  }
  try {
    begin('ceph-mon', '-i', 'a')
    const uuid = randomUUID()
    await ceph('osd', 'new', uuid, '0')
    execFileSync('ceph-osd', [...mkfs, '0', '--osd-uuid', uuid], quiet)
    begin('ceph-osd', '-i', '0')
    await ceph('osd', 'crush', 'add', 'osd.0', '1.0', 'host=localhost', 'root=default')
    while (!(await ceph('osd', 'stat')).stdout.includes('1 up')) await sleep(200)
    await addUser('assetd', credentials.AWS_ACCESS_KEY_ID, credentials.AWS_SECRET_ACCESS_KEY)
    await server.start()
  } catch (error) {
    await server.remove()
    throw error
  }
  return server
}

type Place = { folder: string; monitorPort: number; port: number; fsid: string }

function settings({ folder, monitorPort, port, fsid }: Place): string {
  const all = {
    fsid,
    'mon host': `[v1:127.0.0.1:${monitorPort}/0]`,
    'ms bind msgr2': false,
    'public addr': '127.0.0.1',
    'cluster addr': '127.0.0.1',
    'auth cluster required': 'none',
    'auth service required': 'none',
    'auth client required': 'none',
    'osd pool default size': 1,
    'osd pool default min size': 1,
    'osd pool default pg num': 1,
    'osd pool default pgp num': 1,
    'mon allow pool size one': true,
    'mon max pg per osd': 1_000,
    'mon data avail crit': 1,
    // Nothing tells the monitor what kind of disk a file is.
    'osd class update on start': false,
    'osd crush update on start': false,
    'osd objectstore': 'bluestore',
    'bluestore block size': 10 * 1024 ** 3,
    'bluestore cache autotune': false,
    'bluestore cache size': 128 * 1024 ** 2,
    'mon data': join(folder, 'mon'),
    'osd data': join(folder, 'osd'),
    'rgw data': join(folder, 'rgw'),
    keyring: join(folder, 'keyring'),
    'run dir': folder,
    'crash dir': folder,
    'admin socket': join(folder, '$name.asok'),
    'log file': join(folder, '$name.log'),
    'osd class dir': `${libraries}/rados-classes`,
    'plugin dir': `${libraries}/ceph`,
    'rgw frontends': `beast endpoint=127.0.0.1:${port}`,
  }
  return ['[global]', ...Object.entries(all).map(([name, value]) => `${name} = ${value}`), ''].join('\n')
}
