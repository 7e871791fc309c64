/** The sentences of `shared/contract/upload-asset.md`, each held against the running service. */
import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { after, before, test } from 'node:test'
import { samples } from './media/samples.ts'
import {
  assertClean,
  assertError,
  baseline,
  exchange,
  fileBody,
  multipart,
  open,
  plain,
  type RawAnswer,
  type UploadRequest,
  uploadHead,
  uploadRequest,
} from './raw-http.ts'
import { contentsOf, eventually, type RunningService, startService, upload } from './service.ts'
import { takenBackWithinMs } from './stores.ts'

let service: RunningService
const png = samples.png()

before(async () => {
  service = await startService()
})
after(() => service.stop())

const send = (more: Partial<UploadRequest> = {}, to = service): Promise<RawAnswer> =>
  exchange(to, [uploadRequest({ key: to.key, body: fileBody(png), ...more })])
const withKey = (key: string, more: Partial<UploadRequest> = {}, to = service): Promise<RawAnswer> =>
  send({ lines: [`Idempotency-Key: ${key}`], ...more }, to)

type Data = { asset_id: string; url: string; mime_type: string; size_bytes: number }

function dataOf(answer: { status: number; body: string | Uint8Array }): Data {
  const text = typeof answer.body === 'string' ? answer.body : Buffer.from(answer.body).toString()
  assert.equal(answer.status, 200, text)
  const parsed: unknown = JSON.parse(text)
  assert.deepEqual(Object.keys(parsed as object), ['data'])
  return (parsed as { data: Data }).data
}

const types = {
  png: 'image/png',
  jpeg: 'image/jpeg',
  mp4: 'video/mp4',
  webm: 'video/webm',
  mp3: 'audio/mpeg',
  wav: 'audio/wav',
  pdf: 'application/pdf',
} as const

for (const [name, mimeType] of Object.entries(types)) {
  test(`"Supported types": ${name} gives the four keys, the detected type, and a public URL of the same bytes`, async () => {
    const bytes = samples[name as keyof typeof types]()
    const response = await upload(service, bytes)
    assert.match(response.headers.get('x-request-id') ?? '', /^req_[0-9a-z]{26}$/)
    assert.equal(response.headers.get('content-type'), 'application/json; charset=utf-8')
    assert.equal(response.headers.get('cache-control'), 'no-store')
    const data = dataOf(await plain(response))
    assert.deepEqual(Object.keys(data).sort(), ['asset_id', 'mime_type', 'size_bytes', 'url'])
    assert.match(data.asset_id, /^asset_[0-9a-z]{26}$/)
    assert.equal(data.url, `${service.url}/files/${data.asset_id}.${name}`)
    assert.equal(data.mime_type, mimeType)
    assert.equal(data.size_bytes, bytes.length)
    const file = await fetch(data.url) // public: no credentials
    assert.equal(file.status, 200)
    assert.equal(file.headers.get('content-type'), mimeType)
    assert.ok(Buffer.from(await file.arrayBuffer()).equals(bytes))
  })
}

test('"Detected MIME type": what the client declares does not matter (case 35)', async () => {
  const body = multipart([{ fileName: 'x.pdf', type: 'video/mp4', body: png }])
  const data = dataOf(await send({ body }))
  assert.equal(data.mime_type, 'image/png')
  assert.match(data.url, /\.png$/)
})

test('"Unique asset identifier": the same bytes twice are two assets (case 40)', async () => {
  const before = baseline(service)
  const ids = [dataOf(await send()).asset_id, dataOf(await send()).asset_id]
  assert.notEqual(ids[0], ids[1])
  await assertClean(service, before, { assets: 2 })
})

test('"File is required": 400 with the words of the document', async () => {
  const before = baseline(service)
  for (const more of [
    { body: multipart([{ name: 'other', body: 'a' }]) },
    { body: Buffer.alloc(0), contentType: null },
    { body: Buffer.from('{}'), contentType: 'application/json' },
  ]) {
    const error = assertError(await send(more), {
      status: 400,
      code: 'invalid_parameter',
      param: 'file',
      reason: 'missing_file',
    })
    assert.match(error.message, /^File is required\. Upload a file using multipart\/form-data\./)
  }
  await assertClean(service, before)
})

test('case 33: a file that is empty or ends within its first bytes is refused, and gone', async () => {
  const before = baseline(service)
  const refuse = async (bytes: Uint8Array): Promise<string> => {
    const answer = await send({ body: fileBody(bytes) })
    const error = assertError(answer, { status: 400, code: 'invalid_parameter', param: 'file' })
    return String(error.details?.reason)
  }
  assert.equal(await refuse(Buffer.alloc(0)), 'empty_file')
  assert.equal(await refuse(Buffer.from('a')), 'unsupported_type')
  assert.match(await refuse(png.subarray(0, 7)), /^(unsupported_type|corrupt_file)$/)
  assert.equal(await refuse(png.subarray(0, -1)), 'corrupt_file')
  assert.equal(await refuse(Buffer.from('<svg xmlns="http://www.w3.org/2000/svg"/>')), 'unsupported_type')
  await assertClean(service, before)
})

test('"Authentication failed": 401 says which kind was missing or refused', async () => {
  const before = baseline(service)
  const expected = { status: 401, code: 'authentication_failed', param: null }
  const unknown = await send({ key: 'unknown' })
  const error = assertError(unknown, expected)
  assert.equal(error.message, 'Invalid or expired API key. Verify your x-api-key header.')
  assert.equal(unknown.headers['www-authenticate'], 'Bearer realm="assetd", error="invalid_token"')
  const head = uploadHead({ key: '', body: Buffer.alloc(0) }).replace('x-api-key: \r\n', '')
  const none = await exchange(service, [head])
  assert.match(assertError(none, expected).message, /missing.*x-api-key.*Authorization: Bearer/)
  assert.equal(none.headers['www-authenticate'], 'Bearer realm="assetd"')
  for (const key of ['', `${service.key}x`, service.key.toUpperCase(), 'k'.repeat(10_000)]) {
    assertError(await send({ key }), expected)
  }
  for (const value of ['Bearer', 'Bearer a.b.c', 'Basic YTpi', `Bearer ${service.key}`, 'bearer opaque']) {
    const lines = [`Authorization: ${value}`]
    assertError(await exchange(service, [head.replace('\r\n\r\n', `\r\n${lines[0]}\r\n\r\n`)]), expected)
    assertError(await send({ lines }), expected)
  }
  await assertClean(service, before)
})

test('429 carries Retry-After, after which the next request passes (case 76)', async () => {
  const limited = await startService({ env: { ASSETD_RATE_LIMIT: '60/min' } })
  try {
    const head = uploadHead({ key: limited.key, body: Buffer.alloc(0), length: 50_000 })
    let refused: RawAnswer | undefined
    for (let sent = 0; sent < 80 && refused === undefined; sent++) {
      const answer = await send({ body: multipart([]) }, limited)
      if (answer.status === 429) refused = answer
      else assert.equal(answer.headers['ratelimit-policy'], '"default";q=60;w=60')
    }
    if (refused === undefined) throw new Error('no request was refused')
    const expected = { status: 429, code: 'rate_limit_exceeded', param: null }
    const error = assertError(refused, expected)
    assert.equal(
      error.message,
      'Too many requests. Retry after the duration specified in the Retry-After header.',
    )
    assert.match(refused.headers['retry-after'] ?? '', /^[1-9]\d*$/)
    assert.match(refused.headers.ratelimit ?? '', /^"default";r=0;t=\d+$/)
    // Before a byte of the body is read: none is sent.
    assertError(await exchange(limited, [head]), expected)
    const wait = Number(refused.headers['retry-after'])
    await new Promise((resolve) => setTimeout(resolve, wait * 1000))
    dataOf(await send({}, limited))
  } finally {
    await limited.stop()
  }
})

test('"Keys must be 1–255 characters from [A-Za-z0-9_:.-]": good ones (case 50)', async () => {
  for (const key of ['a', 'k'.repeat(255), 'AZaz09_:.-', randomUUID()]) {
    dataOf(await withKey(`${key}`))
    const again = await withKey(key)
    dataOf(again)
    assert.equal(again.headers['idempotent-replayed'], 'true')
  }
})

test('a key of another form is 400 before the body is read (case 50)', async () => {
  const before = baseline(service)
  const lines = [
    ['Idempotency-Key: '],
    [`Idempotency-Key: ${'k'.repeat(256)}`],
    ['Idempotency-Key: a b'],
    ['Idempotency-Key: "a"'],
    ['Idempotency-Key: \xe9'],
    ['Idempotency-Key: \xf0\x9f\x98\x80'],
    ['Idempotency-Key: a/b'],
    ['Idempotency-Key: a, b'],
    ['Idempotency-Key: a', 'Idempotency-Key: a'],
    ['Idempotency-Key: a', 'idempotency-key: b'],
  ]
  for (const one of lines) {
    const connection = await open(service)
    await connection.send(uploadHead({ key: service.key, body: Buffer.alloc(0), length: 1_000, lines: one }))
    const answer = await connection.answer({ withinMs: 10_000 }) // no body was sent
    assertError(answer, { status: 400, code: 'invalid_parameter', param: 'Idempotency-Key' })
    connection.reset()
  }
  // The order of the gates: the key's syntax before Content-Length and Content-Type.
  const both = await send({ lines: ['Idempotency-Key: a b'], contentType: 'text/plain' })
  assertError(both, { status: 400, param: 'Idempotency-Key' })
  await assertClean(service, before)
})

test('"replay the original response": byte for byte, and marked as a replay (case 47)', async () => {
  const before = baseline(service)
  const key = randomUUID()
  const first = await withKey(key)
  assert.equal(first.headers['idempotent-replayed'], undefined)
  const second = await withKey(key)
  assert.ok(second.body.equals(first.body))
  assert.equal(second.status, first.status)
  assert.equal(second.headers['content-type'], first.headers['content-type'])
  assert.equal(second.headers['idempotent-replayed'], 'true')
  assert.notEqual(second.headers['x-request-id'], first.headers['x-request-id'])
  const chunkedToo = await withKey(key, { length: 'chunked' })
  assert.ok(chunkedToo.body.equals(first.body))
  await assertClean(service, before, { assets: 1, keys: 1 })
})

test('"even if the request body differs slightly (a warning is logged)" (case 47)', async () => {
  const before = baseline(service)
  const key = randomUUID()
  const first = await withKey(key)
  const warnings = () =>
    service.log().filter((line) => line.level === 'warn' && /Idempotency-Key/.test(String(line.msg)))
  const had = warnings().length
  const others: Partial<UploadRequest>[] = [
    { body: fileBody(samples.wav()) },
    { body: fileBody(Buffer.from('no media')) },
    { body: Buffer.from('{}'), contentType: 'application/json' },
    { body: Buffer.alloc(34 * 1024 * 1024) },
  ]
  for (const [index, other] of others.entries()) {
    const replay = await withKey(key, other)
    assert.ok(replay.body.equals(first.body), replay.body.toString())
    assert.equal(replay.headers['idempotent-replayed'], 'true')
    await eventually(() => assert.equal(warnings().length, had + index + 1))
  }
  await withKey(key)
  await assertClean(service, before, { assets: 1, keys: 1 })
  assert.equal(warnings().length, had + others.length, 'the same bytes are no reason to warn')
})

test('a replay for a client that waits for 100-continue needs no body', async () => {
  const key = randomUUID()
  const first = await withKey(key)
  const lines = [`Idempotency-Key: ${key}`, 'Expect: 100-continue']
  const head = uploadHead({ key: service.key, body: Buffer.alloc(0), length: 60_000_000, lines })
  const replay = await exchange(service, [head])
  assert.equal(replay.status, 200)
  assert.ok(replay.body.equals(first.body))
})

test('"still in flight": 409 request_in_progress with Retry-After', async () => {
  const before = baseline(service)
  const key = randomUUID()
  const request = uploadRequest({
    key: service.key,
    body: fileBody(png),
    lines: [`Idempotency-Key: ${key}`],
  })
  const running = await open(service)
  await running.send(request.subarray(0, -10))
  await eventually(() => assert.ok(contentsOf(service.dataDir).keys.some((row) => row.key === key)))
  for (const more of [{}, { contentType: 'text/plain' }, { length: 'chunked' as const }]) {
    const refused = await withKey(key, more)
    const error = assertError(refused, { status: 409, code: 'request_in_progress', param: null })
    assert.equal(error.message, 'A request with this Idempotency-Key is already in progress. Retry shortly.')
    assert.match(refused.headers['retry-after'] ?? '', /^[1-9]\d*$/)
  }
  await running.send(request.subarray(-10))
  const first = await running.answer()
  const replay = await withKey(key)
  assert.ok(replay.body.equals(first.body))
  running.reset()
  await assertClean(service, before, { assets: 1, keys: 1 })
})

test('case 48: 50 at once with one key: one asset, and each answer is it or a 409', async () => {
  const before = baseline(service)
  const key = randomUUID()
  const body = fileBody(samples.png({ sizeBytes: 100_000 }))
  const answers = await Promise.all(Array.from({ length: 50 }, () => withKey(key, { body })))
  const originals = answers.filter(
    (answer) => answer.status === 200 && answer.headers['idempotent-replayed'] === undefined,
  )
  assert.equal(originals.length, 1)
  for (const answer of answers) {
    if (answer.status === 200) assert.ok(answer.body.equals(originals[0]?.body ?? Buffer.alloc(0)))
    else {
      assertError(answer, { status: 409, code: 'request_in_progress' })
      assert.match(answer.headers['retry-after'] ?? '', /^[1-9]\d*$/)
    }
  }
  await assertClean(service, before, { assets: 1, keys: 1 })
})

test('case 52: a refused or dropped request frees its key, and the retry runs', async () => {
  const before = baseline(service)
  const refusals: [Partial<UploadRequest>, number][] = [
    [{ body: fileBody(Buffer.from('no media')) }, 400],
    [{ body: fileBody(Buffer.alloc(0)) }, 400],
    [{ body: fileBody(png).subarray(0, -10) }, 400],
    [{ body: multipart([{ body: png }, { body: png }]) }, 400],
    [{ contentType: 'application/json' }, 400],
    [{ length: 40_000_000 }, 400],
    [{ key: 'unknown' }, 401],
  ]
  for (const [more, status] of refusals) {
    const key = randomUUID()
    assertError(await withKey(key, more), { status })
    const retry = await withKey(key)
    dataOf(retry)
    assert.equal(retry.headers['idempotent-replayed'], undefined)
  }
  const dropped = randomUUID()
  const connection = await open(service)
  const lines = [`Idempotency-Key: ${dropped}`]
  const request = uploadRequest({ key: service.key, body: fileBody(png), lines })
  await connection.send(request.subarray(0, -10))
  await eventually(() => assert.ok(contentsOf(service.dataDir).keys.some((row) => row.key === dropped)))
  connection.reset()
  await eventually(async () => dataOf(await withKey(dropped)))
  const runs = refusals.length + 1
  await assertClean(service, before, { assets: runs, keys: runs })
})

test('"Scope is per-endpoint": the key is kept for POST /v3/assets alone', async () => {
  const key = randomUUID()
  await withKey(key)
  const row = contentsOf(service.dataDir).keys.find((one) => one.key === key)
  assert.equal(row?.route, 'POST /v3/assets')
  assert.equal(row?.workspace, 'default')
  const health = await fetch(`${service.url}/healthz`, { headers: { 'idempotency-key': key } })
  assert.equal(health.headers.get('idempotent-replayed'), null)
})

test('a restart keeps answers and files, and frees what was in flight (case 54)', async () => {
  const first = await startService()
  const key = randomUUID()
  const original = await withKey(key, {}, first)
  const data = dataOf(original)
  const hanging = randomUUID()
  const running = await open(first)
  const lines = [`Idempotency-Key: ${hanging}`]
  const request = uploadRequest({ key: first.key, body: fileBody(png), lines })
  await running.send(request.subarray(0, -10))
  await eventually(() => assert.ok(contentsOf(first.dataDir).keys.some((row) => row.key === hanging)))
  await first.stop({ keepData: true, signal: 'SIGKILL' })
  running.reset()

  const second = await eventually(() =>
    startService({ dataDir: first.dataDir, env: { ASSETD_API_KEY: first.key } }),
  )
  try {
    await eventually(() => {
      const { incoming, assets, blobs } = contentsOf(second.dataDir)
      assert.deepEqual([incoming, assets.length, blobs.length], [[], 1, 1])
    }, takenBackWithinMs)
    const replay = await withKey(key, {}, second)
    assert.ok(replay.body.equals(original.body))
    assert.equal(replay.headers['idempotent-replayed'], 'true')
    const file = await fetch(`${second.url}${new URL(data.url).pathname}`)
    assert.ok(Buffer.from(await file.arrayBuffer()).equals(png))
    const retry = await withKey(hanging, {}, second)
    dataOf(retry)
    assert.equal(retry.headers['idempotent-replayed'], undefined)
  } finally {
    await second.stop()
  }
})

test('X-Request-Id is ours and new each time; the client’s own is logged, never echoed', async () => {
  const mine = 'client-chosen-id'
  const answers = [await send({ lines: [`X-Request-Id: ${mine}`] }), await send({ key: 'unknown' })]
  const ids = answers.map((answer) => answer.headers['x-request-id'] ?? '')
  assert.equal(new Set(ids).size, 2)
  for (const id of ids) assert.match(id, /^req_[0-9a-z]{26}$/)
  const line = await service.logOf(ids[0] ?? null)
  assert.equal(line.client_request_id, mine)
  assert.equal(line.status, 200)
  const refused = await service.logOf(ids[1] ?? null)
  assert.equal(refused.status, 401)
  assert.equal(refused.code, 'authentication_failed')
})

test('case 103: no key is in the log or the output', () => {
  assert.equal(service.output().includes(service.key), false)
  assert.equal(JSON.stringify(service.log()).includes(service.key), false)
})
