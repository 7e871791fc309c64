/** Section A of `shared/cases.md`: what may come over a socket, and what must be answered. */
import assert from 'node:assert/strict'
import { randomBytes, randomUUID } from 'node:crypto'
import { after, before, test } from 'node:test'
import { samples } from './media/samples.ts'
import {
  assertClean,
  assertError,
  baseline,
  chunked,
  descriptors,
  type Expected,
  exchange,
  fileBody,
  latin1,
  open,
  type RawAnswer,
  requestHead,
  serverPid,
  type UploadRequest,
  uploadHead,
  uploadRequest,
} from './raw-http.ts'
import {
  contentsOf,
  eventually,
  type RunningService,
  startService,
  upload as uploadByFetch,
} from './service.ts'

let service: RunningService
/** One that nobody else talks to, for the one test that has to wait for a time limit. */
let quiet: RunningService
let slowHeaders: Promise<{ answer: RawAnswer; seconds: number }>
const png = samples.png()
const origin = 'https://app.test'

before(async () => {
  service = await startService({ env: { ASSETD_CORS_ORIGINS: origin } })
  quiet = await startService()
  slowHeaders = sendHeadersSlowly(quiet)
  slowHeaders.catch(() => {}) // the test that awaits it says so
  await uploadOne()
})

after(async () => {
  await service.stop()
  await quiet.stop()
})

const upload = (more: Partial<UploadRequest> = {}): Buffer =>
  uploadRequest({ key: service.key, body: fileBody(png), ...more })
const head = (more: Partial<UploadRequest> = {}): string =>
  uploadHead({ key: service.key, body: fileBody(png), ...more })

async function uploadOne(): Promise<void> {
  const answer = await exchange(service, [upload()])
  assert.equal(answer.status, 200, answer.body.toString())
}

type Refusal = Expected & { send: (string | Uint8Array)[]; what: string }

/** Every request is refused as it should be, on a connection that closes without a second answer; then all is Clean. */
async function allRefused(refusals: readonly Refusal[], withinMs = 12_000): Promise<void> {
  const before = baseline(service)
  const check = async ({ send, what, ...expected }: Refusal): Promise<void> => {
    const connection = await open(service)
    try {
      await connection.send(...send)
      const answer = await connection.answer({ withinMs })
      assertError(answer, expected)
      assert.equal(answer.headers.connection, 'close', 'Connection: close')
      await connection.closed(withinMs)
      assert.equal(connection.rest().toString('latin1'), '', 'nothing but one answer')
    } catch (error) {
      throw new Error(`${what}: ${(error as Error).message}`, { cause: error })
    } finally {
      connection.reset()
    }
  }
  const outcomes = await Promise.allSettled(refusals.map(check))
  const failures = outcomes.flatMap((one) => (one.status === 'rejected' ? [String(one.reason.message)] : []))
  assert.deepEqual(failures, [])
  await assertClean(service, before)
  await uploadOne()
}

/** A second request that must not be carried out: were it, there would be an asset more and an answer more. */
const smuggled = (): Buffer => upload()

const malformed = {
  status: 400,
  code: 'invalid_parameter',
  param: null,
  reason: 'malformed_request',
} as const

test('case 1: Content-Length and Transfer-Encoding together', async () => {
  await allRefused([
    {
      what: 'CL then TE',
      send: [head({ length: 4, lines: ['Transfer-Encoding: chunked'] }), '0\r\n\r\n', smuggled()],
      ...malformed,
    },
    {
      what: 'TE then CL',
      send: [head({ length: 'chunked', lines: ['Content-Length: 5'] }), '0\r\n\r\n', smuggled()],
      ...malformed,
    },
  ])
})

test('case 2: Content-Length that is not one number', async () => {
  const body = fileBody(png)
  const n = body.length
  const values = [
    [`Content-Length: ${n}`, `Content-Length: ${n + 1}`],
    [`Content-Length: ${n}`, `Content-Length: ${n}`],
    [`Content-Length: +${n}`],
    [`Content-Length: ${n}, ${n}`],
    ['Content-Length: -1'],
    ['Content-Length: 0x10'],
    ['Content-Length: 1 2'],
    ['Content-Length: '],
    ['Content-Length: 18446744073709551616'],
  ]
  await allRefused(
    values.map((lines) => ({
      what: lines.join(' | '),
      send: [head({ length: null, lines }), body, smuggled()],
      ...malformed,
    })),
  )
})

test('case 3: transfer codings that are not exactly chunked', async () => {
  const refuse = (coding: string, expected: Expected): Refusal => ({
    what: coding,
    send: [
      head({ length: null, lines: [`Transfer-Encoding: ${coding}`] }),
      chunked(fileBody(png)),
      smuggled(),
    ],
    ...expected,
  })
  await allRefused([
    refuse('xchunked', malformed),
    refuse('chunked, identity', malformed),
    refuse('identity', malformed),
    refuse('gzip', malformed),
    refuse('gzip, chunked', { status: 501, code: 'invalid_request', param: null }),
    refuse('chunked, chunked', malformed),
    {
      what: 'a Content-Encoding, which is not undone',
      send: [head({ lines: ['Content-Encoding: gzip'], length: 1000 }), 'x'],
      status: 415,
      code: 'invalid_request',
    },
    {
      what: 'chunked, in two lines',
      send: [
        head({ length: 'chunked', lines: ['Transfer-Encoding: chunked'] }),
        chunked(fileBody(png)),
        smuggled(),
      ],
      ...malformed,
    },
  ])
  const named = await exchange(service, [
    head({ length: null, lines: ['Transfer-Encoding: CHUNKED'] }),
    chunked(fileBody(png)),
  ])
  assert.equal(named.status, 200, 'names of codings are case-insensitive')
})

test('case 4: no Host, or two', async () => {
  const withHosts = (...hosts: string[]): string =>
    ['GET /healthz HTTP/1.1', ...hosts.map((host) => `Host: ${host}`), '', ''].join('\r\n')
  for (const send of [withHosts(), withHosts('a.test', 'b.test'), withHosts('a.test', 'a.test')]) {
    assertError(await exchange(service, [send]), malformed)
  }
  assert.equal((await exchange(service, ['GET /healthz HTTP/1.0\r\n\r\n'])).status, 200)
})

test('case 5: lines that are not lines of HTTP', async () => {
  const raw = (text: string, what: string): Refusal => ({ what, send: [text], ...malformed })
  await allRefused([
    raw('GET /healthz HTTP/1.1\nHost: a.test\n\n', 'bare LF'),
    raw('GET /healthz HTTP/1.1\r\nHost: a.test\nX-A: b\r\n\r\n', 'bare LF after a header'),
    raw('GET /healthz HTTP/1.1\r\nHost: a.test\rX-A: b\r\n\r\n', 'bare CR'),
    raw('GET /healthz HTTP/1.1\r\nHost: a.test\r\n X-A: b\r\n\r\n', 'obs-fold after Host'),
    raw('GET /healthz HTTP/1.1\r\nHost: a.test\r\nX-A: b\r\n c\r\n\r\n', 'obs-fold'),
    raw('GET /healthz HTTP/1.1\r\nHost : a.test\r\n\r\n', 'space before the colon'),
    raw('GET /healthz HTTP/1.1\r\nHost: a.test\r\nX-A: b\0c\r\n\r\n', 'NUL in a value'),
    raw('GET /healthz HTTP/1.1\r\nHost: a.test\r\n: b\r\n\r\n', 'no name'),
    raw('GET /healthz HTTP/1.1\r\nHost: a.test\r\nX-A b\r\n\r\n', 'no colon'),
    raw('GET /healthz HTTP/9.9\r\nHost: a.test\r\n\r\n', 'a version that is none'),
    raw('GET /hea\0lthz HTTP/1.1\r\nHost: a.test\r\n\r\n', 'NUL in the target'),
  ])
})

test('case 6: header blocks and targets that are too large', async () => {
  const get = (target: string, lines: string[] = []): string => requestHead(`GET ${target} HTTP/1.1`, lines)
  const tooLarge = { status: 431, code: 'invalid_request', param: null }
  await allRefused([
    { what: '20 KB in one header', send: [get('/healthz', [`X-A: ${'a'.repeat(20_000)}`])], ...tooLarge },
    { what: 'a target of 20 KB', send: [get(`/${'a'.repeat(20_000)}`)], ...tooLarge },
    {
      what: 'an upload with 20 KB of headers',
      send: [head({ lines: [`X-A: ${'a'.repeat(20_000)}`] }), fileBody(png)],
      ...tooLarge,
    },
  ])
  const fields = Array.from({ length: 2_500 }, (_, index) => `${(index % 36).toString(36)}:`)
  assertError(await exchange(service, [get('/healthz', fields)]), tooLarge)
  const unread = await exchange(service, [head({ lines: fields.slice(0, 2_000), length: 1_000 })])
  assertError(unread, tooLarge)
})

test('case 6: a fault in the headers is heard although a large body follows', async () => {
  const body = Buffer.alloc(24 * 1024 * 1024)
  await allRefused([
    {
      what: '20 KB of headers',
      send: [head({ lines: [`X-A: ${'a'.repeat(20_000)}`], length: body.length }), body],
      status: 431,
    },
    {
      what: 'two lengths',
      send: [head({ lines: ['Content-Length: 5'], length: body.length }), body],
      ...malformed,
    },
  ])
})

test('case 7: chunks that are no chunks', async () => {
  const body = fileBody(png)
  const size = body.length.toString(16)
  const send = (...pieces: (string | Uint8Array)[]) => [head({ length: 'chunked' }), ...pieces]
  await allRefused([
    { what: 'size overflow', send: send('fffffffffffffffff\r\n', body, smuggled()), ...malformed },
    { what: 'no size', send: send('\r\n', body, smuggled()), ...malformed },
    { what: 'negative size', send: send('-1\r\n', body, smuggled()), ...malformed },
    { what: 'size with 0x', send: send(`0x${size}\r\n`, body, '\r\n0\r\n\r\n', smuggled()), ...malformed },
    {
      what: 'junk after the data',
      send: send(`${size}\r\n`, body, 'XX0\r\n\r\n', smuggled()),
      ...malformed,
    },
    {
      what: 'bare LF after the size',
      send: send(`${size}\n`, body, '\r\n0\r\n\r\n', smuggled()),
      ...malformed,
    },
    {
      what: 'an extension of 20 KB',
      send: send(`${size};a=${'b'.repeat(20_000)}\r\n`, body, '\r\n0\r\n\r\n', smuggled()),
      status: 413,
      code: 'invalid_request',
      param: null,
    },
  ])
})

test('case 8: trailers decide nothing', async () => {
  const body = fileBody(png)
  const withTrailers = (lines: string[]): Buffer =>
    Buffer.concat([
      latin1(`${body.length.toString(16)}\r\n`),
      body,
      latin1(`\r\n0\r\n${lines.map((line) => `${line}\r\n`).join('')}\r\n`),
    ])
  const forged = [`x-api-key: ${service.key}`, 'Content-Length: 3', 'Idempotency-Key: a', 'Host: b.test']
  const unknown = [head({ key: 'unknown', length: 'chunked' }), withTrailers(forged)]
  assertError(await exchange(service, unknown), { status: 401, code: 'authentication_failed' })

  const connection = await open(service)
  await connection.send(head({ length: 'chunked' }), withTrailers(['x-api-key: wrong', 'Host: b.test']))
  assert.equal((await connection.answer()).status, 200)
  await connection.send(upload())
  assert.equal((await connection.answer()).status, 200, 'the connection goes on behind the trailers')
  connection.reset()
  const length = await exchange(service, [head({ length: 'chunked' }), withTrailers(['Content-Length: 3'])])
  assert.equal(length.status, 200)
})

test('case 9: Expect: 100-continue is refused without asking for the body', async () => {
  const expect = { lines: ['Expect: 100-continue'] }
  const before = baseline(service)
  const unknown = await exchange(service, [head({ key: 'unknown', ...expect })])
  assertError(unknown, { status: 401, code: 'authentication_failed' })
  assert.equal(unknown.headers.connection, 'close')
  const tooLarge = { status: 400, code: 'invalid_parameter', param: 'file', reason: 'file_too_large' }
  const large = await exchange(service, [head({ length: 35_000_000, ...expect })])
  assertError(large, tooLarge)
  const badKey = await exchange(service, [head({ lines: [...expect.lines, 'Idempotency-Key: a b'] })])
  assertError(badKey, { status: 400, param: 'Idempotency-Key' })
  const noType = await exchange(service, [head({ contentType: 'text/plain', ...expect })])
  assertError(noType, { status: 400, param: 'file', reason: 'missing_file' })
  const foo = await exchange(service, [head({ lines: ['Expect: foo'] })])
  assertError(foo, { status: 417, code: 'invalid_request', param: null })
  await assertClean(service, before)
})

test('case 9: Expect: 100-continue is answered by 100 where the body is wanted', async () => {
  const connection = await open(service)
  await connection.send(head({ lines: ['Expect: 100-continue'] }))
  assert.equal((await connection.answer()).status, 100)
  await connection.send(fileBody(png))
  assert.equal((await connection.answer()).status, 200)
  await connection.send(upload())
  assert.equal((await connection.answer()).status, 200, 'the connection goes on')
  connection.reset()
})

test('case 9: Expect: 100-continue over the rate limit: 429 and no 100', async () => {
  const limited = await startService({ env: { ASSETD_RATE_LIMIT: '1/hour' } })
  try {
    const lines = ['Expect: 100-continue']
    const used = await exchange(limited, [
      uploadRequest({ key: limited.key, body: fileBody(png), length: 'chunked' }),
    ])
    assert.equal(used.status, 200)
    const refused = await exchange(limited, [
      uploadHead({ key: limited.key, body: Buffer.alloc(0), length: 50_000, lines }),
    ])
    assertError(refused, { status: 429, code: 'rate_limit_exceeded', param: null })
  } finally {
    await limited.stop()
  }
})

test('case 10: a Content-Length above the limit is refused before a byte of the body', async () => {
  const before = baseline(service)
  for (const length of [34 * 1024 * 1024 + 1, 2 ** 53 + 2]) {
    const connection = await open(service)
    await connection.send(head({ length: null, lines: [`Content-Length: ${BigInt(length)}`] }))
    const expected = { status: 400, code: 'invalid_parameter', param: 'file', reason: 'file_too_large' }
    const error = assertError(await connection.answer({ withinMs: 10_000 }), expected)
    assert.equal(error.details?.max_bytes, 33_554_432)
    connection.reset()
  }
  await assertClean(service, before)
})

test('case 12: a connection dropped in the middle leaves nothing and frees the key', async () => {
  const body = fileBody(samples.png({ sizeBytes: 200_000 }))
  const before = baseline(service)
  const drops = [0, 1, body.length / 2, Math.floor(body.length * 0.99)].flatMap((bytes) =>
    (['finish', 'reset'] as const).flatMap((how) =>
      ([body.length, 'chunked'] as const).map((length) => ({ bytes, how, length, id: randomUUID() })),
    ),
  )
  await Promise.all(
    drops.map(async ({ bytes, how, length, id }) => {
      const connection = await open(service)
      const sent = body.subarray(0, bytes)
      const lines = [`Idempotency-Key: ${id}`, `X-Request-Id: ${id}`]
      const piece = length === 'chunked' && bytes > 0 ? chunked(sent).subarray(0, -5) : sent
      await connection.send(head({ length, lines }), piece)
      await new Promise((resolve) => setTimeout(resolve, 50))
      connection[how]()
      await connection.closed()
      connection.reset()
    }),
  )
  await assertClean(service, before)
  const lines = await eventually(() => {
    const seen = service.log().filter((line) => drops.some(({ id }) => line.client_request_id === id))
    assert.equal(seen.length, drops.length, 'each has its line in the log')
    return seen
  })
  assert.deepEqual(
    lines.filter((line) => line.status === 200 || line.asset_id !== undefined),
    [],
    'no success is logged',
  )
  const retries = await Promise.all(
    drops.map(({ id }) => exchange(service, [upload({ lines: [`Idempotency-Key: ${id}`] })])),
  )
  for (const retry of retries) {
    assert.equal(retry.status, 200, retry.body.toString())
    assert.equal(retry.headers['idempotent-replayed'], undefined, 'the retry ran')
  }
  await assertClean(service, before, { assets: drops.length, keys: drops.length })
})

test('case 12: dropped after the closing boundary: the upload is kept, and its key replays', async () => {
  const before = baseline(service)
  const key = randomUUID()
  const connection = await open(service)
  const body = fileBody(png)
  await connection.send(head({ length: body.length + 10, lines: [`Idempotency-Key: ${key}`] }), body)
  connection.finish()
  await connection.closed()
  connection.reset()
  await assertClean(service, before, { assets: 1, keys: 1 })
  const replay = await exchange(service, [upload({ lines: [`Idempotency-Key: ${key}`] })])
  assert.equal(replay.headers['idempotent-replayed'], 'true')
})

test('case 12: a half-close behind a whole request is no drop', async () => {
  for (const length of [undefined, 'chunked'] as const) {
    const connection = await open(service)
    void connection.send(length === undefined ? upload() : upload({ length }))
    connection.finish()
    assert.equal((await connection.answer()).status, 200)
    await connection.closed()
  }
  const connection = await open(service)
  void connection.send(requestHead('GET /healthz HTTP/1.1'))
  connection.finish()
  assert.equal((await connection.answer()).status, 200)
  await connection.closed()
})

test('case 12: a half-close in the middle of the headers or the body is answered', async () => {
  await allRefusedAfterFin([requestHead('GET /healthz HTTP/1.1').slice(0, -4)])
  await allRefusedAfterFin([upload().subarray(0, -30)])
})

async function allRefusedAfterFin(send: (string | Uint8Array)[]): Promise<void> {
  const before = baseline(service)
  const connection = await open(service)
  void connection.send(...send)
  connection.finish()
  assertError(await connection.answer(), { status: 400, code: 'invalid_parameter' })
  await connection.closed()
  connection.reset()
  await assertClean(service, before)
}

test('case 13: two pipelined uploads are two independent, ordered answers', async () => {
  const before = baseline(service)
  const first = samples.png({ sizeBytes: 300 })
  const second = samples.wav()
  const connection = await open(service)
  await connection.send(
    Buffer.concat([upload({ body: fileBody(first) }), upload({ body: fileBody(second), length: 'chunked' })]),
  )
  const data = [await connection.answer(), await connection.answer()].map((answer) => {
    assert.equal(answer.status, 200, answer.body.toString())
    return JSON.parse(answer.body.toString()).data
  })
  assert.deepEqual(
    data.map((one) => [one.mime_type, one.size_bytes]),
    [
      ['image/png', 300],
      ['audio/wav', second.length],
    ],
  )
  connection.reset()
  await assertClean(service, before, { assets: 2 })
})

test('case 13: a request pipelined behind a rejected body is never executed', async () => {
  const before = baseline(service)
  const large = Buffer.alloc(36 * 1024 * 1024)
  const zeros = large.subarray(0, 8 * 1024 * 1024)
  const rejected: [string, (string | Uint8Array)[], Expected][] = [
    ['too large', [head({ length: large.length }), large], { status: 400, reason: 'file_too_large' }],
    ['no credentials', [head({ key: 'unknown', length: large.length }), large], { status: 401 }],
    ['no type', [head({ contentType: 'text/plain', length: large.length }), large], { status: 400 }],
    [
      'not a known type',
      [head({ body: fileBody(zeros) }), fileBody(zeros)],
      { status: 400, reason: 'unsupported_type' },
    ],
    [
      'chunked and too large',
      [head({ key: 'unknown', length: 'chunked' }), chunked(large)],
      { status: 401, code: 'authentication_failed' },
    ],
  ]
  for (const [what, send, expected] of rejected) {
    const connection = await open(service)
    void connection.send(...send, upload({ lines: ['Idempotency-Key: smuggled'] }))
    assertError(await connection.answer(), expected)
    await connection.closed()
    assert.equal(connection.rest().length, 0, `${what}: one answer`)
    connection.reset()
  }
  await assertClean(service, before)
  assert.equal(
    contentsOf(service.dataDir).keys.some((row) => row.key === 'smuggled'),
    false,
  )
})

test('case 13: a whole small request that is refused does not harm the one behind it', async () => {
  const connection = await open(service)
  await connection.send(Buffer.concat([upload({ body: fileBody(latin1('no media')) }), upload()]))
  assertError(await connection.answer(), { status: 400, param: 'file', reason: 'unsupported_type' })
  // Either it is carried out and answered, or the connection is closed and it was not: never half of it.
  const before = contentsOf(service.dataDir).assets.length
  const next = await connection.answer().catch(() => null)
  if (next === null) assert.equal(contentsOf(service.dataDir).assets.length, before)
  else assert.equal(next.status, 200)
  connection.reset()
})

test('case 14: HTTP/1.0 without a length, HTTP/2 and TLS on the plain port', async () => {
  const lines = [
    'POST /v3/assets HTTP/1.0',
    `x-api-key: ${service.key}`,
    'Content-Type: multipart/form-data; boundary=a-boundary',
    '',
    '',
  ]
  const old = await exchange(service, [lines.join('\r\n'), fileBody(png)])
  assert.ok(old.status === 400 || old.status === 411, String(old.status))
  assertError(old, { status: old.status })
  const hello = Buffer.concat([
    Buffer.from('16030100f8010000f40303', 'hex'),
    randomBytes(32),
    Buffer.alloc(200, 1),
  ])
  await allRefused([
    { what: 'HTTP/2', send: ['PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'], ...malformed },
    { what: 'TLS', send: [hello], ...malformed },
    { what: 'noise', send: [Buffer.alloc(1_000, 0xff)], ...malformed },
  ])
})

test('case 15: methods that are not offered', async () => {
  const ask = (method: string, target: string, lines: string[] = []): Promise<RawAnswer> =>
    exchange(service, [requestHead(`${method} ${target} HTTP/1.1`, lines)])
  for (const method of ['TRACE', 'PUT', 'DELETE', 'PATCH', 'OPTIONS', 'PROPFIND', 'LOCK']) {
    const answer = await ask(method, '/v3/assets')
    assertError(answer, { status: 405, code: 'method_not_allowed', param: null })
    assert.match(answer.headers.allow ?? '', /\bPOST\b/, method)
  }
  const head = await exchange(service, [requestHead('HEAD /v3/assets/direct-uploads HTTP/1.1')], {
    head: true,
  })
  assert.equal(head.status, 405)
  const post = await ask('POST', '/healthz', ['Content-Length: 0'])
  assertError(post, { status: 405, code: 'method_not_allowed' })
  assert.match(post.headers.allow ?? '', /\bGET\b/)
  const traced = await ask('TRACE', '/healthz', ['X-Secret: s'])
  assertError(traced, { status: 405 })
  assert.doesNotMatch(traced.body.toString(), /X-Secret/i)
  const connected = await ask('CONNECT', 'a.test:443')
  assert.ok([400, 405].includes(connected.status), String(connected.status))
  assertError(connected, { status: connected.status })
  if (connected.status === 405) assert.notEqual(connected.headers.allow, undefined)
  const foo = await ask('FOO', '/v3/assets')
  assert.ok([400, 405].includes(foo.status))
  assertError(foo, { status: foo.status })
})

test('case 15: CONNECT, and a client that resets at once: the service lives', async () => {
  const { pid } = service.child
  for (const drop of ['reset', 'finish'] as const) {
    const connection = await open(service)
    await connection.send(requestHead('CONNECT a.test:443 HTTP/1.1'))
    await connection.answer()
    connection[drop]()
    await new Promise((resolve) => setTimeout(resolve, 100))
    connection.reset()
  }
  await uploadOne()
  assert.equal(service.child.exitCode, null, `process ${pid} runs`)
})

/** @returns the path of a public file, too large for the buffers of a connection */
async function storeLarge(megabytes: number): Promise<string> {
  const stored = await uploadByFetch(service, samples.wav({ sizeBytes: megabytes * 1024 * 1024 }))
  const { data } = (await stored.json()) as { data: { url: string } }
  return new URL(data.url).pathname
}

test('case 15: CONNECT behind requests that are not answered yet: no leak, no crash, no wrong answer', async () => {
  const path = await storeLarge(4)
  const get = requestHead(`GET ${path} HTTP/1.1`)
  const before = baseline(service)
  for (let wave = 0; wave < 4; wave++) {
    await Promise.all(
      Array.from({ length: 10 }, async () => {
        const connection = await open(service)
        connection.socket.pause()
        await connection.send(get.repeat(5), requestHead('CONNECT a.test:443 HTTP/1.1'))
        await new Promise((resolve) => setTimeout(resolve, 50))
        connection.reset()
      }),
    )
  }
  await assertClean(service, before)
  const connection = await open(service)
  await connection.send(upload(), requestHead('CONNECT a.test:443 HTTP/1.1'))
  const answer = await connection.answer().catch(() => null)
  assert.notEqual(answer?.status, 405, 'the answer of CONNECT must not stand for that of the upload')
  connection.reset()
  await uploadOne()
})

test('case 82: pipelined requests are carried out one at a time', async () => {
  const path = await storeLarge(8)
  const before = baseline(service)
  const connection = await open(service)
  connection.socket.pause()
  await connection.send(requestHead(`GET ${path} HTTP/1.1`).repeat(500))
  await new Promise((resolve) => setTimeout(resolve, 500))
  const held = descriptors(serverPid(service)).length - before.descriptors
  assert.ok(held <= 2, `one connection holds ${held} descriptors`)
  connection.reset()
  await assertClean(service, before)
})

test('case 14: another version of HTTP is 505', async () => {
  const answer = await exchange(service, [requestHead('GET /healthz HTTP/2.0')])
  assertError(answer, { status: 505, code: 'invalid_request', param: null })
})

test('case 15: an Upgrade that is not offered is ignored', async () => {
  const lines = ['Connection: Upgrade', 'Upgrade: websocket', 'Sec-WebSocket-Version: 13']
  assert.equal((await exchange(service, [requestHead('GET /healthz HTTP/1.1', lines)])).status, 200)
  const h2c = ['Connection: Upgrade, HTTP2-Settings', 'Upgrade: h2c', 'HTTP2-Settings: AAMAAABkAAQAAP__']
  assert.equal((await exchange(service, [upload({ lines: h2c })])).status, 200)
})

test('case 15: OPTIONS from an allowed origin is a preflight, and needs no credentials', async () => {
  const ask = (lines: string[]): Promise<RawAnswer> =>
    exchange(service, [requestHead('OPTIONS /v3/assets HTTP/1.1', lines)])
  const preflight = await ask([`Origin: ${origin}`, 'Access-Control-Request-Method: POST'])
  assert.equal(preflight.status, 204)
  assert.equal(preflight.headers['access-control-allow-origin'], origin)
  assert.match(preflight.headers['access-control-allow-methods'] ?? '', /POST/)
  assert.match(preflight.headers['access-control-allow-headers'] ?? '', /x-api-key.*idempotency-key/)
  assert.equal(preflight.headers['access-control-max-age'], '600')
  const other = await ask(['Origin: https://evil.test', 'Access-Control-Request-Method: POST'])
  assertError(other, { status: 405 })
  assert.equal(other.headers['access-control-allow-origin'], undefined)
})

test('case 16: targets of other forms reach no route', async () => {
  const targets = [
    'http://evil.test/healthz',
    'http://evil.test/v3/assets',
    '//v3//assets',
    '//healthz',
    '/v3/assets/',
    '/v3/assets/../x',
    '/v3/../healthz',
    '/files/../healthz',
    '/%2e%2e%2fhealthz',
    '/files/%2e%2e%2f%2e%2e%2fassetd.sqlite',
    '/files/..%5c..%5cassetd.sqlite',
    '/files/%00',
    '/v3/assets%00',
    '/%zz',
    '/files/%ff',
    '/files/%c0%ae%c0%ae',
    '/V3/ASSETS',
    '/healthz/',
    '/healthz;a=b',
    '/healthz#a',
    '/healthz?a=b#',
    '/#/healthz',
    '*',
    'healthz',
    `/files/${'a'.repeat(300)}.png`,
  ]
  for (const target of targets) {
    const methods = target.includes('/v3') ? ['GET', 'POST', 'DELETE'] : ['GET']
    for (const method of methods) {
      const lines = method === 'GET' ? [] : [`x-api-key: ${service.key}`, 'Content-Length: 0']
      const answer = await exchange(service, [requestHead(`${method} ${target} HTTP/1.1`, lines)])
      assert.ok([400, 404, 414].includes(answer.status), `${method} ${target}: ${answer.status}`)
      assertError(answer, { status: answer.status })
    }
  }
})

test('case 16: a refused target with a body that never ends is heard, and its connection closes', async () => {
  const large = Buffer.alloc(8 * 1024 * 1024)
  for (const target of ['/%zz', '/v3/nowhere', `/files/${'a'.repeat(300)}`]) {
    const connection = await open(service)
    const lines = [`Content-Length: ${large.length}`]
    void connection.send(requestHead(`POST ${target} HTTP/1.1`, lines), large, upload())
    const answer = await connection.answer()
    assertError(answer, { status: answer.status })
    await connection.closed()
    assert.equal(connection.rest().length, 0, `${target}: one answer`)
    connection.reset()
  }
})

test('case 17: headers that may come once and come twice: never the first wins', async () => {
  const twice: [string[], Expected][] = [
    [[`x-api-key: ${service.key}`], { status: 401, code: 'authentication_failed', param: null }],
    [['x-api-key: other'], { status: 401, code: 'authentication_failed', param: null }],
    [
      ['Authorization: Bearer a.b.c', 'Authorization: Bearer a.b.c'],
      { status: 401, code: 'authentication_failed' },
    ],
    [['Idempotency-Key: a', 'Idempotency-Key: a'], { status: 400, param: 'Idempotency-Key' }],
    [['Idempotency-Key: a', 'Idempotency-Key: b'], { status: 400, param: 'Idempotency-Key' }],
    [['Content-Type: multipart/form-data; boundary=b'], malformed],
    [['Expect: 100-continue', 'Expect: 100-continue'], { status: 400 }],
  ]
  const before = baseline(service)
  for (const [lines, expected] of twice) {
    assertError(await exchange(service, [upload({ lines })]), expected)
  }
  await assertClean(service, before)
})

test('case 17: a suspicious request closes the connection, so that nothing behind it is carried out', async () => {
  await allRefused([
    {
      what: 'two Hosts',
      send: [Buffer.concat([upload({ lines: ['Host: a.test', 'Host: b.test'] }), smuggled()])],
      ...malformed,
    },
    {
      what: 'two Content-Types',
      send: [Buffer.concat([upload({ lines: ['Content-Type: text/plain'] }), smuggled()])],
      ...malformed,
    },
    {
      what: 'gzip, chunked',
      send: [
        Buffer.concat([
          latin1(head({ length: null, lines: ['Transfer-Encoding: gzip, chunked'] })),
          chunked(fileBody(png)),
          smuggled(),
        ]),
      ],
      status: 501,
    },
  ])
})

test('case 18: headers named like members of every object', async () => {
  const lines = ['__proto__: a', 'constructor: b', 'hasOwnProperty: c', 'toString: d', '__proto__: e']
  assert.equal((await exchange(service, [upload({ lines })])).status, 200)
  await uploadOne()
})

test('case 20: a shutdown finishes what runs, refuses what is new, and says Connection: close', async () => {
  const own = await startService()
  const running = await open(own)
  const request = uploadRequest({ key: own.key, body: fileBody(png) })
  await running.send(request.subarray(0, -20))
  const waiting = await open(own)
  await waiting.send(requestHead('GET /healthz HTTP/1.1'))
  assert.equal((await waiting.answer()).headers['keep-alive'], 'timeout=65')
  const stopped = own.stop()
  await eventually(async () => assert.equal((await fetch(`${own.url}/readyz`)).status, 503))
  await waiting.send(request)
  const refused = await waiting.answer()
  assertError(refused, { status: 503, code: 'service_unavailable', param: null })
  assert.equal(refused.headers.connection, 'close')
  assert.match(refused.headers['retry-after'] ?? '', /^[1-9]\d*$/)
  await running.send(request.subarray(-20))
  const finished = await running.answer()
  assert.equal(finished.status, 200)
  assert.equal(finished.headers.connection, 'close')
  assert.equal(await stopped, 0)
})

test('case 20: what comes while the service starts waits for it, and is answered like any other', async () => {
  const probe = await startService()
  const { port } = probe
  await probe.stop()
  const starting = startService({ env: { ASSETD_PORT: String(port) } })
  let first: RawAnswer | null = null
  while (first === null) {
    first = await exchange({ host: '127.0.0.1', port }, [requestHead('GET /readyz HTTP/1.1')]).catch(
      () => null,
    )
  }
  assert.equal(first.status, 200)
  await (await starting).stop()
})

test('case 19: headers that dribble in end at the time limit with 408', async () => {
  const { answer, seconds } = await slowHeaders
  assertError(answer, { status: 408, code: 'request_timeout', param: null })
  assert.ok(seconds < 29, `${seconds} s`)
})

async function sendHeadersSlowly(to: RunningService): Promise<{ answer: RawAnswer; seconds: number }> {
  const connection = await open(to)
  const startedAt = performance.now()
  await connection.send('GET /healthz HTTP/1.1\r\nHost: a.test\r\nX-Slow: ')
  const timer = setInterval(() => void connection.send('a'), 1_000)
  try {
    const answer = await connection.answer({ withinMs: 30_000 })
    return { answer, seconds: (performance.now() - startedAt) / 1000 }
  } finally {
    clearInterval(timer)
    connection.reset()
  }
}
