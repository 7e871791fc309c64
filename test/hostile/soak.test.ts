/**
 * Case 104: valid requests, damaged at random in head, multipart and file, against the running service over bare
 * sockets. No answer is a 5xx, none is missing, and what the service holds stays as it was.
 *
 * The seed is printed; SOAK_SEED=<seed> repeats a run, SOAK_SECONDS sets its length.
 */
import assert from 'node:assert/strict'
import { createHash, randomInt } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { isShort } from '../form.ts'
import { samples } from '../media/samples.ts'
import {
  descriptors,
  exchange,
  fileBody,
  open,
  residentBytes,
  serverPid,
  uploadRequest,
} from '../raw-http.ts'
import { contentsOf, eventually, type RunningService, startService } from '../service.ts'
import { type Dice, mutatedRequest, throwDice } from './mutations.ts'

const MiB = 1024 * 1024
const seconds = Number(process.env.SOAK_SECONDS ?? (isShort ? 12 : 600))
const seed = Number(process.env.SOAK_SEED ?? randomInt(2 ** 31))
const workers = 8
const bodyIdleSeconds = 2
/** Longer than the service gives a body, or 20 seconds for the head and two to notice. */
const heldMs = 45_000
/** For a request whose end the service can see. */
const answeredMs = 20_000

const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex')

type Tally = { statuses: Map<number, number>; requests: number; good: number; closedInSilence: number }

/** Every status in what came back on one connection. */
function statusesOf(bytes: Buffer): number[] {
  const text = bytes.toString('latin1')
  assert.ok(
    text === '' || text.startsWith('HTTP/1.1 '),
    `not an answer: ${JSON.stringify(text.slice(0, 200))}`,
  )
  return [...text.matchAll(/HTTP\/1\.1 (\d{3}) /g)].map(([, status]) => Number(status))
}

/** Sends it in a few pieces; gives all that came back until the connection ended. */
async function send(service: RunningService, request: Buffer, dice: Dice, isHeld: boolean): Promise<Buffer> {
  const connection = await open(service)
  try {
    const pieces = 1 + dice.below(3)
    for (let at = 0, piece = 1; piece <= pieces; piece++) {
      const end = piece === pieces ? request.length : at + dice.below(request.length - at + 1)
      await connection.send(request.subarray(at, end))
      at = end
    }
    if (!isHeld) {
      connection.finish()
      await connection.closed(answeredMs)
    } else {
      // Not closed by us: an answer must come, or the end of the connection.
      const closed = connection.closed(heldMs).then(() => true)
      while (connection.rest().length === 0 && !(await Promise.race([closed, sleep(100, false)]))) {}
    }
    return connection.rest()
  } finally {
    connection.reset()
  }
}

/** 501 and 505 are faults of the request that HTTP gives such a number; any other 5xx is a fault of ours. */
function assertNoFaultOfOurs(answered: Buffer): number[] {
  const statuses = statusesOf(answered)
  for (const status of statuses)
    assert.ok(
      status < 500 || status === 501 || status === 505,
      `${status}: ${answered.toString('latin1').slice(0, 2_000)}`,
    )
  return statuses
}

async function uploadAndCompare(service: RunningService, dice: Dice): Promise<string> {
  const bytes = dice.oneOf(Object.values(samples))({ sizeBytes: 4_000 + dice.below(200_000) })
  const answer = await exchange(service, [uploadRequest({ key: service.key, body: fileBody(bytes) })], {
    withinMs: answeredMs,
  })
  assert.equal(answer.status, 200, `a valid upload: ${answer.body}`)
  const { url } = JSON.parse(answer.body.toString()).data
  const path = new URL(url).pathname
  const served = await exchange(service, [`GET ${path} HTTP/1.1\r\nHost: a.test\r\n\r\n`], {
    withinMs: answeredMs,
  })
  assert.equal(served.status, 200)
  assert.equal(sha256(served.body), sha256(bytes), `${path} is what was sent`)
  return path
}

/** Every row has its file and every file its row, and the bytes are those that the row names. */
function assertWhole(dataDir: string): number {
  const { assets, blobs, incoming } = contentsOf(dataDir)
  assert.deepEqual(incoming, [], 'unfinished files')
  assert.deepEqual(assets.map(({ blob_key }) => blob_key).toSorted(), blobs.toSorted())
  for (const { state, blob_key, size_bytes, sha256: hash } of assets) {
    assert.equal(state, 'completed')
    const bytes = readFileSync(join(dataDir, 'blobs', String(blob_key).slice(0, 2), String(blob_key)))
    assert.equal(bytes.length, size_bytes)
    assert.equal(sha256(bytes), hash)
  }
  return assets.length
}

test(`case 104: ${seconds} seconds of damaged requests`, async (context) => {
  context.diagnostic(`SOAK_SEED=${seed}`)
  const service = await startService({ env: { ASSETD_BODY_IDLE_SECONDS: String(bodyIdleSeconds) } })
  const pid = serverPid(service)
  const fileUrls: string[] = []
  const tally: Tally = { statuses: new Map(), requests: 0, good: 0, closedInSilence: 0 }
  const held: Promise<void>[] = []
  let turn = 0

  const count = (statuses: number[]): void => {
    tally.requests++
    if (statuses.length === 0) tally.closedInSilence++
    for (const status of statuses) tally.statuses.set(status, (tally.statuses.get(status) ?? 0) + 1)
  }
  const damagedOnce = async (isHeld: boolean): Promise<void> => {
    const own = throwDice(seed + turn++)
    const request = mutatedRequest(own, service.key, fileUrls)
    try {
      count(assertNoFaultOfOurs(await send(service, request, own, isHeld)))
    } catch (error) {
      const shown = JSON.stringify(request.toString('latin1').slice(0, 3_000))
      throw new Error(`SOAK_SEED=${seed}, turn ${turn}, ${isHeld ? 'held open' : 'finished'}: ${shown}`, {
        cause: error,
      })
    }
  }
  const work = async (dice: Dice, untilMs: number): Promise<void> => {
    for (let times = 1; performance.now() < untilMs; times++) {
      if (times % 25 === 0) {
        const path = await uploadAndCompare(service, dice)
        tally.good++
        if (fileUrls.length < 20) fileUrls.push(path)
      }
      await damagedOnce(false)
    }
  }
  const workFor = (ms: number): Promise<unknown> => {
    const untilMs = performance.now() + ms
    return Promise.all(
      Array.from({ length: workers }, (_, worker) => work(throwDice(seed ^ (worker + 1)), untilMs)),
    )
  }

  try {
    fileUrls.push(await uploadAndCompare(service, throwDice(seed)))
    // The warm-up: code is compiled, and memory taken, that stays.
    await workFor(seconds * 250)
    await eventually(() => assertWhole(service.dataDir), 10_000)
    const before = { descriptors: descriptors(pid).length, resident: residentBytes(pid) }

    for (let at = 0; at < 60; at++) held.push(damagedOnce(true))
    await workFor(seconds * 750)
    await Promise.all(held)

    const assets = await eventually(() => assertWhole(service.dataDir), 10_000)
    await eventually(() => {
      const now = descriptors(pid).length
      assert.ok(now <= before.descriptors, `descriptors: ${now} > ${before.descriptors}`)
    }, 10_000)
    const grown = residentBytes(pid) - before.resident
    context.diagnostic(
      `${tally.requests} damaged requests, ${tally.closedInSilence} without an answer, ${tally.good} good uploads, ` +
        `${assets} assets; grown by ${(grown / MiB).toFixed(1)} MiB; ${JSON.stringify(Object.fromEntries([...tally.statuses].toSorted()))}`,
    )
    const reasons = new Map<unknown, number>()
    for (const { reason } of service.log()) reasons.set(reason, (reasons.get(reason) ?? 0) + 1)
    context.diagnostic(`reasons: ${JSON.stringify(Object.fromEntries(reasons))}`)
    assert.ok(grown < 96 * MiB, `the service grew by ${grown} bytes`)
    assert.equal(serverPid(service), pid, 'it is the process that it was')
    assert.ok(tally.good >= workers, `${tally.good} good uploads`)
    for (const status of [200, 400])
      assert.ok((tally.statuses.get(status) ?? 0) > 20, `few answers ${status}`)
    assert.deepEqual(
      service.log().filter(({ level }) => level === 50 || level === 'error'),
      [],
    )
  } finally {
    await Promise.allSettled(held)
    await service.stop()
  }
})
