/** `assetd gc`, `fsck`, `backup` and `restore`, beside a running service, under load, and on what was broken on purpose. */
import assert from 'node:assert/strict'
import { execFileSync, spawn, spawnSync } from 'node:child_process'
import { createHash, randomFillSync } from 'node:crypto'
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { after, before, describe, it } from 'node:test'
import { wav } from './media/samples.ts'
import {
  assetd,
  assetdBeside,
  contentsOf,
  launcher,
  type RunningService,
  startService,
  upload,
  withoutSettings,
} from './service.ts'
import { blobPath, changeRecords, diskOnly, settingsOf, sqliteOnly } from './stores.ts'

type Uploaded = { asset_id: string; url: string; sha256: string }

const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex')
const temporaryFolder = (): string => mkdtempSync(join(tmpdir(), 'assetd-test-'))

/** A whole file that no other is equal to. */
function freshFile(sizeBytes = 20_000): Buffer {
  const file = wav({ sizeBytes })
  randomFillSync(file, 100)
  return file
}

async function uploadFresh(service: RunningService, sizeBytes?: number): Promise<Uploaded> {
  const file = freshFile(sizeBytes)
  const response = await upload(service, file)
  const body = await response.text()
  assert.equal(response.status, 200, body)
  return { ...(JSON.parse(body) as { data: Uploaded }).data, sha256: sha256(file) }
}

async function assertServed({ url, sha256: expected }: Uploaded, base: string): Promise<void> {
  const response = await fetch(base + new URL(url).pathname)
  assert.equal(response.status, 200)
  assert.equal(sha256(new Uint8Array(await response.arrayBuffer())), expected)
}

function blobOf(dataDir: string, assetId: string): string {
  const row = contentsOf(dataDir).assets.find((asset) => asset.asset_id === assetId)
  const key = String(row?.blob_key)
  return blobPath(dataDir, key)
}

const key = (letter: string): string => letter.repeat(26)

/** A file in the place of a blob, or of one that is begun, an hour and more old. */
function plant(path: string): string {
  mkdirSync(dirname(path), { recursive: true })
  writeFileSync(path, 'nobody owns this')
  const then = new Date(Date.now() - 2 * 3_600_000)
  utimesSync(path, then, then)
  return path
}

const notMountable =
  process.getuid?.() === 0 && process.platform === 'linux'
    ? false
    : 'mounting a small disk needs root on Linux'

describe('gc', () => {
  let service: RunningService
  before(async () => {
    service = await startService()
  })
  after(() => service.stop())

  it('removes what no row owns and is old enough, and nothing else', async () => {
    const kept = await uploadFresh(service)
    const stored = plant(blobPath(service.dataDir, key('a')))
    const besideIt = dirname(stored)
    // One that is begun is a file in a folder of its own; a bucket shows none.
    const begun =
      diskOnly('') === false
        ? plant(join(service.dataDir, 'incoming', key('b')))
        : plant(join(besideIt, key('b')))
    const strange = plant(join(besideIt, 'notes.txt'))
    const young = join(besideIt, `aa${'c'.repeat(24)}`)
    writeFileSync(young, 'young')

    const dry = assetd(service.dataDir, 'gc', '--dry-run')
    assert.match(dry.stdout, /^Would remove 2 of 5 files, 32 bytes;/, dry.stderr)
    assert.ok(existsSync(stored))

    const { stdout } = assetd(service.dataDir, 'gc', '--json')
    assert.deepEqual(JSON.parse(stdout), { seen: 5, removed: 2, removed_bytes: 32, taken_back: 0 })
    assert.deepEqual([stored, begun, strange, young].map(existsSync), [false, false, true, true])
    assert.match(assetd(service.dataDir, 'gc', '--older-than', '0s').stdout, /^Removed 1 of 3 files/)
    assert.deepEqual([strange, young].map(existsSync), [true, false])
    await assertServed(kept, service.url)
    rmSync(strange)
  })

  it('never touches what a running upload owns: run in a loop at 0s under load, all that was acknowledged is there', async () => {
    let loading = true
    const uploaded: Uploaded[] = []
    const load = Array.from({ length: 4 }, async (_, index) => {
      while (loading) uploaded.push(await uploadFresh(service, 10_000 + 300_000 * index))
    })
    let rounds = 0
    try {
      for (; rounds < 5; rounds++) {
        const { status, stdout, stderr } = await assetdBeside(
          service.dataDir,
          'gc',
          '--older-than',
          '0s',
          '--json',
        )
        assert.equal(status, 0, stderr)
        assert.equal(JSON.parse(stdout).removed, 0)
      }
    } finally {
      loading = false
    }
    await Promise.all(load)
    assert.ok(uploaded.length > 20, `${uploaded.length} uploads`)
    for (const one of uploaded) await assertServed(one, service.url)
    assert.equal(assetd(service.dataDir, 'fsck', '--deep').status, 0)
  })

  it('without a service takes back what is left of unfinished uploads, and keeps what is finished', async () => {
    const own = await startService()
    const kept = await uploadFresh(own)
    await own.stop({ keepData: true, signal: 'SIGKILL' })
    const [row] = contentsOf(own.dataDir).assets
    changeRecords(
      own.dataDir,
      `INSERT INTO assets (asset_id, workspace, owner, state, token, service_id, lease_expires_at_ms, blob_key, created_at_ms)
       VALUES ('asset_x', 'w', 'o', 'pending', 't', '${row?.service_id}', 1, '${key('d')}', 1)`,
    )
    const bytes = plant(blobPath(own.dataDir, key('d')))
    assert.match(assetd(own.dataDir, 'gc').stdout, /took back 1 unfinished uploads/)
    assert.equal(existsSync(bytes), false)
    const again = await startService({ dataDir: own.dataDir })
    await assertServed(kept, again.url)
    await again.stop()
  })
})

describe('fsck', () => {
  let service: RunningService
  before(async () => {
    service = await startService()
  })
  after(() => service.stop())

  it('is content with a service that runs, also under load', async () => {
    await uploadFresh(service)
    const load = Promise.all(Array.from({ length: 20 }, () => uploadFresh(service, 200_000)))
    for (const args of [['fsck'], ['fsck', '--deep']]) {
      const { status, stdout, stderr } = await assetdBeside(service.dataDir, ...args)
      assert.equal(status, 0, stdout + stderr)
      assert.match(stdout, /0 disagreements\.\n$/)
    }
    await load
  })

  it('case 71: names what is missing, cut, changed or unowned, exits with 1, and nothing damaged is served as good', async () => {
    const [missing, cut, changed, good] = await Promise.all(
      Array.from({ length: 4 }, () => uploadFresh(service, 50_000)),
    )
    assert.ok(missing && cut && changed && good)
    rmSync(blobOf(service.dataDir, missing.asset_id))
    truncateSync(blobOf(service.dataDir, cut.asset_id), 49_999)
    const blob = blobOf(service.dataDir, changed.asset_id)
    const whole = readFileSync(blob)
    const flipped = Buffer.from(whole)
    flipped.writeUInt8(flipped.readUInt8(30_000) ^ 1, 30_000)
    writeFileSync(blob, flipped)
    plant(blobPath(service.dataDir, key('e')))

    const shallow = assetd(service.dataDir, 'fsck')
    assert.equal(shallow.status, 1)
    assert.match(shallow.stdout, new RegExp(`^missing: ${missing.asset_id}, `, 'm'))
    assert.match(
      shallow.stdout,
      new RegExp(`^wrong_size: ${cut.asset_id}, .*expected 50000 bytes, found 49999 bytes`, 'm'),
    )
    assert.match(shallow.stdout, new RegExp(`^unowned: the file ${key('e')} `, 'm'))
    assert.doesNotMatch(shallow.stdout, new RegExp(changed.asset_id), 'size alone does not tell')

    const deep = assetd(service.dataDir, 'fsck', '--deep', '--json')
    assert.equal(deep.status, 1)
    const lines = deep.stdout
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as Record<string, unknown>)
    const found = lines.find((line) => line.asset_id === changed.asset_id)
    assert.deepEqual(found?.kind, 'wrong_bytes')
    assert.equal(found?.expected, changed.sha256)
    assert.equal(found?.found, sha256(flipped))
    assert.equal(lines.at(-1)?.disagreements, 4)

    for (const { url } of [missing, cut, changed]) {
      for (const method of ['GET', 'HEAD']) {
        const refused = await fetch(url, { method })
        assert.equal(refused.status, 500, `${method} of a damaged file`)
        assert.equal(refused.headers.get('cache-control'), 'no-store')
        assert.equal(refused.headers.get('etag'), null)
        const line = await service.logOf(refused.headers.get('x-request-id'))
        assert.equal(line.level, 'error', 'the operator is told')
      }
    }
    await assertServed(good, service.url)

    writeFileSync(blob, whole)
    assert.equal((await fetch(changed.url)).status, 500, 'marked until it is proven good')
    assetd(service.dataDir, 'fsck', '--deep')
    await assertServed(changed, service.url)
  })

  it('case 71: what is marked as damaged is told without --deep too, and is not even said to be unchanged', async () => {
    const own = await startService()
    const damaged = await uploadFresh(own, 50_000)
    const path = blobOf(own.dataDir, damaged.asset_id)
    const bytes = readFileSync(path)
    bytes[30_000] = (bytes[30_000] ?? 0) ^ 1
    writeFileSync(path, bytes)
    assert.equal(assetd(own.dataDir, 'fsck', '--deep').status, 1)
    const plain = assetd(own.dataDir, 'fsck')
    assert.equal(plain.status, 1)
    assert.match(plain.stdout, new RegExp(`^marked: ${damaged.asset_id}`, 'm'))
    for (const headers of [{ 'if-none-match': '*' }, { range: 'bytes=0-9' }, {}] as Record<
      string,
      string
    >[]) {
      assert.equal((await fetch(damaged.url, { headers })).status, 500)
    }
    await own.stop()
  })

  it('goes on to its end although nobody reads what it prints any more', async () => {
    const own = await startService()
    for (let times = 0; times < 30; times++) {
      const { asset_id } = await uploadFresh(own, 3_000)
      const path = blobOf(own.dataDir, asset_id)
      const bytes = readFileSync(path)
      bytes[1_500] = (bytes[1_500] ?? 0) ^ 1
      writeFileSync(path, bytes)
    }
    const child = spawn(process.execPath, [launcher, 'fsck', '--deep'], {
      env: { ...withoutSettings(process.env), ...settingsOf(own.dataDir) },
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    child.stdout.once('data', () => child.stdout.destroy())
    const status = await new Promise((resolve) => child.once('exit', resolve))
    assert.equal(status, 1)
    assert.ok(contentsOf(own.dataDir).assets.every(({ damaged_at_ms }) => damaged_at_ms !== null))
    await own.stop()
  })

  it('says what SQLite finds wrong in its own file', {
    skip: sqliteOnly('it has pg_amcheck'),
  }, async () => {
    const own = await startService()
    await uploadFresh(own)
    await own.stop({ keepData: true })
    const database = new DatabaseSync(join(own.dataDir, 'assetd.sqlite'))
    // An index that lacks its row: SQLite keeps them in step, so it takes force.
    const { root } = database
      .prepare("SELECT rootpage AS root FROM sqlite_schema WHERE name = 'assets'")
      .get() as {
      root: number
    }
    const { page_size: pageSize } = database.prepare('PRAGMA page_size').get() as { page_size: number }
    database.close()
    const file = join(own.dataDir, 'assetd.sqlite')
    const bytes = readFileSync(file)
    bytes.fill(0xff, (root - 1) * pageSize + 8, (root - 1) * pageSize + 100)
    writeFileSync(file, bytes)
    const { status, stdout, stderr } = assetd(own.dataDir, 'fsck', '--deep')
    assert.equal(status, 1)
    assert.match(stdout + stderr, /database|malformed/)
    rmSync(own.dataDir, { recursive: true })
  })
})

const noBackup = 'they are backed up by what they come with'

describe('backup and restore', { skip: sqliteOnly(noBackup) || diskOnly(noBackup) }, () => {
  it('case 101: a backup that is made under load restores to a set in which every record has its bytes', async () => {
    const service = await startService()
    const early = await Promise.all(Array.from({ length: 10 }, () => uploadFresh(service)))
    const kept = await upload(service, freshFile(), { 'idempotency-key': 'kept' })
    const answer = await kept.text()
    let loading = true
    const load = Array.from({ length: 4 }, async () => {
      while (loading) await uploadFresh(service, 100_000)
    })
    const [backup, restored] = [join(temporaryFolder(), 'backup'), join(temporaryFolder(), 'data')]
    const made = await assetdBeside(service.dataDir, 'backup', backup)
    loading = false
    await Promise.all(load)
    assert.equal(made.status, 0, made.stderr)
    assert.match(made.stdout, /^The backup in .* is whole: \d+ assets, \d+ bytes\.\n$/)
    assert.equal(statSync(backup).mode & 0o777, 0o700)
    assert.deepEqual(readdirSync(backup).sort(), ['assetd.sqlite', 'blobs', 'incoming'])
    await service.stop()

    const back = assetd(restored, 'restore', backup)
    assert.equal(back.status, 0, back.stderr)
    const { blobs, assets } = contentsOf(restored)
    assert.ok(assets.length >= 11)
    assert.ok(assets.every(({ state }) => state === 'completed'))
    assert.deepEqual(blobs.sort(), assets.map((asset) => String(asset.blob_key)).sort())
    assert.equal(assetd(restored, 'fsck', '--deep').status, 0)

    const again = await startService({ dataDir: restored, env: { ASSETD_API_KEY: service.key } })
    for (const one of early) await assertServed(one, again.url)
    const replayed = await upload(again, freshFile(), { 'idempotency-key': 'kept' })
    assert.equal(replayed.headers.get('idempotent-replayed'), 'true')
    assert.equal(await replayed.text(), answer)
    await again.stop()
  })

  it('restores into a new or empty folder alone, and refuses one in use', async () => {
    const service = await startService()
    await uploadFresh(service)
    const backup = join(temporaryFolder(), 'backup')
    assert.equal(assetd(service.dataDir, 'backup', backup).status, 0)
    for (const [args, dataDir] of [
      [['restore', backup], service.dataDir],
      [['backup', backup], service.dataDir],
    ] as const) {
      const { status, stderr } = assetd(dataDir, ...args)
      assert.equal(status, 1)
      assert.match(
        stderr,
        /^assetd: the folder .* is not empty, there is .* in it: name a new or an empty folder\n$/,
      )
    }
    const inside = assetd(service.dataDir, 'backup', join(service.dataDir, 'backup'))
    assert.match(inside.stderr, /^assetd: .* lies within .*: name a folder outside of it\n$/)
    const nothing = assetd(join(temporaryFolder(), 'data'), 'restore', temporaryFolder())
    assert.equal(nothing.status, 1)
    assert.match(nothing.stderr, /^assetd: there are no assetd records in /)
    await service.stop()
  })

  it('a file that was damaged before is told, marked in the copy, and not served from it', async () => {
    const service = await startService()
    const [good, bad] = [await uploadFresh(service), await uploadFresh(service)]
    const blob = blobOf(service.dataDir, bad.asset_id)
    const bytes = readFileSync(blob)
    bytes.writeUInt8(bytes.readUInt8(5_000) ^ 1, 5_000)
    writeFileSync(blob, bytes)
    const backup = join(temporaryFolder(), 'backup')
    const { status, stderr } = assetd(service.dataDir, 'backup', backup)
    await service.stop()
    assert.equal(status, 1)
    assert.match(stderr, new RegExp(`^wrong_bytes: ${bad.asset_id}, found `, 'm'))
    const copy = await startService({ dataDir: backup })
    await assertServed(good, copy.url)
    assert.equal((await fetch(copy.url + new URL(bad.url).pathname)).status, 500)
    await copy.stop()
  })

  it('a copy that was cut short is neither started on nor restored from', () => {
    const folder = temporaryFolder()
    mkdirSync(join(folder, 'blobs'))
    writeFileSync(join(folder, 'assetd.sqlite.unfinished'), '')
    const serve = serveToItsEnd(folder)
    assert.equal(serve.status, 1)
    assert.match(serve.stderr, /a backup or restore into it was not finished: remove the folder/)
    assert.match(assetd(join(temporaryFolder(), 'data'), 'restore', folder).stderr, /no whole backup\n$/)
  })

  it('case 73: records that were emptied, or lost with their write-ahead log, are not begun anew on', async () => {
    for (const [name, lose] of [
      ['emptied', (dir: string) => writeFileSync(join(dir, 'assetd.sqlite'), '')],
      ['without its log', (dir: string) => rmSync(join(dir, 'assetd.sqlite-wal'))],
    ] as const) {
      const own = await startService()
      await uploadFresh(own)
      await own.stop({ keepData: true, signal: 'SIGKILL' })
      lose(own.dataDir)
      rmSync(join(own.dataDir, 'assetd.sqlite-shm'), { force: true })
      if (name === 'emptied') rmSync(join(own.dataDir, 'assetd.sqlite-wal'), { force: true })
      await assert.rejects(
        startService({ dataDir: own.dataDir }),
        /has the files of assets .* but not their records/,
      )
      const gc = assetd(own.dataDir, 'gc', '--older-than', '0s')
      assert.equal(gc.status, 1, gc.stdout)
      assert.match(gc.stderr, /but not their records/)
      assert.equal(readdirSync(join(own.dataDir, 'blobs'), { recursive: true }).length, 2, name)
      rmSync(own.dataDir, { recursive: true })
    }
  })

  it('two restores into one folder, or a start amid one: one of them has it, the other is told', async () => {
    const own = await startService()
    for (let times = 0; times < 5; times++) await uploadFresh(own, 2_000_000)
    const backup = join(temporaryFolder(), 'backup')
    assert.equal(assetd(own.dataDir, 'backup', backup).status, 0)
    const target = join(temporaryFolder(), 'restored')
    const both = await Promise.all([
      assetdBeside(target, 'restore', backup),
      assetdBeside(target, 'restore', backup),
    ])
    assert.deepEqual(both.map(({ status }) => status).toSorted(), [0, 1])
    const refused = both.find(({ status }) => status === 1)
    assert.match(refused?.stderr ?? '', /^assetd: .*(another assetd|is not empty)/)
    assert.equal(refused?.stderr.split('\n').length, 2, 'one line')
    assert.equal(assetd(target, 'fsck', '--deep').status, 0)
    await own.stop()
  })

  it('a backup that cannot be finished says where, why and what to do', { skip: notMountable }, async () => {
    const disk = temporaryFolder()
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', disk])
    try {
      const own = await startService()
      await uploadFresh(own, 3_000_000)
      const { status, stderr } = assetd(own.dataDir, 'backup', join(disk, 'backup'))
      assert.equal(status, 1)
      assert.match(stderr, /^assetd: the backup in \S+ could not be finished: .*ENOSPC.*remove/s)
      assert.equal(stderr.includes('    at '), false, stderr)
      await own.stop()
    } finally {
      execFileSync('umount', [disk])
    }
  })

  it('case 73: files without their records are not begun anew on, where they would belong to nobody', async () => {
    const service = await startService()
    await uploadFresh(service)
    await service.stop({ keepData: true })
    rmSync(join(service.dataDir, 'assetd.sqlite'))
    const { status, stderr } = serveToItsEnd(service.dataDir)
    assert.equal(status, 1)
    assert.match(stderr, /has the files of assets \(blobs\/\) but not their records \(assetd\.sqlite/)
    assert.equal(existsSync(join(service.dataDir, 'assetd.sqlite')), false)
    rmSync(service.dataDir, { recursive: true })
  })
})

function serveToItsEnd(dataDir: string) {
  return spawnSync(process.execPath, [launcher, 'serve'], {
    encoding: 'utf8',
    timeout: 60_000,
    env: { ...withoutSettings(process.env), ...settingsOf(dataDir), ASSETD_PORT: '0' },
  })
}
