/** Direct uploads: what is announced, what may be put, and what becomes an asset. */
import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { rmSync } from 'node:fs'
import { after, before, describe, it } from 'node:test'
import { type ApiAnswer, announce, call, complete, put, uploadDirectly } from './api.ts'
import { box, mp4, png, samples, wav } from './media/samples.ts'
import { emptyZip, zip } from './media/zip.ts'
import { assertError, open, plain } from './raw-http.ts'
import { assetd, contentsOf, eventually, type RunningService, startService, upload } from './service.ts'
import {
  blobPath,
  bucketEndpoint,
  changeRecords,
  diskOnly,
  ownDoorOnly,
  rowsOf as rowsOfTable,
  takenBackWithinMs,
} from './stores.ts'

const sha256 = (bytes: Uint8Array): Buffer => createHash('sha256').update(bytes).digest()

let service: RunningService
before(async () => {
  service = await startService()
})
after(() => service.stop())

/** Rows of direct uploads, as they are kept. */
const rowsOf = (dataDir: string) => rowsOfTable(dataDir, 'direct_uploads')

const rowOf = (dataDir: string, assetId: string) =>
  rowsOf(dataDir).find(({ asset_id }) => asset_id === assetId)

async function assertServed(url: string, bytes: Uint8Array): Promise<void> {
  const response = await fetch(url)
  assert.equal(response.status, 200)
  assert.deepEqual(Buffer.from(await response.arrayBuffer()), Buffer.from(bytes))
}

/** Nothing is kept of an upload that failed or went: no bytes, and nobody works on it. */
async function assertNoBytes(assetId: string): Promise<void> {
  await eventually(() => {
    const row = rowOf(service.dataDir, assetId)
    assert.deepEqual(
      [row?.blob_key ?? null, row?.scratch_blob_key ?? null, row?.token ?? null],
      [null, null, null],
    )
  })
  assert.equal(assetd(service.dataDir, 'fsck').status, 0)
}

/** What was put to a bucket after its time has no owner: `gc` takes it, as an operator would let it. */
function removeUnowned(): void {
  if (bucketEndpoint !== null) assert.equal(assetd(service.dataDir, 'gc', '--older-than', '0s').status, 0)
}

/** By the service in these words; by a bucket in its own. */
function assertPutRefused(answer: ApiAnswer, expected: Parameters<typeof assertError>[1]): void {
  if (bucketEndpoint === null) assertError(answer, expected)
  else assert.equal(answer.status, expected.status, answer.body)
}

describe('announce, put, complete', () => {
  it('gives an asset of the bytes that were put, with the seven types and zip', async () => {
    const mimeTypes = {
      png: 'image/png',
      jpeg: 'image/jpeg',
      mp4: 'video/mp4',
      webm: 'video/webm',
      mp3: 'audio/mpeg',
      wav: 'audio/wav',
      pdf: 'application/pdf',
      zip: 'application/zip',
    }
    for (const [type, mimeType] of Object.entries(mimeTypes)) {
      const bytes = type === 'zip' ? zip({ 'a.txt': 'hello' }) : samples[type as keyof typeof samples]()
      const data = await uploadDirectly(service, mimeType, bytes)
      const { asset_id, url, ...facts } = data
      assert.deepEqual(facts, { mime_type: mimeType, size_bytes: bytes.length, status: 'completed' })
      assert.equal(url, `${service.url}/files/${asset_id}.${type}`)
      await assertServed(url, bytes)
      const got = await call(service, 'GET', `/v3/assets/${asset_id}`)
      assert.equal(got.json.data.name, 'a-file')
    }
    assert.equal(assetd(service.dataDir, 'fsck', '--deep').status, 0)
  })

  it('an archive is an attachment, and is not taken by the multipart door', async () => {
    const { url } = await uploadDirectly(service, 'application/zip', emptyZip)
    const response = await fetch(url)
    assert.match(response.headers.get('content-disposition') ?? '', /^attachment/)
    const refused = await plain(await upload(service, zip({ a: 'b' })))
    assertError(refused, {
      status: 400,
      code: 'invalid_parameter',
      param: 'file',
      reason: 'unsupported_type',
    })
  })

  it('answers with what a client needs, in lower case', async () => {
    const announced = await announce(service, { content_type: 'Image/PNG; x=y', size_bytes: 5 })
    assert.deepEqual(Object.keys(announced), [
      'asset_id',
      'upload_url',
      'upload_headers',
      'expires_in_seconds',
      'max_bytes',
      'status',
    ])
    assert.deepEqual(announced.upload_headers, { 'content-type': 'Image/PNG; x=y' })
    assert.equal(announced.expires_in_seconds, 3_600)
    assert.equal(announced.max_bytes, 2 ** 31)
    assert.equal(announced.status, 'pending_upload')
    const door = bucketEndpoint ?? `${service.url}/uploads/${announced.asset_id}?`
    assert.ok(announced.upload_url.startsWith(door))
  })

  it('takes equals of a type, a checksum in hex or base64, and a header that came twice', async () => {
    const bytes = wav()
    for (const [contentType, checksum_sha256] of [
      ['audio/x-wav', sha256(bytes).toString('hex').toUpperCase()],
      ['audio/vnd.wave', sha256(bytes).toString('base64')],
    ] as const) {
      const file = { content_type: contentType, size_bytes: bytes.length, checksum_sha256 }
      const announced = await announce(service, file)
      const twice =
        bucketEndpoint === null
          ? { 'content-type': `${contentType}, ${contentType}` }
          : announced.upload_headers
      assert.equal((await put(announced, bytes, twice)).status, 200)
      const done = await complete(service, announced.asset_id, { checksum_sha256 })
      assert.equal(done.json.data.mime_type, 'audio/wav')
    }
  })

  it('the same key gives the same upload again, byte for byte', async () => {
    const asked = { filename: 'a', content_type: 'image/png', size_bytes: 9 }
    const headers = { 'idempotency-key': 'same' }
    const answers = [
      await call(service, 'POST', '/v3/assets/direct-uploads', asked, headers),
      await call(service, 'POST', '/v3/assets/direct-uploads', asked, headers),
      await call(service, 'POST', '/v3/assets/direct-uploads', 'not even JSON', headers),
    ]
    assert.equal(new Set(answers.map(({ body }) => body)).size, 1)
    assert.deepEqual(
      answers.map((answer) => answer.headers['idempotent-replayed']),
      [undefined, 'true', 'true'],
    )
    await eventually(() => {
      const different = service.log().filter(({ msg }) => /used again with another/.test(String(msg)))
      assert.equal(different.length, 1)
    })
  })

  it('completing twice gives the same asset, with a key and without', async () => {
    const bytes = png()
    const announced = await announce(service, { content_type: 'image/png', size_bytes: bytes.length })
    await put(announced, bytes)
    const first = await complete(service, announced.asset_id, '{}', { 'idempotency-key': 'done' })
    const replay = await complete(service, announced.asset_id, '{}', { 'idempotency-key': 'done' })
    const second = await complete(service, announced.asset_id)
    assert.deepEqual([replay.body, second.body], [first.body, first.body])
    assert.equal(replay.headers['idempotent-replayed'], 'true')
    assert.equal(second.headers['idempotent-replayed'], undefined)
  })
})

describe('what cannot be announced', () => {
  const good = { filename: 'a.png', content_type: 'image/png', size_bytes: 100 }
  for (const [name, more, param, reason] of [
    ['no name', { filename: undefined }, 'filename', 'missing_value'],
    ['a name that is no text', { filename: 7 }, 'filename', 'invalid_value'],
    ['a type of others', { content_type: 'text/html' }, 'content_type', 'unsupported_type'],
    ['a type with a line end', { content_type: 'image/png\r\nx: y' }, 'content_type', 'unsupported_type'],
    ['case 96: a size of 0', { size_bytes: 0 }, 'size_bytes', 'invalid_value'],
    ['case 96: a size of -1', { size_bytes: -1 }, 'size_bytes', 'invalid_value'],
    ['case 96: a size of 1.5', { size_bytes: 1.5 }, 'size_bytes', 'invalid_value'],
    ['case 96: a size of 1e30', { size_bytes: 1e30 }, 'size_bytes', 'invalid_value'],
    ['case 96: a size as text', { size_bytes: '5' }, 'size_bytes', 'invalid_value'],
    ['a type with a comma', { content_type: 'image/png; a="b,c"' }, 'content_type', 'unsupported_type'],
    ['a size above the limit', { size_bytes: 2 ** 31 + 1 }, 'size_bytes', 'file_too_large'],
    ['a checksum of another kind', { checksum_sha256: 'abc' }, 'checksum_sha256', 'invalid_value'],
  ] as const) {
    it(`${name}: 400 that names ${param}`, async () => {
      const answer = await call(service, 'POST', '/v3/assets/direct-uploads', { ...good, ...more })
      assertError(answer, { status: 400, code: 'invalid_parameter', param, reason })
    })
  }

  it('a body that is no JSON object, and one that is too large', async () => {
    for (const body of ['[]', '"a"', 'null', '{', '\xff']) {
      const answer = await call(service, 'POST', '/v3/assets/direct-uploads', body)
      assertError(answer, {
        status: 400,
        code: 'invalid_parameter',
        param: null,
        reason: 'malformed_request',
      })
    }
    const large = await call(service, 'POST', '/v3/assets/direct-uploads', `{"a":"${'x'.repeat(2 ** 20)}"}`)
    assertError(large, { status: 413, code: 'invalid_request', param: null })
    assert.equal(rowsOf(service.dataDir).filter(({ name }) => name === 'a.png').length, 0)
  })
})

describe('the signed URL', () => {
  const bytes = png()
  const file = { content_type: 'image/png', size_bytes: bytes.length }

  it('case 91: another size, another type, no type: 400, and what was there before still counts', {
    skip: ownDoorOnly,
  }, async () => {
    const announced = await announce(service, file)
    assert.equal((await put(announced, bytes)).status, 200)
    for (const [wrong, headers, reason] of [
      [bytes.subarray(1), announced.upload_headers, 'size_mismatch'],
      [Buffer.concat([bytes, bytes]), announced.upload_headers, 'size_mismatch'],
      [bytes, { 'content-type': 'image/jpeg' }, 'type_mismatch'],
      [bytes, {}, 'type_mismatch'],
      [bytes, { 'content-type': 'image/png, image/jpeg' }, 'type_mismatch'],
    ] as const) {
      const answer = await put(announced, wrong, headers)
      assertError(answer, { status: 400, code: 'invalid_parameter', reason })
    }
    assert.equal((await complete(service, announced.asset_id)).status, 200)
  })

  it('case 91: a chunked body of another size is refused where it is proven, and leaves nothing', {
    skip: ownDoorOnly,
  }, async () => {
    const announced = await announce(service, file)
    for (const wrong of [bytes.subarray(1), Buffer.concat([bytes, bytes])]) {
      const { pathname, search } = new URL(announced.upload_url)
      const connection = await open(service)
      await connection.send(
        `PUT ${pathname}${search} HTTP/1.1\r\nHost: a\r\nContent-Type: image/png\r\nTransfer-Encoding: chunked\r\n\r\n`,
        `${wrong.length.toString(16)}\r\n`,
        wrong,
        '\r\n0\r\n\r\n',
      )
      assertError(await connection.answer(), {
        status: 400,
        code: 'invalid_parameter',
        reason: 'size_mismatch',
      })
      connection.reset()
    }
    await assertNoBytes(announced.asset_id)
  })

  it('case 91: other bytes than the checksum says: 400, and the right ones may follow', async () => {
    const announced = await announce(service, { ...file, checksum_sha256: sha256(bytes).toString('hex') })
    const wrong = Buffer.from(bytes)
    wrong[wrong.length - 20] = (wrong[wrong.length - 20] ?? 0) ^ 1
    const answer = await put(announced, wrong)
    assertPutRefused(answer, { status: 400, param: 'checksum_sha256', reason: 'checksum_mismatch' })
    if (bucketEndpoint === null) await assertNoBytes(announced.asset_id)
    assert.equal((await put(announced, bytes)).status, 200)
    assert.equal((await complete(service, announced.asset_id)).status, 200)
  })

  it('case 91: a URL with anything changed, of nothing, or expired: 403', {
    skip: ownDoorOnly,
  }, async () => {
    const announced = await announce(service, file)
    const other = await announce(service, file)
    const url = new URL(announced.upload_url)
    const changed = (change: (url: URL) => void): string => {
      const copy = new URL(url)
      change(copy)
      return copy.href
    }
    for (const upload_url of [
      changed((copy) =>
        copy.searchParams.set('expires', String(Number(copy.searchParams.get('expires')) + 1)),
      ),
      changed((copy) => copy.searchParams.delete('expires')),
      changed((copy) => copy.searchParams.delete('signature')),
      changed((copy) => copy.searchParams.set('signature', `${copy.searchParams.get('signature')}é`)),
      changed((copy) => {
        copy.pathname = new URL(other.upload_url).pathname
      }),
      changed((copy) => {
        copy.pathname = '/uploads/asset_nothing'
      }),
    ]) {
      const answer = await put({ ...announced, upload_url }, bytes)
      assertError(answer, { status: 403, code: 'forbidden' })
    }
    assert.equal((await put(announced, bytes)).status, 200)
  })

  it('case 91: two at once: one is taken, the other gets 409', { skip: ownDoorOnly }, async () => {
    const large = wav({ sizeBytes: 4 * 1024 * 1024 })
    const announced = await announce(service, { content_type: 'audio/wav', size_bytes: large.length })
    const { pathname, search } = new URL(announced.upload_url)
    const first = await open(service)
    await first.send(
      `PUT ${pathname}${search} HTTP/1.1\r\nHost: a\r\nContent-Type: audio/wav\r\nContent-Length: ${large.length}\r\n\r\n`,
      large.subarray(0, -10),
    )
    await eventually(() => assert.ok(rowOf(service.dataDir, announced.asset_id)?.token))
    const refused = await put(announced, large)
    assertError(refused, { status: 409, code: 'conflict' })
    assert.ok(Number(refused.headers['retry-after']) >= 1)
    const early = await complete(service, announced.asset_id)
    assertError(early, { status: 409, code: 'conflict' })
    await first.send(large.subarray(-10))
    assert.equal((await first.answer()).status, 200)
    first.reset()
    assert.equal((await complete(service, announced.asset_id)).status, 200)
  })

  it('case 91, 93: after complete nothing can be put, and what the world reads does not change', async () => {
    const announced = await announce(service, file)
    await put(announced, bytes)
    const { url } = (await complete(service, announced.asset_id)).json.data
    const others = png({ sizeBytes: bytes.length })
    const late = await put(announced, others)
    // A bucket takes it, under a key that nobody reads.
    if (bucketEndpoint !== null) assert.equal(late.status, 200)
    else assertError(late, { status: 409, code: 'conflict' })
    await assertServed(url, bytes)
    removeUnowned()
    await assertServed(url, bytes)
  })

  it('a new put before complete replaces the bytes, and those before are gone', async () => {
    const [first, second] = [wav({ sizeBytes: 5_000 }), wav({ sizeBytes: 5_000 })]
    second[4_000] = 77
    const announced = await announce(service, { content_type: 'audio/wav', size_bytes: 5_000 })
    await put(announced, first)
    const before = contentsOf(service.dataDir).blobs.length
    await put(announced, second)
    await eventually(() => assert.equal(contentsOf(service.dataDir).blobs.length, before))
    const { url } = (await complete(service, announced.asset_id)).json.data
    await assertServed(url, second)
  })

  it('a put that is dropped in the middle leaves nothing, and another may follow', {
    skip: ownDoorOnly,
  }, async () => {
    const large = wav({ sizeBytes: 2 * 1024 * 1024 })
    const announced = await announce(service, { content_type: 'audio/wav', size_bytes: large.length })
    const { pathname, search } = new URL(announced.upload_url)
    for (const drop of ['reset', 'finish'] as const) {
      const connection = await open(service)
      await connection.send(
        `PUT ${pathname}${search} HTTP/1.1\r\nHost: a\r\nContent-Type: audio/wav\r\nContent-Length: ${large.length}\r\n\r\n`,
        large.subarray(0, large.length / 2),
      )
      await eventually(() => assert.ok(rowOf(service.dataDir, announced.asset_id)?.token))
      connection[drop]()
      await assertNoBytes(announced.asset_id)
      connection.reset()
    }
    assert.equal((await put(announced, large)).status, 200)
  })

  it('case 97: it is in no log line, and its host is the public one, whatever the Host header says', async () => {
    const fixed = await startService({ env: { ASSETD_PUBLIC_URL: 'https://media.example.com/m' } })
    const connection = await open(fixed)
    const body = JSON.stringify({ filename: 'a', ...file })
    await connection.send(
      `POST /v3/assets/direct-uploads HTTP/1.1\r\nHost: evil.example\r\nx-api-key: ${fixed.key}\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
    )
    const { data } = JSON.parse((await connection.answer()).body.toString())
    connection.reset()
    if (bucketEndpoint === null)
      assert.match(data.upload_url, /^https:\/\/media\.example\.com\/m\/uploads\/asset_/)
    else assert.ok(data.upload_url.startsWith(bucketEndpoint))
    const local = data.upload_url.replace('https://media.example.com/m', fixed.url)
    assert.equal((await put({ ...data, upload_url: local }, bytes)).status, 200)
    await fixed.stop()
    const query = new URL(data.upload_url).searchParams
    const signature = query.get(bucketEndpoint === null ? 'signature' : 'X-Amz-Signature') ?? ''
    assert.ok(signature.length > 20)
    assert.equal(JSON.stringify(fixed.log()).includes(signature), false)
  })
})

describe('complete', () => {
  it('case 92: before the bytes: 409; then it may follow', async () => {
    const bytes = png()
    const announced = await announce(service, { content_type: 'image/png', size_bytes: bytes.length })
    for (let times = 0; times < 2; times++) {
      const answer = await complete(service, announced.asset_id, {}, { 'idempotency-key': 'early' })
      assertError(answer, { status: 409, code: 'conflict' })
    }
    await put(announced, bytes)
    const done = await complete(service, announced.asset_id, {}, { 'idempotency-key': 'early' })
    assert.equal(done.status, 200, done.body)
  })

  it('case 92: with a wrong checksum: 400, the bytes are gone, and it stays failed with the same words', async () => {
    const bytes = png()
    const announced = await announce(service, { content_type: 'image/png', size_bytes: bytes.length })
    await put(announced, bytes)
    const wrong = { checksum_sha256: sha256(randomBytes(3)).toString('hex') }
    const first = await complete(service, announced.asset_id, wrong)
    assertError(first, { status: 400, param: 'checksum_sha256', reason: 'checksum_mismatch' })
    await assertNoBytes(announced.asset_id)
    const again = await complete(service, announced.asset_id)
    assert.equal(again.json.error.message, first.json.error.message)
    if (bucketEndpoint === null) assertError(await put(announced, bytes), { status: 409, code: 'conflict' })
    const { json } = await call(service, 'GET', `/v3/assets/statuses?asset_ids=${announced.asset_id}`)
    assert.equal(json.data[0].status, 'failed')
    assert.equal(json.data[0].error.code, 'invalid_parameter')
  })

  it('case 92: completed already, it tells of the asset again, but never that other bytes are there', async () => {
    const bytes = png()
    const announced = await announce(service, { content_type: 'image/png', size_bytes: bytes.length })
    await put(announced, bytes)
    const right = { checksum_sha256: sha256(bytes).toString('hex') }
    const first = await complete(service, announced.asset_id, right)
    assert.equal(first.status, 200, first.body)
    const wrong = { checksum_sha256: sha256(randomBytes(3)).toString('hex') }
    const other = await complete(service, announced.asset_id, wrong)
    assertError(other, { status: 400, param: 'checksum_sha256', reason: 'checksum_mismatch' })
    for (const asked of [right, {}])
      assert.equal((await complete(service, announced.asset_id, asked)).body, first.body)
  })

  it('case 92: twenty at once: one transition, and all that pass say the same', async () => {
    const bytes = wav({ sizeBytes: 3_000_000 })
    const announced = await announce(service, { content_type: 'audio/wav', size_bytes: bytes.length })
    await put(announced, bytes)
    const before = contentsOf(service.dataDir).assets.length
    const answers = await Promise.all(Array.from({ length: 20 }, () => complete(service, announced.asset_id)))
    const passed = answers.filter(({ status }) => status === 200)
    assert.ok(passed.length >= 1)
    assert.equal(new Set(passed.map(({ body }) => body)).size, 1)
    for (const other of answers.filter(({ status }) => status !== 200)) {
      assertError(other, { status: 409, code: 'conflict' })
    }
    assert.equal(contentsOf(service.dataDir).assets.length, before + 1)
  })

  it('case 94: what was declared as another type: 400 that says all three, nothing public, nothing kept', async () => {
    for (const [declared, bytes, reason, detected] of [
      ['image/png', Buffer.from('<!doctype html><script>alert(1)</script>'), 'unsupported_type', 'text/html'],
      ['video/mp4', png(), 'type_mismatch', 'image/png'],
      ['image/png', zip({ 'a.txt': 'b' }), 'unsupported_type', 'application/zip'],
      ['application/zip', png(), 'type_mismatch', 'image/png'],
      ['image/png', png().subarray(0, -8), 'corrupt_file', 'image/png'],
      ['application/zip', zip({ 'a.txt': 'b' }).subarray(0, -3), 'corrupt_file', 'application/zip'],
    ] as const) {
      const announced = await announce(service, { content_type: declared, size_bytes: bytes.length })
      await put(announced, bytes)
      const answer = await complete(service, announced.asset_id)
      const error = assertError(answer, { status: 400, code: 'invalid_parameter', reason })
      assert.equal(error.details?.declared, declared)
      assert.equal(error.details?.detected, detected)
      assert.match(String(error.details?.allowed), /application\/zip/)
      assert.equal((await call(service, 'GET', `/v3/assets/${announced.asset_id}`)).status, 404)
      for (const extension of ['png', 'mp4', 'zip'])
        assert.equal((await fetch(`${service.url}/files/${announced.asset_id}.${extension}`)).status, 404)
      await assertNoBytes(announced.asset_id)
    }
  })

  it('bytes that were lost on the disk fail it for good, and say so', {
    skip: diskOnly('what is not there may still be put'),
  }, async () => {
    const bytes = png()
    const announced = await announce(service, { content_type: 'image/png', size_bytes: bytes.length })
    await put(announced, bytes)
    const key = String(rowOf(service.dataDir, announced.asset_id)?.blob_key)
    rmSync(blobPath(service.dataDir, key))
    for (let times = 0; times < 2; times++) {
      const answer = await complete(service, announced.asset_id)
      assertError(answer, { status: 500, code: 'internal_error' })
      assert.match(answer.json.error.message, /lost on our side/)
    }
    await assertNoBytes(announced.asset_id)
  })

  it('of another workspace, or of nothing: 404 in the same words', async () => {
    const made = assetd(service.dataDir, 'keys', 'create', '--workspace', 'others', '--json')
    const others = { url: service.url, key: JSON.parse(made.stdout).key }
    const bytes = png()
    const announced = await announce(service, { content_type: 'image/png', size_bytes: bytes.length })
    await put(announced, bytes)
    const answers = [await complete(others, announced.asset_id), await complete(others, 'asset_nothing')]
    for (const answer of answers) assertError(answer, { status: 404, code: 'asset_not_found' })
    assert.equal(answers[0]?.json.error.message, answers[1]?.json.error.message)
    const { json } = await call(others, 'GET', `/v3/assets/statuses?asset_ids=${announced.asset_id}`)
    assert.equal(json.data[0].status, 'not_found')
    assert.equal((await call(others, 'DELETE', `/v3/assets/${announced.asset_id}`)).status, 404)
    assert.equal((await complete(service, announced.asset_id)).status, 200)
  })

  it('DELETE of one that is pending cancels it', async () => {
    const bytes = png()
    const announced = await announce(service, { content_type: 'image/png', size_bytes: bytes.length })
    await put(announced, bytes)
    assert.equal((await call(service, 'DELETE', `/v3/assets/${announced.asset_id}`)).status, 200)
    await assertNoBytes(announced.asset_id)
    assert.equal((await call(service, 'DELETE', `/v3/assets/${announced.asset_id}`)).status, 404)
    if (bucketEndpoint === null) assertError(await put(announced, bytes), { status: 403, code: 'forbidden' })
    assertError(await complete(service, announced.asset_id), { status: 404, code: 'asset_not_found' })
  })

  it('DELETE while its bytes come, or are verified, is 409, never a 404 for what is published afterwards', {
    skip: ownDoorOnly,
  }, async () => {
    const large = wav({ sizeBytes: 8_000_000 })
    const announced = await announce(service, { content_type: 'audio/wav', size_bytes: large.length })
    const { pathname, search } = new URL(announced.upload_url)
    const connection = await open(service)
    await connection.send(
      `PUT ${pathname}${search} HTTP/1.1\r\nHost: a\r\nContent-Type: audio/wav\r\nContent-Length: ${large.length}\r\n\r\n`,
      large.subarray(0, -10),
    )
    await eventually(() => assert.ok(rowOf(service.dataDir, announced.asset_id)?.token))
    const path = `/v3/assets/${announced.asset_id}`
    const refused = await call(service, 'DELETE', path)
    assertError(refused, { status: 409, code: 'conflict' })
    assert.ok(Number(refused.headers['retry-after']) >= 1)
    await connection.send(large.subarray(-10))
    assert.equal((await connection.answer()).status, 200)
    connection.reset()
    const done = complete(service, announced.asset_id)
    const statuses: number[] = []
    while (statuses.at(-1) !== 200) statuses.push((await call(service, 'DELETE', path)).status)
    assert.ok(
      statuses.slice(0, -1).every((status) => status === 409),
      statuses.join(),
    )
    assert.ok([200, 404, 409].includes((await done).status))
    assert.equal((await call(service, 'GET', path)).status, 404)
    await assertNoBytes(announced.asset_id)
  })

  it('of an asset that was deleted: 404', async () => {
    const { asset_id } = await uploadDirectly(service, 'image/png', png())
    await call(service, 'DELETE', `/v3/assets/${asset_id}`)
    assertError(await complete(service, asset_id), { status: 404, code: 'asset_not_found' })
  })

  it('case 93: what was put again after it was sealed is never read: an MP4 of two lives', async () => {
    const bytes = mp4()
    const announced = await announce(service, { content_type: 'video/mp4', size_bytes: bytes.length })
    await put(announced, bytes)
    const evil = Buffer.concat([box('ftyp', Buffer.from('evil')), Buffer.alloc(bytes.length)]).subarray(
      0,
      bytes.length,
    )
    const race = await Promise.all([
      complete(service, announced.asset_id),
      put(announced, evil),
      put(announced, evil),
    ])
    const [done] = race
    if (done.status === 200) await assertServed(done.json.data.url, bytes)
    // 503: of a bucket, whose copy is bound to the bytes that were there a moment before.
    else assert.ok([400, 409, ...(bucketEndpoint === null ? [] : [503])].includes(done.status), done.body)
    const facts = await call(service, 'GET', `/v3/assets/${announced.asset_id}`)
    assert.equal(facts.status, done.status === 200 ? 200 : 404)
    removeUnowned()
  })
})

describe('room', () => {
  it('case 72: with too little of it nothing is announced', {
    skip: diskOnly('it has no end that we could see'),
  }, async () => {
    const own = await startService({ env: { ASSETD_MIN_FREE_BYTES: String(2 ** 50) } })
    const file = { filename: 'a', content_type: 'image/png', size_bytes: 5 }
    for (const [path, body] of [
      ['/v3/assets/direct-uploads', file],
      ['/v3/assets/direct-uploads/batches', { files: [file] }],
    ] as const) {
      assertError(await call(own, 'POST', path, body), { status: 503, code: 'service_unavailable' })
    }
    assert.deepEqual(rowsOf(own.dataDir), [])
    await own.stop()
  })

  it('case 56: two that are slow and as large as can be leave places for others', {
    skip: ownDoorOnly,
  }, async () => {
    const bytes = 300 * 1024 * 1024
    const own = await startService({
      env: {
        ASSETD_MIN_FREE_BYTES: '0',
        ASSETD_MAX_UPLOAD_BYTES: String(bytes),
        ASSETD_DIRECT_MAX_BYTES: String(bytes),
      },
    })
    const file = { content_type: 'audio/wav', size_bytes: bytes }
    const slow = [await announce(own, file), await announce(own, file)]
    const held = await Promise.all(
      slow.map(async ({ upload_url }) => {
        const { pathname, search } = new URL(upload_url)
        const connection = await open(own)
        await connection.send(
          `PUT ${pathname}${search} HTTP/1.1\r\nHost: a\r\nContent-Type: audio/wav\r\nContent-Length: ${bytes}\r\n\r\nRIFF`,
        )
        return connection
      }),
    )
    await eventually(() => assert.equal(rowsOf(own.dataDir).filter(({ token }) => token !== null).length, 2))
    assert.equal((await upload(own, png())).status, 200)
    for (const connection of held) connection.reset()
    await own.stop()
  })
})

describe('time', () => {
  it('case 95: one that is never completed expires: its URL ends, its bytes go, and completing it is 404', async () => {
    // A bucket counts from the whole second in which the URL was signed.
    const seconds = bucketEndpoint === null ? 3 : 5
    const brief = await startService({ env: { ASSETD_DIRECT_EXPIRY_SECONDS: String(seconds) } })
    const bytes = png()
    const announced = await announce(brief, { content_type: 'image/png', size_bytes: bytes.length })
    assert.equal((await put(announced, bytes)).status, 200)
    await new Promise((resolve) => setTimeout(resolve, seconds * 1_000 + 500))
    assertPutRefused(await put(announced, bytes), { status: 403, code: 'forbidden' })
    assertError(await complete(brief, announced.asset_id), { status: 404, code: 'asset_not_found' })
    await brief.stop({ keepData: true })
    // A start looks at once for what has expired.
    const again = await startService({ dataDir: brief.dataDir })
    await eventually(() => assert.deepEqual(rowsOf(again.dataDir), []))
    assert.deepEqual(contentsOf(again.dataDir).blobs, [])
    await again.stop()
  })

  it('case 95: thousands that expired are swept some at a time, and what is still open stays', async () => {
    const own = await startService()
    const open = await announce(own, { content_type: 'image/png', size_bytes: 9 })
    await own.stop({ keepData: true })
    const columns = 'workspace, owner, state, name, content_type, size_bytes, created_at_ms'
    changeRecords(
      own.dataDir,
      `WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 2300)
       INSERT INTO direct_uploads (asset_id, expires_at_ms, ${columns})
         SELECT 'asset_' || n, n, ${columns} FROM numbers, direct_uploads WHERE asset_id = '${open.asset_id}'`,
    )
    const again = await startService({ dataDir: own.dataDir })
    await eventually(() =>
      assert.deepEqual(
        rowsOf(again.dataDir).map(({ asset_id }) => asset_id),
        [open.asset_id],
      ),
    )
    await again.stop()
  })

  it('a restart keeps what was put, and frees what was being put', { skip: ownDoorOnly }, async () => {
    const own = await startService()
    const bytes = wav({ sizeBytes: 1_000_000 })
    const file = { content_type: 'audio/wav', size_bytes: bytes.length }
    const [whole, half] = [await announce(own, file), await announce(own, file)]
    await put(whole, bytes)
    const { pathname, search } = new URL(half.upload_url)
    const connection = await open(own)
    await connection.send(
      `PUT ${pathname}${search} HTTP/1.1\r\nHost: a\r\nContent-Type: audio/wav\r\nContent-Length: ${bytes.length}\r\n\r\n`,
      bytes.subarray(0, -10),
    )
    await eventually(() => assert.ok(rowOf(own.dataDir, half.asset_id)?.token))
    await own.stop({ keepData: true, signal: 'SIGKILL' })
    connection.reset()
    const again = await startService({
      dataDir: own.dataDir,
      env: { ASSETD_API_KEY: own.key, ASSETD_PUBLIC_URL: own.url },
    })
    const here = { url: again.url, key: again.key }
    await eventually(() => {
      assert.equal(rowOf(again.dataDir, half.asset_id)?.token, null)
      assert.deepEqual(contentsOf(again.dataDir).incoming, [])
    }, takenBackWithinMs)
    const moved = { ...half, upload_url: half.upload_url.replace(own.url, again.url) }
    assert.equal((await put(moved, bytes)).status, 200, 'the secret of the signature is kept')
    for (const { asset_id } of [whole, half]) assert.equal((await complete(here, asset_id)).status, 200)
    assert.equal(assetd(again.dataDir, 'fsck', '--deep').status, 0)
    await again.stop()
  })
})
