/** `POST /v3/assets/resolve`: ids, URLs and base64, each a verified asset or an error in its place. */
import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { type ApiAnswer, call } from './api.ts'
import { jpeg, png, wav } from './media/samples.ts'
import {
  assertClean,
  assertError,
  baseline,
  open,
  peakResidentBytes,
  residentBytes,
  serverPid,
} from './raw-http.ts'
import { assetd, contentsOf, eventually, type RunningService, startService, upload } from './service.ts'
import { changeRecords } from './stores.ts'

let service: RunningService
before(async () => {
  service = await startService()
})
after(() => service.stop())

const resolve = (inputs: unknown, headers: Record<string, string> = {}, to = service): Promise<ApiAnswer> =>
  call(to, 'POST', '/v3/assets/resolve', { inputs } as object, headers)

const base64 = (bytes: Uint8Array, media_type = 'image/png') => ({
  type: 'base64',
  media_type,
  data: Buffer.from(bytes).toString('base64'),
})

type Item = {
  input_index: number
  asset: { asset_id: string; url: string } | null
  error: { code: string } | null
}

/** What came of each input: the code of its error, or null. */
const codesOf = ({ json }: ApiAnswer): (string | null)[] =>
  json.data.map(({ error }: Item) => error?.code ?? null)

describe('resolve', () => {
  it('answers for each input in its order: an asset that is verified and public, or an error', async () => {
    const known = (await (await upload(service, png())).json()) as { data: { asset_id: string } }
    const answer = await resolve([
      base64(png()),
      base64(wav(), 'audio/x-wav'),
      { type: 'asset_id', asset_id: known.data.asset_id },
      base64(png(), 'image/jpeg'),
      { type: 'asset_id', asset_id: 'asset_nothing' },
      base64(Buffer.from('<html>')),
    ])
    assert.equal(answer.status, 200, answer.body)
    const wrong = 'invalid_parameter'
    assert.deepEqual(codesOf(answer), [null, null, null, wrong, 'asset_not_found', wrong])
    const [image, sound, third, fourth] = answer.json.data
    const response = await fetch(image.asset.url)
    assert.deepEqual(Buffer.from(await response.arrayBuffer()), png())
    assert.equal(sound.asset.mime_type, 'audio/wav')
    assert.deepEqual(third.asset, known.data)
    assert.deepEqual(
      [fourth.error.details.declared, fourth.error.details.detected],
      ['image/jpeg', 'image/png'],
    )
    assert.ok(fourth.error.details.allowed.includes('image/png'))
    assert.equal(fourth.error.doc_url, `${service.url}/docs/errors#invalid_parameter`)
  })

  it('says of each input that cannot be used what is wrong with it; nothing is left of those', async () => {
    const before = baseline(service)
    const data = png().toString('base64')
    const cases: [input: unknown, param: string | null, reason: string][] = [
      [7, null, 'invalid_value'],
      [['a'], null, 'invalid_value'],
      [{}, 'type', 'invalid_value'],
      [{ type: 'file' }, 'type', 'invalid_value'],
      [{ type: 8 }, 'type', 'invalid_value'],
      [{ type: 'asset_id' }, 'asset_id', 'missing_value'],
      [{ type: 'url' }, 'url', 'missing_value'],
      [{ type: 'url', url: 'https://example.com/a.png' }, 'url', 'invalid_value'],
      [{ type: 'base64', data }, 'media_type', 'missing_value'],
      [{ type: 'base64', media_type: 'image/png' }, 'data', 'missing_value'],
      [{ type: 'base64', media_type: 'image/png', data: '' }, 'file', 'empty_file'],
      [{ type: 'base64', media_type: 'image/png', data: `${data} ` }, 'data', 'invalid_value'],
      [{ type: 'base64', media_type: 'image/png', data: data.slice(0, -1) }, 'data', 'invalid_value'],
      [{ type: 'base64', media_type: 'image/png', data: `=${data}` }, 'data', 'invalid_value'],
      [
        { type: 'base64', media_type: 'image/png', data: `data:image/png;base64,${data}` },
        'data',
        'invalid_value',
      ],
      [{ type: 'base64', media_type: 'text/html', data }, 'file', 'type_mismatch'],
      [{ type: 'base64', media_type: 'image/png', data: { a: 1 } }, 'data', 'invalid_value'],
      [{ type: 'base64', media_type: 'x'.repeat(5_000), data }, 'media_type', 'invalid_value'],
    ]
    const answer = await resolve(cases.map(([input]) => input))
    assert.equal(answer.status, 200, answer.body)
    for (const [at, [input, param, reason]] of cases.entries()) {
      const { error, asset } = answer.json.data[at]
      assert.equal(asset, null, JSON.stringify(input))
      assert.deepEqual(
        [error.param, error.details.reason],
        [param, reason],
        JSON.stringify(input).slice(0, 100),
      )
    }
    await assertClean(service, before)
  })

  it('the order of the fields does not count, nor what else there is', async () => {
    const { data } = base64(png())
    const text = `{"x":[1,{"inputs":[2]}],"inputs":[{"data":"${data}","more":{"data":["a"]},"media_type":"image\\/png","type":"base64"}],"y":null}`
    const answer = await call(service, 'POST', '/v3/assets/resolve', text)
    assert.equal(answer.status, 200, answer.body)
    assert.deepEqual(codesOf(answer), [null])
    const wrong = text.replace('"type":"base64"', '"type":["base64"]')
    assert.deepEqual(codesOf(await call(service, 'POST', '/v3/assets/resolve', wrong)), ['invalid_parameter'])
    const slashes = text.replace(data, data.replaceAll('/', '\\/')) // as PHP writes them
    assert.deepEqual(codesOf(await call(service, 'POST', '/v3/assets/resolve', slashes)), [null])
  })

  it('a body that is no such list is refused whole, and nothing of it is kept', async () => {
    const before = baseline(service)
    const whole = JSON.stringify({ inputs: [base64(png()), base64(wav(), 'audio/wav')] })
    for (const [body, param, reason] of [
      ['', null, 'malformed_request'],
      ['[]', null, 'malformed_request'],
      ['"a"', null, 'malformed_request'],
      ['{}', 'inputs', 'missing_value'],
      ['{"inputs":{}}', 'inputs', 'missing_value'],
      [whole.slice(0, -1), null, 'malformed_request'],
      [whole.slice(0, -40), null, 'malformed_request'],
      [`${whole}x`, null, 'malformed_request'],
      [`${'{"a":'.repeat(200)}1${'}'.repeat(200)}`, null, 'malformed_request'],
      [
        JSON.stringify({ inputs: Array.from({ length: 21 }, () => base64(png())) }),
        'inputs',
        'invalid_value',
      ],
    ] as const) {
      const answer = await call(service, 'POST', '/v3/assets/resolve', body)
      assertError(answer, { status: 400, code: 'invalid_parameter', param, reason })
    }
    const latin = await fetch(`${service.url}/v3/assets/resolve`, {
      method: 'POST',
      headers: { 'x-api-key': service.key },
      body: Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d]),
    })
    assert.equal(latin.status, 400)
    await assertClean(service, before)
    assert.deepEqual((await resolve([])).json, { data: [] })
  })

  it('is refused above 48 MiB, announced or not; a file of the largest size passes at little memory', async () => {
    const before = baseline(service)
    const announced = await open(service)
    await announced.send(
      `POST /v3/assets/resolve HTTP/1.1\r\nHost: a\r\nx-api-key: ${service.key}\r\nContent-Length: ${48 * 1024 * 1024 + 1}\r\n\r\n`,
    )
    assertError(await announced.answer(), { status: 413, code: 'invalid_request' })
    announced.reset()
    const peak = peakResidentBytes(serverPid(service))
    const largest = wav({ sizeBytes: 32 * 1024 * 1024 })
    const answer = await resolve([base64(largest, 'audio/wav')])
    assert.deepEqual(codesOf(answer), [null])
    const more = peakResidentBytes(serverPid(service)) - peak
    assert.ok(more < 100 * 1024 * 1024, `${Math.round(more / 1024 / 1024)} MiB more`)
    const larger = await resolve([
      base64(wav({ sizeBytes: 32 * 1024 * 1024 + 1 }), 'audio/wav'),
      base64(png()),
    ])
    assert.deepEqual(codesOf(larger), ['invalid_parameter', null])
    assert.equal(larger.json.data[0].error.details.reason, 'file_too_large')
    // fetch keeps connections open as it likes.
    const { assets, blobs, descriptors } = before
    await assertClean(service, {
      ...before,
      assets: assets + 2,
      blobs: blobs + 2,
      descriptors: descriptors + 4,
    })
  })

  it('a body of nothing but fields, numbers or escapes is bounded in memory and in time', async () => {
    const start = residentBytes(serverPid(service))
    const million = 1_000_000
    for (const body of [
      `{"inputs":[{"type":"asset_id",${'"0":"",'.repeat(million)}"1":""}]}`,
      `{"a":[${'1,'.repeat(4 * million)}1],"inputs":[]}`,
      `{"inputs":[{"type":"base64","data":"${'\\u0041'.repeat(million)}"}]}`,
    ]) {
      const answer = await call(service, 'POST', '/v3/assets/resolve', body)
      assertError(answer, { status: 400, code: 'invalid_parameter', reason: 'malformed_request' })
    }
    const more = peakResidentBytes(serverPid(service)) - start
    assert.ok(more < 200 * 1024 * 1024, `${Math.round(more / 1024 / 1024)} MiB more`)
  })

  it('a client that leaves in the middle leaves nothing, and frees its key', async () => {
    const before = baseline(service)
    const body = JSON.stringify({ inputs: [base64(png()), base64(wav({ sizeBytes: 900_000 }), 'audio/wav')] })
    const connection = await open(service)
    await connection.send(
      `POST /v3/assets/resolve HTTP/1.1\r\nHost: a\r\nx-api-key: ${service.key}\r\nIdempotency-Key: left\r\nContent-Length: ${body.length}\r\n\r\n`,
      body.slice(0, -10),
    )
    await eventually(() => assert.equal(contentsOf(service.dataDir).assets.length, before.assets + 2))
    const busy = await resolve([], { 'idempotency-key': 'left' })
    assertError(busy, { status: 409, code: 'request_in_progress' })
    connection.reset()
    await assertClean(service, { ...before, descriptors: before.descriptors + 4 })
    await eventually(async () => {
      const answer = await resolve([base64(jpeg(), 'image/jpeg')], { 'idempotency-key': 'left' })
      assert.deepEqual(codesOf(answer), [null])
    })
  })

  it('a client that leaves while its inputs are still opened leaves nothing, and frees its key', async () => {
    const before = baseline(service)
    const inputs = Array.from({ length: 10 }, () => base64(png()))
    const body = JSON.stringify({ inputs })
    for (let times = 0; times < 5; times++) {
      const connection = await open(service)
      await connection.send(
        `POST /v3/assets/resolve HTTP/1.1\r\nHost: a\r\nx-api-key: ${service.key}\r\nIdempotency-Key: left-early\r\nContent-Length: ${body.length}\r\n\r\n${body.slice(0, -2)}`,
      )
      await new Promise((resolve) => setTimeout(resolve, times * 2))
      connection.reset()
      await assertClean(service, { ...before, descriptors: before.descriptors + 4 })
    }
    await eventually(async () => {
      const answer = await resolve(inputs, { 'idempotency-key': 'left-early' })
      assert.deepEqual(
        codesOf(answer),
        inputs.map(() => null),
      )
    })
  })

  it('data beside a URL or an id is passed over, and does not stand in its own way', async () => {
    const { data } = base64(png())
    const inputs = [
      { data, type: 'asset_id', asset_id: 'asset_nothing' },
      { data, type: 'url', url: 'https://127.0.0.1/' },
    ]
    const answer = await resolve(inputs, { 'idempotency-key': 'beside' })
    assert.deepEqual(codesOf(answer), ['asset_not_found', 'invalid_parameter'])
  })

  it('the same key gives the same answer, byte for byte', async () => {
    const headers = { 'idempotency-key': 'again' }
    const first = await resolve([base64(png()), { type: 'asset_id', asset_id: 'asset_nothing' }], headers)
    const assets = contentsOf(service.dataDir).assets.length
    const second = await resolve([base64(jpeg(), 'image/jpeg')], headers)
    assert.equal(second.body, first.body)
    assert.equal(second.headers['idempotent-replayed'], 'true')
    assert.equal(contentsOf(service.dataDir).assets.length, assets)
  })

  it('where an input failed for a passing cause the key is free, and those that passed are not taken in twice', async () => {
    const headers = { 'idempotency-key': 'half' }
    // The place of the second input is held, as by a process that has just died.
    changeRecords(
      service.dataDir,
      `INSERT INTO idempotency_keys (workspace, route, key, token, service_id, lease_expires_at_ms)
       VALUES ('default', 'POST /v3/assets/resolve#1', 'half', 't', 's', ${Date.now() + 3_600_000})`,
    )
    const inputs = [base64(png()), base64(wav(), 'audio/wav')]
    const before = contentsOf(service.dataDir).assets.length
    const first = await resolve(inputs, headers)
    assert.deepEqual(codesOf(first), [null, 'request_in_progress'])
    changeRecords(service.dataDir, `DELETE FROM idempotency_keys WHERE route = 'POST /v3/assets/resolve#1'`)
    const second = await resolve(inputs, headers)
    assert.deepEqual(codesOf(second), [null, null])
    assert.equal(second.headers['idempotent-replayed'], undefined)
    assert.deepEqual(second.json.data[0], first.json.data[0])
    const third = await resolve(inputs, headers)
    assert.equal(third.body, second.body)
    assert.equal(contentsOf(service.dataDir).assets.length, before + 2)
    assert.equal(assetd(service.dataDir, 'fsck', '--deep').status, 0)
  })

  it('URLs of private networks, of other schemes, with a password or of no host are refused', async () => {
    const open = await startService({ env: { ASSETD_URL_IMPORT: 'on' } })
    const urls = [
      'http://example.com/a.png',
      'ftp://example.com/a.png',
      'file:///etc/passwd',
      'https://user:pass@example.com/',
      `https://127.0.0.1:${open.port}/healthz`,
      'https://localhost/',
      'https://0.0.0.0/',
      'https://10.1.2.3/',
      'https://169.254.169.254/latest/meta-data/',
      'https://[::1]/',
      'https://[::ffff:127.0.0.1]/',
      'https://[fd00::1]/',
      'https://2130706433/',
      'https://0x7f.1/',
      'https://100.64.0.1/',
      'https://no-such-host.invalid/',
      'not a url',
    ]
    const answer = await resolve(
      urls.map((url) => ({ type: 'url', url })),
      {},
      open,
    )
    for (const [at, { error }] of answer.json.data.entries()) {
      const isPassing = String(urls[at]).includes('no-such-host')
      const code = isPassing ? 'service_unavailable' : 'invalid_parameter'
      assert.deepEqual([error?.code, error?.param], [code, 'url'], String(urls[at]))
    }
    assert.equal(contentsOf(open.dataDir).assets.length, 0)
    await open.stop()
  })
})
