/** The service is killed at each system call of an upload, one after the other, and started again. */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { isShort, stepsUpTo } from '../form.ts'
import { contentsOf, type RunningService } from '../service.ts'
import { assertInOrder, assertNothingStray, assertOneEach, assertServed } from './survival.ts'
import {
  callsDuring,
  startTraceable,
  type Thread,
  type Trace,
  trace,
  whyNotTraceable,
} from './traced-service.ts'
import { newDirectUpload, newUpload, refusedDirectUpload, refusedUpload, type Sent, send } from './uploads.ts'

const skip = await whyNotTraceable()

/** What changes something that lasts, or tells somebody: between two of these, a crash is the same anywhere. */
const callsOf: Record<Thread, string> = {
  files: 'openat,mkdir,pwrite64,pwritev,fsync,fdatasync,close,rename,unlink,ftruncate',
  database: 'openat,pwrite64,pwritev,fsync,fdatasync,unlink,ftruncate',
  main: 'write,writev,sendto,sendmsg',
}

/** Whether the service was killed while it took this upload in, or just after. */
async function sendAndMayDie(service: RunningService, sent: Sent, watched: Trace) {
  const answer = await send(service, sent)
  // What it does once it has answered, such as its line in the log, may be its last too.
  await Promise.race([service.exited, sleep(answer === null ? 10_000 : 150)])
  const dead = await watched.detach()
  assert.ok(dead || answer !== null, 'no answer, and the service lives')
  return { answer, dead }
}

/** Kills it at each call of an upload of its own; gives how often that ended it. */
async function killAtEachCall(thread: Thread, newSent: () => Sent, few: number): Promise<string> {
  let service = await startTraceable()
  const { dataDir, key } = service
  const stored: Sent[] = []
  const isRefused = newSent === refusedUpload || newSent === refusedDirectUpload
  const again = (): Promise<RunningService> => startTraceable({ dataDir, env: { ASSETD_API_KEY: key } })
  // The first of many blobs makes its folder, and then there are more calls. Files are killed at those of a first one each
  // time; on the event loop, where they are in the way, at those of a later one.
  if (thread === 'main') {
    const before = newSent()
    await send(service, before)
    stored.push(before)
  }
  const first = newSent()
  const calls = await callsDuring(service, { thread, calls: callsOf[thread] }, () => send(service, first))
  if (!isRefused) stored.push(first)
  const steps = stepsUpTo(calls.length, few)
  let deaths = 0
  for (const step of steps) {
    const { name = '', nth = 0 } = calls[step - 1] ?? {}
    const sent = newSent()
    if (thread === 'files') {
      await service.stop({ keepData: true })
      service = await again()
    }
    const watched = await trace(service, { thread, calls: name, what: 'signal=KILL', when: String(nth) })
    const { dead } = await sendAndMayDie(service, sent, watched)
    if (dead) {
      deaths++
      service = await again()
    }
    assert.deepEqual(contentsOf(dataDir).incoming, [], `unfinished files after ${name} ${nth} and a start`)
    await assertServed(service, [...stored, sent])
    if (isRefused) {
      assert.equal((await send(service, sent))?.status, 400)
    } else {
      await assertOneEach(service, [sent])
      stored.push(sent)
    }
    await assertNothingStray(dataDir, stored)
    if (!isShort || step === steps.at(-1)) assertInOrder(dataDir)
  }
  assert.equal(await service.stop(), 0)
  // How many calls there are differs with how the bytes arrive and which pages of the database they touch.
  assert.ok(deaths >= (steps.length * 2) / 3, `${deaths} deaths in ${steps.length} tries`)
  return `${deaths} deaths at ${steps.length} of ${calls.length} calls`
}

describe('killed at the n-th call of an upload, for every n: what was acknowledged is whole, the rest is gone, a retry makes one', {
  skip,
}, () => {
  for (const [words, thread, few] of [
    ['case 59, 60, 61, 62: on files: while the body comes, before and after fsync and rename', 'files', 8],
    ['case 62, 63: on the database: the reservation and the commit', 'database', 6],
    ['case 63, 64: on the event loop: before, in and after the answer', 'main', 3],
  ] as const) {
    it(words, async (context) => context.diagnostic(await killAtEachCall(thread, newUpload, few)))
  }
  for (const [words, thread, few] of [
    ['case 59: on files, of an upload that is refused and takes itself back', 'files', 5],
    ['case 59: on the database, of an upload that is refused and takes itself back', 'database', 4],
  ] as const) {
    it(words, async (context) => context.diagnostic(await killAtEachCall(thread, refusedUpload, few)))
  }
  for (const [words, thread, newSent, few] of [
    ['case 59, 60, 61, 62: on files, of a direct upload in all its steps', 'files', newDirectUpload, 10],
    ['case 62, 63: on the database, of a direct upload in all its steps', 'database', newDirectUpload, 8],
    ['case 63, 64: on the event loop, of a direct upload', 'main', newDirectUpload, 4],
    ['case 59, 94: on files, of a direct upload that is refused', 'files', refusedDirectUpload, 5],
    ['case 59, 94: on the database, of a direct upload that is refused', 'database', refusedDirectUpload, 5],
  ] as const) {
    it(words, async (context) => context.diagnostic(await killAtEachCall(thread, newSent, few)))
  }
})
