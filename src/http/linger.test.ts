import assert from 'node:assert/strict'
import { EventEmitter, once } from 'node:events'
import { createServer, type IncomingMessage } from 'node:http'
import { type AddressInfo, connect, type Socket } from 'node:net'
import { Readable } from 'node:stream'
import { type TestContext, test } from 'node:test'
import { createLinger, hasUnreadBody, type LingerLimits, lingerLimits } from './linger.ts'

const limits: LingerLimits = { maxConnections: 2, maxBytes: 1_000, idleMs: 5_000, totalMs: 30_000 }

function fakeRequest() {
  const socket = new EventEmitter() as Socket
  const stream = new Readable({ read() {} })
  return { stream, socket, request: Object.assign(stream, { socket }) as unknown as IncomingMessage }
}

const streamEvents = (): Promise<void> => new Promise((resolve) => setImmediate(() => setImmediate(resolve)))

/** What a client has of the answer so far, and whether it has ended. */
function heard(answer: Readable) {
  const seen = { text: '', ended: false }
  answer.on('data', (slice) => {
    seen.text += slice
  })
  answer.on('end', () => {
    seen.ended = true
  })
  return seen
}

/** Timers that go off when the test says so; those of node:test do not know `refresh`. */
function fakeTimers(context: TestContext) {
  let nowMs = 0
  const timers = new Set<{ dueMs: number; ring: () => void }>()
  context.mock.method(globalThis, 'setTimeout', (ring: () => void, ms: number) => {
    const timer = {
      dueMs: nowMs + ms,
      ring,
      refresh() {
        timer.dueMs = nowMs + ms
      },
    }
    timers.add(timer)
    return timer
  })
  context.mock.method(globalThis, 'clearTimeout', (timer: { dueMs: number; ring: () => void }) =>
    timers.delete(timer),
  )
  return {
    pass(ms: number): void {
      nowMs += ms
      for (const timer of [...timers]) if (timer.dueMs <= nowMs && timers.delete(timer)) timer.ring()
    },
    running: () => timers.size,
  }
}

function lingering(context: TestContext) {
  const { pass, running } = fakeTimers(context)
  const linger = createLinger(limits)
  const fake = fakeRequest()
  const seen = heard(linger.answer(fake.request, Buffer.from('no')))
  return { linger, seen, ...fake, pass, running }
}

test('case 10: the limits are those of the ruling', () => {
  assert.deepEqual(lingerLimits, {
    maxConnections: 64,
    maxBytes: 134_217_728,
    idleMs: 5_000,
    totalMs: 30_000,
  })
})

test('case 10: the answer is whole at once, and ends when the body has been read', async (context) => {
  const { seen, stream, linger } = lingering(context)
  await streamEvents()
  assert.deepEqual(seen, { text: 'no', ended: false })
  assert.equal(linger.connections, 1)
  stream.push(Buffer.alloc(500))
  await streamEvents()
  assert.equal(seen.ended, false)
  stream.push(null)
  await streamEvents()
  assert.deepEqual(seen, { text: 'no', ended: true })
  assert.equal(linger.connections, 0)
})

test('case 10: more bytes than the limit end it', async (context) => {
  const { seen, stream, linger } = lingering(context)
  stream.push(Buffer.alloc(1_000))
  await streamEvents()
  assert.equal(seen.ended, false)
  stream.push(Buffer.alloc(1))
  await streamEvents()
  assert.equal(seen.ended, true)
  assert.equal(linger.connections, 0)
})

test('case 10: so does a client that sends nothing', async (context) => {
  const { seen, stream, pass } = lingering(context)
  pass(4_999)
  await streamEvents()
  assert.equal(seen.ended, false)
  stream.push(Buffer.alloc(1))
  await streamEvents()
  pass(4_999)
  await streamEvents()
  assert.equal(seen.ended, false, 'the idle time begins anew with each byte')
  pass(1)
  await streamEvents()
  assert.equal(seen.ended, true)
})

test('case 10: so does one that trickles, after the total time', async (context) => {
  const { seen, stream, pass } = lingering(context)
  for (let second = 1; second < 30; second++) {
    pass(1_000)
    stream.push(Buffer.alloc(1))
    await streamEvents()
    assert.equal(seen.ended, false)
  }
  pass(1_000)
  await streamEvents()
  assert.equal(seen.ended, true)
})

for (const how of ['close', 'end of sending', 'error'] as const) {
  test(`case 10: so does the client’s ${how}`, async (context) => {
    const { seen, stream, socket, linger } = lingering(context)
    if (how === 'close') stream.destroy()
    else if (how === 'error') stream.destroy(new Error('reset'))
    else socket.emit('end')
    await streamEvents()
    assert.equal(seen.ended, true)
    assert.equal(linger.connections, 0)
  })
}

test('case 10: at most so many linger at once; one more gets its answer and no time', async () => {
  const linger = createLinger(limits)
  const held = [fakeRequest(), fakeRequest()]
  for (const { request } of held) heard(linger.answer(request, Buffer.from('no')))
  const over = heard(linger.answer(fakeRequest().request, Buffer.from('no')))
  await streamEvents()
  assert.deepEqual(over, { text: 'no', ended: true })
  assert.equal(linger.connections, 2)
  held[0]?.stream.destroy()
  await streamEvents()
  assert.equal(linger.connections, 1)
  const next = fakeRequest()
  const seen = heard(linger.answer(next.request, Buffer.from('no')))
  await streamEvents()
  assert.equal(seen.ended, false)
  next.stream.destroy()
  held[1]?.stream.destroy()
  await streamEvents()
  assert.equal(linger.connections, 0)
})

test('case 10: a place is given back once, whatever happens together', async (context) => {
  const { stream, socket, linger, pass, running } = lingering(context)
  socket.emit('end')
  stream.push(null)
  stream.destroy()
  pass(60_000)
  await streamEvents()
  assert.equal(linger.connections, 0)
  for (const name of ['data', 'end', 'close', 'error']) assert.equal(stream.listenerCount(name), 0, name)
  assert.equal(socket.listenerCount('end'), 0)
  assert.equal(running(), 0)
})

test('a body that is read or gone already does not linger', async () => {
  const linger = createLinger(limits)
  const { stream, request } = fakeRequest()
  stream.destroy()
  await once(stream, 'close')
  const seen = heard(linger.answer(request, Buffer.from('no')))
  await streamEvents()
  assert.deepEqual(seen, { text: 'no', ended: true })
  assert.equal(linger.connections, 0)
})

test('case 10: a client that sends all of its body before it listens hears the refusal', async (context) => {
  const linger = createLinger()
  const server = createServer((request, response) => {
    response.writeHead(400, { connection: 'close', 'content-length': 2 })
    linger.answer(request, Buffer.from('no')).pipe(response)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  context.after(() => server.close())
  const client = connect((server.address() as AddressInfo).port, '127.0.0.1')
  client.pause()
  const size = 16 * 1024 * 1024
  client.write(`POST / HTTP/1.1\r\nHost: x\r\nContent-Length: ${size}\r\n\r\n`)
  await new Promise<void>((resolve, reject) => {
    client.once('error', reject)
    client.write(Buffer.alloc(size), () => resolve())
  })
  let text = ''
  client.setEncoding('latin1').on('data', (part) => {
    text += part
  })
  client.resume()
  await once(client, 'end')
  assert.match(text, /^HTTP\/1.1 400 /)
  assert.match(text, /\r\n\r\nno$/)
  client.destroy()
})

test('whether bytes are still to come', () => {
  const about = (facts: object): IncomingMessage =>
    ({
      complete: false,
      headers: {},
      socket: { readableEnded: false },
      ...facts,
    }) as unknown as IncomingMessage
  assert.equal(hasUnreadBody(about({})), false)
  assert.equal(hasUnreadBody(about({ headers: { 'content-length': '0' } })), false)
  assert.equal(hasUnreadBody(about({ headers: { 'content-length': '1' } })), true)
  assert.equal(hasUnreadBody(about({ headers: { 'transfer-encoding': 'chunked' } })), true)
  assert.equal(hasUnreadBody(about({ headers: { 'content-length': '1' }, complete: true })), false)
  assert.equal(
    hasUnreadBody(about({ headers: { 'content-length': '1' }, socket: { readableEnded: true } })),
    false,
  )
})
