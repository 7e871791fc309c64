import assert from 'node:assert/strict'
import { mkdtempSync, readdirSync, readlinkSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { createDiskBlobs } from '../adapters/disk-blobs.ts'
import { storageFault } from '../adapters/disk-sync.ts'
import { openSqlite } from '../adapters/sqlite.ts'
import type { Clock } from '../clock.ts'
import { Fault } from '../errors.ts'
import type { Principal } from '../principal.ts'
import { findPublicFile } from '../records/assets.ts'
import type { Database } from '../records/database.ts'
import type { KeyScope } from '../records/idempotency-keys.ts'
import type { Blobs } from './blobs.ts'
import { createKeyClaims } from './key-claims.ts'
import { createLeases, type Leases } from './leases.ts'
import { createReservations, type Reservation, type Reservations, type StoredFile } from './reservations.ts'
import { sweepAbandoned, sweepExpiredKeys, sweepLapsed } from './sweep.ts'

const principal: Principal = { workspace: 'w', owner: 'o', scopes: new Set() }
const key: KeyScope = { workspace: 'w', route: 'POST /v3/assets', key: 'k' }
const bytes = Buffer.from('bytes of a file')
const file: StoredFile = {
  type: 'png',
  width: 4,
  height: 3,
  name: 'a.png',
  sizeBytes: bytes.length,
  sha256: 'hash',
}
/** Its leases end at once: the next sweep goes on where it stopped. */
const heirs = (serviceId: string) => ({ serviceId, untilMs: () => 0 })
const second = 1_000
const hour = 3_600 * second

/** A data folder with any number of services on it, and a clock for all of them. */
async function world(context: TestContext) {
  const dir = mkdtempSync(join(tmpdir(), 'assetd-reservations-'))
  const path = join(dir, 'assetd.sqlite')
  const database = await openSqlite(path)
  const blobs = await createDiskBlobs(dir)
  let nowMs = 1_700_000_000_000
  let jumpedMs = 0
  const clock: Clock = { steadyMs: () => nowMs, wallMs: () => nowMs + jumpedMs }
  const opened: Leases[] = []
  const troubles: string[] = []
  const service = (
    serviceId: string,
    options: { leaseSeconds?: number; database?: Database; blobs?: Blobs } = {},
  ): Reservations => {
    const common = {
      database: options.database ?? database,
      clock,
      onTrouble: (message: string) => troubles.push(message),
    }
    const leases = createLeases({ ...common, serviceId, leaseSeconds: options.leaseSeconds ?? 30 })
    opened.push(leases)
    const filesUrl = () => 'https://media.example.com/files'
    return createReservations({
      ...common,
      leases,
      claims: createKeyClaims({ ...common, leases }),
      blobs: options.blobs ?? blobs,
      filesUrl,
    })
  }
  context.after(async () => {
    for (const one of opened) one.close()
    await database.close()
    rmSync(dir, { recursive: true })
  })
  const filesIn = (name: string): string[] =>
    readdirSync(join(dir, name), { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => entry.name)
  const rows = async () => {
    const { build } = database
    return {
      assets: await database.read(build.selectFrom('assets').select(['asset_id', 'state'])),
      keys: await database.read(
        build.selectFrom('idempotency_keys').select(['key', 'route', 'status', 'body']),
      ),
    }
  }
  return {
    opened,
    dir,
    database,
    blobs,
    service,
    troubles,
    clock,
    pass(ms: number) {
      nowMs += ms
    },
    /** Somebody sets the wall clock. */
    jump(ms: number) {
      jumpedMs += ms
    },
    filesIn,
    rows,
    /** Asserts that nothing is left of anything. */
    async assertClean() {
      const { assets, keys } = await rows()
      assert.deepEqual([...assets, ...keys, ...filesIn('incoming'), ...filesIn('blobs')], [])
    },
  }
}

async function reserve(reservations: Reservations, scope: KeyScope | null = key): Promise<Reservation> {
  const reserved = await reservations.reserve(principal, scope)
  assert.ok('writer' in reserved, 'was answered, not reserved')
  return reserved
}

async function uploadWith(reservations: Reservations, scope: KeyScope | null = key): Promise<string> {
  const reservation = await reserve(reservations, scope)
  reservation.writer.write(bytes)
  await reservation.writer.store()
  return reservation.commit(file)
}

const isCode =
  (code: string) =>
  (error: unknown): boolean =>
    error instanceof Fault && error.code === code && (error.retryAfterSeconds ?? 0) >= 1

test('reserve, store, commit: the asset is public with what is known of it, and the answer has four keys', async (context) => {
  const { service, database, rows, filesIn } = await world(context)
  const a = service('A')
  const reservation = await reserve(a)
  assert.match(reservation.assetId, /^asset_[0-9a-z]{26}$/)
  assert.equal(await findPublicFile(database, reservation.assetId), null, 'public before commit')
  assert.deepEqual(
    (await rows()).assets.map((row) => row.state),
    ['pending'],
  )
  reservation.writer.write(bytes)
  await reservation.writer.store()
  assert.equal(await findPublicFile(database, reservation.assetId), null, 'public before commit')
  const body = await reservation.commit(file)
  assert.deepEqual(JSON.parse(body), {
    data: {
      asset_id: reservation.assetId,
      url: `https://media.example.com/files/${reservation.assetId}.png`,
      mime_type: 'image/png',
      size_bytes: bytes.length,
    },
  })
  const found = await findPublicFile(database, reservation.assetId)
  assert.equal(found?.media_type, 'png')
  assert.equal(found?.sha256, 'hash')
  assert.deepEqual(filesIn('blobs'), [found?.blob_key])
})

test('no key: every request is an asset of its own, and no key is kept', async (context) => {
  const { service, rows } = await world(context)
  const a = service('A')
  await uploadWith(a, null)
  await uploadWith(a, null)
  assert.equal((await rows()).assets.length, 2)
  assert.deepEqual((await rows()).keys, [])
})

test('case 48: while a key is held, others get 409 with Retry-After, and nothing is left of them', async (context) => {
  const { service, rows } = await world(context)
  const a = service('A')
  await reserve(a)
  await assert.rejects(a.reserve(principal, key), isCode('request_in_progress'))
  await assert.rejects(a.findAnswer(key), isCode('request_in_progress'))
  assert.equal((await rows()).assets.length, 1)
})

test('case 47: after the commit the same body is replayed, byte for byte', async (context) => {
  const { service, rows } = await world(context)
  const a = service('A')
  assert.equal(await a.findAnswer(key), null)
  const body = await uploadWith(a)
  const replayed = await a.reserve(principal, key)
  assert.deepEqual('answer' in replayed && { ...replayed.answer }, { status: 200, body, file_sha256: 'hash' })
  assert.equal((await a.findAnswer(key))?.body, body)
  assert.equal((await service('B').findAnswer(key))?.body, body, 'in another run of the service too')
  assert.equal((await rows()).assets.length, 1)
})

test('case 48, 49: of fifty at once with one key, in two services, one runs', async (context) => {
  const { service, rows } = await world(context)
  const both = [service('A'), service('B')]
  const settled = await Promise.allSettled(
    Array.from({ length: 50 }, (_, index) => both[index % 2]?.reserve(principal, key)),
  )
  assert.equal(settled.filter((one) => one.status === 'fulfilled').length, 1)
  for (const one of settled)
    if (one.status === 'rejected') assert.ok(isCode('request_in_progress')(one.reason))
  assert.equal((await rows()).assets.length, 1)
})

test('case 51: another workspace, route or key is independent', async (context) => {
  const { service, rows } = await world(context)
  const a = service('A')
  for (const scope of [
    key,
    { ...key, workspace: 'w2' },
    { ...key, route: 'POST /v3/other' },
    { ...key, key: 'K' },
  ])
    await reserve(a, scope)
  assert.equal((await rows()).keys.length, 4)
})

test('case 52: a release leaves nothing and frees the key, at every stage', async (context) => {
  const { service, assertClean, troubles } = await world(context)
  const a = service('A')
  const stages: ((reservation: Reservation) => Promise<void> | undefined)[] = [
    () => undefined,
    ({ writer }) => writer.write(bytes),
    ({ writer }) => writer.write(Buffer.alloc(600 * 1024)),
    async ({ writer }) => {
      writer.write(bytes)
      await writer.store()
    },
  ]
  for (const stage of stages) {
    const reservation = await reserve(a)
    await stage(reservation)
    await reservation.release()
    await assertClean()
  }
  await uploadWith(a)
  assert.deepEqual(troubles, [])
})

test('a release after the commit takes nothing back', async (context) => {
  const { service, filesIn, database, pass } = await world(context)
  const a = service('A')
  const reservation = await reserve(a)
  reservation.writer.write(bytes)
  await reservation.writer.store()
  const body = await reservation.commit(file)
  pass(second)
  await reservation.release()
  assert.notEqual(await findPublicFile(database, reservation.assetId), null)
  assert.equal(filesIn('blobs').length, 1)
  assert.equal((await a.findAnswer(key))?.body, body)
})

test('case 54: a lease that has run out is taken over; the zombie is fenced and nothing is left of it', async (context) => {
  const { service, pass, rows, filesIn, database } = await world(context)
  const a = service('A')
  const b = service('B')
  const zombie = await reserve(a)
  zombie.writer.write(bytes)
  pass(30 * second - 1)
  await assert.rejects(b.reserve(principal, key), isCode('request_in_progress'))
  pass(1)
  assert.equal(await b.findAnswer(key), null)
  const successor = await reserve(b)
  await zombie.writer.store()
  await assert.rejects(zombie.commit(file), isCode('service_unavailable'))
  await zombie.release()
  assert.equal(await findPublicFile(database, zombie.assetId), null)
  assert.deepEqual(
    (await rows()).assets.map((row) => row.asset_id),
    [successor.assetId],
  )
  assert.deepEqual([...filesIn('blobs'), ...filesIn('incoming')], [])
  successor.writer.write(bytes)
  await successor.writer.store()
  const body = await successor.commit(file)
  assert.equal((await a.findAnswer(key))?.body, body)
  assert.equal(filesIn('blobs').length, 1)
})

test('case 54: a zombie that finishes after its successor did neither changes the answer nor adds an asset', async (context) => {
  const { service, pass, rows, filesIn } = await world(context)
  const a = service('A')
  const b = service('B')
  const zombie = await reserve(a)
  pass(31 * second)
  const body = await uploadWith(b)
  zombie.writer.write(bytes)
  await zombie.writer.store()
  await assert.rejects(zombie.commit(file), isCode('service_unavailable'))
  await zombie.release()
  assert.equal((await b.findAnswer(key))?.body, body)
  assert.equal((await rows()).assets.length, 1)
  assert.equal(filesIn('blobs').length, 1)
})

test('case 54: the release of a zombie does not free the key of its successor', async (context) => {
  const { service, pass } = await world(context)
  const a = service('A')
  const b = service('B')
  const zombie = await reserve(a)
  pass(31 * second)
  await reserve(b)
  await zombie.release()
  await assert.rejects(b.findAnswer(key), isCode('request_in_progress'))
})

test('case 54: a new run of the service frees the claims of the one before at once, and removes its bytes', async (context) => {
  const { service, database, blobs, filesIn, assertClean } = await world(context)
  const a = service('A')
  const [stored, unfinished] = [await reserve(a), await reserve(a, null)]
  stored.writer.write(bytes)
  await stored.writer.store()
  unfinished.writer.write(Buffer.alloc(600 * 1024))
  await context.waitFor(() => assert.equal(filesIn('incoming').length, 1), { timeout: 20_000 })
  assert.equal(await sweepAbandoned(database, blobs, heirs('B')), 2)
  await assertClean()
  await unfinished.writer.discard() // a dead process has no open files; this one has
  await uploadWith(service('B'))
  assert.equal(await sweepAbandoned(database, blobs, heirs('B')), 0)
})

test('the sweep of a new run leaves its own uploads and finished ones alone', async (context) => {
  const { service, database, blobs, rows, filesIn } = await world(context)
  const body = await uploadWith(service('A'))
  const b = service('B')
  await reserve(b, { ...key, key: 'running' })
  assert.equal(await sweepAbandoned(database, blobs, heirs('B')), 0)
  assert.equal((await rows()).assets.length, 2)
  assert.equal(filesIn('blobs').length, 1)
  assert.equal((await b.findAnswer(key))?.body, body)
})

test('case 54: a zombie that was swept and then stores its bytes leaves none', async (context) => {
  const { service, database, blobs, assertClean } = await world(context)
  const zombie = await reserve(service('A'))
  await sweepAbandoned(database, blobs, heirs('B'))
  zombie.writer.write(bytes)
  await zombie.writer.store()
  await assert.rejects(zombie.commit(file), isCode('service_unavailable'))
  await zombie.release()
  await assertClean()
})

test('case 54: a zombie whose bytes were swept before they were stored says that, and not that the disk is at fault', async (context) => {
  const { service, database, blobs, rows, filesIn, assertClean, troubles } = await world(context)
  const zombie = await reserve(service('A'))
  zombie.writer.write(Buffer.alloc(600 * 1024))
  await context.waitFor(() => assert.equal(filesIn('incoming').length, 1), { timeout: 20_000 })
  await sweepAbandoned(database, blobs, heirs('B'))
  const disk = await zombie.writer.store().catch((error) => error)
  assert.match(disk.message, /storage cannot be used/)
  const told = await zombie.release(disk)
  assert.ok(told instanceof Fault && told.code === 'service_unavailable')
  assert.match(told.message, /interrupted for longer than its lease/)
  await assertClean()

  const running = await reserve(service('B'))
  assert.equal(await running.release(disk), disk, 'a disk that is at fault is told of as such')
  assert.deepEqual((await rows()).assets, [])
  assert.deepEqual(troubles, [])
})

test('case 53: an answer is replayed for 24 hours from the commit, and not a moment longer', async (context) => {
  const { service, pass, rows } = await world(context)
  const a = service('A')
  const reservation = await reserve(a)
  pass(20 * second)
  reservation.writer.write(bytes)
  await reservation.writer.store()
  const body = await reservation.commit(file)
  pass(24 * hour - 1)
  assert.equal((await a.findAnswer(key))?.body, body)
  const replayed = await a.reserve(principal, key)
  assert.equal('answer' in replayed && replayed.answer.body, body)
  pass(1)
  assert.equal(await a.findAnswer(key), null)
  assert.notEqual(await uploadWith(a), body)
  assert.equal((await rows()).assets.length, 2)
})

test('case 53: expired answers are forgotten by the sweep, others and claims are not', async (context) => {
  const { service, pass, rows, database, clock } = await world(context)
  const a = service('A')
  await uploadWith(a, { ...key, key: 'old' })
  pass(12 * hour)
  await uploadWith(a, { ...key, key: 'young' })
  await reserve(a, { ...key, key: 'running' })
  pass(12 * hour)
  await sweepExpiredKeys(database, clock)
  assert.deepEqual((await rows()).keys.map((row) => row.key).toSorted(), ['running', 'young'])
})

for (const [words, jumpMs] of [
  ['three days on', 72 * hour],
  ['three days back', -72 * hour],
] as const) {
  test(`case 53, 85: the wall clock jumps ${words}: the answer is still replayed for 24 hours of life, and a lease holds`, async (context) => {
    const { service, pass, jump, rows, database, blobs, clock } = await world(context)
    const a = service('A')
    const body = await uploadWith(a, { ...key, key: 'before' })
    const running = await reserve(a)
    running.writer.write(bytes)
    jump(jumpMs)
    await sweepExpiredKeys(database, clock)
    assert.equal(
      await sweepLapsed(database, blobs, heirs('A'), clock),
      0,
      'a running upload is not an old one',
    )
    pass(10 * second)
    await assert.rejects(service('B').reserve(principal, key), isCode('request_in_progress'))
    await running.writer.store()
    const after = await running.commit(file)
    pass(24 * hour - 11 * second)
    await sweepExpiredKeys(database, clock)
    assert.equal((await a.findAnswer({ ...key, key: 'before' }))?.body, body)
    assert.equal((await a.findAnswer(key))?.body, after)
    assert.equal((await rows()).assets.length, 2)
  })
}

test('case 54: what was left alone for longer than its lease is taken back, and can no longer be committed', async (context) => {
  const { service, pass, database, blobs, clock, assertClean } = await world(context)
  const a = service('A')
  const zombie = await reserve(a)
  zombie.writer.write(bytes)
  await zombie.writer.store()
  pass(30 * second - 1)
  assert.equal(await sweepLapsed(database, blobs, heirs('A'), clock), 0)
  pass(1)
  assert.equal(await sweepLapsed(database, blobs, heirs('A'), clock), 1)
  await assertClean()
  await assert.rejects(zombie.commit(file), isCode('service_unavailable'))
  await zombie.release()
  await assertClean()
})

test('case 54: a zombie that wakes up between the removal of its bytes and that of its row cannot commit', async (context) => {
  const { service, database, blobs, assertClean } = await world(context)
  const zombie = await reserve(service('A'))
  zombie.writer.write(bytes)
  await zombie.writer.store()
  const outcomes: string[] = []
  const waking = {
    ...blobs,
    async remove(blobKey: string) {
      await blobs.remove(blobKey)
      await zombie.commit(file).then(
        () => outcomes.push('committed'),
        () => outcomes.push('refused'),
      )
    },
  }
  await sweepAbandoned(database, waking, heirs('B'))
  assert.deepEqual(outcomes, ['refused'])
  await zombie.release()
  await assertClean()
})

test('a running upload keeps its lease for as long as it runs', async (context) => {
  const { service, pass, rows } = await world(context)
  const a = service('A', { leaseSeconds: 0.15 })
  const reservation = await reserve(a)
  for (let times = 0; times < 5; times++) {
    pass(100)
    await new Promise((resolve) => setTimeout(resolve, 90)) // longer than a third of the lease, when it is renewed
  }
  await assert.rejects(service('B').reserve(principal, key), isCode('request_in_progress'))
  reservation.writer.write(bytes)
  await reservation.writer.store()
  await reservation.commit(file)
  assert.equal((await rows()).assets.length, 1)
})

test('after close no lease is renewed', async (context) => {
  const { service, pass, opened } = await world(context)
  const a = service('A', { leaseSeconds: 0.15 })
  await reserve(a)
  for (const leases of opened) leases.close()
  pass(200)
  await new Promise((resolve) => setTimeout(resolve, 150))
  await reserve(service('B'))
})

/** A database that fails from the moment it is told to; what was written before stays. */
function failingWhenTold(database: Database) {
  const state = { mode: 'works' as 'works' | 'fails' | 'writes and fails' }
  const fault = (): Fault => new Fault('service_unavailable', 'x', { retryAfterSeconds: 5 })
  const failing: Database = {
    ...database,
    async write(batch) {
      if (state.mode === 'fails') throw fault()
      const outcome = await database.write(batch)
      if (state.mode === 'writes and fails') throw fault()
      return outcome
    },
  }
  return { failing, state }
}

test('a reservation that cannot be written is service_unavailable', async (context) => {
  const { service, database, assertClean } = await world(context)
  const { failing, state } = failingWhenTold(database)
  const a = service('A', { database: failing })
  state.mode = 'fails'
  await assert.rejects(a.reserve(principal, key), isCode('service_unavailable'))
  await assertClean()
})

test('case 69: a commit that fails leaves nothing once it is released, and the key is free', async (context) => {
  const { service, database, assertClean } = await world(context)
  const { failing, state } = failingWhenTold(database)
  const reservation = await reserve(service('A', { database: failing }))
  reservation.writer.write(bytes)
  await reservation.writer.store()
  state.mode = 'fails'
  await assert.rejects(reservation.commit(file), isCode('service_unavailable'))
  state.mode = 'works'
  await reservation.release()
  await assertClean()
})

test('case 63: a commit that was written although it seemed to fail is kept, bytes and answer, and replays', async (context) => {
  const { service, database, filesIn } = await world(context)
  const { failing, state } = failingWhenTold(database)
  const a = service('A', { database: failing })
  const reservation = await reserve(a)
  reservation.writer.write(bytes)
  await reservation.writer.store()
  state.mode = 'writes and fails'
  await assert.rejects(reservation.commit(file), isCode('service_unavailable'))
  state.mode = 'works'
  await reservation.release()
  assert.notEqual(await findPublicFile(database, reservation.assetId), null)
  assert.equal(filesIn('blobs').length, 1)
  assert.ok((await a.findAnswer(key))?.body.includes(reservation.assetId))
})

test('a release that cannot be written is told to the operator, never thrown, and swept by the next run', async (context) => {
  const { service, database, blobs, troubles, assertClean } = await world(context)
  const { failing, state } = failingWhenTold(database)
  const reservation = await reserve(service('A', { database: failing }))
  reservation.writer.write(bytes)
  await reservation.writer.store()
  state.mode = 'fails'
  await reservation.release()
  assert.deepEqual(troubles, ['an upload could not be taken back yet'])
  assert.equal(await sweepAbandoned(database, blobs, heirs('B')), 1)
  await assertClean()
})

test('case 69: a release that could not be written is made up for once it can be, and the key is free', async (context) => {
  const { service, database, rows, filesIn } = await world(context)
  const { failing, state } = failingWhenTold(database)
  const a = service('A', { database: failing })
  const reservation = await reserve(a)
  reservation.writer.write(bytes)
  await reservation.writer.store()
  state.mode = 'fails'
  await assert.rejects(reservation.commit(file), isCode('service_unavailable'))
  await reservation.release()
  assert.equal((await rows()).assets.length, 1, 'not yet')
  state.mode = 'works'
  for (let tries = 0; (await rows()).assets.length > 0 && tries < 400; tries++) {
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
  assert.deepEqual([...(await rows()).assets, ...(await rows()).keys, ...filesIn('blobs')], [])
  await uploadWith(a)
})

const noProc = process.platform === 'linux' ? false : 'open files are seen in /proc, which Linux alone has'

/** Open files below a folder. */
function openFilesIn(dir: string): string[] {
  return readdirSync('/proc/self/fd').flatMap((fd) => {
    try {
      const target = readlinkSync(`/proc/self/fd/${fd}`)
      return target.startsWith(join(dir, 'incoming')) ? [target] : []
    } catch {
      return [] // the folder's own descriptor, gone by now
    }
  })
}

test('case 73: a release that cannot be written leaves no file open: Node.js ends a process that forgets one', {
  skip: noProc,
}, async (context) => {
  const { dir, service, database, blobs, filesIn, assertClean } = await world(context)
  const { failing, state } = failingWhenTold(database)
  const reservation = await reserve(service('A', { database: failing }))
  context.after(() => reservation.writer.discard())
  reservation.writer.write(Buffer.alloc(600 * 1024))
  await context.waitFor(() => assert.equal(openFilesIn(dir).length, 1), { timeout: 20_000 })
  state.mode = 'fails'
  // Case 69: the disk is full, and the database is on it: what was written has to go first, or nothing ever can.
  const full = storageFault(new Error('ENOSPC'))
  assert.equal(await reservation.release(full), full)
  assert.deepEqual(openFilesIn(dir), [])
  assert.deepEqual(filesIn('incoming'), [], 'no commit was tried, so nothing can need the bytes')
  assert.equal(await sweepAbandoned(database, blobs, heirs('B')), 1)
  await assertClean()
})

test('case 62: a release takes the bytes before the row that names them, so that a crash between leaves none unnamed', async (context) => {
  const { service, database, filesIn } = await world(context)
  const seen: string[][] = []
  const watched: Database = {
    ...database,
    write(batch) {
      seen.push([...filesIn('incoming'), ...filesIn('blobs')])
      return database.write(batch)
    },
  }
  const reservation = await reserve(service('A', { database: watched }))
  reservation.writer.write(bytes)
  await reservation.writer.store()
  await reservation.release()
  assert.deepEqual(seen.at(-1), [])
})

test('case 62: a commit that failed and is carried out after all, while its bytes are removed, comes to nothing', async (context) => {
  const { service, database, blobs, assertClean } = await world(context)
  let late: Parameters<Database['write']>[0] | null = null
  const slow: Database = {
    ...database,
    async write(batch) {
      if (!batch.some(({ query }) => query.parameters.includes('completed'))) return database.write(batch)
      late = batch
      throw new Fault('service_unavailable', 'x', { retryAfterSeconds: 5 })
    },
  }
  const waking: Blobs = {
    ...blobs,
    create(blobKey) {
      const writer = blobs.create(blobKey)
      return {
        ...writer,
        async discard() {
          assert.ok(late !== null)
          assert.equal((await database.write(late)).written, false)
          await writer.discard()
        },
      }
    },
  }
  const reservation = await reserve(service('A', { database: slow, blobs: waking }))
  reservation.writer.write(bytes)
  await reservation.writer.store()
  await assert.rejects(reservation.commit(file), isCode('service_unavailable'))
  await reservation.release()
  await assertClean()
})

test('case 70: bytes that can never be removed keep their row, and hold no other release up', async (context) => {
  const { service, database, blobs, rows, filesIn, pass, clock } = await world(context)
  const { failing, state } = failingWhenTold(database)
  const stuck = new Set<string>()
  const broken = (): Fault => new Fault('service_unavailable', 'x', { retryAfterSeconds: 5 })
  const partly: Blobs = {
    ...blobs,
    create(blobKey) {
      if (stuck.size > 0) return blobs.create(blobKey)
      stuck.add(blobKey)
      return { ...blobs.create(blobKey), discard: () => Promise.reject(broken()) }
    },
    remove: (blobKey) => (stuck.has(blobKey) ? Promise.reject(broken()) : blobs.remove(blobKey)),
  }
  const a = service('A', { database: failing, blobs: partly })
  const both = [await reserve(a), await reserve(a, { ...key, key: 'other' })]
  for (const { writer } of both) {
    writer.write(bytes)
    await writer.store()
  }
  state.mode = 'fails'
  for (const one of both) await one.release()
  state.mode = 'works'
  for (let tries = 0; (await rows()).assets.length > 1 && tries < 400; tries++) {
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
  assert.deepEqual(
    (await rows()).assets.map((row) => row.asset_id),
    [both[0]?.assetId],
  )
  assert.deepEqual(filesIn('blobs'), [...stuck])
  // The sweeps go on beside it too, and say so: at a start, and later on.
  await reserve(a, { ...key, key: 'third' })
  assert.equal(await sweepAbandoned(database, partly, heirs('B')), 1)
  await reserve(service('C'), { ...key, key: 'fourth' })
  pass(31 * second)
  await assert.rejects(sweepLapsed(database, partly, heirs('B'), clock), isCode('service_unavailable'))
  assert.equal((await rows()).assets.length, 1)
  assert.deepEqual(filesIn('blobs'), [...stuck])
})
