/** Section B of `shared/cases.md`: what a body of multipart may look like, over HTTP. */
import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { after, before, test } from 'node:test'
import { png, pngChunk, pngHeader, pngSignature, samples } from './media/samples.ts'
import {
  assertClean,
  assertError,
  baseline,
  boundary,
  chunked,
  exchange,
  fileBody,
  latin1,
  multipart,
  open,
  type Part,
  type RawAnswer,
  residentBytes,
  serverPid,
  type UploadRequest,
  uploadHead,
  uploadRequest,
} from './raw-http.ts'
import { contentsOf, type RunningService, startService } from './service.ts'

let service: RunningService
const image = png()

before(async () => {
  service = await startService()
  assert.equal((await send(fileBody(image))).status, 200)
})
after(() => service.stop())

const send = (body: Uint8Array, more: Partial<UploadRequest> = {}): Promise<RawAnswer> =>
  exchange(service, [uploadRequest({ key: service.key, body, ...more })])

type Outcome = { status: number; reason?: string | undefined }

function outcomeOf(answer: RawAnswer): Outcome {
  if (answer.status === 200) return { status: 200 }
  const error = assertError(answer, { status: 400, code: 'invalid_parameter', param: 'file' })
  return { status: 400, reason: String(error.details?.reason) }
}

/** Sent with its length and in chunks, each body has the same outcome; what is refused leaves nothing. */
async function expectEach(cases: readonly (readonly [string, Uint8Array, string | 200])[]): Promise<void> {
  const before = baseline(service)
  let taken = 0
  for (const [what, body, expected] of cases) {
    for (const length of [body.length, 'chunked'] as const) {
      const outcome = outcomeOf(await send(body, { length }))
      const wanted = expected === 200 ? { status: 200 } : { status: 400, reason: expected }
      assert.deepEqual(outcome, wanted, `${what}, ${length}`)
      if (outcome.status === 200) taken++
    }
  }
  await assertClean(service, before, { assets: taken })
  assert.equal((await send(fileBody(image))).status, 200, 'the next upload')
}

const filePart: Part = { fileName: 'a.png', type: 'image/png', body: image }
const field = (name: string, body: string | Uint8Array = 'v'): Part => ({ name, body })

test('case 21: a Content-Type that is not multipart/form-data, or none', async () => {
  const before = baseline(service)
  const types = [
    null,
    'application/json',
    'application/x-www-form-urlencoded',
    `multipart/mixed; boundary=${boundary}`,
    `multipart/form-data-x; boundary=${boundary}`,
    'text/plain',
    'multipart',
    '',
    `multipart/form-data, multipart/form-data; boundary=${boundary}`,
  ]
  for (const contentType of types) {
    assert.deepEqual(
      outcomeOf(await send(fileBody(image), { contentType })),
      { status: 400, reason: 'missing_file' },
      String(contentType),
    )
  }
  await assertClean(service, before)
})

test('case 21: no boundary, or a bad one', async () => {
  const before = baseline(service)
  const long = 'b'.repeat(71)
  const parameters = [
    '',
    '; boundary',
    '; boundary=',
    '; boundary=""',
    `; boundary=${long}`,
    `; boundary="${boundary}`,
    `; boundary=${boundary}; boundary=${boundary}`,
    `; boundary=${boundary}; boundary=other`,
    '; boundary="a\tb"',
    '; boundary="a b "',
    '; boundary=a@b',
    '; boundary="\xe9"',
  ]
  for (const parameter of parameters) {
    const limit = parameter.includes(long) ? long : boundary
    const answer = await send(multipart([filePart], limit), {
      contentType: `multipart/form-data${parameter}`,
    })
    assert.deepEqual(outcomeOf(answer), { status: 400, reason: 'malformed_multipart' }, parameter)
  }
  // A CR cannot be in a header at all: the parser refuses it.
  const withCr = await send(fileBody(image), { contentType: 'multipart/form-data; boundary="a\rb"' })
  assertError(withCr, { status: 400, reason: 'malformed_request' })
  await assertClean(service, before)
})

test('case 21: boundaries that are legal', async () => {
  const legal: [string, string][] = [
    ['multipart/form-data; boundary=', 'b'.repeat(70)],
    ['Multipart/Form-Data; charset=utf-8; Boundary=', 'a'],
    ['multipart/form-data;boundary=', '----WebKitFormBoundaryAbC123'],
    ['multipart/form-data; boundary=', "'()+_,-./:=?0aZ"],
  ]
  for (const [prefix, limit] of legal) {
    const value = /[^\w-]/.test(limit) ? `"${limit}"` : limit
    const answer = await send(multipart([filePart], limit), { contentType: prefix + value })
    assert.equal(answer.status, 200, limit)
  }
})

test('case 22: bodies without a file', async () => {
  await expectEach([
    ['empty', Buffer.alloc(0), 'missing_file'],
    ['only the closing boundary', latin1(`--${boundary}--\r\n`), 'missing_file'],
    ['fields alone', multipart([field('a'), field('b')]), 'missing_file'],
    ['a part called File', multipart([{ ...filePart, name: 'File' }]), 'missing_file'],
    ['a file without a filename', multipart([{ name: 'file', body: image }]), 200],
    ['a file with an empty filename', multipart([{ ...filePart, fileName: '' }]), 200],
    ['a text in the file', multipart([{ name: 'file', body: 'text' }]), 'unsupported_type'],
  ])
})

test('case 23: bodies that end too early', async () => {
  const whole = fileBody(image)
  const headEnd = whole.indexOf('\r\n\r\n')
  const bodyEnd = whole.indexOf(`\r\n--${boundary}--`)
  await expectEach([
    ['in the preamble', latin1('a preamble'), 'malformed_multipart'],
    ['in the boundary', whole.subarray(0, 5), 'malformed_multipart'],
    ['in the part’s headers', whole.subarray(0, headEnd - 5), 'malformed_multipart'],
    ['behind the part’s headers', whole.subarray(0, headEnd + 4), 'malformed_multipart'],
    ['in the file', whole.subarray(0, headEnd + 40), 'malformed_multipart'],
    ['behind the file', whole.subarray(0, bodyEnd), 'malformed_multipart'],
    ['before the final --', whole.subarray(0, bodyEnd + boundary.length + 4), 'malformed_multipart'],
    ['between the final --', whole.subarray(0, bodyEnd + boundary.length + 5), 'malformed_multipart'],
    ['behind the final --', whole.subarray(0, bodyEnd + boundary.length + 6), 200],
  ])
})

test('case 24: bodies that stopped multer, busboy and dicer', async () => {
  const open = `--${boundary}\r\n`
  const close = `\r\n--${boundary}--\r\n`
  const bad = 'malformed_multipart'
  await expectEach([
    // CVE-2025-47944 and CVE-2025-7338: an ending without a part's end.
    ['a part that never ends', latin1(`${open}Content-Disposition: form-data; name="file"`), bad],
    ['only half of a boundary', latin1(`--${boundary.slice(0, 4)}`), bad],
    ['a boundary and nothing', latin1(open), bad],
    // CVE-2025-48997: a file under an empty name.
    ['an empty name', multipart([{ ...filePart, name: '' }]), 'missing_file'],
    ['an empty name beside the file', multipart([{ ...filePart, name: '' }, filePart]), 200],
    // CVE-2022-24434: dicer dies of a header that begins with a blank.
    [
      'a header that begins with a blank',
      latin1(`${open} Content-Disposition: form-data; name="file"; filename="a"\r\n\r\nhello${close}`),
      bad,
    ],
    ['no headers', latin1(`${open}\r\nhello${close}`), bad],
    ['a header without a colon', latin1(`${open}Content-Disposition\r\n\r\nhello${close}`), bad],
    ['a header without a name', latin1(`${open}: form-data; name="file"\r\n\r\nhello${close}`), bad],
    ['no name', latin1(`${open}Content-Disposition: form-data\r\n\r\nhello${close}`), bad],
    ['not form-data', latin1(`${open}Content-Disposition: attachment; name="file"\r\n\r\nx${close}`), bad],
    [
      'two dispositions',
      latin1(
        `${open}Content-Disposition: form-data; name="file"\r\nContent-Disposition: form-data; name="b"\r\n\r\nx${close}`,
      ),
      bad,
    ],
    [
      'two names',
      latin1(`${open}Content-Disposition: form-data; name="a"; name="file"\r\n\r\nx${close}`),
      bad,
    ],
  ])
})

test('case 25: too much beside the file', async () => {
  const pid = serverPid(service)
  const residentBefore = residentBytes(pid)
  const disposition = 'Content-Disposition: form-data; name="file"; filename="a"'
  const lines = Array.from({ length: 10_000 }, (_, index) => `X-${index}: a`).join('\r\n')
  const many = (count: number, body: string): Part[] => Array.from({ length: count }, () => field('a', body))
  await expectEach([
    [
      '16 KB and 1 of part headers',
      multipart([{ head: `${disposition}\r\nX-A: ${'a'.repeat(16_384)}`, body: image }]),
      'fields_too_large',
    ],
    [
      '10,000 header lines',
      multipart([{ head: `${disposition}\r\n${lines}`, body: image }]),
      'fields_too_large',
    ],
    ['5,000 parts', multipart([...many(5_000, 'v'), filePart]), 'too_many_parts'],
    ['1,000 empty parts', multipart([...many(1_000, ''), filePart]), 'too_many_parts'],
    ['100 parts', multipart([...many(99, 'v'), filePart]), 200],
    ['101 parts', multipart([...many(100, 'v'), filePart]), 'too_many_parts'],
    ['1 MiB of fields', multipart([field('a', Buffer.alloc(1024 * 1024 - 2, 'a')), filePart]), 200],
    [
      '1 MiB and 1 byte of fields',
      multipart([field('a', Buffer.alloc(1024 * 1024 + 1, 'a')), filePart]),
      'fields_too_large',
    ],
    [
      '10 MiB of preamble',
      Buffer.concat([Buffer.alloc(10 * 1024 * 1024, 'a'), latin1('\r\n'), fileBody(image)]),
      'fields_too_large',
    ],
    [
      '10 MiB of epilogue',
      Buffer.concat([fileBody(image), Buffer.alloc(10 * 1024 * 1024, 'a')]),
      'fields_too_large',
    ],
  ])
  const text = multipart([field('a', Buffer.alloc(33 * 1024 * 1024, 'a')), filePart])
  assert.equal(outcomeOf(await send(text)).reason, 'file_too_large')
  assert.equal(outcomeOf(await send(text, { length: 'chunked' })).reason, 'fields_too_large')
  const grown = residentBytes(pid) - residentBefore
  assert.ok(grown < 64 * 1024 * 1024, `the service grew by ${grown} bytes`)
})

test('case 26: two files', async () => {
  await expectEach([
    ['both good', multipart([filePart, filePart]), 'multiple_files'],
    ['the second empty', multipart([filePart, { name: 'file', body: '' }]), 'multiple_files'],
    ['with a field between', multipart([filePart, field('a'), filePart]), 'multiple_files'],
  ])
})

test('case 27: other parts before and after the file are ignored', async () => {
  const bytes = samples.wav()
  const file = { fileName: 'a.wav', body: bytes }
  for (const parts of [
    [field('a'), field('b'), file],
    [file, field('a'), field('folder_id', 'x')],
    [field('a'), file, field('a')],
    [{ ...field('other', image), fileName: 'other.png' }, file],
  ]) {
    const answer = await send(multipart(parts))
    assert.equal(answer.status, 200)
    const { data } = JSON.parse(answer.body.toString())
    assert.equal(data.mime_type, 'audio/wav')
    assert.equal(data.size_bytes, bytes.length)
    const stored = await fetch(data.url)
    assert.ok(Buffer.from(await stored.arrayBuffer()).equals(bytes))
  }
})

test('case 28: preamble, epilogue, blanks behind a boundary, LF alone', async () => {
  const plain = fileBody(image).toString('latin1')
  const variants: [string, string, string | 200][] = [
    ['a preamble', `A preamble.\r\n${plain}`, 200],
    ['an empty line before', `\r\n${plain}`, 200],
    ['an epilogue', `${plain}An epilogue.`, 200],
    ['an epilogue that looks like a part', `${plain}${plain}`, 200],
    ['blanks behind the boundary', plain.replace(`--${boundary}\r\n`, `--${boundary} \t \r\n`), 200],
    ['blanks behind the closing one', plain.replace(`--${boundary}--`, `--${boundary}-- \t`), 200],
    ['LF alone', plain.replaceAll('\r\n', '\n'), 'malformed_multipart'],
    ['junk behind the boundary', plain.replace(`--${boundary}\r\n`, `--${boundary}x\r\n`), 'missing_file'],
  ]
  await expectEach(variants.map(([what, body, expected]) => [what, latin1(body), expected] as const))
})

test('case 28: the outcome is the same at every split by one byte', async () => {
  const bodies: [Buffer, Outcome][] = [
    [
      latin1(
        `P\r\n${multipart([field('a'), filePart]).toString('latin1')}E`.replace(
          `--${boundary}\r\n`,
          `--${boundary} \r\n`,
        ),
      ),
      { status: 200 },
    ],
    [multipart([filePart, field('a')]).subarray(0, -3), { status: 400, reason: 'malformed_multipart' }],
  ]
  const before = baseline(service)
  let taken = 0
  for (const [body, expected] of bodies) {
    const connection = await open(service)
    const head = uploadHead({ key: service.key, body, length: 'chunked' })
    // Two chunks, cut at each byte (what is stored costs more: there, at every third); then a chunk for each byte.
    const every = expected.status === 200 ? 3 : 1
    const splits = Array.from({ length: Math.floor((body.length - 1) / every) }, (_, index) => [
      body.subarray(0, every * index + 1),
      body.subarray(every * index + 1),
    ])
    splits.push(Array.from(body, (byte) => Buffer.from([byte])))
    for (const split of splits) {
      await connection.send(head, chunked(...split))
      const outcome = outcomeOf(await connection.answer())
      assert.deepEqual(outcome, expected, `cut at ${split[0]?.length}`)
      if (outcome.status === 200) taken++
    }
    connection.reset()
  }
  await assertClean(service, before, { assets: taken })
})

/** A valid picture whose padding is the pattern, over and over. */
function pictureOf(pattern: string, bytes: number): Buffer {
  const rest = samples.png().subarray(pngSignature.length + pngHeader(4, 3).length + 12)
  return Buffer.concat([
    pngSignature,
    pngHeader(4, 3),
    pngChunk('paDd', Buffer.alloc(bytes, pattern, 'latin1')),
    rest,
  ])
}

test('case 29: a file full of near-boundaries takes no longer than a plain one', async () => {
  const bytes = 32 * 1024 * 1024 - 1_000
  const time = async (pattern: string): Promise<number> => {
    const request = uploadRequest({ key: service.key, body: fileBody(pictureOf(pattern, bytes)) })
    const startedAt = performance.now()
    const answer = await exchange(service, [request], { withinMs: 60_000 })
    assert.equal(answer.status, 200, answer.body.toString())
    return performance.now() - startedAt
  }
  let plain = await time('plain text ')
  const slow: string[] = []
  for (const pattern of [
    `\r\n--${boundary.slice(0, -1)}`,
    '\r\n',
    '\r',
    '\r\n-',
    `\r\n--${boundary}x`,
    `\r\n--${boundary}-`,
    `\r\n--${boundary} \r`,
  ]) {
    // Twice the time of the plain one, and something for a machine that is busy; both again where it was that.
    const isSlow = (): boolean => took > 2 * plain + 500
    let took = await time(pattern)
    for (let left = 2; isSlow() && left > 0; left--) {
      plain = await time('plain text ')
      took = await time(pattern)
    }
    if (isSlow()) slow.push(`${JSON.stringify(pattern)}: ${took} ms, and plain ${plain} ms`)
  }
  assert.deepEqual(slow, [])
})

test('case 30: Content-Transfer-Encoding is not undone', async () => {
  const encoded = (encoding: string, body: string | Uint8Array): Buffer =>
    multipart([
      {
        head: `Content-Disposition: form-data; name="file"; filename="a"\r\nContent-Transfer-Encoding: ${encoding}`,
        body,
      },
    ])
  await expectEach([
    ['base64', encoded('base64', image.toString('base64')), 'unsupported_type'],
    ['quoted-printable', encoded('quoted-printable', '=89PNG=0D=0A'), 'unsupported_type'],
  ])
  const binary = await send(encoded('binary', image))
  assert.equal(JSON.parse(binary.body.toString()).data.size_bytes, image.length)
})

test('case 31: names that are members of every object, or nest', async () => {
  const nested = `a${'[b]'.repeat(3_000)}`
  await expectEach([
    ['__proto__', multipart([field('__proto__', 'a'), field('constructor'), filePart]), 200],
    ['nested', multipart([field(nested), filePart]), 200],
    ['nested beyond the cap', multipart([field(`a${'[b]'.repeat(10_000)}`), filePart]), 'fields_too_large'],
    ['__proto__ alone', multipart([{ ...filePart, name: '__proto__' }]), 'missing_file'],
  ])
})

test('case 32: hostile filenames change nothing about where bytes go and how they are served', async () => {
  const names: (string | Buffer)[] = [
    'filename="../../../../etc/passwd"',
    'filename="..\\\\..\\\\windows\\\\win.ini"',
    'filename="C:\\dir\\a.png"',
    'filename="/etc/passwd"',
    'filename="a\0b.png"',
    'filename="a%22; filename=%22b.html"',
    'filename="a\\"; x=\\"b.png"',
    'filename="a.png"; filename*=UTF-8\'\'b.html',
    "filename*=UTF-8''%2e%2e%2fb.html",
    "filename*=UTF-8''%0d%0aX-Injected:%201",
    'filename="a%0d%0aX-Injected: 1"',
    Buffer.from('filename="naïve 画像 🎨.png"', 'utf8'),
    latin1('filename="na\xefve.png"'),
    Buffer.from('filename="a\u202egnp.exe"', 'utf8'),
    `filename="${'n'.repeat(8_000)}.png"`,
    'filename="<script>alert(1)</script>.html"',
    'filename="$(touch /tmp/pwned)"',
    'filename=".."',
    'filename="CON"',
    'filename=a.png',
  ]
  const before = baseline(service)
  let taken = 0
  for (const name of names) {
    const head = Buffer.concat([
      latin1('Content-Disposition: form-data; name="file"; '),
      typeof name === 'string' ? latin1(name) : name,
      latin1('\r\nContent-Type: text/html'),
    ])
    const answer = await send(multipart([{ head, body: image }]))
    const shown = name.toString().slice(0, 60)
    if (outcomeOf(answer).status !== 200) continue
    taken++
    const { data } = JSON.parse(answer.body.toString())
    assert.match(data.url, /\/files\/asset_[0-9a-z]{26}\.png$/, shown)
    const served = await exchange(service, [
      `GET ${new URL(data.url).pathname} HTTP/1.1\r\nHost: a.test\r\n\r\n`,
    ])
    assert.equal(served.status, 200)
    assert.equal(served.headers['content-disposition'], `inline; filename="${data.asset_id}.png"`, shown)
    assert.equal(served.names.filter((one) => one === 'content-disposition').length, 1)
    assert.equal(served.headers['x-injected'], undefined)
    assert.equal(served.headers['content-type'], 'image/png')
  }
  assert.ok(taken >= names.length - 3, `${taken} of ${names.length} were taken`)
  await assertClean(service, before, { assets: taken })
  for (const blob of contentsOf(service.dataDir).blobs) assert.match(blob, /^[0-9a-z]{26}$/)
})

test('case 32: a CR or LF within a part’s header ends it', async () => {
  const head = (inside: string): string =>
    `Content-Disposition: form-data; name="file"; filename="a${inside}b"`
  await expectEach([
    ['CRLF and more', multipart([{ head: head('\r\nX-Injected: 1'), body: image }]), 'malformed_multipart'],
    ['LF', multipart([{ head: head('\n'), body: image }]), 'malformed_multipart'],
    ['CR', multipart([{ head: head('\r'), body: image }]), 'malformed_multipart'],
  ])
})

test('a key that was refused for its body is free again, whatever the fault', async () => {
  const key = randomUUID()
  const lines = [`Idempotency-Key: ${key}`]
  for (const body of [fileBody(image).subarray(0, -8), multipart([filePart, filePart]), latin1('x')]) {
    assert.equal(outcomeOf(await send(body, { lines })).status, 400)
  }
  const retry = await send(fileBody(image), { lines })
  assert.equal(retry.status, 200)
  assert.equal(retry.headers['idempotent-replayed'], undefined)
})
