/** What the copies of a service have in common beside their assets: work that one does for all, and the blob store's id. */
import assert from 'node:assert/strict'
import { setTimeout as sleep } from 'node:timers/promises'
import { createChoreRunner } from '../../src/assets/chore-runner.ts'
import {
  beginCopy,
  endCopy,
  findBlobStore,
  insertRecordsId,
  serveCopy,
  setStoreId,
} from '../../src/records/blob-store.ts'
import { claimChore, isChoreDue, setChoreDue } from '../../src/records/chores.ts'
import type { Engine } from './database.ts'
import { testsOf } from './records.ts'

const written = { written: true }
const refused = { written: false, failedStep: 0 }

export function sharedContract(engine: Engine): void {
  const it = testsOf(engine)

  it('a chore is taken by one, and again once it is due', async ({ database, run }) => {
    const at = (nowMs: number) => ({ nowMs, periodMs: 60_000 })
    assert.equal(await isChoreDue(database, 'c', at(0)), true)
    assert.deepEqual(await run(claimChore(database, 'c', 'one', at(1_000), 31_000)), written)
    assert.equal(await isChoreDue(database, 'c', at(30_999)), false)
    assert.deepEqual(await run(claimChore(database, 'c', 'two', at(30_999), 61_000)), refused)
    assert.equal(await isChoreDue(database, 'c', at(31_000)), true)
    assert.deepEqual(await run(claimChore(database, 'c', 'two', at(31_000), 61_000)), written)
    await run(setChoreDue(database, 'c', 'one', 1))
    assert.equal(await isChoreDue(database, 'c', at(60_999)), false, 'the first one has lost it')
    await run(setChoreDue(database, 'c', 'two', 40_000))
    assert.equal(await isChoreDue(database, 'c', at(40_000)), true)
    assert.deepEqual(await run(claimChore(database, 'd', 'one', at(1), 2)), written, 'each for itself')
  })

  it('case 85: a chore that a wrong clock has put off by days is due all the same', async ({
    database,
    run,
  }) => {
    const day = 86_400_000
    await run(claimChore(database, 'c', 'one', { nowMs: 3 * day, periodMs: 60_000 }, 3 * day + 30_000))
    assert.equal(await isChoreDue(database, 'c', { nowMs: 0, periodMs: 60_000 }), true)
    assert.deepEqual(await run(claimChore(database, 'c', 'two', { nowMs: 0, periodMs: 60_000 }, 1)), written)
  })

  it('of ten copies that look at once, one does the work; when it dies in it, another does', async ({
    database,
    another,
  }) => {
    let nowMs = 1_000_000
    const clock = { wallMs: () => nowMs, steadyMs: () => nowMs }
    const copies = [database, ...(await Promise.all([another(), another(), another()]))]
    const runners = Array.from({ length: 10 }, (_, index) =>
      createChoreRunner({ database: copies[index % copies.length] ?? database, clock, leaseMs: 30_000 }),
    )
    let done = 0
    const round = (work: () => Promise<void>) =>
      Promise.allSettled(runners.map((runner) => runner.runIfDue('c', 60_000, work)))
    const all = await round(async () => {
      done++
      await sleep(50)
    })
    assert.equal(all.filter((one) => one.status === 'fulfilled' && one.value).length, 1)
    assert.equal(done, 1)
    await round(async () => void done++)
    assert.equal(done, 1, 'it is not due yet')
    nowMs += 60_000
    // This one dies: neither does its work end, nor does anybody say when it is due again.
    let began = (): void => {}
    const isUnderWay = new Promise<void>((resolve) => {
      began = resolve
    })
    void runners[0]?.runIfDue('c', 60_000, () => new Promise(() => began()))
    await isUnderWay
    await round(async () => void done++)
    assert.equal(done, 1, 'somebody is at it')
    nowMs += 30_000
    await round(async () => void done++)
    assert.equal(done, 2)
  })

  it('work that fails is told, and tried again after its time', async ({ database }) => {
    let nowMs = 1_000_000
    const clock = { wallMs: () => nowMs, steadyMs: () => nowMs }
    const runner = createChoreRunner({ database, clock, leaseMs: 30_000 })
    await assert.rejects(
      runner.runIfDue('c', 60_000, () => Promise.reject(new Error('no'))),
      /^Error: no$/,
    )
    assert.equal(await runner.runIfDue('c', 60_000, async () => {}), false)
    nowMs += 60_000
    assert.equal(await runner.runIfDue('c', 60_000, async () => {}), true)
  })

  it('the id of the blob store is the first that was given, whoever comes later', async ({
    database,
    run,
    another,
  }) => {
    assert.equal(await findBlobStore(database), null)
    const second = await another()
    await Promise.all([run(insertRecordsId(database, 'a')), second.write([insertRecordsId(second, 'b')])])
    const first = await findBlobStore(database)
    assert.ok(first?.records_id === 'a' || first?.records_id === 'b')
    assert.equal(first.store_id, null)
    await run(setStoreId(database, 's'))
    await run(setStoreId(database, 't'))
    assert.deepEqual(
      { ...(await findBlobStore(second)) },
      {
        records_id: first.records_id,
        store_id: 's',
        copied_from: null,
        copy_state: null,
      },
    )
    assert.deepEqual(await run(beginCopy(database, 'x')), written)
    const state = async () => (await findBlobStore(second))?.copy_state
    assert.equal(await state(), 'unfinished')
    await run(serveCopy(database))
    assert.equal(await state(), 'unfinished')
    assert.deepEqual(await run(beginCopy(database, 'y')), refused, 'of one service alone')
    await run(endCopy(database))
    assert.equal(await state(), 'whole')
    assert.deepEqual(await run(beginCopy(database, 'x')), written, 'what came since')
    assert.equal(await state(), 'unfinished')
    await run(endCopy(database))
    await run(serveCopy(database))
    assert.deepEqual(await run(beginCopy(database, 'x')), written, 'what came since')
    await run(endCopy(database))
    assert.equal(await state(), 'served', 'it goes on while it is copied to')
  })
}
