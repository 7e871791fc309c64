/**
 * The service against its own description: every answer that it has is asked for, on every route, and `described.ts`
 * holds each against what `/openapi.json` says of it, as it does in all other tests.
 */
import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { truncateSync } from 'node:fs'
import { after, before, describe, it } from 'node:test'
import packageJson from '../package.json' with { type: 'json' }
import { openApiDocument } from '../src/openapi/document.ts'
import { allHeld, answersDescribed, answersMet, faultsOf } from './described.ts'
import { samples } from './media/samples.ts'
import { exchange, fileBody, open, requestHead, uploadRequest } from './raw-http.ts'
import { assetd, contentsOf, eventually, type RunningService, startService, upload } from './service.ts'
import { blobPath, bucketEndpoint, changeRecords } from './stores.ts'

/** Answers that cannot be had by asking, and why. */
const unasked: Record<string, string> = {
  'getCurrentUser 403': 'every key has a scope, and one is enough; a token of others may have none',
  'createAssetUpload 409': 'it takes one moment, so no other can fall into it',
  'createAssetUploadBatch 409': 'likewise',
  'completeAssetUploadBatch 409': 'likewise',
}
if (bucketEndpoint === null) unasked['getFile 302'] = 'a data folder cannot be sent to; a bucket can'
for (const answer of answersDescribed()) {
  if (answer.endsWith(' 500') && answer !== 'getFile 500') unasked[answer] = 'a fault that we do not know of'
}

const png = samples.png()
let service: RunningService

type Asked = { status: number; headers: Headers; body: { data: Record<string, unknown> } }

/** @param body an object is sent as JSON */
async function ask(
  method: string,
  target: string,
  { body, key = service.key, headers = {}, to = service }: AskOptions = {},
): Promise<Asked> {
  const isJson = body !== undefined && !(body instanceof Uint8Array)
  const response = await fetch(target.startsWith('http') ? target : to.url + target, {
    method,
    redirect: 'manual',
    headers: {
      ...(key === null ? {} : { 'x-api-key': key }),
      ...(isJson ? { 'content-type': 'application/json' } : {}),
      ...headers,
    },
    ...(body === undefined ? {} : { body: isJson ? JSON.stringify(body) : new Uint8Array(body) }),
  })
  const text = await response.text()
  const isObject =
    response.headers.get('content-type')?.startsWith('application/json') === true && text !== ''
  const parsed = (isObject ? JSON.parse(text) : {}) as Asked['body']
  return { status: response.status, headers: response.headers, body: parsed }
}

type AskOptions = {
  body?: object | Uint8Array
  key?: string | null
  headers?: Record<string, string>
  to?: Pick<RunningService, 'url' | 'key'>
}

type Announced = { asset_id: string; upload_url: string; upload_headers: Record<string, string> }

const file = { filename: 'a.png', content_type: 'image/png', size_bytes: png.length }

async function announce(more: object = {}, headers = {}): Promise<Announced> {
  const { body, status } = await ask('POST', '/v3/assets/direct-uploads', {
    body: { ...file, ...more },
    headers,
  })
  assert.equal(status, 200)
  return body.data as Announced
}

const put = ({ upload_url, upload_headers }: Announced, bytes: Uint8Array = png): Promise<Asked> =>
  ask('PUT', upload_url, { body: bytes, key: null, headers: upload_headers })

const complete = (assetId: string, more: AskOptions = {}): Promise<Asked> =>
  ask('POST', `/v3/assets/${assetId}/complete`, { body: {}, ...more })

/** A path of each route, with nothing behind it. */
const paths: Record<string, string[]> = {
  POST: [
    '/v3/assets',
    '/v3/assets/direct-uploads',
    '/v3/assets/direct-uploads/batches',
    '/v3/assets/complete/batches',
    '/v3/assets/nothing/complete',
    '/v3/assets/resolve',
  ],
  PUT: ['/uploads/nothing'],
  DELETE: ['/v3/assets/nothing'],
  GET: [
    '/v3/assets',
    '/v3/assets/search?query=a&type=image',
    '/v3/assets/statuses?asset_ids=a',
    '/v3/assets/batches/nothing',
    '/v3/assets/nothing',
    '/v3/users/me',
    '/files/nothing.png',
    '/healthz',
    '/readyz',
    '/.well-known/jwks.json',
    '/',
    '/page/nothing.js',
    '/client/nothing.js',
    '/openapi.json',
    '/docs',
    '/docs/errors',
    '/docs/nothing.js',
  ],
}
const everyPath = Object.entries(paths).flatMap(([method, targets]) =>
  targets.map((target) => ({ method, target })),
)
const api = everyPath.filter(({ target }) => target.startsWith('/v3/'))
/** With a bucket nobody is sent to the service's own address for bytes: it is there, and no URL of it is signed. */
const isUsed = (method: string): boolean => method !== 'PUT' || bucketEndpoint === null
const withBody = everyPath.filter(({ method }) => (method === 'POST' || method === 'PUT') && isUsed(method))

before(async () => {
  service = await startService({
    env: { ASSETD_BODY_IDLE_SECONDS: '5', ASSETD_CORS_ORIGINS: 'https://app.example.com' },
  })
})
after(() => service.stop())

describe('the served description', () => {
  it('is the one that the answers are held against', async () => {
    const served = await (await fetch(`${service.url}/openapi.json`)).json()
    assert.deepEqual(served, JSON.parse(JSON.stringify(openApiDocument(service.url, packageJson.version))))
  })

  it('is not met by an answer of another status, form, header or code', () => {
    const headers = {
      'x-request-id': `req_${'0'.repeat(26)}`,
      'cache-control': 'no-store',
      'content-type': 'application/json; charset=utf-8',
    }
    const request = { method: 'DELETE', target: '/v3/assets/asset_1' }
    const good = { request, status: 200, headers, body: '{"data":{"id":"asset_1"}}' }
    const error = (code: string) =>
      JSON.stringify({ error: { code, message: 'm', param: null, doc_url: null } })
    assert.deepEqual(faultsOf(good), [])
    assert.deepEqual(faultsOf({ ...good, status: 404, body: error('asset_not_found') }), [])
    const bad = [
      { ...good, status: 201 },
      { ...good, body: '{"data":{"id":1}}' },
      { ...good, body: '{"data":{}}' },
      { ...good, body: '{"data":{"id":"asset_1","more":true}}' },
      { ...good, body: '{}' },
      { ...good, body: 'no JSON' },
      { ...good, headers: { ...headers, 'cache-control': 'public' } },
      { ...good, headers: { ...headers, 'x-request-id': '' } },
      { ...good, headers: { ...headers, 'x-more': 'a' } },
      { ...good, headers: { ...headers, 'content-type': 'text/html' } },
      { ...good, status: 404, body: error('conflict') },
      { ...good, status: 404, body: '{"error":{"code":"asset_not_found"}}' },
      { ...good, status: 429, body: error('rate_limit_exceeded') },
      { ...good, status: 412, body: error('invalid_request') },
      { ...good, request: { method: 'GET', target: '/nowhere' } },
    ]
    for (const answered of bad) assert.notDeepEqual(faultsOf(answered), [], JSON.stringify(answered))
  })
})

describe('the answers of every route', () => {
  it('to requests that are no good HTTP', async () => {
    for (const { method, target } of everyPath) {
      const line = `${method} ${target} HTTP/1.1`
      const heads: [number, string][] = [
        [400, `${line}\r\n\r\n`],
        [415, requestHead(line, ['Content-Encoding: gzip'])],
        [417, requestHead(line, ['Expect: more'])],
        [
          431,
          requestHead(
            line,
            Array.from({ length: 510 }, (_, at) => `X-${at}: a`),
          ),
        ],
        [501, requestHead(line, ['Transfer-Encoding: gzip, chunked'])],
        [505, requestHead(`${method} ${target} HTTP/2.0`)],
      ]
      for (const [status, head] of heads) {
        assert.equal((await exchange(service, [head])).status, status, head.slice(0, 200))
      }
      if (!target.includes('nothing')) continue
      const long = target.replace('nothing', 'a'.repeat(300))
      assert.equal((await exchange(service, [requestHead(`${method} ${long} HTTP/1.1`)])).status, 414, target)
    }
  })

  it('to credentials that are not good, and to too many requests', async () => {
    const make = (scopes: string): string =>
      assetd(service.dataDir, 'keys', 'create', '--scopes', scopes).stdout.trim()
    const keys = { 'assets:read': make('assets:read'), 'assets:write': make('assets:write') }
    for (const { method, target } of api) {
      assert.equal((await ask(method, target, { key: null })).status, 401)
      const other = method === 'GET' ? 'assets:write' : 'assets:read'
      const { status } = await ask(method, target, { key: keys[other] })
      assert.equal(status, target === '/v3/users/me' ? 200 : 403, target)
    }
    const limited = await startService({ env: { ASSETD_RATE_LIMIT: '1/hour' } })
    try {
      await ask('GET', '/v3/users/me', { to: limited, key: limited.key })
      for (const { method, target } of api) {
        assert.equal((await ask(method, target, { to: limited, key: limited.key })).status, 429, target)
      }
    } finally {
      await limited.stop()
    }
  })

  it('to bodies that are too large, too slow or no JSON', async () => {
    const { upload_url, upload_headers } = await announce()
    const { pathname, search } = new URL(upload_url)
    const targets = withBody.map(({ method, target }) => (method === 'PUT' ? pathname + search : target))
    const lines = (at: number): string[] => [
      ...(withBody[at]?.method === 'PUT' ? [] : [`x-api-key: ${service.key}`]),
      withBody[at]?.target === '/v3/assets'
        ? 'Content-Type: multipart/form-data; boundary=a-boundary'
        : `Content-Type: ${withBody[at]?.method === 'PUT' ? upload_headers['content-type'] : 'application/json'}`,
    ]
    const head = (at: number, more: string): string =>
      requestHead(`${withBody[at]?.method} ${targets[at]} HTTP/1.1`, [...lines(at), more])
    for (const at of targets.keys()) {
      const chunk = `1;${'a'.repeat(20_000)}\r\n`
      const large = await exchange(service, [head(at, 'Transfer-Encoding: chunked'), chunk])
      assert.equal(large.status, 413, String(targets[at]))
    }
    const slow = targets.map(async (target, at) => {
      const length = withBody[at]?.method === 'PUT' ? png.length : 1_000
      const { status } = await exchange(service, [head(at, `Content-Length: ${length}`), '{'])
      assert.equal(status, 408, String(target))
    })
    await Promise.all(slow)
    for (const { target } of api.filter(({ method }) => method === 'POST')) {
      assert.equal((await ask('POST', target, { body: Buffer.from('{') })).status, 400, target)
    }
  })

  it('while the database is away', async () => {
    const broken = await startService()
    const at = { to: broken, key: broken.key }
    const { body } = await ask('POST', '/v3/assets/direct-uploads', { body: file, ...at })
    const { upload_url } = body.data as Announced
    const stored = (await (await upload(broken, png)).json()) as { data: { url: string } }
    const fresh = assetd(broken.dataDir, 'keys', 'create').stdout.trim() // not looked up yet
    for (const name of [
      'assets',
      'direct_uploads',
      'batches',
      'api_keys',
      'idempotency_keys',
      'token_issuer',
    ]) {
      changeRecords(broken.dataDir, `ALTER TABLE ${name} RENAME TO gone_${name}`)
    }
    const targets = everyPath.filter(
      ({ method, target }) => isUsed(method) && (target.startsWith('/v3/') || method === 'PUT'),
    )
    for (const { method, target } of targets) {
      const isUpload = target === '/v3/assets' && method === 'POST'
      const form = { 'content-type': 'multipart/form-data; boundary=a-boundary' }
      const bodies: Record<string, object> = {
        '/v3/assets/direct-uploads': file,
        '/v3/assets/direct-uploads/batches': { files: [file] },
        '/v3/assets/complete/batches': { batch_id: 'a' },
      }
      const { status } = await ask(method, method === 'PUT' ? upload_url : target, {
        to: broken,
        key: target === '/v3/users/me' ? fresh : broken.key,
        ...(isUpload ? { body: fileBody(png), headers: form } : {}),
        ...(target in bodies ? { body: bodies[target] as object } : {}),
        // Without a key it would answer for each input in its place.
        ...(target === '/v3/assets/resolve' ? { headers: { 'idempotency-key': randomUUID() } } : {}),
        ...(method === 'PUT' ? { body: png, headers: { 'content-type': 'image/png' } } : {}),
      })
      assert.equal(status, 503, `${method} ${target}`)
    }
    assert.equal((await ask('GET', stored.data.url, at)).status, 503)
    assert.equal((await ask('GET', '/readyz', at)).status, 503)
    await broken.stop()
  })
})

describe('the answers of the API', () => {
  it('of uploads, and of their files', async () => {
    const key = { 'idempotency-key': randomUUID() }
    const stored = (await (await upload(service, png, key)).json()) as { data: { url: string } }
    await upload(service, png, key)
    assert.equal((await upload(service, Buffer.from('no media'))).status, 400)
    const { url } = stored.data
    const path = new URL(url).pathname
    for (const [status, headers] of [
      [200, {}],
      [206, { range: 'bytes=0-9' }],
      [304, { 'if-none-match': '*' }],
      [412, { 'if-match': '"another"' }],
      [416, { range: 'bytes=999999-' }],
    ] as const) {
      assert.equal((await ask('GET', path, { headers, key: null })).status, status)
    }
    assert.equal((await ask('HEAD', path)).status, 200)
    assert.equal((await ask('GET', '/files/asset_nothing.png')).status, 404)
    if (bucketEndpoint !== null) await assertSentToBucket()

    const held = randomUUID()
    const request = uploadRequest({
      key: service.key,
      body: fileBody(png),
      lines: [`Idempotency-Key: ${held}`],
    })
    const running = await open(service)
    await running.send(request.subarray(0, -10))
    await eventually(() => {
      assert.ok(contentsOf(service.dataDir).keys.some(({ key }) => key === held))
    })
    assert.equal((await upload(service, png, { 'idempotency-key': held })).status, 409)
    running.reset()
  })

  async function assertSentToBucket(): Promise<void> {
    const own = await startService({ env: { ASSETD_FILES_MODE: 'redirect' } })
    const stored = (await (await upload(own, png)).json()) as { data: { url: string } }
    assert.equal((await ask('GET', stored.data.url, { to: own, key: null })).status, 302)
    await own.stop()
  }

  it('of resolving', async () => {
    const key = { 'idempotency-key': randomUUID() }
    const { status, body } = await ask('POST', '/v3/assets/resolve', {
      body: {
        inputs: [
          { type: 'base64', media_type: 'image/png', data: png.toString('base64') },
          { type: 'asset_id', asset_id: 'asset_nothing' },
          7,
        ],
      },
      headers: key,
    })
    assert.equal(status, 200)
    assert.equal((body.data as unknown as object[]).length, 3)
    assert.equal((await ask('POST', '/v3/assets/resolve', { headers: key })).status, 200)

    const held = randomUUID()
    const running = await open(service)
    const lines = [`x-api-key: ${service.key}`, `Idempotency-Key: ${held}`, 'Content-Length: 100']
    await running.send(requestHead('POST /v3/assets/resolve HTTP/1.1', lines), '{"inputs":[')
    await eventually(() => {
      assert.ok(contentsOf(service.dataDir).keys.some(({ key }) => key === held))
    })
    const other = await ask('POST', '/v3/assets/resolve', { headers: { 'idempotency-key': held } })
    assert.equal(other.status, 409)
    running.reset()
  })

  it('of direct uploads', async () => {
    const key = { 'idempotency-key': randomUUID() }
    const announced = await announce({ checksum_sha256: null }, key)
    await announce({ checksum_sha256: null }, key)
    assert.equal((await complete(announced.asset_id)).status, 409)
    const isBucket = bucketEndpoint !== null
    assert.equal((await put(announced, Buffer.from('short'))).status, isBucket ? 403 : 400)
    assert.equal((await put(announced)).status, 200)
    assert.equal((await put({ ...announced, upload_url: `${announced.upload_url}a` })).status, 403)
    for (const headers of [{}, key, key]) {
      assert.equal((await complete(announced.asset_id, { headers })).status, 200)
    }
    assert.equal((await put(announced)).status, isBucket ? 200 : 409)
    if (!isBucket) await assertBusyWhileItComes()
    assert.equal((await complete('asset_nothing')).status, 404)
    for (const wrong of [
      { filename: '' },
      { size_bytes: 'a' },
      { content_type: 'image/gif' },
      { size_bytes: 1e12 },
    ]) {
      const { status } = await ask('POST', '/v3/assets/direct-uploads', { body: { ...file, ...wrong } })
      assert.equal(status, 400)
    }
    const other = await announce({ content_type: 'image/jpeg' })
    await put(other)
    assert.equal((await complete(other.asset_id)).status, 400)
    assert.equal((await ask('GET', `/v3/assets/statuses?asset_ids=${other.asset_id}`)).status, 200)
  })

  async function assertBusyWhileItComes(): Promise<void> {
    const begun = await announce()
    const { pathname, search } = new URL(begun.upload_url)
    const coming = await open(service)
    const lines = ['Content-Type: image/png', `Content-Length: ${png.length}`]
    await coming.send(requestHead(`PUT ${pathname}${search} HTTP/1.1`, lines), png.subarray(0, 10))
    await eventually(() => {
      assert.ok(contentsOf(service.dataDir).directUploads.some(({ token }) => token !== null))
    })
    assert.equal((await ask('DELETE', `/v3/assets/${begun.asset_id}`)).status, 409)
    coming.reset()
  }

  it('of batches', async () => {
    const files = [file, { ...file, content_type: 'image/jpeg' }, file]
    const headers = { 'idempotency-key': randomUUID() }
    const asked = { body: { files, title: 'a title' }, headers }
    const made = await ask('POST', '/v3/assets/direct-uploads/batches', asked)
    await ask('POST', '/v3/assets/direct-uploads/batches', asked)
    const { batch_id, items } = made.body.data as { batch_id: string; items: Announced[] }
    const target = `/v3/assets/batches/${batch_id}`
    await ask('GET', target)
    for (const item of items.slice(0, 2)) await put(item)
    const drive = { body: { batch_id }, headers }
    assert.equal((await ask('POST', '/v3/assets/complete/batches', drive)).status, 202)
    assert.equal((await ask('POST', '/v3/assets/complete/batches', drive)).status, 202)
    await eventually(async () => {
      const { counts_by_status } = (await ask('GET', target)).body.data
      assert.deepEqual(counts_by_status, { pending_upload: 1, processing: 0, completed: 1, failed: 1 })
    })
    const first = (await ask('GET', `${target}?limit=1`)).body.data
    assert.equal(first.has_more, true)
    assert.equal((await ask('GET', `${target}?limit=1&token=${first.next_token}`)).status, 200)
    assert.equal((await ask('GET', `${target}?limit=0`)).status, 400)
    const ids = `asset_ids=nothing,${items[0]?.asset_id}&batch_ids=${batch_id},nothing`
    assert.equal((await ask('GET', `/v3/assets/statuses?${ids}`)).status, 200)
    assert.equal((await ask('GET', '/v3/assets/statuses')).status, 400)
    assert.equal((await ask('GET', '/v3/assets/batches/nothing')).status, 404)
    const nothing = { body: { batch_id: 'nothing' } }
    assert.equal((await ask('POST', '/v3/assets/complete/batches', nothing)).status, 404)
  })

  it('of the library', async () => {
    for (const bytes of [png, samples.wav(), samples.pdf()]) await upload(service, bytes)
    const stored = (await (await upload(service, png)).json()) as { data: Announced }
    const { asset_id } = stored.data
    const first = (await ask('GET', '/v3/assets?limit=1')).body as unknown as { next_token: string }
    await ask('GET', `/v3/assets?limit=1&token=${first.next_token}`)
    await ask('GET', '/v3/assets?folder_id=other')
    await ask('GET', '/v3/assets')
    assert.equal((await ask('GET', '/v3/assets?token=a')).status, 400)
    const found = await ask('GET', '/v3/assets/search?query=file&type=image&limit=1')
    assert.notDeepEqual(found.body.data, [])
    await ask('GET', '/v3/assets/search?query=a&type=icon&scope=public')
    assert.equal((await ask('GET', '/v3/assets/search?type=image')).status, 400)
    assert.equal((await ask('GET', `/v3/assets/${asset_id}`)).status, 200)
    assert.equal((await ask('DELETE', `/v3/assets/${asset_id}`)).status, 200)
    for (const method of ['GET', 'DELETE']) {
      assert.equal((await ask(method, `/v3/assets/${asset_id}`)).status, 404)
    }
    assert.equal((await ask('GET', '/v3/users/me')).status, 200)
  })

  it('of what is beside it', async () => {
    for (const { target } of everyPath.filter(({ method }) => method === 'GET')) await ask('GET', target)
    await ask('GET', '/docs/start.js')
    for (const target of ['/', '/page/page.css', '/client/index.js']) {
      const { status, headers } = await ask('GET', target)
      assert.equal(status, 200, target)
      const again = { 'if-none-match': String(headers.get('etag')) }
      assert.equal((await ask('GET', target, { headers: again })).status, 304, target)
    }
    await ask('GET', '/nowhere')
    for (const { target } of everyPath) {
      assert.equal((await ask('PATCH', target)).status, 405)
      const preflight = { origin: 'https://app.example.com', 'access-control-request-method': 'GET' }
      assert.equal((await ask('OPTIONS', target, { headers: preflight, key: null })).status, 204)
    }
  })

  it('of a file whose bytes are damaged', async () => {
    const own = await startService()
    const stored = (await (await upload(own, png)).json()) as { data: { url: string } }
    for (const key of contentsOf(own.dataDir).blobs) truncateSync(blobPath(own.dataDir, key), 1)
    assert.equal((await ask('GET', stored.data.url, { to: own, key: null })).status, 500)
    await own.stop()
  })
})

/** What only the service's own address for bytes can bring about. */
const isOfOwnDoor = (answer: string): boolean =>
  bucketEndpoint !== null && (answer.startsWith('putAssetBytes ') || answer === 'deleteAsset 409')

it('every answer that is described was had, but for those that cannot be', async () => {
  await allHeld()
  const met = answersMet()
  const missing = answersDescribed().filter((answer) => !met.has(answer) && !isOfOwnDoor(answer))
  assert.deepEqual(
    missing.toSorted(),
    Object.keys(unasked)
      .filter((one) => !isOfOwnDoor(one))
      .toSorted(),
  )
})
