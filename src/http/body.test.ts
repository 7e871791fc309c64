import assert from 'node:assert/strict'
import { EventEmitter, once } from 'node:events'
import { createServer, type IncomingMessage } from 'node:http'
import { type AddressInfo, connect, type Socket } from 'node:net'
import { Readable } from 'node:stream'
import { type TestContext, test } from 'node:test'
import { ClientLeft, Fault } from '../errors.ts'
import { failBody, type Pace, readBody } from './body.ts'

const pace: Pace = { idleSeconds: 10, minBytesPerSecond: 100 }

/** A request whose bytes come when the test says so. */
function fakeRequest() {
  const socket = new EventEmitter() as Socket
  const stream = new Readable({ read() {} })
  return { stream, socket, request: Object.assign(stream, { socket }) as unknown as IncomingMessage }
}

/** A clock that moves only by `pass`, for the timers and for `performance.now` alike. */
function fakeClock(context: TestContext) {
  let nowMs = 5_000
  context.mock.timers.enable({ apis: ['setInterval'] })
  context.mock.method(performance, 'now', () => nowMs)
  return {
    /** Lets time pass in small steps, so that each timer sees the time at which it is due. */
    async pass(seconds: number): Promise<void> {
      for (let ms = 0; ms < seconds * 1000; ms += 10) {
        nowMs += 10
        context.mock.timers.tick(10)
      }
      await streamEvents()
    },
  }
}

/** Streams hand on what they have in later turns of the loop. */
const streamEvents = (): Promise<void> => new Promise((resolve) => setImmediate(() => setImmediate(resolve)))

type Ended = 'whole' | 'left' | 'too slow' | unknown

/** Starts to read; `ended` tells how it ended so far. */
function reading(
  request: IncomingMessage,
  options: {
    pace?: Pace
    onSlice?: (slice: Buffer) => Promise<void> | undefined
    isWhole?: () => boolean
  } = {},
) {
  const seen: { ended: Ended; bytes: number } = { ended: 'reading', bytes: 0 }
  readBody(request, options.pace ?? pace, {
    onSlice(slice) {
      seen.bytes += slice.length
      return options.onSlice?.(slice)
    },
    isWhole: options.isWhole ?? (() => false),
  }).then(
    () => {
      seen.ended = 'whole'
    },
    (error) => {
      const isSlow = error instanceof Fault && error.code === 'request_timeout'
      seen.ended = error instanceof ClientLeft ? 'left' : isSlow ? 'too slow' : error
    },
  )
  return seen
}

test('a body is handed on to its end', async () => {
  const { stream, request } = fakeRequest()
  const seen = reading(request)
  stream.push(Buffer.alloc(10))
  stream.push(Buffer.alloc(5))
  stream.push(null)
  await streamEvents()
  assert.deepEqual(seen, { ended: 'whole', bytes: 15 })
})

test('case 81: no byte for the idle time ends it, not a moment earlier', async (context) => {
  const clock = fakeClock(context)
  const { request } = fakeRequest()
  const seen = reading(request)
  await clock.pass(9.4)
  assert.equal(seen.ended, 'reading')
  await clock.pass(1.2)
  assert.equal(seen.ended, 'too slow')
})

test('case 81: the idle time begins anew with each byte', async (context) => {
  const clock = fakeClock(context)
  const { stream, request } = fakeRequest()
  const seen = reading(request, { pace: { ...pace, minBytesPerSecond: 0 } })
  for (let times = 0; times < 5; times++) {
    await clock.pass(9)
    stream.push(Buffer.alloc(1))
    await streamEvents()
  }
  assert.equal(seen.ended, 'reading')
  await clock.pass(10.6)
  assert.equal(seen.ended, 'too slow')
})

test('case 81: a trickle below the minimum rate ends it, one above goes on for as long as it takes', async (context) => {
  const clock = fakeClock(context)
  const slow = fakeRequest()
  const steady = fakeRequest()
  const seenSlow = reading(slow.request)
  const seenSteady = reading(steady.request)
  for (let second = 0; second < 12; second++) {
    slow.stream.push(Buffer.alloc(90))
    steady.stream.push(Buffer.alloc(110))
    await clock.pass(1)
  }
  assert.equal(seenSlow.ended, 'too slow')
  for (let second = 0; second < 30 * 60; second += 2) {
    steady.stream.push(Buffer.alloc(220))
    await clock.pass(2)
  }
  assert.equal(seenSteady.ended, 'reading')
  steady.stream.push(null)
  await streamEvents()
  assert.equal(seenSteady.ended, 'whole')
})

test('case 81: bytes of long ago do not pay for a trickle now', async (context) => {
  const clock = fakeClock(context)
  const { stream, request } = fakeRequest()
  const seen = reading(request)
  stream.push(Buffer.alloc(10_000_000))
  await clock.pass(9)
  for (let second = 0; second < 20; second++) {
    stream.push(Buffer.alloc(10))
    await clock.pass(1)
  }
  assert.equal(seen.ended, 'too slow')
})

test('case 80: while we make the client wait nothing is read, and the time is not the client’s', async (context) => {
  const clock = fakeClock(context)
  const { stream, request } = fakeRequest()
  let goOn = (): void => {}
  const seen = reading(request, {
    onSlice: () =>
      new Promise((resolve) => {
        goOn = resolve
      }),
  })
  stream.push(Buffer.alloc(5))
  stream.push(Buffer.alloc(7))
  await streamEvents()
  await clock.pass(600)
  assert.deepEqual(seen, { ended: 'reading', bytes: 5 })
  goOn()
  await streamEvents()
  assert.deepEqual(seen, { ended: 'reading', bytes: 12 })
  goOn()
  await streamEvents()
  await clock.pass(9)
  assert.equal(seen.ended, 'reading', 'the idle time begins when we let it go on')
  await clock.pass(1.6)
  assert.equal(seen.ended, 'too slow')
})

test('the end waits for what the last slice has set going, and for its failure', async () => {
  for (const [settle, expected] of [
    ['resolve', 'whole'],
    ['reject', 'Error: disk'],
  ] as const) {
    const { stream, request } = fakeRequest()
    const last = Promise.withResolvers<void>()
    const seen = reading(request, { onSlice: () => last.promise })
    stream.push(Buffer.alloc(5))
    stream.push(null)
    await streamEvents()
    assert.equal(seen.ended, 'reading')
    last[settle](new Error('disk') as never)
    await streamEvents()
    assert.equal(String(seen.ended), expected)
  }
})

test('case 80: short waits for us do not count against the client’s rate either', async (context) => {
  const clock = fakeClock(context)
  const { stream, request } = fakeRequest()
  let goOn = (): void => {}
  const seen = reading(request, {
    onSlice: () =>
      new Promise((resolve) => {
        goOn = resolve
      }),
  })
  // 10 bytes in 50 ms are 200 a second; then our disk takes 400 ms, over and done with before a timer looks.
  for (let times = 0; times < 60; times++) {
    await clock.pass(0.05)
    stream.push(Buffer.alloc(10))
    await streamEvents()
    await clock.pass(0.4)
    goOn()
    await streamEvents()
    await clock.pass(0.05)
  }
  assert.equal(seen.ended, 'reading')
})

test('what the reader throws, or its promise rejects with, ends it; no more is read', async () => {
  for (const onSlice of [
    () => {
      throw new Error('stop')
    },
    () => Promise.reject(new Error('stop')),
  ]) {
    const { stream, request } = fakeRequest()
    const seen = reading(request, { onSlice })
    stream.push(Buffer.alloc(5))
    stream.push(Buffer.alloc(7))
    await streamEvents()
    assert.match(String(seen.ended), /stop/)
    assert.equal(seen.bytes, 5)
    assert.equal(stream.isPaused(), true)
    assert.deepEqual(
      ['data', 'end', 'close', 'error'].map((name) => stream.listenerCount(name)),
      [0, 0, 0, 0],
    )
  }
})

for (const when of ['before', 'while'] as const) {
  test(`a broken framing of the body is told to its reader, ${when} it reads`, async () => {
    const fault = new Fault('invalid_parameter', 'x')
    const { stream, request } = fakeRequest()
    stream.push(Buffer.alloc(5))
    if (when === 'before') failBody(request, fault, false)
    const seen = reading(request)
    await streamEvents()
    if (when === 'while') failBody(request, fault, false)
    await streamEvents()
    assert.equal(seen.ended, fault)
    assert.equal(seen.bytes, 5, 'what came before the fault is read')
  })
}

test('a fault behind the closing boundary takes nothing back; one within the chunks does', async () => {
  const fault = new Fault('invalid_parameter', 'x')
  for (const behindBody of [true, false]) {
    const { request } = fakeRequest()
    const seen = reading(request, { isWhole: () => true })
    failBody(request, fault, behindBody)
    await streamEvents()
    assert.equal(seen.ended, behindBody ? 'whole' : fault)
  }
})

test('the timer stops with the body', async (context) => {
  const clock = fakeClock(context)
  const { stream, request } = fakeRequest()
  const seen = reading(request)
  stream.push(null)
  await streamEvents()
  await clock.pass(60)
  assert.equal(seen.ended, 'whole')
})

// Over real connections

/** A server that reads one body; gives the client's end and what becomes of the body. */
async function serving(context: TestContext, isWhole: () => boolean) {
  const seen: { ended: Ended; bytes: number }[] = []
  const server = createServer({ requestTimeout: 0 }, (request) => seen.push(reading(request, { isWhole })))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  context.after(() => {
    server.close()
    server.closeAllConnections()
  })
  const client = connect((server.address() as AddressInfo).port, '127.0.0.1')
  client.on('error', () => {})
  client.write('POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n')
  client.write('x'.repeat(60))
  await until(() => seen[0]?.bytes === 60)
  return { client, seen: () => seen[0] }
}

async function until(check: () => boolean): Promise<void> {
  for (let tries = 0; tries < 300 && !check(); tries++) await new Promise((resolve) => setTimeout(resolve, 5))
  assert.ok(check(), 'waited in vain')
}

for (const how of ['FIN', 'RST'] as const) {
  test(`case 12: a connection that drops (${how}) before the body is whole is ClientLeft`, async (context) => {
    const { client, seen } = await serving(context, () => false)
    if (how === 'FIN') client.destroy()
    else client.resetAndDestroy()
    await until(() => seen()?.ended !== 'reading')
    assert.equal(seen()?.ended, 'left')
  })

  test(`case 12: one that drops (${how}) after the closing boundary takes nothing back`, async (context) => {
    const { client, seen } = await serving(context, () => true)
    if (how === 'FIN') client.destroy()
    else client.resetAndDestroy()
    await until(() => seen()?.ended !== 'reading')
    assert.equal(seen()?.ended, 'whole')
  })
}

test('a request whose connection is gone already is ClientLeft at once', async () => {
  const { stream, request } = fakeRequest()
  stream.destroy()
  await once(stream, 'close')
  const seen = reading(request)
  await streamEvents()
  assert.equal(seen.ended, 'left')
})
