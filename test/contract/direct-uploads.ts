/** The queries of direct uploads and of batches: what every implementation of the database must prove. */
import assert from 'node:assert/strict'
import { findOwnedBlobs } from '../../src/records/assets.ts'
import * as batches from '../../src/records/batches.ts'
import type { Database, Outcome } from '../../src/records/database.ts'
import * as uploads from '../../src/records/direct-uploads.ts'
import type { Engine } from './database.ts'
import { testsOf } from './records.ts'

const written: Outcome = { written: true }
const refused = (failedStep: number): Outcome => ({ written: false, failedStep })

function announced(asset_id: string, given: Partial<uploads.NewDirectUpload> = {}): uploads.NewDirectUpload {
  return {
    asset_id,
    workspace: 'w',
    owner: 'o',
    name: 'a.zip',
    content_type: 'application/zip',
    size_bytes: 5_000_000_000,
    sha256: null,
    created_at_ms: 1_000,
    expires_at_ms: 5_000,
    batch_id: null,
    item_index: null,
    blob_key: null,
    ...given,
  }
}

const holder = (token: string, leaseExpiresAtMs = 100, serviceId = 's1'): uploads.Holder => ({
  token,
  serviceId,
  leaseExpiresAtMs,
})

/** Announced, its bytes there, and nobody at work on it. */
async function filled(
  database: Database,
  id: string,
  given: Partial<uploads.NewDirectUpload> = {},
): Promise<void> {
  const outcome = await database.write([
    uploads.insertDirectUpload(database, announced(id, given)),
    uploads.claimForBytes(database, id, holder(`t-${id}`), `b-${id}`),
    uploads.keepBytes(database, id, `t-${id}`),
    uploads.letGo(database, id, `t-${id}`),
  ])
  assert.deepEqual(outcome, written)
}

export function directUploadsContract(engine: Engine): void {
  const it = testsOf(engine)

  it('what was announced comes back as it was, open and untouched', async ({ database, run }) => {
    await run(uploads.insertDirectUpload(database, announced('a', { sha256: 'h' })))
    assert.deepEqual(
      { ...(await uploads.findDirectUpload(database, 'a')) },
      {
        ...announced('a', { sha256: 'h' }),
        state: 'pending_upload',
        scratch_blob_key: null,
        token: null,
        service_id: null,
        lease_expires_at_ms: null,
        settled_at_ms: null,
        error: null,
      },
    )
    assert.equal(await uploads.findDirectUpload(database, 'b'), null)
  })

  it('the right to write bytes is one holder’s; new bytes count and the old ones are the scratch', async ({
    database,
    run,
  }) => {
    await filled(database, 'a')
    const claims = ['t1', 't2', 't3'].map((token) =>
      run(uploads.claimForBytes(database, 'a', holder(token), `b-${token}`)),
    )
    const outcomes = await Promise.all(claims)
    const won = ['t1', 't2', 't3'].filter((_, index) => outcomes[index]?.written)
    assert.equal(won.length, 1)
    const token = String(won[0])
    assert.deepEqual(await run(uploads.keepBytes(database, 'a', 'not it')), refused(0))
    assert.deepEqual(await run(uploads.keepBytes(database, 'a', token)), written)
    const row = await uploads.findDirectUpload(database, 'a')
    assert.deepEqual([row?.blob_key, row?.scratch_blob_key], [`b-${token}`, 'b-a'])
    const owned = await findOwnedBlobs(database, [`b-${token}`, 'b-a', 'nobody'])
    assert.deepEqual([...owned].toSorted(), ['b-a', `b-${token}`].toSorted())
    await run(uploads.letGo(database, 'a', 'not it'))
    assert.equal((await uploads.findHeldBy(database, token)).length, 1)
    await run(uploads.letGo(database, 'a', token))
    assert.equal((await uploads.findDirectUpload(database, 'a'))?.scratch_blob_key, null)
    assert.deepEqual(await uploads.findHeldBy(database, token), [])
  })

  it('verification seals: of these very bytes, by one, and then no others can come', async ({
    database,
    run,
  }) => {
    await filled(database, 'a')
    const verify = (token: string, blob = 'b-a') =>
      run(uploads.claimForVerification(database, 'a', blob, holder(token)))
    assert.deepEqual(await verify('t0', 'other bytes'), refused(0))
    const outcomes = await Promise.all([verify('t1'), verify('t2')])
    assert.equal(outcomes.filter((outcome) => outcome.written).length, 1)
    const token = outcomes[0]?.written ? 't1' : 't2'
    assert.deepEqual(await uploads.findQueued(database, null, 10), [])
    await run(uploads.letGo(database, 'a', token))
    assert.deepEqual(await run(uploads.claimForBytes(database, 'a', holder('t3'), 'b3')), refused(0))
    assert.deepEqual(
      (await uploads.findQueued(database, null, 10)).map((row) => row.asset_id),
      ['a'],
    )
    assert.deepEqual(await verify('t4'), written)
    const settled = { state: 'completed', error: null, atMs: 7_000 } as const
    assert.deepEqual(await run(uploads.settle(database, 'a', token, settled)), refused(0))
    assert.deepEqual(await run(uploads.settle(database, 'a', 't4', settled)), written)
    const row = await uploads.findDirectUpload(database, 'a')
    assert.deepEqual([row?.state, row?.blob_key, row?.scratch_blob_key], ['completed', null, 'b-a'])
    assert.deepEqual(await verify('t5'), refused(0))
  })

  it('holds lapse, are renewed, and are inherited from runs that are gone', async ({ database, run }) => {
    for (const id of ['a', 'b', 'c', 'free']) await run(uploads.insertDirectUpload(database, announced(id)))
    await run(
      uploads.claimForBytes(database, 'a', holder('ta', 100), 'ba'),
      uploads.claimForBytes(database, 'b', holder('tb', 100), 'bb'),
      uploads.claimForBytes(database, 'c', holder('tc', 900, 'gone'), 'bc'),
    )
    await run(uploads.renewHold(database, 'b', 'tb', 900), uploads.renewHold(database, 'a', 'not it', 900))
    const of = async (token: string) =>
      (await uploads.findHeldBy(database, token)).map((row) => row.asset_id).toSorted()
    await run(uploads.inheritLapsed(database, holder('h0', 500), 99, 500))
    assert.deepEqual(await of('h0'), [])
    await run(uploads.inheritLapsed(database, holder('h1', 500), 100, 500))
    assert.deepEqual(await of('h1'), ['a'])
    await run(uploads.inheritAbandoned(database, holder('h2', 500)))
    assert.deepEqual([await of('h2'), await of('tb')], [['c'], ['b']])
    assert.deepEqual(await run(uploads.keepBytes(database, 'a', 'ta')), refused(0))
    assert.equal((await uploads.findDirectUpload(database, 'free'))?.token, null)
  })

  it('what expired is inherited some at a time, with its bytes as the scratch; what is held is left', async ({
    database,
    run,
  }) => {
    for (const id of ['a', 'b', 'c']) await filled(database, id)
    await filled(database, 'later', { expires_at_ms: 5_001 })
    await run(uploads.claimForBytes(database, 'c', holder('tc'), 'b2-c'))
    await run(uploads.inheritExpired(database, holder('h1'), 4_999, 10))
    assert.deepEqual(await uploads.findHeldBy(database, 'h1'), [])
    await run(uploads.inheritExpired(database, holder('h1'), 5_000, 1))
    assert.equal((await uploads.findHeldBy(database, 'h1')).length, 1)
    await run(uploads.inheritExpired(database, holder('h2'), 5_000, 10))
    const all = [...(await uploads.findHeldBy(database, 'h1')), ...(await uploads.findHeldBy(database, 'h2'))]
    assert.deepEqual(all.map((row) => [row.asset_id, row.blob_key, row.scratch_blob_key]).toSorted(), [
      ['a', null, 'b-a'],
      ['b', null, 'b-b'],
    ])
  })

  it('copies that inherit what expired at once share it, and no bytes lose their name', async ({
    database,
    run,
    another,
  }) => {
    const copies = [database, await another(), await another(), await another()]
    const ids = Array.from({ length: 300 }, (_, index) => `a${index}`)
    for (let round = 0; round < 3; round++) {
      const fresh = ids.map((id) => `${id}-${round}`)
      await Promise.all(fresh.map((id) => filled(database, id)))
      const heirs = copies.map((_, index) => `h${round}-${index}`)
      await Promise.all(
        copies.map((copy, index) =>
          copy.write([uploads.inheritExpired(copy, holder(String(heirs[index])), 5_000, 1_000)]),
        ),
      )
      const held = (await Promise.all(heirs.map((heir) => uploads.findHeldBy(database, heir)))).flat()
      assert.equal(held.length, fresh.length)
      for (const row of held) assert.equal(row.scratch_blob_key, `b-${row.asset_id}`)
      await run(uploads.deleteUnsettled(database))
    }
  })

  it('one that is open is taken by its workspace alone, and ends as a failure or not at all', async ({
    database,
    run,
  }) => {
    await filled(database, 'a')
    await filled(database, 'item', { batch_id: 'batch', item_index: 0 })
    const take = (id: string, workspace: string, token: string) =>
      run(uploads.inheritOpen(database, workspace, id, holder(token)))
    assert.deepEqual(await take('a', 'other', 't'), refused(0))
    assert.deepEqual(await take('a', 'w', 't1'), written)
    assert.deepEqual(await take('a', 'w', 't2'), refused(0))
    await take('item', 'w', 't3')
    const failure = { error: '{"code":"x"}', atMs: 8_000 }
    const end = (asset_id: string, batch_id: string | null, token: string) =>
      run(uploads.endWithoutBytes(database, { asset_id, batch_id }, token, failure))
    await end('a', null, 'not it')
    assert.notEqual(await uploads.findDirectUpload(database, 'a'), null)
    await end('a', null, 't1')
    assert.equal(await uploads.findDirectUpload(database, 'a'), null)
    await end('item', 'batch', 't3')
    const item = await uploads.findDirectUpload(database, 'item')
    assert.deepEqual([item?.state, item?.error, item?.settled_at_ms], ['failed', '{"code":"x"}', 8_000])
  })

  it('what is long settled is forgotten, but not items, nor what somebody holds', async ({
    database,
    run,
  }) => {
    const failed = { state: 'failed', error: '{}', atMs: 7_000 } as const
    const settle = async (id: string, given: Partial<uploads.NewDirectUpload> = {}) => {
      await filled(database, id, given)
      await run(
        uploads.claimForVerification(database, id, `b-${id}`, holder('t')),
        uploads.settle(database, id, 't', failed),
      )
    }
    await settle('old')
    await settle('held')
    await settle('item', { batch_id: 'batch', item_index: 0 })
    await filled(database, 'open')
    await run(uploads.letGo(database, 'old', 't'), uploads.letGo(database, 'item', 't'))
    const ids = ['held', 'item', 'old', 'open']
    const left = async () =>
      (await uploads.findDirectUploads(database, 'w', ids)).map((row) => row.asset_id).toSorted()
    await run(uploads.deleteLongSettled(database, 6_999))
    assert.deepEqual(await left(), ids)
    await run(uploads.deleteLongSettled(database, 7_000))
    assert.deepEqual(await left(), ['held', 'item', 'open'])
    assert.deepEqual(await uploads.findDirectUploads(database, 'other', ids), [])
    assert.deepEqual(await uploads.findDirectUploads(database, 'w', []), [])
    await run(uploads.deleteUnsettled(database))
    assert.deepEqual(await left(), ['held', 'item'])
  })

  it('what waits to be verified comes the oldest first, and page by page', async ({ database, run }) => {
    for (const [index, id] of ['c', 'a', 'b', 'd'].entries()) {
      await filled(database, id, { created_at_ms: index === 0 ? 2 : 1, batch_id: 'batch', item_index: index })
    }
    await run(batches.queueItems(database, 'batch', ['a', 'b', 'c', 'd'], 0))
    const all = await uploads.findQueued(database, null, 10)
    assert.deepEqual(
      all.map((row) => row.asset_id),
      ['a', 'b', 'd', 'c'],
    )
    assert.deepEqual(await uploads.findQueued(database, null, 2), all.slice(0, 2))
    for (const [index, row] of all.entries()) {
      assert.deepEqual(await uploads.findQueued(database, row, 2), all.slice(index + 1, index + 3))
    }
  })

  batchTests(engine)
}

function batchTests(engine: Engine): void {
  const it = testsOf(engine)
  const batch = (batch_id: string, created_at_ms = 1_000): batches.Batch => ({
    batch_id,
    workspace: 'w',
    owner: 'o',
    title: null,
    total_items: 2,
    created_at_ms,
  })
  const item = (id: string, index: number, batch_id = 'x') => announced(id, { batch_id, item_index: index })

  it('a batch of a thousand items is written whole, counted, and listed in its order', async ({
    database,
    run,
  }) => {
    const ids = Array.from({ length: 1_000 }, (_, index) => `i${String(index).padStart(4, '0')}`)
    const items = ids.map((id, index) => uploads.insertDirectUpload(database, item(id, 999 - index)))
    assert.deepEqual(
      await run(batches.insertBatch(database, { ...batch('x'), title: 'é' }), ...items),
      written,
    )
    assert.deepEqual({ ...(await batches.findBatch(database, 'w', 'x')) }, { ...batch('x'), title: 'é' })
    assert.equal(await batches.findBatch(database, 'other', 'x'), null)
    const counts = await batches.countItemsByState(database, 'x')
    assert.deepEqual(counts, { pending_upload: 1_000, processing: 0, completed: 0, failed: 0 })
    const listed = await batches.listItems(database, 'x', 10, 3)
    assert.deepEqual(
      listed.map((row) => [row.item_index, row.asset_id]),
      [
        [10, 'i0989'],
        [11, 'i0988'],
        [12, 'i0987'],
      ],
    )
  })

  it('two items never share a place in their batch', async ({ database, run }) => {
    await run(uploads.insertDirectUpload(database, item('a', 0)))
    await assert.rejects(run(uploads.insertDirectUpload(database, item('b', 0))))
    assert.deepEqual(await run(uploads.insertDirectUpload(database, item('b', 0, 'y'))), written)
  })

  it('completing a batch queues what has its bytes and is free, and nothing else', async ({
    database,
    run,
  }) => {
    await filled(database, 'ready', item('ready', 0))
    await filled(database, 'busy', item('busy', 1))
    await filled(database, 'other', item('other', 0, 'y'))
    await run(uploads.insertDirectUpload(database, item('empty', 2)))
    await run(uploads.claimForBytes(database, 'busy', holder('t'), 'b2'))
    const queueable = await batches.findQueueable(database, 'x', 0)
    assert.deepEqual(queueable.map((row) => [row.asset_id, row.blob_key]).toSorted(), [
      ['empty', null],
      ['ready', 'b-ready'],
    ])
    assert.deepEqual(await batches.findQueueable(database, 'x', 5_000), [])
    await run(batches.queueItems(database, 'x', [], 0))
    assert.deepEqual(await uploads.findQueued(database, null, 10), [])
    await run(batches.queueItems(database, 'x', ['ready', 'busy', 'other', 'empty'], 0))
    assert.deepEqual(
      (await uploads.findQueued(database, null, 10)).map((row) => row.asset_id),
      ['ready'],
    )
    const counts = await batches.countItemsByState(database, 'x')
    assert.deepEqual(counts, { pending_upload: 2, processing: 1, completed: 0, failed: 0 })
  })

  it('old batches go with their settled items, and stay while one of these is held', async ({
    database,
    run,
  }) => {
    await run(batches.insertBatch(database, batch('x')), batches.insertBatch(database, batch('y')))
    await run(batches.insertBatch(database, batch('new', 2_000)))
    for (const [id, of] of [
      ['a', 'x'],
      ['b', 'y'],
    ] as const) {
      await filled(database, id, item(id, 0, of))
      await run(
        uploads.claimForVerification(database, id, `b-${id}`, holder('t')),
        uploads.settle(database, id, 't', { state: 'completed', error: null, atMs: 1_500 }),
      )
    }
    await run(uploads.letGo(database, 'a', 't'))
    const left = async () => {
      const found = await Promise.all(['x', 'y', 'new'].map((id) => batches.findBatch(database, 'w', id)))
      return found.map((row) => row?.batch_id ?? null)
    }
    await run(...batches.deleteOldBatches(database, 999))
    assert.deepEqual(await left(), ['x', 'y', 'new'])
    await run(...batches.deleteOldBatches(database, 1_000))
    assert.deepEqual(await left(), [null, 'y', 'new'])
    assert.equal(await uploads.findDirectUpload(database, 'a'), null)
    await run(uploads.letGo(database, 'b', 't'))
    await run(...batches.deleteOldBatches(database, 1_000))
    assert.deepEqual(await left(), [null, null, 'new'])
  })
}
