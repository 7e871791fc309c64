/** `ASSETD_ACCEL_REDIRECT` with the nginx configuration of `deploy/`: files that nginx sends, beside those of the service. */
import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { mkdirSync } from 'node:fs'
import { after, before, describe, it } from 'node:test'
import { call } from '../api.ts'
import { samples, wav } from '../media/samples.ts'
import { assertError, exchange, type RawAnswer, requestHead } from '../raw-http.ts'
import { contentsOf, eventually, type RunningService, startService, upload } from '../service.ts'
import { type NginxServer, noNginx, startNginx } from './nginx.ts'
import { freePort } from './programs.ts'
import { startProxy } from './proxy.ts'

const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex')

type Front = { service: RunningService; nginx: NginxServer; host: string; port: number }

/** @param folder of the blobs, as nginx has it */
async function startFront(folder = 'blobs', env: Record<string, string> = {}): Promise<Front> {
  const port = await freePort()
  const service = await startService({
    env: {
      ASSETD_PUBLIC_URL: `http://127.0.0.1:${port}`,
      ASSETD_TRUSTED_PROXIES: '127.0.0.1',
      ASSETD_ACCEL_REDIRECT: '/assetd-blobs/',
      ...env,
    },
  })
  const nginx = await startNginx(port, [service.port], { blobs: `${service.dataDir}/${folder}` })
  return { service, nginx, host: '127.0.0.1', port }
}

async function stopFront({ service, nginx }: Front): Promise<void> {
  await nginx.stop()
  await service.stop()
}

async function store(
  { service }: Front,
  file: Uint8Array,
): Promise<{ path: string; id: string; blob: string }> {
  const { data } = (await (await upload(service, file)).json()) as { data: { url: string; asset_id: string } }
  const { assets } = contentsOf(service.dataDir)
  const blob = assets.find(({ asset_id }) => asset_id === data.asset_id)?.blob_key
  return { path: new URL(data.url).pathname, id: data.asset_id, blob: String(blob) }
}

const ask = (from: { host: string; port: number }, path: string, lines: string[] = [], method = 'GET') =>
  exchange(from, [requestHead(`${method} ${path} HTTP/1.1`, lines)], {
    head: method === 'HEAD',
    withinMs: 20_000,
  })

/** Without what is of the connection, or of one answer alone. */
function comparable({ status, headers, body }: RawAnswer) {
  const { date: _1, server: _2, connection: _3, 'keep-alive': _4, 'x-request-id': id, ...others } = headers
  assert.match(id ?? '', /^req_/)
  return { status, headers: others, sizeBytes: body.length, sha256: sha256(body) }
}

describe('files that nginx sends itself', { skip: noNginx }, () => {
  const size = 300_000
  const bytes = samples.png({ sizeBytes: size })
  let front: Front
  let stored: { path: string; id: string; blob: string }
  before(async () => {
    front = await startFront('blobs', { ASSETD_CORS_ORIGINS: 'https://app.example.com' })
    stored = await store(front, bytes)
  })
  after(async () => {
    assert.equal(front.nginx.complaints(), '')
    await stopFront(front)
  })

  /** Through nginx and without it: the same. @returns the answer, and whether nginx sent the bytes */
  const same = async (lines: string[], { path = stored.path, method = 'GET' } = {}) => {
    const answer = await ask(front, path, lines, method)
    const direct = await ask(front.service, path, lines, method)
    assert.deepEqual(comparable(answer), comparable(direct), lines.join(' / '))
    assert.equal(new Set(answer.names).size, answer.names.length, `no header comes twice: ${answer.names}`)
    assert.ok(!answer.names.some((name) => name.startsWith('x-accel')), 'what nginx is told stays there')
    const { handed_over, bytes: logged } = await front.service.logOf(answer.headers['x-request-id'] ?? null)
    if (method === 'GET' && answer.status < 300)
      assert.equal(logged, answer.body.length, 'the log has the bytes')
    return { ...answer, handedOver: handed_over === true }
  }
  const assertSame = async (status: number, handedOver: boolean, lines: string[], how = {}) => {
    const answer = await same(lines, how)
    assert.deepEqual([answer.status, answer.handedOver], [status, handedOver], lines.join(' / '))
    return answer
  }
  const tagsOf = async () => {
    const { headers } = await ask(front.service, stored.path)
    return { etag: String(headers.etag), date: String(headers['last-modified']) }
  }

  it('the whole file, header for header, for a page of another origin too', async () => {
    const answer = await assertSame(200, true, [])
    assert.ok(answer.body.equals(bytes))
    assert.equal(answer.headers['accept-ranges'], 'bytes')
    for (const origin of ['https://app.example.com', 'https://other.example'])
      await assertSame(200, true, [`Origin: ${origin}`, 'Accept-Encoding: gzip, br'])
  })

  it('every type: its own policy and disposition', async () => {
    for (const name of ['png', 'jpeg', 'mp4', 'webm', 'mp3', 'wav', 'pdf'] as const) {
      const { path } = await store(front, samples[name]())
      await assertSame(200, true, [], { path })
      await assertSame(206, true, ['Range: bytes=1-'], { path })
    }
  })

  it('HEAD is answered by the service', async () => {
    const { etag } = await tagsOf()
    for (const lines of [[], ['Range: bytes=0-9']]) {
      const head = await assertSame(200, false, lines, { method: 'HEAD' })
      assert.equal(head.headers['content-length'], String(size))
    }
    await assertSame(304, false, [`If-None-Match: ${etag}`], { method: 'HEAD' })
  })

  it('one range, of any plain form', async () => {
    const plain = [
      '0-0',
      '0-9',
      '5-',
      '-1',
      '-5',
      `-${size}`,
      `-${size + 5}`,
      `0-${size + 10}`,
      `${size - 1}-`,
    ]
    for (const range of [...plain, '0-', '007-010', '0-999999999999999', '-999999999999999']) {
      const answer = await assertSame(206, true, [`Range: bytes=${range}`])
      assert.match(answer.headers['content-range'] ?? '', new RegExp(`^bytes \\d+-\\d+/${size}$`))
      assert.equal(answer.headers['accept-ranges'], 'bytes')
    }
  })

  it('If-Range by our ETag or our date: the range where it is that, the whole where it is not', async () => {
    const { etag, date } = await tagsOf()
    for (const value of [etag, date]) await assertSame(206, true, ['Range: bytes=-9', `If-Range: ${value}`])
    for (const value of ['"0000"', `W/${etag}`, 'Tue, 15 Nov 1994 12:45:26 GMT', 'nonsense', '*'])
      await assertSame(200, false, ['Range: bytes=-9', `If-Range: ${value}`])
    await assertSame(200, true, [`If-Range: ${etag}`])
  })

  it('several ranges, odd ones, and such as lie outside: as ever', async () => {
    const odd = ['0-0,-1', '0-,0-,0-', '5-4', ' 3-4 ', '-', 'x', '0-1;2-3', '+1-2', '1.5-2']
    for (const range of odd) {
      const { status } = await same([`Range: bytes=${range}`])
      assert.ok(status === 200 || status === 206)
    }
    for (const range of ['BYTES=0-4', 'items=0-1', 'bytes=0-99999999999999999999999'])
      await same([`Range: ${range}`])
    for (const range of [`${size}-`, '-0', '99999999999999999999999-'])
      await assertSame(416, false, [`Range: bytes=${range}`])
  })

  it('conditions are judged by the service, by its own ETag and date', async () => {
    const { etag, date } = await tagsOf()
    const longAgo = 'Tue, 15 Nov 1994 12:45:26 GMT'
    for (const [status, line] of [
      [304, `If-None-Match: ${etag}`],
      [304, `If-None-Match: W/${etag}`],
      [304, 'If-None-Match: *'],
      [200, 'If-None-Match: "0000"'],
      [304, `If-Modified-Since: ${date}`],
      [200, `If-Modified-Since: ${longAgo}`],
      [200, `If-Match: ${etag}`],
      [200, 'If-Match: *'],
      [412, 'If-Match: "0000"'],
      [200, `If-Unmodified-Since: ${date}`],
      [412, `If-Unmodified-Since: ${longAgo}`],
    ] as const)
      await assertSame(status, false, [line])
    await assertSame(206, false, [`If-Match: ${etag}`, 'Range: bytes=0-9'])
  })

  it('32 MB, byte for byte', async () => {
    const large = wav({ sizeBytes: 32 * 1024 * 1024 })
    randomBytes(1024 * 1024).copy(large, 1_000)
    const { path } = await store(front, large)
    const read = async (headers: Record<string, string> = {}): Promise<Buffer> => {
      const response = await fetch(front.nginx.url + path, { headers })
      assert.equal((await front.service.logOf(response.headers.get('x-request-id'))).handed_over, true)
      return Buffer.from(await response.arrayBuffer())
    }
    assert.equal(sha256(await read()), sha256(large))
    const part = await read({ range: 'bytes=1000000-20999999' })
    assert.ok(part.equals(large.subarray(1_000_000, 21_000_000)))
  })

  it('connections to the service are kept, though its answers are empty', async (context) => {
    const line = await startProxy(front.service.port)
    const nginx = await startNginx(await freePort(), [line.port], { blobs: `${front.service.dataDir}/blobs` })
    context.after(() => Promise.all([nginx.stop(), line.close()]))
    for (let times = 0; times < 50; times++) {
      const { body } = await ask({ host: front.host, port: nginx.port }, stored.path)
      assert.equal(body.length, size)
    }
    assert.ok(line.connections <= 2, `${line.connections} connections of two workers`)
  })

  it('what is deleted ends at once; nobody reaches a file by the name that nginx has for it', async () => {
    const deleted = await store(front, bytes)
    await assertSame(200, true, [], { path: deleted.path })
    assert.equal((await call(front.service, 'DELETE', `/v3/assets/${deleted.id}`)).status, 200)
    for (const lines of [[], ['Range: bytes=0-9']])
      await assertSame(404, false, lines, { path: deleted.path })

    const { blob } = stored
    const place = `${blob.slice(0, 2)}/${blob}`
    for (const path of [
      `/assetd-blobs/${place}`,
      `//assetd-blobs/${place}`,
      `/assetd-blobs//${place}`,
      `/%61ssetd-blobs/${place}`,
      `/assetd-blobs/${place}?x=/files/`,
      `/files/../assetd-blobs/${place}`,
      `/files/..%2fassetd-blobs%2f${place}`,
      `/assetd-blobs/`,
      `/assetd-blobs/${blob.slice(0, 2)}`,
      `/assetd-blobs/../assetd.sqlite`,
      `/assetd-blobs../assetd.sqlite`,
      `/blobs/${place}`,
      `/${place}`,
      `/files/${blob}`,
    ])
      for (const lines of [[], ['X-Accel-Redirect: on'], [`X-Accel-Redirect: /assetd-blobs/${place}`]])
        assertError(await ask(front, path, lines), { status: 404 })
    const own = await ask(front, stored.path, ['X-Accel-Redirect: /etc/passwd'])
    assert.ok(own.body.equals(bytes), 'a client does not choose the file')
  })

  it('the log of nginx has the path that was asked for, and no name of a blob', async () => {
    const { headers } = await ask(front, `${stored.path}?secret=1`)
    const line = await eventually(() => {
      const found = front.nginx.requests().find((one) => one.request_id === headers['x-request-id'])
      assert.ok(found)
      return found
    })
    assert.deepEqual([line.path, line.status, line.upstream_status], [stored.path, 200, '200'])
    assert.ok(Number(line.bytes_out) > size)
    assert.ok(!JSON.stringify(line).includes(stored.blob))
  })
})

/** No two answers, or no two servers, have these in common. */
const ownOfEach = ['date', 'x-request-id', 'connection', 'keep-alive', 'server']

describe('an nginx that cannot read the files', { skip: noNginx }, () => {
  it('gets them from the service: no client sees the mistake', async (context) => {
    const front = await startFront('another-folder')
    context.after(() => stopFront(front))
    mkdirSync(`${front.service.dataDir}/another-folder`)
    const bytes = samples.png({ sizeBytes: 50_000 })
    const { path, id } = await store(front, bytes)
    for (const lines of [[], ['Range: bytes=10-19'], ['Origin: https://app.example.com']]) {
      const { headers, names, body, status } = await ask(front, path, lines)
      const direct = await ask(front.service, path, lines)
      assert.equal(status, direct.status)
      assert.ok(body.equals(direct.body))
      assert.equal(new Set(names).size, names.length, `no header comes twice: ${names}`)
      for (const name of Object.keys(direct.headers).filter((one) => !ownOfEach.includes(one)))
        assert.equal(headers[name], direct.headers[name], name)
    }
    assert.match(front.nginx.complaints(), /open\(\) .* failed \(2: No such file or directory\)/)
    const lines = front.service.log().filter(({ asset_id }) => asset_id === id)
    assert.ok(lines.some(({ handed_over }) => handed_over === true))
  })
})
