/**
 * Cases 47 to 54: the state machine behind every upload, on a real database and a real folder, against a model that is
 * two maps and a clock. Commands come in any order, from processes that die, sleep, wake up late and are started again.
 */
import assert from 'node:assert/strict'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import fc from 'fast-check'
import { createDiskBlobs } from '../../src/adapters/disk-blobs.ts'
import { openSqlite } from '../../src/adapters/sqlite.ts'
import { createKeyClaims } from '../../src/assets/key-claims.ts'
import { createLeases, type Leases } from '../../src/assets/leases.ts'
import { createReservations, type Reservation, type Reservations } from '../../src/assets/reservations.ts'
import { sweepAbandoned, sweepExpiredKeys, sweepLapsed } from '../../src/assets/sweep.ts'
import { Fault } from '../../src/errors.ts'
import { step } from '../../src/records/database.ts'
import type { KeyScope } from '../../src/records/idempotency-keys.ts'
import { isShort } from '../form.ts'

const numRuns = isShort ? 80 : 600
const second = 1_000
const hour = 3_600 * second
const leaseSeconds = 30

const scopes: (KeyScope | null)[] = [
  null,
  { workspace: 'ours', route: 'POST /v3/assets', key: 'k' },
  { workspace: 'theirs', route: 'POST /v3/assets', key: 'k' },
  { workspace: 'ours', route: 'POST /v3/assets/direct-uploads', key: 'k' },
  { workspace: 'ours', route: 'POST /v3/assets', key: 'l' },
]
const nameOf = (scope: KeyScope): string => Object.values(scope).join(' ')

// The model

/** One upload. Its place in the list is its name in both worlds. */
type Upload = {
  scope: KeyScope | null
  /** Which process runs it; null once that process is gone, and the upload a zombie. */
  process: number | null
  leaseUntilMs: number
  /** The row is still there and still its own. */
  isOwner: boolean
  step: 'begun' | 'stored' | 'over'
  /** What it was answered with. */
  body: string | null
}
type Key = { holder: number; leaseUntilMs: number } | { body: string; until: number }
type Model = { steadyMs: number; wallMs: number; uploads: Upload[]; keys: Map<string, Key> }

// The real thing

type Process = { id: string; leases: Leases; reservations: Reservations }
type Real = {
  dir: string
  database: Awaited<ReturnType<typeof openSqlite>>
  blobs: Awaited<ReturnType<typeof createDiskBlobs>>
  clock: { steadyMs(): number; wallMs(): number }
  processes: [Process, Process]
  uploads: Reservation[]
  start(): Process
  troubles: unknown[]
}

const startMs = 1_700_000_000_000

/** One folder and one database for all runs, for opening them takes longer than a run; each run begins with nothing. */
async function openWorld() {
  const dir = mkdtempSync(join(tmpdir(), 'assetd-model-'))
  const database = await openSqlite(join(dir, 'assetd.sqlite'))
  const blobs = await createDiskBlobs(dir)
  let runs = 0
  let current: { model: Model; real: Real } | null = null
  const end = async (): Promise<void> => {
    for (const { leases } of current?.real.processes ?? []) leases.close()
    for (const { writer } of current?.real.uploads ?? []) await writer.discard()
    for (const { blob_key } of await database.read(database.build.selectFrom('assets').select('blob_key')))
      await blobs.remove(blob_key)
    const tables = ['assets', 'idempotency_keys'] as const
    await database.write(tables.map((table) => step(database.build.deleteFrom(table))))
  }
  return {
    async begin(): Promise<{ model: Model; real: Real }> {
      await end()
      const model: Model = { steadyMs: startMs, wallMs: startMs, uploads: [], keys: new Map() }
      const clock = { steadyMs: () => model.steadyMs, wallMs: () => model.wallMs }
      const troubles: unknown[] = []
      const start = (): Process => {
        const serviceId = `run ${++runs}`
        const onTrouble = (message: string, error: unknown): void => void troubles.push(message, error)
        const filesUrl = (): string => 'https://media.example.com'
        const leases = createLeases({ database, clock, serviceId, leaseSeconds, onTrouble })
        const claims = createKeyClaims({ database, clock, leases, onTrouble })
        const reservations = createReservations({
          database,
          blobs,
          clock,
          leases,
          claims,
          filesUrl,
          onTrouble,
        })
        return { id: serviceId, leases, reservations }
      }
      const real: Real = {
        dir,
        database,
        blobs,
        clock,
        processes: [start(), start()],
        uploads: [],
        start,
        troubles,
      }
      current = { model, real }
      return current
    },
    async close(): Promise<void> {
      await end()
      await database.close()
      rmSync(dir, { recursive: true })
    },
  }
}

const bytesOf = (upload: number): Buffer => Buffer.from(`the bytes of upload ${upload}`)
const factsOf = (upload: number) => {
  const sizeBytes = bytesOf(upload).length
  return { type: 'png' as const, width: 1, height: 1, name: null, sizeBytes, sha256: `hash ${upload}` }
}
const isLapsed = ({ leaseUntilMs }: { leaseUntilMs: number }, model: Model): boolean =>
  leaseUntilMs <= model.steadyMs
const isExpired = (until: number, model: Model): boolean => until <= Math.min(model.steadyMs, model.wallMs)

async function codeOf(work: Promise<unknown>): Promise<string> {
  try {
    await work
    return 'done'
  } catch (error) {
    assert.ok(error instanceof Fault, `not a Fault: ${error}`)
    assert.ok((error.retryAfterSeconds ?? 0) >= 1, 'says when to come again')
    return error.code
  }
}

/** How often what matters came about: a run in which it did not proves nothing. */
const seen = { committed: 0, fenced: 0, replayed: 0, waiting: 0, takenOver: 0, expired: 0 }

// What is asked of both

/** What a key says to who comes with it: an answer, `wait`, or null where it is free. */
function stateOf(model: Model, scope: KeyScope): { body: string } | 'wait' | null {
  const key = model.keys.get(nameOf(scope))
  if (key === undefined) return null
  if ('body' in key) return isExpired(key.until, model) ? null : { body: key.body }
  return isLapsed(key, model) ? null : 'wait'
}

async function reserve(model: Model, real: Real, at: number, scope: KeyScope | null): Promise<void> {
  const { reservations } = real.processes[at] as Process
  const principal = { workspace: scope?.workspace ?? 'ours', owner: 'o', scopes: new Set<never>() }
  const expected = scope === null ? null : stateOf(model, scope)
  if (expected === 'wait') {
    assert.equal(await codeOf(reservations.reserve(principal, scope)), 'request_in_progress')
    seen.waiting++
    return
  }
  const reserved = await reservations.reserve(principal, scope)
  if (expected !== null) {
    assert.ok('answer' in reserved, 'it has an answer already, and was reserved again')
    assert.equal(reserved.answer.body, expected.body)
    seen.replayed++
    return
  }
  assert.ok('writer' in reserved, 'it is free, and was answered')
  const leaseUntilMs = model.steadyMs + leaseSeconds * second
  model.uploads.push({ scope, process: at, leaseUntilMs, isOwner: true, step: 'begun', body: null })
  const before = scope === null ? undefined : model.keys.get(nameOf(scope))
  if (before !== undefined) seen['body' in before ? 'expired' : 'takenOver']++
  if (scope !== null) model.keys.set(nameOf(scope), { holder: model.uploads.length - 1, leaseUntilMs })
  real.uploads.push(reserved)
}

/** Where this upload may still commit: its row is its own, and so is its key. */
function mayCommit(model: Model, index: number): boolean {
  const { scope, isOwner } = model.uploads[index] as Upload
  const key = scope === null ? null : model.keys.get(nameOf(scope))
  return isOwner && (key === null || (key !== undefined && 'holder' in key && key.holder === index))
}

async function release(model: Model, real: Real, index: number): Promise<void> {
  const upload = model.uploads[index] as Upload
  await real.uploads[index]?.release()
  if (upload.scope !== null && mayCommit(model, index)) model.keys.delete(nameOf(upload.scope))
  upload.isOwner = false
  upload.step = 'over'
}

async function store(model: Model, real: Real, index: number): Promise<void> {
  const upload = model.uploads[index] as Upload
  const writer = real.uploads[index]?.writer
  await writer?.write(bytesOf(index))
  const code = await codeOf(writer?.store() ?? Promise.resolve())
  // A zombie's file may have been swept from under it.
  if (code === 'done') upload.step = 'stored'
  else {
    assert.ok(!upload.isOwner, `an owner could not store: ${code}`)
    await release(model, real, index)
  }
}

async function commit(model: Model, real: Real, index: number): Promise<void> {
  const upload = model.uploads[index] as Upload
  const reservation = real.uploads[index] as Reservation
  if (!mayCommit(model, index)) {
    assert.equal(
      await codeOf(reservation.commit(factsOf(index))),
      'service_unavailable',
      'a zombie committed',
    )
    seen.fenced++
    return release(model, real, index)
  }
  upload.body = await reservation.commit(factsOf(index))
  upload.step = 'over'
  seen.committed++
  const until = Math.max(model.steadyMs, model.wallMs) + 24 * hour
  if (upload.scope !== null) model.keys.set(nameOf(upload.scope), { body: upload.body, until })
}

async function renew(model: Model, real: Real, at: number): Promise<void> {
  await real.processes[at]?.leases.renew()
  const leaseUntilMs = model.steadyMs + leaseSeconds * second
  for (const [index, upload] of model.uploads.entries()) {
    if (upload.process !== at || upload.step === 'over') continue
    const key = upload.scope === null ? undefined : model.keys.get(nameOf(upload.scope))
    if (upload.isOwner) upload.leaseUntilMs = leaseUntilMs
    if (key !== undefined && 'holder' in key && key.holder === index) key.leaseUntilMs = leaseUntilMs
  }
}

/** Rows and claims of which this is true are taken back. */
function takeBack(model: Model, isLost: (of: { leaseUntilMs: number }) => boolean): void {
  for (const upload of model.uploads) if (upload.step !== 'over' && isLost(upload)) upload.isOwner = false
  for (const [name, key] of model.keys) if ('holder' in key && isLost(key)) model.keys.delete(name)
}

async function sweep(model: Model, real: Real, at: number): Promise<void> {
  const { id } = real.processes[at] as Process
  await sweepLapsed(real.database, real.blobs, { serviceId: id, untilMs: () => 0 }, real.clock)
  takeBack(model, (one) => isLapsed(one, model))
}

/** One process dies without a word, and another takes its place, without the lock of the folder. */
function die(model: Model, real: Real, at: 0 | 1): void {
  real.processes[at].leases.close()
  for (const upload of model.uploads) if (upload.process === at) upload.process = null
  real.processes[at] = real.start()
}

/** The whole service is started again: whoever ran before is over, or may no longer commit. */
async function restart(model: Model, real: Real): Promise<void> {
  die(model, real, 0)
  die(model, real, 1)
  await sweepAbandoned(real.database, real.blobs, { serviceId: real.processes[0].id, untilMs: () => 0 })
  takeBack(model, () => true)
}

async function forget(model: Model, real: Real): Promise<void> {
  await sweepExpiredKeys(real.database, real.clock)
  for (const [name, key] of model.keys)
    if ('body' in key && isExpired(key.until, model)) model.keys.delete(name)
}

async function ask(model: Model, real: Real, at: number, scope: KeyScope): Promise<void> {
  const { reservations } = real.processes[at] as Process
  const expected = stateOf(model, scope)
  if (expected === 'wait') assert.equal(await codeOf(reservations.findAnswer(scope)), 'request_in_progress')
  else assert.equal((await reservations.findAnswer(scope))?.body, expected?.body)
}

// What must be true after each of them

const filesIn = (dir: string, name: string): string[] =>
  readdirSync(join(dir, name), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => entry.name)

async function compare(model: Model, real: Real): Promise<void> {
  const rows = await real.database.read(real.database.build.selectFrom('assets').selectAll())
  const idOf = (index: number): string => (real.uploads[index] as Reservation).assetId
  const expected = model.uploads.flatMap((upload, index) =>
    upload.body !== null
      ? [`${idOf(index)} completed`]
      : upload.isOwner && upload.step !== 'over'
        ? [`${idOf(index)} pending`]
        : [],
  )
  assert.deepEqual(rows.map((row) => `${row.asset_id} ${row.state}`).toSorted(), expected.toSorted())
  const blobs = new Set(filesIn(real.dir, 'blobs'))
  for (const row of rows.filter(({ state }) => state === 'completed')) {
    const index = model.uploads.findIndex((_, at) => idOf(at) === row.asset_id)
    const { scope, body } = model.uploads[index] as Upload
    assert.equal(JSON.parse(body ?? '').data.asset_id, row.asset_id)
    assert.equal(row.workspace, scope?.workspace ?? 'ours', 'an asset is of the workspace that asked for it')
    assert.ok(blobs.has(row.blob_key), 'a completed asset has no bytes')
    const path = join(real.dir, 'blobs', row.blob_key.slice(0, 2), row.blob_key)
    assert.deepEqual(readFileSync(path), bytesOf(index))
  }
  assert.deepEqual(real.troubles, [])
}

/** Everybody goes home: then nothing is left but what was answered with a 200, and its answers. */
async function clean(model: Model, real: Real): Promise<void> {
  await restart(model, real)
  for (const [index, { step }] of model.uploads.entries())
    if (step !== 'over') await release(model, real, index)
  await compare(model, real)
  const { build } = real.database
  const assets = await real.database.read(build.selectFrom('assets').select(['blob_key', 'state']))
  assert.deepEqual(filesIn(real.dir, 'blobs').toSorted(), assets.map(({ blob_key }) => blob_key).toSorted())
  assert.deepEqual(filesIn(real.dir, 'incoming'), [])
  const keys = await real.database.read(build.selectFrom('idempotency_keys').select(['body', 'workspace']))
  assert.deepEqual(
    keys.map(({ body }) => body).toSorted(),
    [...model.keys.values()].map((key) => ('body' in key ? key.body : 'claimed')).toSorted(),
  )
}

// Commands

type Command = fc.AsyncCommand<Model, Real>

function command(
  name: string,
  run: (model: Model, real: Real) => unknown,
  check: (model: Model) => boolean = () => true,
): Command {
  return {
    check,
    async run(model, real) {
      await run(model, real)
      await compare(model, real)
    },
    toString: () => name,
  }
}

/** A command for one of the uploads that are not over: the `pick`-th of them, going round. */
function ofOpen(
  name: string,
  pick: number,
  fits: (upload: Upload) => boolean,
  run: (model: Model, real: Real, index: number) => Promise<void>,
): Command {
  const open = (model: Model): number[] =>
    model.uploads.flatMap((upload, index) => (upload.step !== 'over' && fits(upload) ? [index] : []))
  return command(
    `${name} ${pick}`,
    (model, real) => {
      const among = open(model)
      return run(model, real, among[pick % among.length] as number)
    },
    (model) => open(model).length > 0,
  )
}

const process = fc.constantFrom(0 as const, 1 as const)
const pick = fc.nat(6)
const begin = fc
  .tuple(process, fc.constantFrom(...scopes))
  .map(([at, scope]) =>
    command(`reserve ${at} ${scope?.key}@${scope?.workspace}`, (model, real) =>
      reserve(model, real, at, scope),
    ),
  )
/** An ordinary upload, from its beginning to its answer. */
const whole = fc.tuple(process, fc.constantFrom(...scopes)).map(([at, scope]) =>
  command(`upload ${at} ${scope?.key}@${scope?.workspace}`, async (model, real) => {
    const before = model.uploads.length
    await reserve(model, real, at, scope)
    if (model.uploads.length === before) return
    await store(model, real, before)
    await commit(model, real, before)
  }),
)
const storing = pick.map((one) => ofOpen('store', one, ({ step }) => step === 'begun', store))
const committing = pick.map((one) => ofOpen('commit', one, ({ step }) => step === 'stored', commit))

/** How often each kind comes, beside the others. */
const often = (times: number, arbitrary: fc.Arbitrary<Command>): fc.Arbitrary<Command>[] =>
  Array.from({ length: times }, () => arbitrary)

const commands: fc.Arbitrary<Command>[] = [
  ...often(3, whole),
  ...often(6, begin),
  ...often(5, storing),
  ...often(5, committing),
  pick.map((one) => ofOpen('release', one, () => true, release)),
  process.map((at) => command(`renew ${at}`, (model, real) => renew(model, real, at))),
  process.map((at) => command(`sweep ${at}`, (model, real) => sweep(model, real, at))),
  process.map((at) => command(`die ${at}`, (model, real) => die(model, real, at))),
  fc.constant(command('restart', restart)),
  fc.constant(command('forget', forget)),
  fc
    .tuple(process, fc.constantFrom(...scopes.filter((scope) => scope !== null)))
    .map(([at, scope]) =>
      command(`ask ${at} ${scope.key}@${scope.workspace}`, (model, real) => ask(model, real, at, scope)),
    ),
  fc
    .constantFrom(second, 30 * second - 1, 30 * second, 31 * second, 12 * hour, 24 * hour - 1, 24 * hour)
    .map((ms) =>
      command(`pass ${ms}`, (model) => {
        model.steadyMs += ms
        model.wallMs += ms
      }),
    ),
  fc.constantFrom(-72 * hour, -hour, hour, 72 * hour).map((ms) =>
    command(`set the date by ${ms}`, (model) => {
      model.wallMs += ms
    }),
  ),
]

test('cases 47–54: whatever comes in whatever order: one asset a key, one answer, and nothing left', async (context) => {
  const world = await openWorld()
  try {
    await fc.assert(
      fc.asyncProperty(fc.commands(commands, { maxCommands: 60, size: 'max' }), async (some) => {
        const { model, real } = await world.begin()
        await fc.asyncModelRun(() => ({ model, real }), some)
        await clean(model, real)
      }),
      { numRuns },
    )
  } finally {
    await world.close()
  }
  context.diagnostic(JSON.stringify(seen))
  for (const [what, times] of Object.entries(seen)) assert.ok(times > 0, `never ${what}`)
})
