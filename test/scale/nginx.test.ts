/** Real traffic through the nginx configuration of `deploy/`. */
import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { connect, createServer, type Socket } from 'node:net'
import { after, before, describe, it, type TestContext } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { announce, call, complete, put } from '../api.ts'
import { wav } from '../media/samples.ts'
import {
  assertClean,
  assertError,
  baseline,
  exchange,
  fileBody,
  open,
  requestHead,
  uploadHead,
  uploadRequest,
} from '../raw-http.ts'
import { eventually, type RunningService, startService, upload } from '../service.ts'
import { type NginxServer, noNginx, startNginx } from './nginx.ts'
import { freePort } from './programs.ts'

const mebibyte = 1024 * 1024
const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex')
const noisy = (sizeBytes: number): Buffer => {
  const file = wav({ sizeBytes })
  randomBytes(mebibyte).copy(file, 1_000)
  return file
}

/** The other ends of connections to a port of ours, in whatever state. */
function connectionsTo(port: number): string[] {
  const suffix = `:${port.toString(16).toUpperCase().padStart(4, '0')}`
  return readFileSync('/proc/net/tcp', 'utf8')
    .split('\n')
    .map((line) => line.trim().split(/\s+/))
    .filter(([, local]) => local?.endsWith(suffix))
    .map(([, , remote = '']) => remote)
    .filter((remote) => !remote.startsWith('00000000'))
}

describe('through nginx', { skip: noNginx }, () => {
  let service: RunningService
  let nginx: NginxServer
  /** The service as its clients have it. */
  let front: { url: string; host: string; port: number; key: string }
  before(async () => {
    const port = await freePort()
    service = await startService({
      env: { ASSETD_PUBLIC_URL: `http://127.0.0.1:${port}`, ASSETD_TRUSTED_PROXIES: '127.0.0.1' },
    })
    nginx = await startNginx(port, [service.port])
    front = { url: nginx.url, host: '127.0.0.1', port, key: service.key }
  })
  after(async () => {
    assert.doesNotMatch(nginx.complaints(), /temporary file/, 'nothing of a body is on a disk of nginx')
    await nginx.stop()
    await service.stop()
  })

  const storedOf = async (response: Response): Promise<{ url: string; asset_id: string }> => {
    const text = await response.text()
    assert.equal(response.status, 200, text)
    return (JSON.parse(text) as { data: { url: string; asset_id: string } }).data
  }

  it('32 MB go up, and come down again as they were', async () => {
    const file = noisy(32 * mebibyte)
    const { url } = await storedOf(await upload(front, file))
    assert.ok(url.startsWith(`${front.url}/files/`))
    const response = await fetch(url)
    assert.equal(sha256(new Uint8Array(await response.arrayBuffer())), sha256(file))
    assert.equal(response.headers.get('x-content-type-options'), 'nosniff')
  })

  it('what is too large is refused by the service, in its envelope: no 413 of nginx', async () => {
    const before = baseline(service)
    const file = noisy(32 * mebibyte + 1)
    const refusal = { status: 400, code: 'invalid_parameter', param: 'file', reason: 'file_too_large' }
    const response = await upload(front, file)
    const headers = Object.fromEntries(response.headers)
    assertError({ status: response.status, headers, body: await response.text() }, refusal)
    const body = fileBody(noisy(40 * mebibyte))
    const asChunks = uploadRequest({ key: front.key, body, length: 'chunked' })
    assertError(await exchange(front, [asChunks], { withinMs: 20_000 }), refusal)
    const hugeHead = uploadHead({ key: front.key, body, length: 3 * 1024 * mebibyte })
    assertError(await exchange(front, [hugeHead, body.subarray(0, mebibyte)]), refusal)
    await assertClean(service, before)
  })

  it('a refusal before the body is heard while the client still sends', async () => {
    const body = fileBody(noisy(30 * mebibyte))
    for (let times = 0; times < 5; times++) {
      const answer = await exchange(front, [uploadRequest({ key: 'wrong', body })], { withinMs: 10_000 })
      assertError(answer, { status: 401, code: 'authentication_failed' })
    }
  })

  it('200 MB by direct upload, to the signed URL that names nginx', async () => {
    const file = noisy(200 * mebibyte)
    const announced = await announce(front, { content_type: 'audio/wav', size_bytes: file.length })
    assert.ok(announced.upload_url.startsWith(`${front.url}/uploads/`))
    const sent = await put(announced, file)
    assert.equal(sent.status, 200, sent.body)
    const done = await complete(front, announced.asset_id)
    assert.equal(done.status, 200, done.body)
    const response = await fetch(done.json.data.url)
    assert.equal(sha256(new Uint8Array(await response.arrayBuffer())), sha256(file))
    const query = new URL(announced.upload_url).search
    assert.ok(query.length > 20)
    const line = JSON.stringify(nginx.requests())
    assert.ok(!line.includes(query.slice(1, 40)), 'a signed URL is a right: it is in no log')
  })

  it('an upload that is broken off, by FIN or by RST, leaves nothing', async () => {
    const before = baseline(service)
    const body = fileBody(noisy(8 * mebibyte))
    for (const how of ['end', 'destroy', 'resetAndDestroy'] as const) {
      const connection = await open(front)
      await connection.send(uploadHead({ key: front.key, body }), body.subarray(0, 5 * mebibyte))
      connection.socket[how]()
      await sleep(50)
      connection.socket.destroy()
    }
    await sleep(300)
    // nginx keeps connections to the service for the next request; those are not what an upload left.
    await assertClean(service, { ...before, descriptors: before.descriptors + 10 })
  })

  it('case 46: the log has the client’s own address, whatever the client says it is', async () => {
    const addressOf = async (lines: string[]): Promise<unknown> => {
      const socket = connect({ host: front.host, port: front.port, localAddress: '127.0.0.9' })
      const request = requestHead('GET /v3/users/me HTTP/1.1', [
        'x-api-key: wrong',
        'Connection: close',
        ...lines,
      ])
      let answer = ''
      socket.setEncoding('latin1').on('data', (piece) => {
        answer += piece
      })
      socket.write(request)
      await new Promise((resolve) => socket.once('close', resolve))
      const id = /x-request-id: (\S+)/i.exec(answer)?.[1] ?? ''
      const line = await eventually(() => {
        const found = nginx.requests().find(({ request_id }) => request_id === id)
        assert.ok(found)
        return found
      })
      assert.equal(line.address, '127.0.0.9')
      return (await service.logOf(id)).address
    }
    assert.equal(await addressOf([]), '127.0.0.9')
    assert.equal(await addressOf(['X-Forwarded-For: 203.0.113.7']), '127.0.0.9')
    assert.equal(
      await addressOf(['X-Forwarded-For: 203.0.113.7, 127.0.0.1', 'X-Real-IP: 1.1.1.1']),
      '127.0.0.9',
    )
  })

  it('Expect: 100-continue is answered, and the body taken', async () => {
    const body = fileBody(wav())
    const connection = await open(front)
    await connection.send(uploadHead({ key: front.key, body, lines: ['Expect: 100-continue'] }))
    assert.equal((await connection.answer()).status, 100)
    await connection.send(body)
    assert.equal((await connection.answer()).status, 200)
    connection.reset()
  })

  it('ranges, conditions and HEAD come through as they are', async () => {
    const file = noisy(3 * mebibyte)
    const { url } = await storedOf(await upload(front, file))
    const whole = await fetch(url, { method: 'HEAD' })
    const etag = whole.headers.get('etag') ?? ''
    assert.equal(whole.headers.get('content-length'), String(file.length))
    assert.match(etag, /^"/)
    const part = await fetch(url, { headers: { range: 'bytes=1000-2000999', 'if-range': etag } })
    assert.equal(part.status, 206)
    assert.equal(part.headers.get('content-range'), `bytes 1000-2000999/${file.length}`)
    assert.ok(Buffer.from(await part.arrayBuffer()).equals(file.subarray(1_000, 2_001_000)))
    assert.equal((await fetch(url, { headers: { 'if-none-match': etag } })).status, 304)
    assert.equal((await fetch(url, { headers: { range: 'bytes=99999999-' } })).status, 416)
    const direct = await fetch(service.url + new URL(url).pathname, { method: 'HEAD' })
    assert.equal(direct.headers.get('etag'), etag, 'the same as without nginx')
  })

  it('case 82: a reader that stops reading stops the service: nginx does not swallow the file', async () => {
    const file = noisy(30 * mebibyte)
    const { url } = await storedOf(await upload(front, file))
    const socket = connect({ host: front.host, port: front.port }) // nobody reads from it
    socket.write(requestHead(`GET ${new URL(url).pathname} HTTP/1.1`))
    const asset_id = /asset_\w+/.exec(url)?.[0]
    const linesOf = () => service.log().filter((line) => line.asset_id === asset_id && line.method === 'GET')
    await sleep(1_500)
    assert.deepEqual(linesOf(), [], 'it is under way still: 30 MB fit into no buffer')
    socket.destroy()
    await eventually(() =>
      assert.deepEqual(
        linesOf().map(({ client_left }) => client_left),
        [true],
      ),
    )
  })

  it('the JSON routes, a replay by its key, a path with escapes: as without nginx', async () => {
    assert.equal((await call(front, 'GET', '/v3/users/me')).status, 200)
    const bytes = wav()
    const first = await (await upload(front, bytes, { 'idempotency-key': 'through-nginx' })).text()
    const again = await upload(front, bytes, { 'idempotency-key': 'through-nginx' })
    assert.equal(again.headers.get('idempotent-replayed'), 'true')
    assert.equal(await again.text(), first)
    for (const path of ['/files//x', '/files/%2e%2e/x', '/nothing'])
      assert.equal(
        (await fetch(front.url + path)).status,
        (await fetch(service.url + path)).status,
        `${path} gets what it gets of the service itself`,
      )
  })

  it('connections to the service are kept: a hundred requests, one after the other, need few', async () => {
    const ports = new Set<string>()
    for (let times = 0; times < 100; times++) {
      assert.equal((await call(front, 'GET', '/v3/users/me')).status, 200)
      for (const port of connectionsTo(service.port)) ports.add(port)
    }
    assert.ok(ports.size >= 1 && ports.size <= 20, `${ports.size} connections`)
  })
})

/** A copy that takes a whole request and then drops the connection, as one that is killed does. */
async function startDying(context: TestContext): Promise<{ port: number; requests: string[] }> {
  const requests: string[] = []
  const sockets = new Set<Socket>()
  const server = createServer((socket) => {
    sockets.add(socket)
    let received = ''
    socket.setEncoding('latin1').on('error', () => {})
    socket.on('data', (piece) => {
      received += piece
      const [head = '', body] = received.split('\r\n\r\n')
      const length = Number(/content-length: (\d+)/i.exec(head)?.[1] ?? 0)
      if (body === undefined || body.length < length) return
      requests.push(head.split(' ')[0] ?? '')
      socket.resetAndDestroy()
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  context.after(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  return { port: (server.address() as { port: number }).port, requests }
}

describe('what nginx sends again', { skip: noNginx }, () => {
  it('a POST and a body that were sent are sent once, and the client gets a 503 in our envelope', async (context) => {
    const copies = [await startDying(context), await startDying(context), await startDying(context)]
    const nginx = await startNginx(
      await freePort(),
      copies.map(({ port }) => port),
    )
    context.after(() => nginx.stop())
    const seen = (): string[] => copies.flatMap(({ requests }) => requests.splice(0))
    const send = async (method: string, body?: string): Promise<Response> => {
      const response = await fetch(`${nginx.url}/v3/assets`, {
        method,
        ...(body === undefined ? {} : { body }),
      })
      return response
    }
    for (const [method, body] of [
      ['POST', 'x'.repeat(1_000)],
      ['POST', 'x'.repeat(1_000_000)],
      ['POST', undefined],
      ['PATCH', 'x'],
      ['PUT', 'x'.repeat(1_000_000)],
    ] as const) {
      const response = await send(method, body)
      assert.deepEqual(seen(), [method], `${method} with ${body?.length} bytes`)
      assert.equal(response.status, 503)
      assert.equal(response.headers.get('retry-after'), '2')
      const { error } = (await response.json()) as { error: Record<string, unknown> }
      assert.deepEqual(Object.keys(error), ['code', 'message', 'param', 'doc_url'])
      assert.equal(error.code, 'service_unavailable')
      assert.equal(error.doc_url, `${nginx.url}/docs/errors#service_unavailable`)
    }
    // One that came whole with its head nginx has, and may repeat: the same bytes to the same signed URL.
    assert.equal((await send('PUT', 'x')).status, 503)
    assert.ok(seen().every((method) => method === 'PUT'))
  })

  it('of what cannot do harm the next copy is asked; a copy that is not there costs nobody anything', async (context) => {
    const service = await startService()
    context.after(() => service.stop())
    const dying = await startDying(context)
    const nginx = await startNginx(await freePort(), [await freePort(), dying.port, service.port])
    context.after(() => nginx.stop())
    const front = { url: nginx.url, key: service.key }
    const statuses = new Map<number, number>()
    for (let times = 0; times < 30; times++) {
      const { status } = await call(front, 'GET', '/v3/users/me')
      statuses.set(status, (statuses.get(status) ?? 0) + 1)
    }
    assert.deepEqual([...statuses], [[200, 30]])
    assert.ok(dying.requests.length >= 1, 'the dying copy was asked')
    // A POST meets the dying copy now and then, and is repeated by its client, under its key.
    const key = randomBytes(8).toString('hex')
    const file = wav()
    const bodies = new Set<string>()
    for (let times = 0; times < 30 && bodies.size < 1; times++) {
      const response = await upload(front, file, { 'idempotency-key': key })
      if (response.status === 200) bodies.add(await response.text())
      else assert.equal(response.status, 503)
    }
    assert.equal(bodies.size, 1)
  })

  it('no copy is there: 503 in our envelope at once, for /readyz too', async (context) => {
    const nginx = await startNginx(await freePort(), [await freePort(), await freePort()])
    context.after(() => nginx.stop())
    for (const path of ['/readyz', '/v3/users/me', '/files/a.png']) {
      const waits: number[] = []
      for (let times = 0; times < 3; times++) {
        const startMs = performance.now()
        const response = await fetch(nginx.url + path)
        assert.equal(response.status, 503)
        const { error } = (await response.json()) as { error: { code: string } }
        assert.equal(error.code, 'service_unavailable')
        waits.push(performance.now() - startMs)
      }
      assert.ok(Math.min(...waits) < 1_000, `${waits.map(Math.round)} ms`)
    }
  })
})
