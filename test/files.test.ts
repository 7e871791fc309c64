/** Section L of `shared/cases.md`: the public URL of an asset. */
import assert from 'node:assert/strict'
import { truncateSync } from 'node:fs'
import { after, before, test } from 'node:test'
import { samples } from './media/samples.ts'
import {
  assertError,
  descriptors,
  exchange,
  fileBody,
  open,
  type RawAnswer,
  requestHead,
  residentBytes,
  serverPid,
  uploadHead,
} from './raw-http.ts'
import { contentsOf, eventually, type RunningService, startService, upload } from './service.ts'
import { begunBlobs, blobPath, bucketEndpoint } from './stores.ts'

let service: RunningService
const size = 10_000
const bytes = samples.png({ sizeBytes: size })
let path: string
let etag: string
let lastModified: string

before(async () => {
  service = await startService()
  path = await store(bytes)
  const answer = await get([])
  etag = answer.headers.etag ?? ''
  lastModified = answer.headers['last-modified'] ?? ''
})
after(() => service.stop())

async function store(file: Uint8Array, to = service): Promise<string> {
  const answer = await upload(to, file)
  const { data } = (await answer.json()) as { data: { url: string } }
  return new URL(data.url).pathname
}

const get = (lines: string[], target = path, method = 'GET'): Promise<RawAnswer> =>
  exchange(service, [requestHead(`${method} ${target} HTTP/1.1`, lines)], { head: method === 'HEAD' })

function assertPart(answer: RawAnswer, start: number, end: number, what: string): void {
  assert.equal(answer.status, 206, what)
  assert.equal(answer.headers['content-range'], `bytes ${start}-${end}/${size}`, what)
  assert.equal(answer.headers['content-length'], String(end - start + 1), what)
  assert.ok(answer.body.equals(bytes.subarray(start, end + 1)), `${what}: the bytes`)
}

function assertWhole(answer: RawAnswer, what: string): void {
  assert.equal(answer.status, 200, what)
  assert.equal(answer.headers['content-range'], undefined, what)
  assert.equal(answer.headers['content-length'], String(size), what)
  assert.ok(answer.body.equals(bytes), `${what}: the bytes`)
}

test('case 86: one range', async () => {
  const ranges: [string, number, number][] = [
    ['bytes=0-9', 0, 9],
    ['bytes=0-', 0, size - 1],
    ['bytes=5-', 5, size - 1],
    ['bytes=0-0', 0, 0],
    ['bytes=-1', size - 1, size - 1],
    ['bytes=-5', size - 5, size - 1],
    [`bytes=-${size}`, 0, size - 1],
    [`bytes=-${size + 5}`, 0, size - 1],
    [`bytes=0-${size + 10}`, 0, size - 1],
    ['bytes=0-499', 0, 499],
    ['bytes=500-999', 500, 999],
    ['bytes=-500', size - 500, size - 1],
    ['bytes=9500-', 9_500, size - 1],
    [`bytes=${size - 1}-`, size - 1, size - 1],
    ['bytes=0-99999999999999999999999', 0, size - 1],
    ['bytes=-99999999999999999999999', 0, size - 1],
    ['BYTES=0-4', 0, 4],
    ['bytes= 3-4 ', 3, 4],
  ]
  for (const [range, start, end] of ranges) assertPart(await get([`Range: ${range}`]), start, end, range)
})

test('case 86: ranges outside of the file', async () => {
  for (const range of [
    `bytes=${size}-`,
    `bytes=${size}-${size + 5}`,
    'bytes=-0',
    'bytes=99999999999999999999999-',
  ]) {
    const answer = await get([`Range: ${range}`])
    assertError(answer, { status: 416, code: 'invalid_request', param: null })
    assert.equal(answer.headers['content-range'], `bytes */${size}`, range)
    assert.equal(answer.headers.etag, undefined, 'an error is not the file')
  }
})

test('case 86: what is no range of bytes is as if it were not there', async () => {
  for (const range of [
    '',
    'foo',
    'bytes=',
    'bytes=7',
    'bytes= 7 ',
    'bytes=5-4',
    'bytes=5-2',
    'bytes=--5,4--3',
    'bytes=A-',
    'bytes=A-Z',
    'bytes= -Z',
    'bytes=5-Z',
    'bytes=Ran-dom, garbage',
    'bytes=0x01-0x02',
    'bytes=         ',
    'bytes= , , ,   ',
    'bytes=abc',
    'bytes=-',
    'bytes=+1-2',
    'bytes=1.5-2',
    'bytes 0-9',
    'items=0-1',
    'bytes=0-1;2-3',
  ]) {
    assertWhole(await get([`Range: ${range}`]), range)
  }
})

test('case 86: several ranges are answered by the whole', async () => {
  const many = Array.from({ length: 200 }, (_, index) => `${index}-${index}`).join(',')
  for (const range of [
    'bytes=0-0,-1',
    'bytes=1-2,5-',
    'bytes=-2 , 7-',
    'bytes=0-0 ,2-2, 7-',
    'bytes=500-600,601-999',
    'bytes=500-700,601-999',
    'bytes=0-,0-,0-,0-',
    `bytes=${many}`,
    'bytes=0-2,5-4',
  ]) {
    assertWhole(await get([`Range: ${range}`]), range)
  }
  const twice = await get(['Range: bytes=0-1', 'Range: bytes=3-4'])
  assert.ok(twice.status === 200 || twice.status === 206 || twice.status === 400)
})

const other = '"0000"'
const longAgo = 'Tue, 15 Nov 1994 12:45:26 GMT'
const later = 'Tue, 15 Nov 2095 12:45:26 GMT'

test('case 87: If-None-Match', async () => {
  for (const value of [etag, `W/${etag}`, `${other}, ${etag}`, `W/${other},W/${etag}`, '*', `  ${etag}  `]) {
    const answer = await get([`If-None-Match: ${value}`])
    assert.equal(answer.status, 304, value)
    assert.equal(answer.body.length, 0)
    assert.equal(answer.headers.etag, etag)
    assert.equal(answer.headers['cache-control'], 'public, max-age=86400, immutable')
    assert.ok([undefined, String(size)].includes(answer.headers['content-length']), 'no false length')
  }
  for (const value of [other, `W/${other}`, etag.replaceAll('"', ''), etag.toUpperCase(), '""']) {
    assertWhole(await get([`If-None-Match: ${value}`]), value)
  }
})

test('case 87: If-Match', async () => {
  for (const value of [etag, `${other}, ${etag}`, '*']) assertWhole(await get([`If-Match: ${value}`]), value)
  for (const value of [other, `W/${etag}`, etag.replaceAll('"', '')]) {
    const answer = await get([`If-Match: ${value}`])
    assertError(answer, { status: 412, code: 'invalid_request', param: null })
  }
})

test('case 87: dates', async () => {
  assert.equal((await get([`If-Modified-Since: ${lastModified}`])).status, 304)
  assert.equal((await get([`If-Modified-Since: ${later}`])).status, 304)
  assertWhole(await get([`If-Modified-Since: ${longAgo}`]), 'long ago')
  assertWhole(await get([`If-Unmodified-Since: ${lastModified}`]), 'unmodified')
  assertError(await get([`If-Unmodified-Since: ${longAgo}`]), { status: 412 })
  for (const bad of ['yesterday', '0', '2095-01-01', 'Tue, 99 Nov 2095 12:45:26 GMT', '']) {
    assertWhole(await get([`If-Modified-Since: ${bad}`]), bad)
    assertWhole(await get([`If-Unmodified-Since: ${bad}`]), bad)
  }
})

test('case 87: the order of RFC 9110 section 13.2.2', async () => {
  // If-Match goes before, and in place of, If-Unmodified-Since.
  assertWhole(await get([`If-Match: ${etag}`, `If-Unmodified-Since: ${longAgo}`]), 'If-Match holds')
  assert.equal((await get([`If-Match: ${other}`, `If-Unmodified-Since: ${later}`])).status, 412)
  // If-None-Match goes in place of If-Modified-Since.
  assertWhole(await get([`If-None-Match: ${other}`, `If-Modified-Since: ${later}`]), 'If-None-Match fails')
  assert.equal((await get([`If-None-Match: ${etag}`, `If-Modified-Since: ${longAgo}`])).status, 304)
  // If-Match before If-None-Match, and both before Range.
  assert.equal((await get([`If-Match: ${other}`, `If-None-Match: ${etag}`])).status, 412)
  assert.equal((await get([`If-Match: ${etag}`, `If-None-Match: ${etag}`])).status, 304)
  assert.equal((await get([`If-None-Match: ${etag}`, 'Range: bytes=0-1'])).status, 304)
  assert.equal((await get([`If-Match: ${other}`, `Range: bytes=${size}-`])).status, 412)
  assertPart(await get([`If-Match: ${etag}`, 'Range: bytes=0-1']), 0, 1, 'If-Match and Range')
})

test('case 87: If-Range', async () => {
  const ranged = (value: string) => get(['Range: bytes=2-3', `If-Range: ${value}`])
  assertPart(await ranged(etag), 2, 3, 'the ETag')
  assertPart(await ranged(lastModified), 2, 3, 'the exact date')
  for (const value of [other, `W/${etag}`, longAgo, later, 'nonsense', '*']) {
    assertWhole(await ranged(value), value)
  }
  const outside = await get([`Range: bytes=${size}-`, `If-Range: ${other}`])
  assertWhole(outside, 'a failed If-Range hides a range that cannot be met')
})

test('HEAD has the headers of GET and no body (15)', async () => {
  const conditions = [[], ['Range: bytes=0-1'], [`If-None-Match: ${etag}`], [`If-Match: ${other}`]]
  for (const lines of conditions) {
    const head = await get(lines, path, 'HEAD')
    const same = await get(
      lines.filter((line) => !line.startsWith('Range')),
      path,
    )
    const { date: _a, 'x-request-id': _b, ...headHeaders } = head.headers
    const { date: _c, 'x-request-id': _d, ...getHeaders } = same.headers
    assert.equal(head.status, same.status)
    assert.deepEqual(headHeaders, getHeaders)
  }
  const connection = await open(service)
  const pair = [requestHead(`HEAD ${path} HTTP/1.1`), requestHead('GET /healthz HTTP/1.1')]
  await connection.send(...pair)
  await connection.answer({ head: true })
  assert.equal((await connection.answer()).status, 200, 'no body came between')
  connection.reset()
})

test('case 90: the safety headers, whatever the status', async () => {
  const answers: [number, RawAnswer][] = [
    [200, await get([])],
    [206, await get(['Range: bytes=0-1'])],
    [304, await get([`If-None-Match: ${etag}`])],
    [404, await get([], path.replace('.png', '.jpeg'))],
    [412, await get([`If-Match: ${other}`])],
    [416, await get([`Range: bytes=${size}-`])],
    [200, await get([], path, 'HEAD')],
    [404, await get([], '/files/asset_0.png', 'HEAD')],
  ]
  for (const [status, answer] of answers) {
    assert.equal(answer.status, status)
    assert.equal(answer.headers['x-content-type-options'], 'nosniff', `${status}`)
    assert.equal(answer.headers['cross-origin-resource-policy'], 'cross-origin', `${status}`)
    assert.equal(answer.headers['access-control-allow-origin'], '*', `${status}`)
    assert.match(
      answer.headers['content-security-policy'] ?? '',
      /default-src 'none'.*; sandbox$/,
      `${status}`,
    )
    assert.match(answer.headers['x-request-id'] ?? '', /^req_/, `${status}`)
    assert.equal(new Set(answer.names).size, answer.names.length, 'no header comes twice')
    const cache = status < 400 ? 'public, max-age=86400, immutable' : 'no-store'
    assert.equal(answer.headers['cache-control'], cache, `${status}`)
    if (status < 300) assert.equal(answer.headers['accept-ranges'], 'bytes')
  }
})

test('case 90: policies and dispositions of each kind', async () => {
  const player = "default-src 'none'; media-src 'self'; style-src 'unsafe-inline'"
  const expected = {
    png: ['inline', "default-src 'none'; img-src 'self'; style-src 'unsafe-inline'; sandbox"],
    jpeg: ['inline', "default-src 'none'; img-src 'self'; style-src 'unsafe-inline'; sandbox"],
    mp4: ['inline', player],
    webm: ['inline', player],
    mp3: ['inline', player],
    wav: ['inline', player],
    pdf: ['attachment', "default-src 'none'; sandbox"],
  } as const
  for (const [name, [disposition, policy]] of Object.entries(expected)) {
    const target = await store(samples[name as keyof typeof expected]())
    const { headers } = await get([], target)
    assert.equal(
      headers['content-disposition'],
      `${disposition}; filename="${target.slice('/files/'.length)}"`,
    )
    assert.equal(headers['content-security-policy'], policy, name)
  }
})

test('case 90: Accept-Encoding changes nothing', async () => {
  for (const encoding of ['gzip', 'gzip, br, zstd', 'identity;q=0', '*']) {
    const answer = await get([`Accept-Encoding: ${encoding}`])
    assertWhole(answer, encoding)
    assert.equal(answer.headers['content-encoding'], undefined)
    assertPart(await get([`Accept-Encoding: ${encoding}`, 'Range: bytes=1-2']), 1, 2, encoding)
  }
})

test('case 89: nothing but the exact URL gives a file', async () => {
  const name = path.slice('/files/'.length)
  const id = name.slice(0, name.indexOf('.'))
  const { blob_key: blob } = contentsOf(service.dataDir).assets[0] ?? {}
  const targets = [
    '/files',
    '/files/',
    `/files/${id}`,
    `/files/${id}.`,
    `/files/${id}.jpeg`,
    `/files/${id}.PNG`,
    `/files/${id}.png.tmp`,
    `/files/${id}.tmp`,
    `/files/${id}.png/`,
    `/files/${id}.png%00`,
    `/files/${id}%00.png`,
    `/files/${id.toUpperCase()}.png`,
    `/files/${name}%20`,
    `/files/.${name}`,
    `/files//${name}`,
    `/files/../files/${name}`,
    `/files/..%2f${name}`,
    `/files/..%5c${name}`,
    `/files/%2e%2e/${name}`,
    `/files/..%2f..%2fetc%2fpasswd`,
    '/files/..%5c..%5cassetd.sqlite',
    '/files/assetd.sqlite',
    '/files/incoming',
    '/files/incoming/x',
    `/files/${blob}`,
    `/files/${blob}.png`,
    `/files/asset_${'0'.repeat(26)}.png`,
    `/files/asset_'%20OR%201=1--.png`,
    '/incoming/',
    '/blobs/',
    '/data/assetd.sqlite',
  ]
  for (const target of targets) {
    const answer = await get([], target)
    assertError(answer, { status: 404 })
  }
  assertWhole(await get([], `${path}?a=b`), 'a query changes nothing')
})

test('case 89: an upload that is not finished has no URL yet', async () => {
  const connection = await open(service)
  // So large that its beginning is in the store whatever that is: a bucket takes parts of 5 MiB.
  const body = fileBody(samples.png({ sizeBytes: 12_000_000 }))
  await connection.send(uploadHead({ key: service.key, body }), body.subarray(0, 11_500_000))
  const pending = await eventually(() => {
    const found = contentsOf(service.dataDir).assets.find((asset) => asset.state === 'pending')
    if (found === undefined) throw new Error('no pending asset yet')
    return found
  })
  const inside = await eventually(() => {
    const names = begunBlobs(service.dataDir)
    assert.equal(names.length, 1, 'it is being written')
    return names
  })
  const extensions = ['png', 'jpg', 'mp4', 'webm', 'mp3', 'wav', 'pdf', 'null', 'bin', 'tmp', 'part', '']
  const names = [String(pending.asset_id), String(pending.blob_key), ...inside].flatMap((name) => [
    name,
    ...extensions.map((extension) => `${name}.${extension}`),
  ])
  const folders = [
    '/files/',
    '/files/incoming/',
    '/files/..%2fincoming%2f',
    '/files/../incoming/',
    '/incoming/',
    '/',
  ]
  const allNotFound = async (): Promise<void> => {
    for (const target of folders.flatMap((folder) => names.map((name) => folder + name))) {
      for (const lines of [[], ['Range: bytes=0-99']]) assertError(await get(lines, target), { status: 404 })
      assert.equal((await get([], target, 'HEAD')).status, 404, target)
    }
  }
  await allNotFound()
  connection.reset()
  await eventually(() => assert.deepEqual(begunBlobs(service.dataDir), []))
  await allNotFound()
})

test('case 89: an upload that was refused for what it is has no URL, then or later', async () => {
  const connection = await open(service)
  const cut = fileBody(samples.png({ sizeBytes: 2_000_000 }).subarray(0, 1_900_000))
  await connection.send(uploadHead({ key: service.key, body: cut }), cut.subarray(0, 1_800_000))
  const { asset_id: id } = await eventually(() => {
    const found = contentsOf(service.dataDir).assets.find((asset) => asset.state === 'pending')
    if (found === undefined) throw new Error('no pending asset yet')
    return found
  })
  await connection.send(cut.subarray(1_800_000))
  assertError(await connection.answer(), { status: 400, code: 'invalid_parameter', reason: 'corrupt_file' })
  connection.reset()
  assertError(await get([], `/files/${id}.png`), { status: 404, code: 'asset_not_found' })
})

test('a body that comes with GET, or is announced and does not come, changes nothing', async () => {
  const check = async (lines: string[], pieces: string[], method = 'GET'): Promise<RawAnswer> => {
    const connection = await open(service)
    try {
      await connection.send(requestHead(`${method} ${path} HTTP/1.1`, lines), ...pieces)
      return await connection.answer({ head: method === 'HEAD' })
    } finally {
      connection.reset()
    }
  }
  assertWhole(await check(['Content-Length: 5'], ['hello']), 'a body')
  for (const lines of [['Content-Length: 5'], ['Transfer-Encoding: chunked']]) {
    const answer = await check(lines, [])
    // Either the file or a refusal: never an empty file that caches keep for a day.
    if (answer.status >= 400) assertError(answer, { status: answer.status })
    else assertWhole(answer, lines.join())
    const head = await check(lines, [], 'HEAD')
    if (head.status < 400) assert.equal(head.headers['content-length'], String(size), `HEAD, ${lines}`)
    const unchanged = await check([...lines, `If-None-Match: ${etag}`], [])
    if (unchanged.status === 304) {
      assert.ok(
        [undefined, String(size)].includes(unchanged.headers['content-length']),
        '304: no false length',
      )
    }
  }
  await eventually(() => assert.deepEqual(openBlobs(), [], 'no blob stays open'))
})

const openBlobs = (): string[] =>
  descriptors(serverPid(service)).filter((target) => target.includes('/blobs/'))

test('case 82: many slow readers cost little memory each, and one that leaves lets the file go', async () => {
  const large = await store(samples.png({ sizeBytes: 32 * 1024 * 1024 }))
  const pid = serverPid(service)
  const residentBefore = residentBytes(pid)
  const readers = await Promise.all(
    Array.from({ length: bucketEndpoint === null ? 200 : 20 }, async () => {
      const connection = await open(service)
      connection.socket.pause()
      await connection.send(requestHead(`GET ${large} HTTP/1.1`))
      return connection
    }),
  )
  if (bucketEndpoint === null) await eventually(() => assert.equal(openBlobs().length, readers.length))
  await new Promise((resolve) => setTimeout(resolve, 500))
  const grown = residentBytes(pid) - residentBefore
  assert.ok(grown < 120 * 1024 * 1024, `${readers.length} slow readers of 32 MB cost ${grown} bytes`)
  assertWhole(await get([]), 'others are served')
  for (const reader of readers) reader.reset()
  await eventually(() => assert.deepEqual(openBlobs(), []), 10_000)
})

test('case 82: who asks for the pages’ own files and does not read costs no copy of them', async () => {
  const head = requestHead('GET /docs/swagger-ui-bundle.js HTTP/1.1')
  const pid = serverPid(service)
  const asked = await get([], '/docs/swagger-ui-bundle.js')
  assert.ok(asked.body.length > 1_000_000)
  const residentBefore = residentBytes(pid)
  const readers = await Promise.all(
    Array.from({ length: 100 }, async () => {
      const connection = await open(service)
      connection.socket.pause()
      await connection.send(`${head}${head}${head}`) // what its system buffers is not ours
      return connection
    }),
  )
  await new Promise((resolve) => setTimeout(resolve, 1_000))
  const grown = residentBytes(pid) - residentBefore
  assert.ok(grown < 50 * 1024 * 1024, `${readers.length} slow readers cost ${grown} bytes`)
  for (const reader of readers) reader.reset()
})

test('case 82: readers that leave at once leave nothing open', async () => {
  const large = await store(samples.png({ sizeBytes: 4 * 1024 * 1024 }))
  const leave = async (afterMs: number): Promise<void> => {
    const connection = await open(service)
    await connection.send(requestHead(`GET ${large} HTTP/1.1`))
    if (afterMs > 0) await new Promise((resolve) => setTimeout(resolve, afterMs))
    connection.reset()
  }
  for (let wave = 0; wave < 10; wave++) {
    await Promise.all(Array.from({ length: 30 }, (_, index) => leave(index % 6)))
  }
  await eventually(() => assert.deepEqual(openBlobs(), []))
  assertWhole(await get([]), 'others are served')
})

test('case 88: the ETag is the same after a restart, and is of the bytes', async () => {
  const first = await startService()
  const target = await store(bytes, first)
  const read = async (from: RunningService): Promise<(string | null)[]> => {
    const { headers } = await fetch(`${from.url}${target}`, { method: 'HEAD' })
    return [headers.get('etag'), headers.get('last-modified')]
  }
  const seen = await read(first)
  assert.match(seen[0] ?? '', /^"[^"]+"$/, 'strong')
  await first.stop({ keepData: true })
  const second = await startService({ dataDir: first.dataDir, env: { ASSETD_API_KEY: first.key } })
  try {
    assert.deepEqual(await read(second), seen)
    const changed = await store(samples.png({ sizeBytes: size + 1 }), second)
    const { headers } = await fetch(`${second.url}${changed}`)
    assert.notEqual(headers.get('etag'), seen[0])
  } finally {
    await second.stop()
  }
})

test('case 71: a file that is cut on the disk is an error, never a whole answer of other bytes', async () => {
  const target = await store(samples.wav({ sizeBytes: 5_000 }))
  const asset = contentsOf(service.dataDir).assets.find((one) =>
    target.startsWith(`/files/${String(one.asset_id)}.`),
  )
  truncateSync(blobPath(service.dataDir, String(asset?.blob_key)), 4_000)
  for (const lines of [[], ['Range: bytes=0-9']]) {
    const answer = await get(lines, target)
    assertError(answer, { status: 500, code: 'internal_error', param: null })
    assert.equal(answer.headers.etag, undefined)
    assert.equal(answer.headers['content-range'], undefined)
    assert.doesNotMatch(answer.body.toString(), /blob|\/tmp/)
  }
})
