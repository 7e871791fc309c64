/** The TypeScript client, against the service and against a server that fails as it is told to. */
import assert from 'node:assert/strict'
import { appendFileSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { AssetdError, createClient } from '../client/index.ts'
import { openFile } from '../client/node.ts'
import { clientTypes, typeOf, typesFile } from '../scripts/client-types.ts'
import { png, wav } from './media/samples.ts'
import { contentsOf, eventually, type RunningService, startService } from './service.ts'
import { bucketEndpoint, rowsOf } from './stores.ts'

const folder = mkdtempSync(join(tmpdir(), 'assetd-client-'))
after(() => rmSync(folder, { recursive: true }))

const mib = 1024 * 1024

function fileOf(name: string, bytes: Uint8Array): Promise<File> {
  writeFileSync(join(folder, name), bytes)
  return openFile(join(folder, name))
}

const refusal = (code: AssetdError['code'], status: number | null) => (error: unknown) => {
  assert.ok(error instanceof AssetdError, String(error))
  assert.deepEqual([error.code, error.status], [code, status])
  return true
}

describe('the types', () => {
  it('are those of the OpenAPI document (else: npm run client:types)', () => {
    assert.equal(readFileSync(typesFile, 'utf8'), clientTypes())
  })

  it('are made from each form of schema that a document may use, and from no other', () => {
    assert.equal(typeOf({ type: ['string', 'null'] }), 'string | null')
    assert.equal(typeOf({ type: 'array', items: { $ref: '#/components/schemas/Asset' } }), '(Asset)[]')
    assert.equal(
      typeOf({ type: 'object', additionalProperties: { type: 'integer' } }),
      'Record<string, number>',
    )
    assert.equal(typeOf({ enum: ['a', null] }), '"a" | null')
    assert.throws(() => typeOf({ type: 'text' }))
  })
})

it('the core imports nothing but itself: it runs in a browser with its types stripped', () => {
  const client = new URL('../client/', import.meta.url)
  for (const name of readdirSync(client)) {
    if (name === 'node.ts') continue
    for (const [, from] of readFileSync(new URL(name, client), 'utf8').matchAll(/ from '([^']+)'/g))
      assert.match(String(from), /^\.\/[\w-]+\.ts$/, name)
  }
})

describe('with a service', () => {
  let service: RunningService
  before(async () => {
    service = await startService()
  })
  after(() => service.stop())

  const client = () => createClient({ baseUrl: service.url, apiKey: service.key })

  it('uploads by the multipart door, and finds, lists and removes the asset', async () => {
    const file = await fileOf('a red picture.png', png())
    const seen: number[] = []
    const uploaded = await client().upload(file, {
      onProgress: ({ sentBytes, totalBytes }) => seen.push(sentBytes / totalBytes),
    })
    assert.equal(seen.at(-1), 1)
    assert.deepEqual(new Uint8Array(await (await fetch(uploaded.url)).arrayBuffer()), new Uint8Array(png()))
    assert.equal('status' in uploaded, false, 'it went by the multipart door')
    const asset = await client().get(uploaded.asset_id)
    assert.deepEqual([asset.name, asset.size_bytes, asset.owner], [file.name, file.size, 'default'])
    const found = await client().search({ query: 'picture', type: 'image' })
    assert.deepEqual(
      found.data.map(({ id }) => id),
      [uploaded.asset_id],
    )
    assert.deepEqual(await client().remove(uploaded.asset_id), { id: uploaded.asset_id })
    await assert.rejects(client().get(uploaded.asset_id), refusal('asset_not_found', 404))
    await assert.rejects(client().remove(uploaded.asset_id), refusal('asset_not_found', 404))
  })

  it('goes from page to page, and from the page that a token names', async () => {
    for await (const { data } of client().listPages()) {
      for (const { id } of data) await client().remove(id)
    }
    const ids: string[] = []
    for (let at = 0; at < 5; at++) {
      const file = new Blob([new Uint8Array(png({ sizeBytes: 200 + at }))])
      ids.unshift((await client().upload(file, { name: `page ${at}` })).asset_id)
    }
    const pages: string[][] = []
    for await (const { data } of client().listPages({ limit: 2 })) pages.push(data.map(({ id }) => id))
    assert.deepEqual(pages, [ids.slice(0, 2), ids.slice(2, 4), ids.slice(4)])
    const first = await client().list({ limit: 3 })
    const rest = await client().list({ limit: 3, ...(first.next_token ? { token: first.next_token } : {}) })
    assert.deepEqual(
      rest.data.map(({ id }) => id),
      ids.slice(3),
    )
    const found: number[] = []
    for await (const { data } of client().searchPages({ query: 'page', type: 'image', limit: 3 }))
      found.push(data.length)
    assert.deepEqual(found, [3, 2])
  })

  it('uploads directly above 32 MiB, and at exactly 32 MiB it does not', async () => {
    const large = await fileOf('large', wav({ sizeBytes: 32 * mib + 2 }))
    let last = 0
    const direct = await client().upload(large, {
      onProgress: ({ sentBytes }) => {
        last = sentBytes
      },
    })
    assert.equal((direct as { status?: string }).status, 'completed')
    assert.deepEqual([last, direct.size_bytes, direct.mime_type], [large.size, large.size, 'audio/wav'])
    const most = await client().upload(await fileOf('most', wav({ sizeBytes: 32 * mib })))
    assert.equal('status' in most, false)
  })

  it('uploads a small file directly where it is told to, with its checksum', async () => {
    const file = new Blob([new Uint8Array(png())])
    const direct = await client().upload(file, { door: 'direct', name: 'x' })
    assert.equal(direct.mime_type, 'image/png')
    await assert.rejects(
      client().upload(file, { door: 'direct', checksumSha256: '0'.repeat(64) }),
      refusal(bucketEndpoint === null ? 'invalid_parameter' : 'bucket_refused', 400),
    )
    assert.equal(openDirectUploads(), 0, 'what was refused is not waited for')
  })

  it('makes, completes and reads batches, and tells how uploads stand', async () => {
    const bytes = png()
    const file = { filename: 'x.png', content_type: 'image/png', size_bytes: bytes.length }
    const { batch_id, items } = await client().batches.create({ files: [file, file], title: 'two' })
    for (const { upload_url, upload_headers } of items) {
      const put = { method: 'PUT', headers: upload_headers, body: new Uint8Array(bytes) }
      assert.equal((await fetch(upload_url, put)).status, 200)
    }
    assert.equal((await client().batches.complete(batch_id)).batch_id, batch_id)
    await eventually(async () => {
      assert.equal((await client().batches.get(batch_id)).counts_by_status.completed, 2)
    })
    const page = await client().batches.get(batch_id, { limit: 1 })
    assert.deepEqual([page.title, page.items.length, page.has_more], ['two', 1, true])
    const statuses = await client().statuses({ batchIds: [batch_id], assetIds: ['asset_none'] })
    assert.deepEqual(statuses.map(({ status }) => status).sort(), ['completed', 'completed', 'not_found'])
  })

  it('resolves inputs to assets, each with an answer of its own', async () => {
    const { asset_id } = await client().upload(new Blob([new Uint8Array(png({ sizeBytes: 500 }))]))
    const data = png({ sizeBytes: 501 }).toString('base64')
    const resolved = await client().resolve([
      { type: 'asset_id', asset_id },
      { type: 'base64', media_type: 'image/png', data },
      { type: 'asset_id', asset_id: 'asset_none' },
    ])
    assert.deepEqual(
      resolved.map(({ asset, error }) => asset?.size_bytes ?? error?.code),
      [500, 501, 'asset_not_found'],
    )
    assert.equal(resolved[0]?.asset?.asset_id, asset_id)
  })

  it('says who it is; refuses with all that the service says', async () => {
    assert.equal((await client().me()).username, 'default')
    const stranger = createClient({ baseUrl: `${service.url}/`, bearerToken: async () => 'no-token' })
    await assert.rejects(stranger.me(), refusal('authentication_failed', 401))
    const text = new Blob(['no picture'])
    await assert.rejects(client().upload(text, { name: 'a.png' }), (error: AssetdError) => {
      assert.equal(error.details.reason, 'unsupported_type')
      assert.equal(error.param, 'file')
      assert.match(String(error.requestId), /^req_/)
      return true
    })
  })

  it('hears a refusal that comes before the file is sent', async () => {
    const stranger = createClient({ baseUrl: service.url, apiKey: 'x', maxTries: 1 })
    const file = await fileOf('refused', wav({ sizeBytes: 30 * mib }))
    await assert.rejects(stranger.upload(file), refusal('authentication_failed', 401))
  })

  for (const door of ['multipart', 'direct'] as const) {
    it(`an upload by the ${door} door that is aborted leaves nothing`, async () => {
      const before = contentsOf(service.dataDir)
      const end = new AbortController()
      const file = await fileOf('aborted', wav({ sizeBytes: 30 * mib }))
      const onProgress = ({ sentBytes }: { sentBytes: number }): void => {
        if (sentBytes > 5 * mib) end.abort()
      }
      await assert.rejects(client().upload(file, { door, signal: end.signal, onProgress }), {
        name: 'AbortError',
      })
      await eventually(() => {
        const { blobs, incoming, assets } = contentsOf(service.dataDir)
        assert.deepEqual([blobs.length, incoming.length], [before.blobs.length, before.incoming.length])
        assert.equal(assets.length, before.assets.length)
        assert.equal(openDirectUploads(), 0, 'the service is told, and does not wait for more')
      })
    })
  }

  function openDirectUploads(): number {
    const isOpen = (state: unknown): boolean => state === 'pending_upload' || state === 'processing'
    return rowsOf(service.dataDir, 'direct_uploads').filter(({ state }) => isOpen(state)).length
  }

  it('a file that changes while it is sent fails in these words, and is not tried again', async () => {
    const file = await fileOf('changing', wav({ sizeBytes: 20 * mib }))
    let tries = 0
    const watched = createClient({ baseUrl: service.url, apiKey: service.key, onRetry: () => tries++ })
    const sending = watched.upload(file, {
      onProgress: () => appendFileSync(join(folder, 'changing'), 'more'),
    })
    await assert.rejects(sending, refusal('file_unreadable', null))
    assert.equal(tries, 0)
  })
})

describe('with a server that fails', () => {
  type Step = (request: IncomingMessage, response: ServerResponse) => void
  let steps: Step[] = []
  let seen: { method: string; url: string; headers: IncomingMessage['headers']; bytes: number }[] = []
  const server = createServer((request, response) => {
    let bytes = 0
    request
      .on('data', (slice: Buffer) => {
        bytes += slice.length
      })
      .on('end', () => {
        seen.push({
          method: String(request.method),
          url: String(request.url),
          headers: request.headers,
          bytes,
        })
        const step = steps.length > 1 ? steps.shift() : steps[0]
        step?.(request, response)
      })
  })
  let baseUrl = ''
  before(async () => {
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    baseUrl = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  })
  after(() => server.close())

  const says =
    (status: number, code: string, headers: Record<string, string> = {}): Step =>
    (_request, response) =>
      response
        .writeHead(status, headers)
        .end(JSON.stringify({ error: { code, message: 'no', param: null, doc_url: null } }))
  const answers =
    (data: unknown): Step =>
    (_request, response) =>
      response.end(JSON.stringify({ data }))
  const dies: Step = (request) => request.socket.destroy()

  const serve = (...next: Step[]): void => {
    steps = next
    seen = []
  }
  const waits: number[] = []
  const client = (maxTries = 3) =>
    createClient({
      baseUrl,
      apiKey: 'k',
      maxTries,
      onRetry: ({ waitMs }) => waits.push(waitMs),
    })

  it('tries again under the same key: after a lost answer, while the first still runs, and when told to wait', async () => {
    serve(
      says(429, 'rate_limit_exceeded', { 'retry-after': '2' }),
      dies,
      says(409, 'request_in_progress', { 'retry-after': '1' }),
      answers({ asset_id: 'asset_1' }),
    )
    waits.length = 0
    const bytes = new Uint8Array(1_000)
    assert.equal((await client(4).upload(new Blob([bytes]))).asset_id, 'asset_1')
    assert.equal(seen.length, 4)
    assert.equal(new Set(seen.map(({ headers }) => headers['idempotency-key'])).size, 1)
    for (const { headers, bytes } of seen) assert.equal(Number(headers['content-length']), bytes)
    const [first = 0, second = 0, third = 0] = waits
    assert.equal(first, 2_000, 'Retry-After, where it is longer than the back-off')
    assert.ok(second >= 1_500 && second <= 2_500, `${second}`)
    assert.ok(third >= 3_000 && third <= 5_000, 'the back-off, where that is longer')
  })

  it('gives up after so many tries, and at once where waiting is no use', async () => {
    serve(says(503, 'service_unavailable'))
    await assert.rejects(client(2).me(), refusal('service_unavailable', 503))
    assert.equal(seen.length, 2)
    for (const step of [says(500, 'internal_error'), says(403, 'forbidden'), says(409, 'conflict')]) {
      serve(step)
      await assert.rejects(client().me(), AssetdError)
      assert.equal(seen.length, 1)
    }
    serve(says(429, 'rate_limit_exceeded', { 'retry-after': '100000' }))
    await assert.rejects(client().me(), (error: AssetdError) => error.retryAfterSeconds === 100_000)
    assert.equal(seen.length, 1)
  })

  it('keeps the key of a file whose upload may have been stored, and makes a new one after it was', async () => {
    const file = new Blob([new Uint8Array(10)])
    serve(dies, answers({}), answers({}))
    await assert.rejects(client(1).upload(file), refusal('not_reachable', null))
    const again = client(1)
    await again.upload(file)
    await again.upload(file)
    const keys = seen.map(({ headers }) => headers['idempotency-key'])
    assert.notEqual(keys[1], keys[2])
    serve(dies, answers({}))
    const same = client(1)
    await assert.rejects(same.upload(file), AssetdError)
    await same.upload(file)
    assert.equal(seen[0]?.headers['idempotency-key'], seen[1]?.headers['idempotency-key'])
  })

  it('a removal whose answer was lost has removed', async () => {
    serve(dies, says(404, 'asset_not_found'))
    assert.deepEqual(await client().remove('asset_1'), { id: 'asset_1' })
  })

  it('sends no credentials to a signed URL, and its headers as they are', async () => {
    serve(
      answers({
        asset_id: 'asset_1',
        upload_url: `${baseUrl}/elsewhere?signature=1`,
        upload_headers: { 'content-type': 'audio/wav', 'x-more': '1' },
      }),
      answers({}),
      answers({ asset_id: 'asset_1' }),
    )
    await client().upload(new Blob([new Uint8Array(100)]), { door: 'direct' })
    assert.deepEqual(
      seen.map(({ method, url }) => `${method} ${url}`),
      ['POST /v3/assets/direct-uploads', 'PUT /elsewhere?signature=1', 'POST /v3/assets/asset_1/complete'],
    )
    const put = seen[1]?.headers ?? {}
    assert.deepEqual(
      [put['x-api-key'], put['content-length'], put['content-type'], put['x-more']],
      [undefined, '100', 'audio/wav', '1'],
    )
  })

  it('goes on with a direct upload that had got further than it was told', async () => {
    const ticket = answers({ asset_id: 'asset_1', upload_url: `${baseUrl}/u`, upload_headers: {} })
    for (const late of [says(409, 'conflict'), says(403, 'forbidden')]) {
      const file = new Blob([new Uint8Array(100)])
      const one = client(1)
      serve(ticket, answers({}), dies)
      await assert.rejects(one.upload(file, { door: 'direct' }), refusal('not_reachable', null))
      const keyBefore = seen[0]?.headers['idempotency-key']
      serve(ticket, late, answers({ asset_id: 'asset_1' }))
      assert.equal((await one.upload(file, { door: 'direct' })).asset_id, 'asset_1')
      assert.equal(seen[0]?.headers['idempotency-key'], keyBefore)
      assert.deepEqual(
        seen.map(({ method }) => method),
        ['POST', 'PUT', 'POST'],
        'and takes nothing back',
      )
    }
    serve(ticket, says(403, 'forbidden'), says(404, 'asset_not_found'), says(404, 'asset_not_found'))
    const startMs = performance.now()
    const never = client(1).upload(new Blob([new Uint8Array(100)]), { door: 'direct' })
    await assert.rejects(never, refusal('forbidden', 403), 'what was refused first, where nothing had come')
    assert.ok(performance.now() - startMs < 10_000, 'and at once: there is nothing to take back')
  })

  it('says what a bucket refused the bytes for, and tries again where it only waited in vain', async () => {
    const ticket = answers({ asset_id: 'asset_1', upload_url: `${baseUrl}/u`, upload_headers: {} })
    const refuses =
      (status: number, code: string): Step =>
      (_request, response) =>
        response
          .writeHead(status, { 'content-type': 'application/xml', 'x-amz-request-id': 'of-the-bucket' })
          .end(`<?xml version="1.0"?>\n<Error><Code>${code}</Code><Message>So it is.</Message></Error>`)
    const file = new Blob([new Uint8Array(100)])
    serve(ticket, refuses(403, 'AccessDenied'), says(404, 'asset_not_found'))
    await assert.rejects(client().upload(file, { door: 'direct' }), (error: AssetdError) => {
      assert.deepEqual(
        [error.code, error.status, error.details, error.requestId],
        ['bucket_refused', 403, { reason: 'AccessDenied' }, 'of-the-bucket'],
      )
      assert.match(error.message, /403, AccessDenied: So it is\./)
      return true
    })
    serve(
      ticket,
      refuses(400, 'RequestTimeout'),
      refuses(503, 'SlowDown'),
      answers({}),
      answers({ asset_id: 'asset_1' }),
    )
    await client().upload(file, { door: 'direct' })
    assert.equal(seen.length, 5)
  })

  it('declares a zip, and sends it directly', async () => {
    serve(answers({ asset_id: 'a', upload_url: `${baseUrl}/u`, upload_headers: {} }))
    await client().upload(new Blob([Buffer.from('504b0304', 'hex')]), { name: 'project.zip' })
    assert.equal(seen[0]?.url, '/v3/assets/direct-uploads')
  })

  it('an answer that is not ours is an error, whatever its status', async () => {
    serve((_request, response) => response.end('<html>'))
    await assert.rejects(client().me(), refusal('unexpected_answer', 200))
    serve((_request, response) => response.writeHead(404).end('<html>'))
    await assert.rejects(client().me(), refusal('unexpected_answer', 404))
  })

  it('a key does not follow where an answer leads', async () => {
    serve((_request, response) => response.writeHead(302, { location: '/elsewhere' }).end())
    await assert.rejects(client().me(), (error: AssetdError) => {
      assert.match(error.message, /leads to \/elsewhere/)
      return refusal('unexpected_answer', 302)(error)
    })
    assert.equal(seen.length, 1)
  })

  it('waiting ends with the signal', async () => {
    serve(says(503, 'service_unavailable', { 'retry-after': '60' }))
    const reason = new Error('enough')
    const end = new AbortController()
    setTimeout(() => end.abort(reason), 100)
    await assert.rejects(client().me({ signal: end.signal }), reason)
  })
})
