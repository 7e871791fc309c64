/** The direct door under clients that leave, stall, come in masses, and say anything in JSON. */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { after, before, describe, it } from 'node:test'
import fc from 'fast-check'
import { announce, call, complete, put } from '../api.ts'
import { isShort } from '../form.ts'
import { png, u32le, wav, wavFormat } from '../media/samples.ts'
import {
  assertError,
  descriptors,
  open,
  peakResidentBytes,
  type RawConnection,
  residentBytes,
  serverPid,
} from '../raw-http.ts'
import { assetd, contentsOf, eventually, type RunningService, startService, upload } from '../service.ts'

const MiB = 1024 * 1024

/** Begins to put, with everything but the body. */
async function beginPut(
  service: RunningService,
  uploadUrl: string,
  sizeBytes: number,
  lines: string[] = [],
): Promise<RawConnection> {
  const { pathname, search } = new URL(uploadUrl)
  const connection = await open(service)
  const head = [
    `PUT ${pathname}${search} HTTP/1.1`,
    'Host: a',
    'Content-Type: audio/wav',
    `Content-Length: ${sizeBytes}`,
    ...lines,
  ]
  await connection.send(`${head.join('\r\n')}\r\n\r\n`)
  return connection
}

/** Nothing of direct uploads is in the store, and nobody works on one. */
async function assertNothingHeld(service: RunningService): Promise<void> {
  await eventually(() => {
    const { directUploads, incoming } = contentsOf(service.dataDir)
    assert.deepEqual(incoming, [])
    const held = directUploads.filter((row) => row.blob_key ?? row.scratch_blob_key ?? row.token)
    assert.deepEqual(held, [])
  })
}

describe('a file of a gigabyte', () => {
  it('is taken in, verified and served at flat memory', async () => {
    const service = await startService()
    const bytes = (isShort ? 200 : 1_024) * MiB
    const header = Buffer.concat([
      Buffer.from('RIFF'),
      u32le(bytes - 8),
      Buffer.from('WAVEfmt '),
      u32le(wavFormat().length),
      wavFormat(),
      Buffer.from('data'),
      u32le(bytes - 28 - wavFormat().length),
    ])
    const block = Buffer.alloc(MiB, 'sound of some kind ')
    const announced = await announce(service, { content_type: 'audio/wav', size_bytes: bytes })
    const before = residentBytes(serverPid(service))
    const connection = await beginPut(service, announced.upload_url, bytes)
    const hash = createHash('sha256')
    for (let sent = 0; sent < bytes; ) {
      const next = sent === 0 ? header : block.subarray(0, Math.min(block.length, bytes - sent))
      hash.update(next)
      await connection.send(next)
      sent += next.length
    }
    assert.equal((await connection.answer({ withinMs: 60_000 })).status, 200)
    connection.reset()
    const done = await complete(service, announced.asset_id)
    assert.equal(done.status, 200, done.body)
    const served = createHash('sha256')
    const response = await fetch(done.json.data.url)
    for await (const slice of response.body ?? []) served.update(slice)
    assert.equal(served.digest('hex'), hash.digest('hex'))
    const more = peakResidentBytes(serverPid(service)) - before
    assert.ok(more < 96 * MiB, `${Math.round(more / MiB)} MiB more`)
    await service.stop()
  })
})

describe('clients that leave, stall and crowd', () => {
  let service: RunningService
  before(async () => {
    service = await startService({ env: { ASSETD_BODY_IDLE_SECONDS: '1', ASSETD_MAX_UPLOADS: '4' } })
  })
  after(() => service.stop())
  const sizeBytes = 4 * MiB
  const file = { content_type: 'audio/wav', size_bytes: sizeBytes }

  it('case 84: puts that are dropped after a megabyte leave nothing, and give all back', async () => {
    const announced = await Promise.all(Array.from({ length: 4 }, () => announce(service, file)))
    const held = descriptors(serverPid(service)).length
    const megabyte = Buffer.alloc(MiB)
    for (let times = 0; times < (isShort ? 15 : 150); times++) {
      await Promise.all(
        announced.map(async ({ upload_url }, at) => {
          const connection = await beginPut(service, upload_url, sizeBytes)
          await connection.send(megabyte)
          if ((times + at) % 2 === 0) connection.reset()
          else connection.socket.destroy()
        }),
      )
    }
    await assertNothingHeld(service)
    await eventually(() => assert.ok(descriptors(serverPid(service)).length <= held + 4))
    const bytes = wav({ sizeBytes })
    for (const one of announced) {
      await eventually(async () => assert.equal((await put(one, bytes)).status, 200))
      assert.equal((await complete(service, one.asset_id)).status, 200)
    }
    assert.equal(assetd(service.dataDir, 'fsck').status, 0)
  })

  it('case 81: a put that stalls is ended with 408, and another may follow', async () => {
    const announced = await announce(service, file)
    const connection = await beginPut(service, announced.upload_url, sizeBytes)
    await connection.send(Buffer.alloc(1_000))
    assertError(await connection.answer({ withinMs: 10_000 }), { status: 408, code: 'request_timeout' })
    connection.reset()
    await assertNothingHeld(service)
    assert.equal((await put(announced, wav({ sizeBytes }))).status, 200)
    assert.equal((await call(service, 'DELETE', `/v3/assets/${announced.asset_id}`)).status, 200)
  })

  it('case 56: puts and uploads share the places; one too many is refused before it is read', async () => {
    const announced = await Promise.all(Array.from({ length: 5 }, () => announce(service, file)))
    const holders = await Promise.all(
      announced.slice(0, 4).map(({ upload_url }) => beginPut(service, upload_url, sizeBytes)),
    )
    await eventually(() =>
      assert.equal(contentsOf(service.dataDir).directUploads.filter(({ token }) => token !== null).length, 4),
    )
    const more = await beginPut(service, announced[4]?.upload_url ?? '', sizeBytes, ['Expect: 100-continue'])
    assertError(await more.answer(), { status: 503, code: 'service_unavailable' })
    more.reset()
    assert.equal((await upload(service, png())).status, 503)
    for (const holder of holders) holder.reset()
    await assertNothingHeld(service)
    await eventually(async () => assert.equal((await upload(service, png())).status, 200))
  })
})

describe('anything in JSON', () => {
  let service: RunningService
  before(async () => {
    service = await startService({ env: { ASSETD_LOG_LEVEL: 'warn' } })
  })
  after(() => service.stop())

  it('never gets a 5xx, whatever stands where', async () => {
    const anything = fc.jsonValue({ maxDepth: 3 })
    const mostlyRight = fc.record(
      {
        filename: fc.oneof(fc.string({ unit: 'binary' }), anything),
        content_type: fc.oneof(fc.constantFrom('image/png', 'application/zip', 'text/html'), anything),
        size_bytes: fc.oneof(fc.integer(), fc.double(), anything),
        checksum_sha256: fc.oneof(fc.stringMatching(/^[0-9a-f]{64}$/), fc.base64String(), anything),
      },
      { requiredKeys: [] },
    )
    const input = fc.record(
      {
        type: fc.oneof(fc.constantFrom('asset_id', 'url', 'base64'), anything),
        asset_id: anything,
        url: fc.oneof(fc.webUrl(), anything),
        media_type: fc.oneof(fc.constantFrom('image/png', 'audio/wav'), anything),
        data: fc.oneof(fc.base64String(), fc.constant(png().toString('base64')), anything),
      },
      { requiredKeys: [] },
    )
    const request = fc.oneof(
      fc.tuple(fc.constant('/v3/assets/direct-uploads'), fc.oneof(mostlyRight, anything)),
      fc.tuple(
        fc.constant('/v3/assets/direct-uploads/batches'),
        fc.oneof(fc.record({ files: fc.array(mostlyRight, { maxLength: 3 }), title: anything }), anything),
      ),
      fc.tuple(
        fc.constant('/v3/assets/complete/batches'),
        fc.oneof(fc.record({ batch_id: anything }), anything),
      ),
      fc.tuple(fc.constant('/v3/assets/asset_x/complete'), anything),
      fc.tuple(
        fc.constant('/v3/assets/resolve'),
        fc.oneof(fc.record({ inputs: fc.array(input, { maxLength: 4 }) }), anything),
      ),
    )
    await fc.assert(
      fc.asyncProperty(request, async ([path, body]) => {
        const text = JSON.stringify(body)
        const answer = await call(service, 'POST', path, text)
        assert.ok(answer.status < 500, `${path} ${text}: ${answer.status} ${answer.body}`)
        if (answer.status >= 400) assertError(answer, { status: answer.status })
      }),
      { numRuns: isShort ? 300 : 5_000 },
    )
    assert.deepEqual(contentsOf(service.dataDir).incoming, [])
    assert.equal(assetd(service.dataDir, 'fsck', '--deep').status, 0)
  })

  it('never gets a 5xx from any query or path', async () => {
    const word = fc.string({ unit: 'binary', maxLength: 40 })
    const names = fc.constantFrom(
      'limit',
      'token',
      'username',
      'folder_id',
      'query',
      'type',
      'scope',
      'asset_ids',
    )
    const paths = fc.oneof(
      fc.constantFrom('/v3/assets', '/v3/assets/search', '/v3/assets/statuses', '/v3/assets/batches/x'),
      word.map((text) => `/v3/assets/${encodeURIComponent(text.toWellFormed())}`),
    )
    await fc.assert(
      fc.asyncProperty(paths, fc.array(fc.tuple(names, word), { maxLength: 4 }), async (path, pairs) => {
        const query = pairs.map(([name, value]) => `${name}=${encodeURIComponent(value.toWellFormed())}`)
        const answer = await call(service, 'GET', `${path}?${query.join('&')}`)
        assert.ok(answer.status < 500, `${path} ${query}: ${answer.status} ${answer.body}`)
      }),
      { numRuns: isShort ? 300 : 5_000 },
    )
  })
})
