/** The service is told to end in each part of an upload; and then once more, with less patience. */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { stepsUpTo } from '../form.ts'
import { assertError, fileBody, open, plain, uploadHead } from '../raw-http.ts'
import { contentsOf, eventually, type RunningService, startService, upload } from '../service.ts'
import { assertInOrder, assertNothingStray, assertOneEach, assertServed } from './survival.ts'
import { type Injection, startTraceable, trace, whyNotTraceable } from './traced-service.ts'
import { newFile, newUpload, type Sent, send } from './uploads.ts'

const untraceable = await whyNotTraceable()

type Underway = {
  /** Gives the rest of the body; null where the client holds nothing back, and the service is busy with a call. */
  finish: (() => void) | null
  /** The status, and the body of a 200 is noted as acknowledged; null where the connection dropped. */
  status: Promise<number | null>
}

/** Begins an upload and holds its body back from there on; resolves once the service has what it was given. */
async function beginUpTo(service: RunningService, sent: Sent, part: number): Promise<Underway> {
  const body = fileBody(sent.file)
  const connection = await open(service)
  const head = uploadHead({ key: service.key, body, lines: [`Idempotency-Key: ${sent.key}`] })
  const at = Math.floor(body.length * part)
  await connection.send(head, body.subarray(0, at))
  await eventually(() => {
    const { assets, incoming } = contentsOf(service.dataDir)
    assert.ok(assets.some(({ state }) => state === 'pending'))
    if (part > 0) assert.equal(incoming.length, 1)
  })
  const status = connection.answer({ withinMs: 30_000 }).then(
    (answer) => {
      if (answer.status === 200) sent.acknowledged = answer.body.toString()
      connection.reset()
      return answer.status
    },
    () => null,
  )
  return { finish: () => void connection.send(body.subarray(at)), status }
}

/** Sends all of it; a system call of the service takes so long that it is in the middle of it from then on. */
async function beginAndStick(service: RunningService, sent: Sent, slow: Injection): Promise<Underway> {
  const stuck = await trace(service, slow)
  const status = send(service, sent).then((answer) => answer?.status ?? null)
  await eventually(() => assert.equal(stuck.calls().length, Number(slow.when)))
  return {
    finish: null,
    status: status.finally(() => stuck.detach()),
  }
}

const holdMs = 6_000
const slow = (thread: Injection['thread'], calls: string, when: number): Injection => ({
  thread,
  calls,
  what: `delay_enter=${holdMs}ms`,
  when: String(when),
})

const allParts: readonly (readonly [
  words: string,
  begin: (service: RunningService, sent: Sent) => Promise<Underway>,
  skip: string | false,
])[] = [
  ['before a byte of the body', (service, sent) => beginUpTo(service, sent, 0), false],
  ['in the file', (service, sent) => beginUpTo(service, sent, 0.6), false],
  ['before the last bytes', (service, sent) => beginUpTo(service, sent, 0.9999), false],
  ['in the reservation', (...of) => beginAndStick(...of, slow('database', 'fsync', 1)), untraceable],
  ['in the fsync of the file', (...of) => beginAndStick(...of, slow('files', 'fsync', 1)), untraceable],
  ['in the rename', (...of) => beginAndStick(...of, slow('files', 'rename', 1)), untraceable],
  ['in the commit', (...of) => beginAndStick(...of, slow('database', 'fsync', 2)), untraceable],
]

const tried = stepsUpTo(allParts.length, 2)
const parts = allParts.filter((_, at) => tried.includes(at + 1))

/** 401; and 503 where it is about to end, whoever asks. */
async function statusWithoutKey(service: RunningService): Promise<number> {
  const response = await fetch(`${service.url}/v3/assets`, { method: 'POST' })
  await response.arrayBuffer()
  return response.status
}

/** Starts again on what is left: all that was acknowledged is there, and the rest is taken in when it is sent again. */
async function assertGoesOn(service: RunningService, all: readonly Sent[]): Promise<void> {
  const again = await startService({ dataDir: service.dataDir, env: { ASSETD_API_KEY: service.key } })
  await assertServed(again, all)
  await assertOneEach(again, all)
  await assertNothingStray(again.dataDir, all)
  assertInOrder(again.dataDir)
  assert.equal(await again.stop(), 0)
}

describe('SIGTERM in each part of an upload: it is taken in, new ones are refused, and the end is in order', () => {
  for (const [words, begin, skip] of parts) {
    it(`case 67: ${words}`, { skip }, async () => {
      const service = await startTraceable()
      const early = newUpload(newFile(20_000))
      await assertOneEach(service, [early])
      const sent = newUpload()
      const underway = await begin(service, sent)
      service.child.kill('SIGTERM')
      await eventually(async () => assert.equal(await statusWithoutKey(service), 503))
      const refused = await plain(await upload(service, newFile(20_000)))
      assertError(refused, { status: 503, code: 'service_unavailable' })
      assert.equal(refused.headers.connection, 'close')
      if (underway.finish !== null) {
        // What needs the thread for files would have to wait for the call that is slow.
        assert.equal((await fetch(`${service.url}/readyz`)).status, 503)
        await assertServed(service, [early])
        underway.finish()
      }
      assert.equal(await underway.status, 200)
      assert.equal(await service.exited, 0)
      await assertNothingStray(service.dataDir, [early, sent])
      await assertGoesOn(service, [early, sent])
    })
  }
})

describe('a second SIGTERM more than a second later ends it at once, and the next start has all in order', () => {
  for (const [words, begin, skip] of parts) {
    it(`case 67: ${words}`, { skip }, async () => {
      const service = await startTraceable()
      const early = newUpload(newFile(20_000))
      await assertOneEach(service, [early])
      const sent = newUpload()
      const underway = await begin(service, sent)
      service.child.kill('SIGTERM')
      await eventually(async () => assert.equal(await statusWithoutKey(service), 503))
      await sleep(1_200)
      const secondAtMs = performance.now()
      service.child.kill('SIGTERM')
      assert.equal(await service.exited, 1)
      // A call of the system that is under way cannot be given up.
      assert.ok(performance.now() - secondAtMs < holdMs + 5_000)
      await underway.status
      await assertGoesOn(service, [early, sent])
    })
  }
})
