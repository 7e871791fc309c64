/** Files are served alike from a folder and from a bucket, to the byte and to the header; and what is sent on is safe. */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { after, before, describe, test } from 'node:test'
import { call } from '../api.ts'
import { png, samples, wav } from '../media/samples.ts'
import { type RunningService, startService, upload } from '../service.ts'
import { freshBucket, type S3Server, settingsOf } from './s3.ts'
import { s3Servers } from './s3-servers.ts'

const servers = s3Servers()

/** What differs by nature: when, which, and where. */
const own = ['date', 'x-request-id', 'last-modified', 'content-disposition', 'keep-alive', 'connection']

async function stored(
  service: RunningService,
  bytes: Uint8Array,
): Promise<{ asset_id: string; url: string }> {
  const response = await upload(service, bytes)
  assert.equal(response.status, 200)
  return ((await response.json()) as { data: { asset_id: string; url: string } }).data
}

async function look(url: string, method: string, headers: Record<string, string>) {
  const response = await fetch(url, { method, headers, redirect: 'manual' })
  const body = Buffer.from(await response.arrayBuffer())
  const kept = [...response.headers].filter(([name]) => !own.includes(name))
  return { status: response.status, headers: Object.fromEntries(kept), body }
}

for (const { name, skip, begin } of servers) {
  describe(`files in a bucket of ${name}`, { skip }, () => {
    let server: S3Server
    let onDisk: RunningService
    let onS3: RunningService
    let env: Record<string, string>
    before(async () => {
      server = await begin()
      env = settingsOf(await freshBucket(server))
      onDisk = await startService()
      onS3 = await startService({ env })
    })
    after(async () => {
      await onDisk?.stop()
      await onS3?.stop()
      await server.remove()
    })

    test('case 88: the same answers as from disk, to every range and condition, with the same ETag', async () => {
      const bytes = wav()
      const urls = await Promise.all(
        [onDisk, onS3].map(async (service) => {
          const answer = await stored(service, bytes)
          return answer.url
        }),
      )
      const etag = `"${createHash('sha256').update(bytes).digest('hex')}"`
      const asked: Record<string, string>[] = [
        {},
        ...[
          'bytes=0-0',
          'bytes=-1',
          'bytes=5-',
          'bytes=0-999999',
          'bytes=3-2',
          'bytes=999999-',
          'bytes=-0',
          'x=1-2',
        ].map((range) => ({ range })),
        { range: 'bytes=0-1,4-5' },
        { 'if-none-match': etag },
        { 'if-none-match': '*' },
        { 'if-none-match': '"other"' },
        { 'if-match': '"other"' },
        { 'if-match': etag, range: 'bytes=2-3' },
        { 'if-range': etag, range: 'bytes=2-3' },
        { 'if-range': '"other"', range: 'bytes=2-3' },
        { 'if-modified-since': new Date(Date.now() + 86_400_000).toUTCString() },
        { 'if-unmodified-since': new Date(0).toUTCString() },
        { 'accept-encoding': 'gzip' },
      ]
      const expected = await look(urls[0] as string, 'GET', {})
      assert.equal(expected.headers.etag, etag)
      assert.deepEqual(expected.body, bytes)
      for (const method of ['GET', 'HEAD']) {
        for (const headers of asked) {
          const [disk, s3] = await Promise.all(urls.map((url) => look(url, method, headers)))
          if (String(disk?.headers['content-type']).includes('json')) {
            // Case 90: errors too have every header that makes them safe. Their words have the request's own id.
            assert.equal(s3?.status, disk?.status)
            assert.deepEqual(s3?.headers, disk?.headers)
            continue
          }
          assert.deepEqual(s3, disk, `${method} ${JSON.stringify(headers)}`)
        }
      }
    })

    test('case 88: a file that is deleted is gone, and so are its bytes', async () => {
      const answer = await stored(onS3, png())
      const { asset_id, url } = answer
      assert.equal((await fetch(url)).status, 200)
      assert.equal((await call(onS3, 'DELETE', `/v3/assets/${asset_id}`)).status, 200)
      assert.equal((await fetch(url)).status, 404)
    })

    test('case 58: who reads while it is deleted gets all of it, or is told that there is none', async () => {
      const bytes = wav({ sizeBytes: 3_000_000 })
      for (let times = 0; times < 8; times++) {
        const { asset_id, url } = await stored(onS3, bytes)
        const reads = Array.from({ length: 6 }, () => fetch(url))
        const deleted = call(onS3, 'DELETE', `/v3/assets/${asset_id}`)
        for (const response of await Promise.all(reads)) {
          assert.ok([200, 404].includes(response.status), String(response.status))
          const body = Buffer.from(await response.arrayBuffer())
          if (response.status === 200) assert.ok(body.equals(bytes))
        }
        assert.equal((await deleted).status, 200)
      }
    })

    test('ASSETD_FILES_MODE=redirect: a GET is sent on to the store, which says of the bytes what we say', async () => {
      const service = await startService({
        env: { ...env, ASSETD_S3_PREFIX: 'sent-on', ASSETD_FILES_MODE: 'redirect' },
      })
      try {
        const answer = await stored(service, samples.pdf())
        const { asset_id, url } = answer
        assert.equal(url, `${service.url}/files/${asset_id}.pdf`)
        const sent = await fetch(url, { redirect: 'manual' })
        assert.equal(sent.status, 302)
        assert.equal(sent.headers.get('cache-control'), 'no-store')
        const at = new URL(String(sent.headers.get('location')))
        assert.equal(at.port, String(server.port))
        assert.ok(Number(at.searchParams.get('X-Amz-Expires')) <= 900)
        const got = await fetch(at)
        assert.equal(got.status, 200)
        assert.equal(got.headers.get('content-type'), 'application/pdf')
        assert.equal(got.headers.get('content-disposition'), `attachment; filename="${asset_id}.pdf"`)
        assert.match(String(got.headers.get('cache-control')), /immutable/)
        assert.deepEqual(Buffer.from(await got.arrayBuffer()), samples.pdf())
        const part = await fetch(at, { headers: { range: 'bytes=1-3' } })
        assert.equal(part.status, 206)
        assert.equal(await part.text(), samples.pdf().subarray(1, 4).toString('latin1'))
        const forged = new URL(at)
        forged.searchParams.set('response-content-type', 'text/html')
        assert.equal((await fetch(forged)).status, 403)
        const head = await fetch(url, { method: 'HEAD', redirect: 'manual' })
        assert.equal(head.status, 200)
        assert.equal(head.headers.get('content-length'), String(samples.pdf().length))
        assert.match(String(head.headers.get('etag')), /^"[0-9a-f]{64}"$/)
        assert.equal((await fetch(`${service.url}/files/asset_${'0'.repeat(26)}.pdf`)).status, 404)
      } finally {
        await service.stop()
      }
    })
  })
}

test('ASSETD_FILES_BASE_URL: new answers name the CDN, and /files/ goes on to answer', async () => {
  const base = 'https://cdn.example.com/media'
  const service = await startService({ env: { ASSETD_FILES_BASE_URL: base } })
  try {
    const answer = await stored(service, png())
    const { asset_id, url } = answer
    assert.equal(url, `${base}/${asset_id}.png`)
    for (const path of [`/v3/assets/${asset_id}`, '/v3/assets', '/v3/assets/search?type=image&query=file']) {
      const { body } = await call(service, 'GET', path)
      assert.ok(body.includes(`"url":"${url}"`), `${path}: ${body}`)
    }
    const served = await fetch(`${service.url}/files/${asset_id}.png`)
    assert.equal(served.status, 200)
    assert.equal(served.headers.get('etag'), `"${createHash('sha256').update(png()).digest('hex')}"`)
    const page = await fetch(service.url)
    assert.match(
      String(page.headers.get('content-security-policy')),
      /img-src 'self' https:\/\/cdn\.example\.com/,
    )
  } finally {
    await service.stop()
  }
})
