/** How often one may ask: per credential, and per address for those who guess. */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { wav } from './media/samples.ts'
import { contentsOf, startService, upload } from './service.ts'

describe('rate limits', () => {
  it('case 76: 429 before the body is stored, and the next request after Retry-After passes', async () => {
    const service = await startService({ env: { ASSETD_RATE_LIMIT: '3/sec' } })
    try {
      const startMs = performance.now()
      const answers = await Promise.all(Array.from({ length: 30 }, () => upload(service, wav())))
      const seconds = (performance.now() - startMs) / 1_000
      const refused = answers.filter(({ status }) => status === 429)
      const passed = answers.filter(({ status }) => status === 200)
      assert.equal(refused.length + passed.length, 30)
      assert.ok(passed.length >= 3 && passed.length <= 3 + 3 * seconds, `${passed.length} in ${seconds} s`)
      assert.equal(contentsOf(service.dataDir).blobs.length, passed.length)
      const [first] = refused
      assert.ok(first)
      assert.deepEqual(await first.json(), {
        error: {
          code: 'rate_limit_exceeded',
          message: 'Too many requests. Retry after the duration specified in the Retry-After header.',
          param: null,
          doc_url: `${service.url}/docs/errors#rate_limit_exceeded`,
        },
      })
      const wait = first.headers.get('retry-after') ?? ''
      assert.match(wait, /^[1-9]\d*$/)
      await sleep(Number(wait) * 1000)
      assert.equal((await upload(service, wav())).status, 200)
    } finally {
      await service.stop()
    }
  })

  it('RateLimit headers of draft-ietf-httpapi-ratelimit-headers stand on 200s and 400s alike', async () => {
    const service = await startService({ env: { ASSETD_RATE_LIMIT: '100/hour' } })
    try {
      const good = await upload(service, wav())
      assert.equal(good.headers.get('ratelimit-policy'), '"default";q=100;w=3600')
      assert.match(good.headers.get('ratelimit') ?? '', /^"default";r=99;t=\d+$/)
      const bad = await upload(service, Buffer.from('no media'))
      assert.equal(bad.status, 400)
      assert.match(bad.headers.get('ratelimit') ?? '', /^"default";r=98;t=\d+$/, 'a refusal counts')
      const stranger = await upload({ ...service, key: 'wrong' }, wav())
      assert.equal(stranger.headers.get('ratelimit'), null)
    } finally {
      await service.stop()
    }
  })

  it('failed authentication: 60 a minute from one address, then 429, while good credentials pass', async () => {
    const service = await startService()
    try {
      const statuses: number[] = []
      for (let at = 0; at < 70; at++) {
        const answer = await fetch(`${service.url}/v3/assets`, {
          method: 'POST',
          headers: { 'x-api-key': `guess-${at}` },
        })
        statuses.push(answer.status)
        if (answer.status === 429) assert.match(answer.headers.get('retry-after') ?? '', /^[1-9]\d*$/)
        await answer.body?.cancel()
      }
      assert.equal(
        statuses.slice(0, 60).every((status) => status === 401),
        true,
      )
      assert.equal(statuses.at(-1), 429)
      assert.equal((await upload(service, wav())).status, 200)
    } finally {
      await service.stop()
    }
  })

  it('case 46: X-Forwarded-For counts from a trusted proxy alone', async () => {
    const addressSeen = async (env: Record<string, string>): Promise<unknown> => {
      const service = await startService({ env })
      try {
        const answer = await fetch(`${service.url}/healthz`, {
          headers: { 'x-forwarded-for': '203.0.113.7' },
        })
        return (await service.logOf(answer.headers.get('x-request-id'))).address
      } finally {
        await service.stop()
      }
    }
    assert.equal(await addressSeen({}), '127.0.0.1')
    assert.equal(await addressSeen({ ASSETD_TRUSTED_PROXIES: '10.0.0.0/8' }), '127.0.0.1')
    assert.equal(await addressSeen({ ASSETD_TRUSTED_PROXIES: '127.0.0.0/8' }), '203.0.113.7')
  })
})

describe('browsers of other origins', () => {
  it('case 15: get nothing by default: OPTIONS is 405', async () => {
    const service = await startService()
    try {
      const answer = await fetch(`${service.url}/v3/assets`, {
        method: 'OPTIONS',
        headers: { origin: 'https://a.example' },
      })
      assert.equal(answer.status, 405)
      assert.equal(answer.headers.get('access-control-allow-origin'), null)
    } finally {
      await service.stop()
    }
  })

  it('named origins may ask, send and read, without credentials for the preflight', async () => {
    const service = await startService({
      env: { ASSETD_CORS_ORIGINS: 'https://a.example,https://b.example', ASSETD_RATE_LIMIT: '5/min' },
    })
    try {
      const preflight = (origin: string) =>
        fetch(`${service.url}/v3/assets`, {
          method: 'OPTIONS',
          headers: { origin, 'access-control-request-method': 'POST' },
        })
      for (let at = 0; at < 8; at++) {
        const allowed = await preflight('https://b.example')
        assert.equal(allowed.status, 204)
        assert.equal(allowed.headers.get('access-control-allow-origin'), 'https://b.example')
        assert.equal(allowed.headers.get('access-control-max-age'), '600')
        assert.match(allowed.headers.get('access-control-allow-methods') ?? '', /POST/)
        assert.match(allowed.headers.get('access-control-allow-headers') ?? '', /idempotency-key/)
        assert.equal(allowed.headers.get('access-control-allow-credentials'), null)
      }
      assert.equal((await preflight('https://evil.example')).headers.get('access-control-allow-origin'), null)
      const refused = await upload({ ...service, key: 'wrong' }, wav(), { origin: 'https://a.example' })
      assert.equal(refused.status, 401)
      assert.equal(refused.headers.get('access-control-allow-origin'), 'https://a.example')
      assert.match(refused.headers.get('access-control-expose-headers') ?? '', /X-Request-Id, Retry-After/)
    } finally {
      await service.stop()
    }
  })
})

describe('bodies that come too slowly (case 81)', () => {
  it('an idle one is 408 and leaves nothing; one at the minimum rate goes on', async () => {
    const service = await startService({
      env: { ASSETD_BODY_IDLE_SECONDS: '3', ASSETD_MIN_BYTES_PER_SECOND: '500' },
    })
    const file = wav({ sizeBytes: 4_000 })
    const slowly = (bytesEach: number, everyMs: number) => {
      const head = Buffer.from('--b\r\nContent-Disposition: form-data; name="file"\r\n\r\n')
      const body = Buffer.concat([head, file, Buffer.from('\r\n--b--\r\n')])
      async function* pieces() {
        for (let at = 0; at < body.length; at += bytesEach) {
          yield body.subarray(at, at + bytesEach)
          await sleep(everyMs)
        }
      }
      return fetch(`${service.url}/v3/assets`, {
        method: 'POST',
        headers: { 'x-api-key': service.key, 'content-type': 'multipart/form-data; boundary=b' },
        body: pieces(),
        duplex: 'half',
      })
    }
    try {
      const stalled = await slowly(2_000, 6_000)
      assert.equal(stalled.status, 408)
      assert.equal(((await stalled.json()) as { error: { code: string } }).error.code, 'request_timeout')
      const trickled = await slowly(20, 200)
      assert.equal(trickled.status, 408, '100 bytes a second')
      const { assets, incoming } = contentsOf(service.dataDir)
      assert.deepEqual({ assets, incoming }, { assets: [], incoming: [] })
      assert.equal((await slowly(400, 200)).status, 200, '2,000 bytes a second')
    } finally {
      await service.stop()
    }
  })
})
