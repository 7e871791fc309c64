/** Clients that come in masses and leave in the middle: the service holds afterwards what it held before. */
import assert from 'node:assert/strict'
import { connect } from 'node:net'
import { after, before, describe, it } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { isShort } from '../form.ts'
import { samples } from '../media/samples.ts'
import {
  assertClean,
  baseline,
  descriptors,
  exchange,
  fileBody,
  open,
  type RawConnection,
  requestHead,
  residentBytes,
  serverPid,
  uploadHead,
  uploadRequest,
} from '../raw-http.ts'
import { contentsOf, eventually, type RunningService, startService, upload } from '../service.ts'

const MiB = 1024 * 1024
const maxUploads = 64
const body = fileBody(samples.wav({ sizeBytes: 4 * MiB }))
const count = isShort ? 200 : 1_000

let service: RunningService
let pid: number
before(async () => {
  service = await startService({
    env: { ASSETD_MAX_UPLOADS: String(maxUploads), ASSETD_LOG_LEVEL: 'warn' },
  })
  pid = serverPid(service)
  assert.equal((await upload(service, samples.png())).status, 200)
})
after(() => service.stop())

/** Runs `one` so often, `width` of them at a time. */
async function times(total: number, width: number, one: (at: number) => Promise<void>): Promise<void> {
  let next = 0
  const worker = async (): Promise<void> => {
    for (let at = next++; at < total; at = next++) await one(at)
  }
  await Promise.all(Array.from({ length: width }, worker))
}

async function openUpload(lines: string[] = []): Promise<RawConnection> {
  const connection = await open(service)
  await connection.send(uploadHead({ key: service.key, body, lines }))
  return connection
}

/** Every place for an upload is free: that many are told to send, and one more is not. */
async function assertAllPlacesFree(): Promise<void> {
  const holders: RawConnection[] = []
  await eventually(async () => {
    for (const holder of holders.splice(0)) holder.reset()
    for (let at = 0; at < maxUploads; at++) holders.push(await openUpload(['Expect: 100-continue']))
    const answers = await Promise.all(holders.map((holder) => holder.answer()))
    assert.deepEqual([...new Set(answers.map(({ status }) => status))], [100])
  })
  const refused = await openUpload(['Expect: 100-continue'])
  assert.equal((await refused.answer()).status, 503)
  for (const holder of [...holders, refused]) holder.reset()
}

type Drop = { what: string; sentBytes: (at: number) => number; how: 'reset' | 'finish' }
const drops: Drop[] = [
  { what: '1 MB and then RST', sentBytes: () => MiB, how: 'reset' },
  {
    what: 'up to 4 MB and then RST',
    sentBytes: (at) => Math.floor((body.length * at) / count),
    how: 'reset',
  },
  { what: '1 MB and then FIN', sentBytes: () => MiB, how: 'finish' },
]

describe('uploads that are dropped', () => {
  for (const { what, sentBytes, how } of drops) {
    it(`case 84: ${count} times the head of an upload, ${what}: descriptors, files, memory and places are back`, async () => {
      const dropOne = async (at: number): Promise<void> => {
        const connection = await openUpload()
        await connection.send(body.subarray(0, sentBytes(at)))
        connection[how]()
        if (how === 'finish') await connection.closed(20_000)
        connection.reset()
      }
      const before = baseline(service)
      await times(count / 4, 32, dropOne)
      await assertClean(service, before)
      const warm = residentBytes(pid)
      await times(count, 32, dropOne)
      await assertClean(service, before)
      await assertAllPlacesFree()
      await assertClean(service, before)
      await eventually(() => {
        const grown = residentBytes(pid) - warm
        assert.ok(grown < 48 * MiB, `${Math.round(grown / MiB)} MiB more than after the first quarter`)
      })
      assert.equal((await upload(service, samples.png())).status, 200)
    })
  }

  it('case 12, 84: hundreds that leave at the same moment: each key is free at once', async () => {
    const before = baseline(service)
    const names = Array.from({ length: maxUploads }, (_, at) => `left-${at}`)
    const held = await Promise.all(names.map((name) => openUpload([`Idempotency-Key: ${name}`])))
    await Promise.all(held.map((connection) => connection.send(body.subarray(0, 100_000))))
    await eventually(() => assert.equal(contentsOf(service.dataDir).keys.length, before.keys + names.length))
    for (const connection of held) connection.reset()
    await assertClean(service, before)
    await times(names.length, 16, async (at) => {
      const file = fileBody(samples.png({ sizeBytes: 200 + at }))
      const lines = [`Idempotency-Key: ${names[at]}`]
      const answer = await exchange(service, [uploadRequest({ key: service.key, body: file, lines })])
      assert.equal(answer.status, 200)
      assert.equal(answer.headers['idempotent-replayed'], undefined)
    })
    await assertClean(service, before, { assets: names.length, keys: names.length })
  })
})

describe('connections in masses', () => {
  /** A client that knocks and does `then`; whatever becomes of it is no concern of ours. */
  function knock(first: string | null, how: 'stay' | 'reset' | 'finish'): Promise<void> {
    return new Promise((resolve) => {
      const socket = connect({ host: service.host, port: service.port, noDelay: true })
      socket.on('error', () => {})
      socket.once('close', () => resolve())
      socket.resume()
      socket.once('connect', () => {
        if (first !== null) socket.write(first)
        if (how === 'reset') socket.resetAndDestroy()
        else if (how === 'finish') socket.end()
        else setTimeout(() => socket.destroy(), 500)
      })
    })
  }

  const kinds: [string, string | null, 'stay' | 'reset' | 'finish'][] = [
    ['stay for a while', null, 'stay'],
    ['reset at once', null, 'reset'],
    ['send half a head and reset', 'GET /healthz HTTP/1.1\r\nHost: a', 'reset'],
    ['send half a head and close', 'GET /healthz HTTP/1.1\r\nHost: a', 'finish'],
    ['ask and reset', requestHead('GET /docs HTTP/1.1'), 'reset'],
    ['ask for what is not there and close', requestHead('GET /x HTTP/1.1'), 'finish'],
    ['send noise and reset', '\0\0\0\r\n\r\n', 'reset'],
  ]

  it('case 83, 84: 2,000 a second of every kind: others are answered meanwhile, and nothing is held afterwards', async () => {
    const before = baseline(service)
    const perKind = isShort ? 500 : 3_000
    const wave = async (total: number): Promise<void> => {
      const ends: Promise<void>[] = []
      for (let at = 0; at < total; at++) {
        const [, first, how] = kinds[at % kinds.length] ?? kinds[0] ?? ['', null, 'reset']
        ends.push(knock(first, how))
        if (at % 40 === 39) await sleep(20)
      }
      await Promise.all(ends)
    }
    await wave(1_000)
    const warm = residentBytes(pid)
    let isOver = false
    const all = wave(perKind * kinds.length).finally(() => {
      isOver = true
    })
    let served = 0
    while (!isOver) {
      const alive = await exchange(service, [requestHead('GET /healthz HTTP/1.1')], { withinMs: 10_000 })
      assert.equal(alive.status, 200)
      assert.equal((await upload(service, samples.png())).status, 200)
      served++
      await sleep(50)
    }
    await all
    assert.ok(served >= 5, `${served} were served meanwhile`)
    // The sockets of our own fetch stay open for a while.
    await assertClean(service, { ...before, descriptors: before.descriptors + 4 }, { assets: served })
    const grown = residentBytes(pid) - warm
    assert.ok(grown < 64 * MiB, `${Math.round(grown / MiB)} MiB more than after the first wave`)
    assert.ok(descriptors(pid).length < 60)
  })
})
