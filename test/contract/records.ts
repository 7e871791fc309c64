/** The queries of `src/records`, each against what it promises: what every implementation of the database must prove. */
import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import type { AssetType } from '../../src/asset.ts'
import type { Clock } from '../../src/clock.ts'
import * as apiKeys from '../../src/records/api-keys.ts'
import * as assets from '../../src/records/assets.ts'
import type { Database, Outcome, Step } from '../../src/records/database.ts'
import type { Holder } from '../../src/records/direct-uploads.ts'
import * as keys from '../../src/records/idempotency-keys.ts'
import * as library from '../../src/records/library.ts'
import { findTokenIssuer, insertTokenIssuer } from '../../src/records/token-issuer.ts'
import { type Engine, idsIn, keyRow, opened } from './database.ts'

const written: Outcome = { written: true }
const refused = (failedStep: number): Outcome => ({ written: false, failedStep })

export type Run = (...steps: Step[]) => Promise<Outcome>
export type Body = (world: {
  database: Database
  run: Run
  /** Another copy of the service on the same records. */
  another(): Promise<Database>
}) => Promise<void>

/** Names tests after the engine, and gives each a database of its own. */
export function testsOf(engine: Engine): (what: string, body: Body) => void {
  return (what, body) => {
    test(`${engine.name}: ${what}`, async (context: TestContext) => {
      const place = await engine.place(context)
      const database = await opened(context, place)
      const run: Run = (...steps) => database.write(steps)
      await body({ database, run, another: () => opened(context, place) })
    })
  }
}

type Given = Partial<assets.PendingAsset>

export function pending(asset_id: string, given: Given = {}): assets.PendingAsset {
  return {
    asset_id,
    workspace: 'w',
    owner: 'o',
    token: `t-${asset_id}`,
    service_id: 's1',
    blob_key: `b-${asset_id}`,
    created_at_ms: 1_000,
    lease_expires_at_ms: 2_000,
    ...given,
  }
}

/** Who takes over, until 50,000. */
function heir(token: string, serviceId: string): Holder {
  return { token, serviceId, leaseExpiresAtMs: 50_000 }
}

function facts(given: Partial<assets.CompletedFacts> = {}): assets.CompletedFacts {
  const size = { width: 4, height: 3, sizeBytes: 5_000_000_000 }
  return { type: 'png', name: 'a.png', sha256: 'h', completedAtMs: 5_000, ...size, ...given }
}

/** Reserves and completes. */
async function complete(
  database: Database,
  asset_id: string,
  about: Given & { type?: AssetType; name?: string | null; completedAtMs?: number } = {},
): Promise<void> {
  const { type = 'png', name = null, completedAtMs = 5_000, ...given } = about
  const row = pending(asset_id, given)
  const outcome = await database.write([
    assets.insertPending(database, row),
    assets.completePending(database, asset_id, row.token, facts({ type, name, completedAtMs })),
  ])
  assert.deepEqual(outcome, written)
}

export function recordsContract(engine: Engine): void {
  const it = testsOf(engine)
  assetTests(it)
  libraryTests(it)
  searchTests(it)
  keyTests(it)
  otherTests(it)
}

type It = ReturnType<typeof testsOf>

function assetTests(it: It): void {
  it('a reservation is seen by nobody until it is completed, then by its facts', async ({
    database,
    run,
  }) => {
    await run(assets.insertPending(database, pending('a')))
    assert.equal(await assets.findPublicFile(database, 'a'), null)
    assert.equal(await library.findAsset(database, 'w', 'a'), null)
    assert.equal(await assets.countCompleted(database), 0)
    assert.deepEqual(await run(assets.completePending(database, 'a', 't-a', facts())), written)
    assert.deepEqual(
      { ...(await assets.findPublicFile(database, 'a')) },
      {
        blob_key: 'b-a',
        media_type: 'png',
        size_bytes: 5_000_000_000,
        sha256: 'h',
        completed_at_ms: 5_000,
        damaged_at_ms: null,
      },
    )
    assert.equal(await assets.countCompleted(database), 1)
    assert.equal(await library.findAsset(database, 'other', 'a'), null)
    assert.equal((await library.findAsset(database, 'w', 'a'))?.name, 'a.png')
  })

  it('fencing: only the token that holds a reservation commits, renews or releases it', async ({
    database,
    run,
  }) => {
    await run(assets.insertPending(database, pending('a')))
    assert.deepEqual(await run(assets.completePending(database, 'a', 'not it', facts())), refused(0))
    await run(
      assets.deletePending(database, 'a', 'not it'),
      assets.renewPending(database, 'a', 'not it', 9_000),
    )
    const lapsed = heir('heir', 's2')
    assert.deepEqual(await run(assets.takeOverLapsed(database, lapsed, 1_999, 500)), written)
    assert.deepEqual(await assets.findPendingOf(database, 'heir'), [])
    await run(assets.takeOverLapsed(database, lapsed, 2_000, 500))
    assert.deepEqual(
      (await assets.findPendingOf(database, 'heir')).map((row) => ({ ...row })),
      [{ asset_id: 'a', blob_key: 'b-a' }],
    )
    assert.deepEqual(await run(assets.completePending(database, 'a', 't-a', facts())), refused(0))
    await run(assets.deletePending(database, 'a', 'heir'))
    assert.deepEqual(await assets.findPendingOf(database, 'heir'), [])
  })

  it('who takes over has a lease too: of two at once each row goes to one, some at a time', async ({
    database,
    run,
    another,
  }) => {
    const second = await another()
    const ids = Array.from({ length: 30 }, (_, index) => `a${index}`)
    await run(...ids.map((id) => assets.insertPending(database, pending(id))))
    const first = assets.takeOverLapsed(database, heir('h1', 's1'), 2_000, 20)
    const other = assets.takeOverLapsed(second, heir('h2', 's2'), 2_000, 20)
    await Promise.all([run(first), second.write([other])])
    const of = async (token: string) =>
      (await assets.findPendingOf(database, token)).map((row) => row.asset_id)
    const [one, two] = [await of('h1'), await of('h2')]
    assert.ok(one.length <= 20 && two.length <= 20)
    assert.equal(new Set([...one, ...two]).size, one.length + two.length)
    await run(assets.takeOverLapsed(database, heir('h1', 's1'), 2_000, 500))
    assert.equal((await of('h1')).length + (await of('h2')).length, 30)
    await run(assets.takeOverLapsed(database, heir('h3', 's3'), 49_999, 500))
    assert.deepEqual(await of('h3'), [])
    await run(assets.takeOverLapsed(database, heir('h3', 's3'), 50_000, 500))
    assert.equal((await of('h3')).length, 30)
  })

  it('a lease that was renewed is not lapsed', async ({ database, run }) => {
    await run(assets.insertPending(database, pending('a')))
    await run(assets.renewPending(database, 'a', 't-a', 9_000))
    await run(assets.takeOverLapsed(database, heir('heir', 's2'), 8_999, 500))
    assert.equal((await assets.findPendingOf(database, 't-a')).length, 1)
  })

  it('what is taken over: of other runs, or of a time, never what is completed', async ({
    database,
    run,
  }) => {
    await complete(database, 'done', { service_id: 'gone' })
    await run(
      assets.insertPending(database, pending('theirs', { service_id: 'gone' })),
      assets.insertPending(database, pending('ours', { created_at_ms: 3_000 })),
    )
    await run(assets.takeOverAbandoned(database, heir('h1', 's1')))
    const of = async (token: string) =>
      (await assets.findPendingOf(database, token)).map((row) => row.asset_id)
    assert.deepEqual(await of('h1'), ['theirs'])
    await run(assets.takeOverOlder(database, heir('h2', 's1'), 2_999))
    assert.deepEqual([await of('h1'), await of('h2'), await of('t-ours')], [[], ['theirs'], ['ours']])
    await run(assets.takeOverOlder(database, heir('h3', 's1'), 3_000))
    assert.deepEqual((await of('h3')).toSorted(), ['ours', 'theirs'])
    assert.equal(await assets.countCompleted(database), 1)
    await run(assets.deleteAllPending(database))
    assert.deepEqual([await of('h3'), await assets.countCompleted(database)], [[], 1])
  })

  it('a commit that is fenced comes to nothing, and may be fenced again', async ({ database, run }) => {
    await run(assets.insertPending(database, pending('a')))
    const fence = assets.fencePending(database, 'a', 't-a', 'f')
    assert.deepEqual([await run(fence), await run(fence)], [written, written])
    assert.deepEqual(await run(assets.completePending(database, 'a', 't-a', facts())), refused(0))
    assert.deepEqual(await run(assets.completePending(database, 'a', 'f', facts())), written)
    assert.deepEqual(await run(fence), refused(0))
  })

  it('of a commit and a take-over at once, one has the reservation', async ({ database, run, another }) => {
    const second = await another()
    const ids = Array.from({ length: 40 }, (_, index) => `a${index}`)
    await run(...ids.map((id) => assets.insertPending(database, pending(id))))
    const commits = ids.map((id) => run(assets.completePending(database, id, `t-${id}`, facts())))
    const takeOver = second.write([assets.takeOverLapsed(second, heir('heir', 's2'), 2_000, 500)])
    const won = (await Promise.all(commits)).filter((outcome) => outcome.written).length
    await takeOver
    const taken = await assets.findPendingOf(database, 'heir')
    assert.equal(won + taken.length, ids.length)
    assert.equal(await assets.countCompleted(database), won)
  })

  it('two reservations never share an id or a blob', async ({ database, run }) => {
    await run(assets.insertPending(database, pending('a')))
    await assert.rejects(run(assets.insertPending(database, pending('a', { blob_key: 'x' }))))
    await assert.rejects(run(assets.insertPending(database, pending('c', { blob_key: 'b-a' }))))
  })

  it('blobs are owned by assets in any state; pages of the completed go through all', async ({
    database,
    run,
  }) => {
    const ids = Array.from({ length: 1_100 }, (_, index) => `a${String(index).padStart(4, '0')}`)
    await run(
      assets.insertPending(database, pending('pending')),
      ...ids.flatMap((id) => [
        assets.insertPending(database, pending(id)),
        assets.completePending(database, id, `t-${id}`, facts()),
      ]),
    )
    const blobs = [...ids.map((id) => `b-${id}`), 'b-pending', 'nobody']
    const owned = await assets.findOwnedBlobs(database, blobs)
    assert.deepEqual([owned.size, owned.has('b-pending'), owned.has('nobody')], [1_101, true, false])
    assert.equal((await assets.findOwnedBlobs(database, [])).size, 0)
    const seen: string[] = []
    for await (const page of assets.pagesOfCompleted(database)) seen.push(...page.map((row) => row.asset_id))
    assert.deepEqual(seen, ids)
  })

  it('damage is written down and taken back', async ({ database, run }) => {
    await complete(database, 'a')
    await run(assets.markDamaged(database, 'a', 7_000))
    assert.equal((await assets.findPublicFile(database, 'a'))?.damaged_at_ms, 7_000)
    await run(assets.markDamaged(database, 'a', null))
    assert.equal((await assets.findPublicFile(database, 'a'))?.damaged_at_ms, null)
  })
}

function libraryTests(it: It): void {
  const page = { workspace: 'w', owner: null, after: null, limit: 100 }

  it('lists are the newest first, by id where times are equal, of a workspace or an owner', async ({
    database,
    run,
  }) => {
    await complete(database, 'a', { completedAtMs: 10 })
    await complete(database, 'B', { completedAtMs: 20, owner: 'p' })
    await complete(database, 'b', { completedAtMs: 20 })
    await complete(database, 'c', { completedAtMs: 20 })
    await complete(database, 'd', { completedAtMs: 30, workspace: 'other' })
    await run(assets.insertPending(database, pending('e')))
    const ids = async (more: Partial<library.Page>): Promise<string[]> =>
      (await library.listAssets(database, { ...page, ...more })).map((asset) => asset.asset_id)
    assert.deepEqual(await ids({}), ['c', 'b', 'B', 'a'])
    assert.deepEqual(await ids({ owner: 'o' }), ['c', 'b', 'a'])
    assert.deepEqual(await ids({ limit: 2 }), ['c', 'b'])
    assert.deepEqual(await ids({ after: { completedAtMs: 20, assetId: 'b' } }), ['B', 'a'])
    assert.deepEqual(await ids({ after: { completedAtMs: 20, assetId: 'b' }, owner: 'o' }), ['a'])
    assert.deepEqual(await ids({ workspace: 'none' }), [])
    const some = await library.findCompletedIds(database, 'w', ['a', 'c', 'd', 'e', 'none'])
    assert.deepEqual([...some].toSorted(), ['a', 'c'])
    assert.equal((await library.findCompletedIds(database, 'w', [])).size, 0)
  })

  it('pages meet: walking them gives each asset once, whatever comes or goes meanwhile', async ({
    database,
    run,
  }) => {
    for (let index = 0; index < 25; index++)
      await complete(database, `a${String(index).padStart(2, '0')}`, { completedAtMs: Math.floor(index / 4) })
    const seen: string[] = []
    for (let after: library.Position | null = null; ; ) {
      const found: library.LibraryAsset[] = await library.listAssets(database, { ...page, after, limit: 4 })
      const last = found.at(-1)
      if (last === undefined) break
      seen.push(...found.map((asset) => asset.asset_id))
      after = { completedAtMs: last.completed_at_ms, assetId: last.asset_id }
      const heir = { token: `h${seen.length}`, serviceId: 's', leaseExpiresAtMs: 0 }
      await run(library.withdrawAsset(database, 'w', last.asset_id, heir))
      await complete(database, `new${seen.length}`, { completedAtMs: 1_000 })
    }
    assert.deepEqual(seen, seen.toSorted().toReversed())
    assert.equal(new Set(seen).size, 25)
  })

  it('a withdrawn asset is its heir’s, once, and of its workspace alone', async ({ database, run }) => {
    await complete(database, 'a')
    const heir = { token: 'heir', serviceId: 's', leaseExpiresAtMs: 9_000 }
    const withdraw = library.withdrawAsset(database, 'w', 'a', heir)
    assert.deepEqual(await run(library.withdrawAsset(database, 'other', 'a', heir)), refused(0))
    const twice = await Promise.all([run(withdraw), run(withdraw)])
    assert.equal(twice.filter((outcome) => outcome.written).length, 1)
    assert.equal(await assets.findPublicFile(database, 'a'), null)
    assert.equal((await assets.findPendingOf(database, 'heir')).length, 1)
    await run(assets.deletePending(database, 'a', 'heir'))
    assert.equal((await assets.findOwnedBlobs(database, ['b-a'])).size, 0)
  })
}

function searchTests(it: It): void {
  const searching =
    (database: Database) =>
    async (text: string, more: Partial<library.Search> = {}) => {
      const words = text.split(' ')
      const search = { workspace: 'w', kind: 'image', before: null, limit: 100 } as const
      const found = await library.searchAssets(database, { ...search, words, ...more })
      return found.map((asset) => asset.asset_id)
    }

  it('search finds images by words of name, type and owner, by short words as beginnings', async ({
    database,
  }) => {
    await complete(database, 'cat', { name: 'Red_Cat-2024.final.png', owner: 'alice' })
    await complete(database, 'car', { name: 'red caravan 300', owner: 'bob', type: 'jpeg' })
    await complete(database, 'clip', { name: 'red cat', type: 'mp4' })
    await complete(database, 'far', { name: 'red cat', workspace: 'w2' })
    await complete(database, 'none', { name: null })
    const find = searching(database)
    assert.deepEqual(await find('red'), ['car', 'cat'])
    assert.deepEqual(await find('RED cat'), ['cat'])
    assert.deepEqual(await find('ca'), ['car', 'cat'])
    assert.deepEqual(await find('2024'), ['cat'])
    assert.deepEqual(await find('final'), ['cat'])
    assert.deepEqual(await find('alice red'), ['cat'])
    assert.deepEqual(await find('jpeg'), ['car'])
    assert.deepEqual(await find('png'), ['none', 'cat'])
    assert.deepEqual(await find('caravan'), ['car'], 'seven letters: the whole word')
    assert.deepEqual(await find('caravans'), [])
    assert.deepEqual(await find('carava'), ['car'], 'six letters: a beginning')
    assert.deepEqual(await find('at'), [], 'not the middle of a word')
    assert.deepEqual(await find('r'), [], 'one letter is no beginning')
    assert.deepEqual(await find('red nothing'), [])
    assert.deepEqual(await find('red', { workspace: 'w2' }), ['far'])
    assert.deepEqual(await find('image'), [], 'what scopes the index is no word of it')
  })

  it('search does not regard case or accents, in any script', async ({ database }) => {
    const names = [
      'Crème Brûlée',
      'ÑANDÚ',
      'Straße',
      'ПРИВЕТ мир',
      '写真 東京',
      'Łódź',
      'İstanbul',
      'Ελλάδα',
      '한국어',
      'Résumé'.normalize('NFD'),
    ]
    for (const [index, name] of names.entries()) await complete(database, `a${index}`, { name })
    const find = searching(database)
    const found: Record<string, string[]> = {}
    const asked = [
      'creme',
      'BRULEE',
      'nandu',
      'ñandú',
      'straße',
      'strasse',
      'привет',
      'Мир',
      '写真',
      '東',
      'łódź',
    ]
    for (const word of [...asked, 'lodz', 'istanbul', 'ελλάδα', '한국', '한', 'résumé', 'resume'])
      found[word] = await find(word)
    assert.deepEqual(found, {
      creme: ['a0'],
      BRULEE: ['a0'],
      nandu: ['a1'],
      ñandú: ['a1'],
      straße: ['a2'],
      strasse: [],
      привет: ['a3'],
      Мир: ['a3'],
      写真: ['a4'],
      東: [],
      łódź: ['a5'],
      lodz: [],
      istanbul: ['a6'],
      ελλάδα: ['a7'],
      한국: ['a8'],
      한: [],
      résumé: ['a9'],
      resume: ['a9'],
    })
  })

  it('search pages go from what was completed last, and meet', async ({ database }) => {
    const ids = Array.from({ length: 9 }, (_, index) => `a${index}`)
    for (const id of ids) await complete(database, id, { name: 'x1 photo' })
    const find = { workspace: 'w', kind: 'image', words: ['photo'], limit: 4 } as const
    const seen: string[] = []
    for (let before: number | null = null; ; ) {
      const found: library.FoundAsset[] = await library.searchAssets(database, { ...find, before })
      if (found.length === 0) break
      seen.push(...found.map((asset) => asset.asset_id))
      before = found.at(-1)?.completed_order ?? 0
    }
    assert.deepEqual(seen, ids.toReversed())
  })

  it('what is withdrawn is found no more, and what is completed at once by many is found whole', async ({
    database,
    run,
    another,
  }) => {
    const second = await another()
    const ids = Array.from({ length: 60 }, (_, index) => `a${index}`)
    await Promise.all(
      ids.map((id, index) => complete(index % 2 === 0 ? database : second, id, { name: 'holiday' })),
    )
    const find = searching(database)
    assert.deepEqual((await find('holiday')).toSorted(), ids.toSorted())
    const heir = { token: 'heir', serviceId: 's', leaseExpiresAtMs: 0 }
    await run(library.withdrawAsset(database, 'w', 'a7', heir))
    assert.equal((await find('holiday')).length, 59)
    await run(assets.deletePending(database, 'a7', 'heir'))
    await complete(database, 'a7', { name: 'other' })
    assert.deepEqual(await find('other'), ['a7'])
  })

  it('names of any length and content are kept and searched', async ({ database }) => {
    const find = searching(database)
    const odd = [`${'x'.repeat(5_000)}`, `'":*&|!()\\<->`, '  ', '🎞', "it's \\'quoted\\'"]
    for (const [index, name] of odd.entries()) await complete(database, `a${index}`, { name })
    assert.deepEqual(await find('quoted'), ['a4'])
    assert.deepEqual(await find('x'.repeat(5_000)), ['a0'])
    assert.equal((await find('png')).length, odd.length)
  })
}

function keyTests(it: It): void {
  const scope = { workspace: 'w', route: 'POST /x', key: 'k' }
  const clockAt = (ms: number): Clock => ({ steadyMs: () => ms, wallMs: () => ms })
  const claim = (token: string, leaseExpiresAtMs: number, serviceId = 's1') => ({
    token,
    serviceId,
    leaseExpiresAtMs,
  })
  const answer = { status: 200, body: '{"a":"é"}', file_sha256: 'h', expires_at_ms: 5_000 }

  it('a key is claimed once, and again when its lease has ended', async ({ database, run }) => {
    const at = (ms: number, token: string) =>
      run(keys.claimKey(database, scope, claim(token, ms + 100), clockAt(ms)))
    assert.equal(await keys.findKey(database, scope, clockAt(0)), null)
    assert.deepEqual(await at(0, 'a'), written)
    assert.deepEqual(await keys.findKey(database, scope, clockAt(99)), { inFlightUntilMs: 100 })
    assert.equal(await keys.findKey(database, scope, clockAt(100)), null)
    assert.deepEqual([await at(99, 'b'), await at(100, 'b')], [refused(0), written])
    assert.deepEqual(await run(keys.keepAnswer(database, scope, 'a', answer)), refused(0))
    const other = { ...scope, route: 'POST /y' }
    assert.deepEqual(await run(keys.claimKey(database, other, claim('c', 1), clockAt(0))), written)
  })

  it('an answer is kept by its holder alone and replayed until it expires', async ({ database, run }) => {
    await run(keys.claimKey(database, scope, claim('a', 100), clockAt(0)))
    assert.deepEqual(await run(keys.keepAnswer(database, scope, 'b', answer)), refused(0))
    assert.deepEqual(await run(keys.keepAnswer(database, scope, 'a', answer)), written)
    assert.deepEqual(await run(keys.keepAnswer(database, scope, 'a', answer)), refused(0))
    const { expires_at_ms: _, ...kept } = answer
    assert.deepEqual(await keys.findKey(database, scope, clockAt(4_999)), { answer: kept })
    assert.equal(await keys.findKey(database, scope, clockAt(5_000)), null)
    const again = keys.claimKey(database, scope, claim('c', 9_000), clockAt(4_999))
    assert.deepEqual(await run(again), refused(0))
    const later = keys.claimKey(database, scope, claim('c', 9_000), clockAt(5_000))
    assert.deepEqual(await run(later), written)
    assert.deepEqual(await keys.findKey(database, scope, clockAt(5_000)), { inFlightUntilMs: 9_000 })
  })

  it('of many copies that claim one key at once, one has it', async ({ database, another }) => {
    const second = await another()
    const all = Array.from({ length: 50 }, (_, index) => {
      const one = index % 2 === 0 ? database : second
      return one.write([
        keys.claimKey(one, scope, claim(`t${index}`, 100), clockAt(0)),
        assets.insertPending(one, pending(`a${index}`)),
      ])
    })
    const outcomes = await Promise.all(all)
    assert.equal(outcomes.filter((outcome) => outcome.written).length, 1)
    assert.ok(outcomes.every((outcome) => outcome.written || outcome.failedStep === 0))
    const build = database.build.selectFrom('assets').select('asset_id')
    assert.equal((await database.read(build)).length, 1, 'the losers reserved nothing')
  })

  it('a commit and its answer are written together or not at all', async ({ database, run }) => {
    await run(
      keys.claimKey(database, scope, claim('t-a', 100), clockAt(0)),
      assets.insertPending(database, pending('a')),
    )
    await run(keys.claimKey(database, scope, claim('thief', 300), clockAt(100)))
    const commit = [
      assets.completePending(database, 'a', 't-a', facts()),
      keys.keepAnswer(database, scope, 't-a', answer),
    ]
    assert.deepEqual(await run(...commit), refused(1))
    assert.equal(await assets.findPublicFile(database, 'a'), null)
  })

  it('claims are renewed and freed by their holders, and freed for those who are gone', async ({
    database,
    run,
  }) => {
    const named = (key: string) => ({ ...scope, key })
    const seen = async () => {
      const rows = await database.read(
        database.build.selectFrom('idempotency_keys').select('key').orderBy('key'),
      )
      return rows.map((row) => row.key).join('')
    }
    const take = (key: string, lease: number, service = 's1') =>
      keys.claimKey(database, named(key), claim('t', lease, service), clockAt(0))
    await run(take('a', 100), take('b', 100), take('c', 100, 'gone'), take('d', 100, 'gone'), take('e', 100))
    await run(
      keys.keepAnswer(database, named('d'), 't', answer),
      keys.renewKey(database, named('b'), 't', 900),
    )
    await run(
      keys.renewKey(database, named('e'), 'not it', 900),
      keys.freeKey(database, named('a'), 'not it'),
    )
    await run(keys.freeAbandonedKeys(database, 's1'))
    assert.equal(await seen(), 'abde')
    await run(keys.freeKey(database, named('a'), 't'), keys.freeKey(database, named('d'), 't'))
    assert.equal(await seen(), 'bde', 'an answer is not freed')
    await run(keys.freeLapsedKeys(database, 100))
    assert.equal(await seen(), 'bd')
    await run(keys.deleteExpiredKeys(database, clockAt(4_999), 10))
    assert.equal(await seen(), 'bd')
    assert.equal(await keys.areKeysExpired(database, clockAt(4_999)), false)
    assert.equal(await keys.areKeysExpired(database, clockAt(5_000)), true)
    await run(keys.deleteExpiredKeys(database, clockAt(5_000), 10))
    assert.equal(await keys.areKeysExpired(database, clockAt(5_000)), false)
    assert.equal(await seen(), 'b')
    await run(keys.deleteAllClaims(database))
    assert.equal(await seen(), '')
  })
}

function otherTests(it: It): void {
  it('API keys: listed by age, revoked once, their last use never moved back', async ({ database, run }) => {
    await run(
      apiKeys.insertApiKey(database, { ...keyRow('b'), created_at_ms: 1 }),
      apiKeys.insertApiKey(database, { ...keyRow('a'), created_at_ms: 2 }),
      apiKeys.insertApiKey(database, { ...keyRow('c'), created_at_ms: 1 }),
    )
    assert.deepEqual(await idsIn(database), ['b', 'c', 'a'])
    for (const at of [50, 40, 60]) await run(apiKeys.touchApiKey(database, 'a', at))
    await run(apiKeys.touchApiKey(database, 'a', 55), apiKeys.touchApiKey(database, 'none', 1))
    assert.equal((await apiKeys.findApiKey(database, 'a'))?.last_used_at_ms, 60)
    assert.deepEqual(await run(apiKeys.revokeApiKey(database, 'a', 70)), written)
    assert.deepEqual(await run(apiKeys.revokeApiKey(database, 'a', 80)), refused(0))
    assert.equal((await apiKeys.findApiKey(database, 'a'))?.revoked_at_ms, 70)
  })

  it('of several copies that make a token issuer at once, all get the first one', async ({
    database,
    another,
  }) => {
    assert.equal(await findTokenIssuer(database), null)
    const second = await another()
    const row = (key_id: string) => ({
      issuer: 'i',
      audience: 'a',
      key_id,
      private_jwk: '{}',
      created_at_ms: 1,
    })
    const outcomes = await Promise.all(
      Array.from({ length: 10 }, (_, index) => {
        const one = index % 2 === 0 ? database : second
        return one.write([insertTokenIssuer(one, row(`k${index}`))])
      }),
    )
    assert.ok(outcomes.every((outcome) => outcome.written))
    const made = await findTokenIssuer(database)
    assert.ok(made !== null)
    assert.deepEqual(await findTokenIssuer(second), made)
  })
}
