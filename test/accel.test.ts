/** `ASSETD_ACCEL_REDIRECT`, as the nginx in front sees it (`test/scale/accel.test.ts` has one). */
import assert from 'node:assert/strict'
import { rmSync, truncateSync } from 'node:fs'
import { after, before, describe, it } from 'node:test'
import { call } from './api.ts'
import { samples } from './media/samples.ts'
import { assertError, exchange, open, type RawAnswer, requestHead } from './raw-http.ts'
import { contentsOf, type RunningService, startService, upload } from './service.ts'
import { blobPath, changeRecords, diskOnly } from './stores.ts'

const size = 10_000
const bytes = samples.png({ sizeBytes: size })
/** As nginx says for whom it asks. */
const forwarded = 'X-Forwarded-For: 203.0.113.7'

type Stored = { path: string; id: string; blob: string }

async function store(service: RunningService, file: Uint8Array = bytes): Promise<Stored> {
  const { data } = (await (await upload(service, file)).json()) as { data: { url: string; asset_id: string } }
  const { assets } = contentsOf(service.dataDir)
  const blob = assets.find(({ asset_id }) => asset_id === data.asset_id)?.blob_key
  return { path: new URL(data.url).pathname, id: data.asset_id, blob: String(blob) }
}

describe('files that nginx sends', { skip: diskOnly('nginx sends files of the data folder') }, () => {
  let service: RunningService
  let stored: Stored
  before(async () => {
    service = await startService({
      env: { ASSETD_ACCEL_REDIRECT: '/assetd-blobs', ASSETD_TRUSTED_PROXIES: '127.0.0.1' },
    })
    stored = await store(service)
  })
  after(() => service.stop())

  const ask = (lines: string[], { path = stored.path, method = 'GET', from = service } = {}) =>
    exchange(from, [requestHead(`${method} ${path} HTTP/1.1`, lines)], { head: method === 'HEAD' })
  const forNginx = (lines: string[] = [], of = stored) => ask([forwarded, ...lines], of)
  /** Without what no two answers have in common. */
  const comparable = ({ status, headers, body }: RawAnswer) => {
    const { date: _date, 'x-request-id': _id, ...others } = headers
    return { status, headers: others, body: body.toString('latin1') }
  }

  it('the whole: no body, the file’s name for nginx, and all headers that a client gets', async () => {
    const answer = await forNginx()
    assert.equal(answer.status, 200)
    assert.equal(answer.body.length, 0)
    assert.equal(new Set(answer.names).size, answer.names.length, 'no header comes twice')
    const { headers } = comparable(answer)
    const {
      'x-accel-redirect': file,
      'content-length': length,
      'x-file-cache-control': caching,
      ...others
    } = headers
    assert.equal(file, `/assetd-blobs/${stored.blob.slice(0, 2)}/${stored.blob}`)
    assert.ok(blobPath(service.dataDir, stored.blob).endsWith(file.slice('/assetd-blobs'.length)))
    assert.equal(length, '0')
    const direct = comparable(await ask([]))
    assert.equal(direct.headers['content-length'], String(size))
    const added = {
      'accept-ranges': 'bytes',
      'cache-control': caching,
      'content-length': String(size),
    }
    assert.deepEqual({ ...others, ...added }, direct.headers)
  })

  it('one plain range is left to nginx, which makes the 206 of it', async () => {
    const { headers: direct } = await ask([])
    const plain = ['bytes=0-', 'bytes=0-0', 'bytes=5-9', 'bytes=-5', 'bytes=9999-', `bytes=0-${size + 10}`]
    for (const range of [...plain, `bytes=-${size + 5}`]) {
      for (const condition of [[], [`If-Range: ${direct.etag}`], [`If-Range: ${direct['last-modified']}`]]) {
        const answer = await forNginx([`Range: ${range}`, ...condition])
        assert.equal(answer.status, 200, range)
        assert.ok(answer.headers['x-accel-redirect'], range)
        assert.equal(answer.headers['content-length'], '0')
        assert.equal(answer.headers['content-range'], undefined)
        assert.equal(answer.headers['accept-ranges'], undefined)
        assert.equal(answer.headers['x-file-accept-ranges'], 'bytes', 'which nginx adds to the whole alone')
      }
    }
  })

  it('what nginx would judge otherwise is answered as ever', async () => {
    const { headers: direct } = await ask([])
    const longAgo = 'Tue, 15 Nov 1994 12:45:26 GMT'
    const conditions = [
      ...[direct.etag, '*', '"0000"', `W/${direct.etag}`].flatMap((tag) => [
        [`If-Match: ${tag}`],
        [`If-None-Match: ${tag}`],
        [`If-Match: ${tag}`, 'Range: bytes=0-9'],
      ]),
      ...[longAgo, `${direct['last-modified']}`, 'yesterday'].flatMap((date) => [
        [`If-Modified-Since: ${date}`],
        [`If-Unmodified-Since: ${date}`],
      ]),
      ...['"0000"', `W/${direct.etag}`, longAgo, 'nonsense'].map((value) => [
        'Range: bytes=0-9',
        `If-Range: ${value}`,
      ]),
      ...[
        'bytes=0-0,-1',
        'bytes=0-,0-',
        'bytes=5-4',
        'bytes= 3-4 ',
        'BYTES=0-4',
        'bytes=0-99999999999999999999999',
        'bytes=-99999999999999999999999',
        `bytes=${size}-`,
        'bytes=-0',
        'bytes=-',
        'items=0-1',
      ].map((range) => [`Range: ${range}`]),
      ['Range: bytes=0-1', 'Range: bytes=3-4'],
    ]
    for (const lines of conditions) {
      const answer = comparable(await forNginx(lines))
      assert.equal(answer.headers['x-accel-redirect'], undefined, lines.join())
      assert.deepEqual(answer, comparable(await ask(lines)), lines.join())
    }
    for (const lines of [[], ['Range: bytes=0-9']]) {
      const head = comparable(await ask([forwarded, ...lines], { method: 'HEAD' }))
      assert.equal(head.headers['content-length'], String(size))
      assert.deepEqual(head, comparable(await ask(lines, { method: 'HEAD' })))
    }
  })

  it('nobody but a trusted proxy that asks for somebody else gets an answer without the bytes', async () => {
    const whole = comparable(await ask([]))
    assert.equal(whole.body.length, size)
    const own = ['X-Accel-Redirect: /etc/passwd', 'X-Accel-Mapping: /=/']
    assert.deepEqual(comparable(await ask(own)), whole)
    assert.equal(
      (await forNginx(own)).headers['x-accel-redirect'],
      (await forNginx()).headers['x-accel-redirect'],
      'and nobody can choose the file',
    )
    assert.deepEqual(comparable(await forNginx(['X-Accel-Redirect: off'])), whole, 'nginx could not read it')
    const elsewhere = await startService({
      env: { ASSETD_ACCEL_REDIRECT: '/assetd-blobs/', ASSETD_TRUSTED_PROXIES: '10.0.0.1' },
    })
    try {
      const { path } = await store(elsewhere)
      const answer = await ask([forwarded, 'X-Forwarded-For: 10.0.0.1'], { path, from: elsewhere })
      assert.equal(answer.headers['x-accel-redirect'], undefined)
      assert.ok(answer.body.equals(bytes))
    } finally {
      await elsewhere.stop()
    }
  })

  it('the name that nginx gets opens nothing here', async () => {
    const file = (await forNginx()).headers['x-accel-redirect'] ?? ''
    for (const path of [file, `/files${file}`, file.replace('/assetd-blobs', '/blobs')])
      for (const lines of [[], [forwarded]]) assertError(await ask(lines, { path }), { status: 404 })
  })

  it('several requests on one connection: the empty answer ends where it says', async () => {
    const connection = await open(service)
    const head = requestHead(`GET ${stored.path} HTTP/1.1`, [forwarded])
    await connection.send(head, head, requestHead('GET /healthz HTTP/1.1'))
    for (let times = 0; times < 2; times++)
      assert.ok((await connection.answer()).headers['x-accel-redirect'], 'for nginx')
    assert.equal((await connection.answer()).body.toString(), '{"data":{"status":"alive"}}')
    connection.reset()
  })

  it('a file that is deleted, cut, missing or marked as damaged: nginx is not told of it', async () => {
    const refused = async (of: Stored, status: number): Promise<void> => {
      for (const lines of [[], ['Range: bytes=0-9']]) {
        const answer = await forNginx(lines, of)
        assertError(answer, { status })
        assert.equal(answer.headers['x-accel-redirect'], undefined)
        assert.equal(answer.headers.etag, undefined)
      }
    }
    const [deleted, cut, missing, marked] = [
      await store(service),
      await store(service),
      await store(service),
      await store(service),
    ]
    assert.equal((await call(service, 'DELETE', `/v3/assets/${deleted.id}`)).status, 200)
    await refused(deleted, 404)
    truncateSync(blobPath(service.dataDir, cut.blob), size - 1)
    await refused(cut, 500)
    rmSync(blobPath(service.dataDir, missing.blob))
    await refused(missing, 500)
    changeRecords(service.dataDir, `UPDATE assets SET damaged_at_ms = 1 WHERE asset_id = '${marked.id}'`)
    await refused(marked, 500)
  })

  it('the log has the bytes that nginx was told to send, and says that it was', async () => {
    const lineOf = async ({ headers }: RawAnswer) => {
      const { bytes, handed_over, status } = await service.logOf(headers['x-request-id'] ?? null)
      return { bytes, handed_over, status }
    }
    assert.deepEqual(await lineOf(await forNginx()), { bytes: size, handed_over: true, status: 200 })
    const part = await forNginx(['Range: bytes=10-19'])
    assert.deepEqual(await lineOf(part), { bytes: 10, handed_over: true, status: 200 })
    assert.deepEqual(await lineOf(await ask([])), { bytes: size, handed_over: undefined, status: 200 })
    const head = await ask([forwarded], { method: 'HEAD' })
    assert.deepEqual(await lineOf(head), { bytes: 0, handed_over: undefined, status: 200 })
  })
})
