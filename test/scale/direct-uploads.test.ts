/** Direct uploads to the bucket itself: the bytes never pass through the service, and what it refuses the store refuses. */
import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { after, before, describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { ListObjectsV2Command } from '@aws-sdk/client-s3'
import { type Announced, announce, call, complete } from '../api.ts'
import { mp4, png, samples } from '../media/samples.ts'
import { eventually, type RunningService, startService } from '../service.ts'
import { clientOf, freshBucket, type S3Server, settingsOf } from './s3.ts'
import { s3Servers } from './s3-servers.ts'

const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex')

/** As a client puts them; the store answers in XML, or not at all. */
async function put(
  { upload_url, upload_headers }: Pick<Announced, 'upload_url' | 'upload_headers'>,
  bytes: Uint8Array,
  headers: Record<string, string> = upload_headers,
): Promise<{ status: number; body: string }> {
  const response = await fetch(upload_url, { method: 'PUT', headers, body: new Uint8Array(bytes) })
  return { status: response.status, body: await response.text() }
}

for (const { name, skip, begin } of s3Servers()) {
  const checksChecksums = name === 'versitygw'
  describe(`direct uploads to a bucket of ${name}`, { skip }, () => {
    let server: S3Server
    let service: RunningService
    let bucket: string
    before(async () => {
      server = await begin()
      const options = await freshBucket(server)
      bucket = options.bucket
      service = await startService({ env: settingsOf(options) })
    })
    after(async () => {
      await service?.stop()
      await server.remove()
    })

    async function objects(): Promise<string[]> {
      const client = clientOf(server.port)
      const { Contents } = await client.send(new ListObjectsV2Command({ Bucket: bucket }))
      client.destroy()
      return (Contents ?? []).map(({ Key }) => String(Key)).filter((key) => key !== 'store-id')
    }

    const stateOf = async (assetId: string): Promise<string> =>
      (await call(service, 'GET', `/v3/assets/statuses?asset_ids=${assetId}`)).json.data[0].status

    test('the URL is the bucket’s, for exactly what was declared, and an asset comes of it', async () => {
      const bytes = png()
      const announced = await announce(service, { content_type: 'image/png', size_bytes: bytes.length })
      const url = new URL(announced.upload_url)
      assert.equal(url.port, String(server.port))
      assert.equal(url.searchParams.get('X-Amz-SignedHeaders'), 'content-length;content-type;host')
      assert.doesNotMatch(url.search, /checksum|crc32|sdk-checksum/i)
      assert.deepEqual(announced.upload_headers, { 'content-type': 'image/png' })
      assert.equal((await put(announced, bytes)).status, 200)
      const answer = await complete(service, announced.asset_id)
      assert.equal(answer.status, 200, answer.body)
      const served = await fetch(answer.json.data.url)
      assert.equal(served.headers.get('etag'), `"${sha256(bytes)}"`)
      assert.deepEqual(Buffer.from(await served.arrayBuffer()), Buffer.from(bytes))
      // The object that the URL was for is gone: the asset is a copy.
      await eventually(async () => assert.equal((await objects()).length, 1))
      assert.ok(!announced.upload_url.includes(String((await objects())[0])))
      assert.equal((await complete(service, announced.asset_id)).body, answer.body)
      assert.equal((await call(service, 'DELETE', `/v3/assets/${announced.asset_id}`)).status, 200)
      await eventually(async () => assert.deepEqual(await objects(), []))
    })

    test('case 91: another size, type or checksum, a header that is missing, and a URL that was tampered with', async () => {
      const bytes = png()
      const file = { content_type: 'image/png', size_bytes: bytes.length, checksum_sha256: sha256(bytes) }
      const announced = await announce(service, file)
      const { upload_url, upload_headers } = announced
      assert.deepEqual(Object.keys(upload_headers), ['content-type', 'x-amz-checksum-sha256'])
      const refused = async (what: string, answer: Promise<{ status: number; body: string }>) => {
        const { status, body } = await answer
        assert.ok(status === 400 || status === 403, `${what}: ${status} ${body}`)
        assert.match(body, /<Code>/, what)
      }
      await refused('a byte more', put(announced, Buffer.concat([bytes, Buffer.alloc(1)])))
      await refused('a byte less', put(announced, bytes.subarray(1)))
      await refused('another type', put(announced, bytes, { ...upload_headers, 'content-type': 'text/html' }))
      await refused('no checksum', put(announced, bytes, { 'content-type': 'image/png' }))
      const other = { ...upload_headers, 'x-amz-checksum-sha256': Buffer.alloc(32).toString('base64') }
      await refused('another checksum', put(announced, bytes, other))
      for (const [parameter, value] of Object.entries({
        'X-Amz-Expires': '604800',
        'X-Amz-SignedHeaders': 'host',
        'X-Amz-Signature': '0'.repeat(64),
      })) {
        const url = new URL(upload_url)
        url.searchParams.set(parameter, value)
        await refused(parameter, put({ upload_url: url.href, upload_headers }, bytes))
      }
      const elsewhere = upload_url.replace(/\/[0-9a-z]{26}\?/, `/${'0'.repeat(26)}?`)
      await refused('another key', put({ upload_url: elsewhere, upload_headers }, bytes))
      if (checksChecksums) await refused('other bytes', put(announced, Buffer.alloc(bytes.length)))
      assert.deepEqual(await objects(), [])
      assert.equal(await stateOf(announced.asset_id), 'pending_upload')
      assert.equal((await put(announced, bytes)).status, 200)
      assert.equal((await complete(service, announced.asset_id)).status, 200)
    })

    test('case 91: a URL that has expired', async () => {
      const bytes = png()
      const options = { ...(await freshBucket(server)), bucket }
      const brief = await startService({
        env: { ...settingsOf(options), ASSETD_DIRECT_EXPIRY_SECONDS: '1', ASSETD_S3_PREFIX: 'brief' },
      })
      try {
        const announced = await announce(brief, { content_type: 'image/png', size_bytes: bytes.length })
        await sleep(2_200)
        const { status, body } = await put(announced, bytes)
        assert.equal(status, 403, body)
        assert.equal((await complete(brief, announced.asset_id)).status, 404)
      } finally {
        await brief.stop()
      }
    })

    test('case 92: complete before the bytes are there is a conflict, and nothing is lost by it', async () => {
      const bytes = png()
      const announced = await announce(service, { content_type: 'image/png', size_bytes: bytes.length })
      for (let tried = 0; tried < 2; tried++) {
        const early = await complete(service, announced.asset_id)
        assert.equal(early.status, 409, early.body)
        assert.equal(early.json.error.code, 'conflict')
        assert.equal(early.headers['retry-after'], '1')
      }
      await put(announced, bytes)
      const answers = await Promise.all(
        Array.from({ length: 20 }, () => complete(service, announced.asset_id)),
      )
      const [good] = answers.filter(({ status }) => status === 200)
      assert.ok(good)
      for (const answer of answers) {
        if (answer.status === 200) assert.equal(answer.body, good.body)
        else assert.equal(answer.json.error.code, 'conflict')
      }
    })

    test('case 92: another checksum at complete fails it for good, and the bytes are gone', async () => {
      const bytes = png()
      const before = await objects()
      const announced = await announce(service, { content_type: 'image/png', size_bytes: bytes.length })
      await put(announced, bytes)
      const answer = await complete(service, announced.asset_id, { checksum_sha256: '0'.repeat(64) })
      assert.equal(answer.status, 400)
      assert.equal(answer.json.error.param, 'checksum_sha256')
      await eventually(async () => assert.deepEqual(await objects(), before))
      assert.equal(await stateOf(announced.asset_id), 'failed')
      assert.equal((await complete(service, announced.asset_id)).body.includes('checksum'), true)
    })

    test('case 93: other bytes by the same URL, after and while it is completed, change nothing that is public', async () => {
      const bytes = Buffer.concat([mp4(), Buffer.alloc(3 * 1024 * 1024)])
      bytes.writeUInt32BE(3 * 1024 * 1024, mp4().length)
      bytes.write('free', mp4().length + 4, 'latin1')
      const evil = Buffer.from(bytes)
      evil.fill(0x3c, mp4().length + 8)
      for (let round = 0; round < 3; round++) {
        const announced = await announce(service, { content_type: 'video/mp4', size_bytes: bytes.length })
        assert.equal((await put(announced, bytes)).status, 200)
        const completing = complete(service, announced.asset_id)
        if (round > 0) await sleep(round * 4)
        const [answer, again] = await Promise.all([completing, put(announced, evil)])
        assert.ok(again.status === 200 || again.status === 409, again.body)
        if (answer.status === 503) {
          // It was changed under the copy's hands: the service tries again by itself.
          const path = `/v3/assets/${announced.asset_id}`
          await eventually(async () => assert.equal((await call(service, 'GET', path)).status, 200), 40_000)
          continue
        }
        assert.equal(answer.status, 200, answer.body)
        const served = Buffer.from(await (await fetch(answer.json.data.url)).arrayBuffer())
        const sum = sha256(served)
        assert.ok([sha256(bytes), sha256(evil)].includes(sum))
        assert.equal((await fetch(answer.json.data.url)).headers.get('etag'), `"${sum}"`, 'what was verified')
        assert.equal((await put(announced, round === 0 ? evil : bytes)).status, 200, 'the URL is still good')
        const after = Buffer.from(await (await fetch(answer.json.data.url)).arrayBuffer())
        assert.equal(sha256(after), sum)
      }
    })

    test('case 94: what is not what it was declared to be is refused at complete, and removed', async () => {
      const before = await objects()
      const html = Buffer.from('<!doctype html><script>alert(1)</script>'.padEnd(300, ' '))
      const announced = await announce(service, { content_type: 'image/png', size_bytes: html.length })
      assert.equal((await put(announced, html)).status, 200)
      const answer = await complete(service, announced.asset_id)
      assert.equal(answer.status, 400, answer.body)
      assert.equal((await fetch(`${service.url}/files/${announced.asset_id}.png`)).status, 404)
      await eventually(async () => assert.deepEqual(await objects(), before))
    })

    test('case 95: never completed: the object and the row go, and complete says that there is none', async () => {
      const bytes = png()
      const options = { ...(await freshBucket(server)), bucket }
      const env = { ...settingsOf(options), ASSETD_DIRECT_EXPIRY_SECONDS: '4', ASSETD_S3_PREFIX: 'never' }
      const first = await startService({ env })
      const announced = await eventually(async () => {
        const one = await announce(first, { content_type: 'image/png', size_bytes: bytes.length })
        assert.equal((await put(one, bytes)).status, 200)
        return one
      })
      const mine = async () => (await objects()).filter((key) => /^never\/(?!store-id)/.test(key))
      assert.equal((await mine()).length, 1)
      await sleep(4_200)
      assert.equal((await complete(first, announced.asset_id)).status, 404)
      await first.stop({ keepData: true })
      const second = await startService({ env, dataDir: first.dataDir })
      await eventually(async () => assert.deepEqual(await mine(), []))
      await second.stop()
    })

    test('a batch: items whose bytes are there are completed, and others stay open for theirs', async () => {
      const files = Array.from({ length: 4 }, (_, index) => ({
        filename: `f${index}`,
        content_type: 'audio/wav',
        size_bytes: samples.wav().length,
      }))
      const made = await call(service, 'POST', '/v3/assets/direct-uploads/batches', { files })
      assert.equal(made.status, 200, made.body)
      const { batch_id, items } = made.json.data
      const states = async (): Promise<string[]> =>
        (await call(service, 'GET', `/v3/assets/batches/${batch_id}`)).json.data.items.map(
          ({ status }: { status: string }) => status,
        )
      for (const item of [items[0], items[2]]) await put(item, samples.wav())
      assert.equal((await call(service, 'POST', '/v3/assets/complete/batches', { batch_id })).status, 202)
      await eventually(async () =>
        assert.deepEqual(await states(), ['completed', 'pending_upload', 'completed', 'pending_upload']),
      )
      for (const item of [items[1], items[3]]) await put(item, samples.wav())
      assert.equal((await call(service, 'POST', '/v3/assets/complete/batches', { batch_id })).status, 202)
      await eventually(async () => assert.deepEqual(await states(), Array(4).fill('completed')))
    })

    test('a large file: put, copied and verified, at flat memory', async () => {
      const size = 300 * 1024 * 1024
      const head = mp4()
      const box = Buffer.alloc(8)
      box.writeUInt32BE(size - head.length)
      box.write('free', 4, 'latin1')
      const bytes = Buffer.concat([
        head,
        box,
        randomBytes(1 << 20),
        Buffer.alloc(size - head.length - 8 - (1 << 20)),
      ])
      const announced = await announce(service, { content_type: 'video/mp4', size_bytes: size })
      const answered = await put(announced, bytes)
      assert.equal(answered.status, 200, answered.body)
      const answer = await complete(service, announced.asset_id)
      assert.equal(answer.status, 200, answer.body)
      const served = await fetch(answer.json.data.url)
      const hash = createHash('sha256')
      for await (const slice of served.body ?? []) hash.update(slice)
      assert.equal(hash.digest('hex'), sha256(bytes))
    })

    test('the service’s own door for bytes has no URL that it signed, and says so', async () => {
      const announced = await announce(service, { content_type: 'image/png', size_bytes: 5 })
      const response = await fetch(`${service.url}/uploads/${announced.asset_id}?expires=1&signature=x`, {
        method: 'PUT',
        headers: { 'content-type': 'image/png' },
        body: 'abcde',
      })
      assert.equal(response.status, 403)
    })
  })
}
