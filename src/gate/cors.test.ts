import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createCors } from './cors.ts'

const app = 'https://app.example.com'
const exposed = ['X-Request-Id', 'Retry-After', 'Idempotent-Replayed', 'RateLimit', 'RateLimit-Policy']

const namesIn = (list: string | undefined): string[] => (list ?? '').split(',').map((name) => name.trim())

test('no origins: no other origin may, and nothing speaks of it', () => {
  const cors = createCors([])
  assert.deepEqual(cors.headers(app), {})
  assert.deepEqual(cors.headers(undefined), {})
  assert.equal(cors.preflight(app, ['POST']), null)
})

test('an origin of the list may read, and the headers that the contract names are exposed', () => {
  const headers = createCors(['https://other.example.com', app]).headers(app)
  assert.equal(headers['access-control-allow-origin'], app)
  assert.equal(headers.vary, 'Origin')
  assert.deepEqual(namesIn(headers['access-control-expose-headers']).toSorted(), exposed.toSorted())
})

test('any other origin, and none, may not; caches still tell them apart', () => {
  const cors = createCors([app])
  for (const origin of [
    undefined,
    'null',
    '',
    'https://app.example.com.evil.com',
    `${app}/`,
    `${app}:443`,
    'HTTPS://APP.EXAMPLE.COM',
    '*',
  ]) {
    assert.deepEqual(cors.headers(origin), { vary: 'Origin' }, String(origin))
    assert.equal(cors.preflight(origin, ['POST']), null, String(origin))
  }
})

test('* lets every origin read', () => {
  assert.equal(createCors(['*']).headers(app)['access-control-allow-origin'], '*')
  assert.equal(createCors([app, '*']).headers('null')['access-control-allow-origin'], '*')
})

test('a preflight names the methods, the headers that clients send, and how long that holds', () => {
  const headers = createCors([app]).preflight(app, ['GET', 'HEAD', 'POST']) ?? {}
  assert.deepEqual(namesIn(headers['access-control-allow-methods']), ['GET', 'HEAD', 'POST'])
  assert.equal(headers['access-control-max-age'], '600')
  const allowed = namesIn(headers['access-control-allow-headers'])
  for (const name of ['x-api-key', 'authorization', 'content-type', 'idempotency-key'])
    assert.ok(allowed.includes(name), name)
})

test('credentials are never allowed', () => {
  const cors = createCors([app, '*'])
  const names = Object.keys({ ...cors.headers(app), ...cors.preflight(app, ['POST']) })
  assert.ok(!names.includes('access-control-allow-credentials'))
})
