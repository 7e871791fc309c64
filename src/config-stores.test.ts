import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { ConfigError, readConfig, readStoreConfig } from './config.ts'

type Env = Record<string, string | undefined>

const folder = mkdtempSync(join(tmpdir(), 'assetd-config-'))
after(() => rmSync(folder, { recursive: true }))

/** Both readers must refuse the same things. */
function faultsOf(env: Env): readonly string[] {
  const [ofService = [], ofCommands = []] = [readConfig, readStoreConfig].map((read) => {
    try {
      read(env)
      return []
    } catch (error) {
      assert.ok(error instanceof ConfigError, `not a ConfigError: ${error}`)
      return error.lines
    }
  })
  assert.deepEqual(ofCommands, ofService)
  return ofService
}

test('PostgreSQL, a bucket and Redis come in by one setting each', () => {
  const { stores } = readConfig({
    ASSETD_DATABASE_URL: 'postgres://me:secret@db.example/assets?sslmode=verify-full',
    ASSETD_S3_BUCKET: 'media.example',
    ASSETD_REDIS_URL: 'rediss://:secret@cache.example:6380/1',
  })
  assert.deepEqual(stores, {
    database: { url: 'postgres://me:secret@db.example/assets?sslmode=verify-full', poolSize: 10 },
    s3: { bucket: 'media.example', endpoint: null, region: null, forcePathStyle: false, prefix: '' },
    redisUrl: 'rediss://:secret@cache.example:6380/1',
  })
})

test('the bucket has its endpoint, region, style and prefix', () => {
  const { stores } = readStoreConfig({
    ASSETD_S3_BUCKET: 'b1s',
    ASSETD_S3_ENDPOINT: 'http://127.0.0.1:7070/',
    ASSETD_S3_REGION: 'us-east-1',
    ASSETD_S3_FORCE_PATH_STYLE: 'on',
    ASSETD_S3_PREFIX: 'media/assetd',
  })
  assert.deepEqual(stores.s3, {
    bucket: 'b1s',
    endpoint: 'http://127.0.0.1:7070',
    region: 'us-east-1',
    forcePathStyle: true,
    prefix: 'media/assetd/',
  })
  for (const prefix of ['a', 'a/', 'a//'])
    assert.equal(
      readStoreConfig({ ASSETD_S3_BUCKET: 'b1s', ASSETD_S3_PREFIX: prefix }).stores.s3?.prefix,
      'a/',
    )
})

test('a URL with a password may come from a file, and is never shown', () => {
  const file = join(folder, 'url')
  writeFileSync(file, 'postgresql:///assets?host=/run/postgresql\n')
  const { stores } = readStoreConfig({ ASSETD_DATABASE_URL_FILE: file })
  assert.equal(stores.database?.url, 'postgresql:///assets?host=/run/postgresql')
  for (const text of ['mysql://u:canary@h/d', 'canary', '', 'postgres//u:canary@h/d']) {
    for (const name of ['ASSETD_DATABASE_URL', 'ASSETD_REDIS_URL']) {
      const [line = '', ...more] = faultsOf({ [name]: text })
      assert.match(line, new RegExp(`^${name} is not a URL of the form (postgres|redis)://`))
      assert.doesNotMatch(line, /canary/)
      assert.equal(more.length, 0)
    }
  }
})

test('what cannot be right is refused in one line', () => {
  for (const [env, words] of [
    [{ ASSETD_S3_BUCKET: 'My_Bucket' }, /^ASSETD_S3_BUCKET is "My_Bucket": give the bucket's name alone/],
    [{ ASSETD_S3_BUCKET: 's3://b' }, /^ASSETD_S3_BUCKET/],
    [{ ASSETD_S3_BUCKET: 'b1s', ASSETD_S3_REGION: 'EU West' }, /^ASSETD_S3_REGION/],
    [{ ASSETD_S3_BUCKET: 'b1s', ASSETD_S3_ENDPOINT: 'localhost:9000' }, /^ASSETD_S3_ENDPOINT/],
    [
      { ASSETD_S3_BUCKET: 'b1s', ASSETD_S3_FORCE_PATH_STYLE: 'true' },
      /^ASSETD_S3_FORCE_PATH_STYLE .*on, off/,
    ],
    ...['/a', 'a b', '../a', 'a/../b', 'a//b', 'é', '.'].map(
      (prefix) => [{ ASSETD_S3_BUCKET: 'b1s', ASSETD_S3_PREFIX: prefix }, /^ASSETD_S3_PREFIX is/] as const,
    ),
    [{ ASSETD_S3_REGION: 'eu' }, /^ASSETD_S3_REGION is set but ASSETD_S3_BUCKET is not/],
    [{ ASSETD_DATABASE_POOL_SIZE: '5' }, /^ASSETD_DATABASE_POOL_SIZE is set but ASSETD_DATABASE_URL is not/],
    [
      { ASSETD_DATABASE_URL: 'postgres://h/d', ASSETD_DATABASE_POOL_SIZE: '0' },
      /^ASSETD_DATABASE_POOL_SIZE is "0"/,
    ],
  ] satisfies readonly (readonly [Env, RegExp])[]) {
    const [line = '', ...more] = faultsOf(env)
    assert.match(line, words)
    assert.deepEqual(more, [])
  }
})

test('files can be redirected to where a bucket is, or be behind a CDN, not both', () => {
  const faultOf = (env: Env): string => {
    assert.throws(() => readConfig(env), ConfigError)
    try {
      readConfig(env)
    } catch (error) {
      return (error as ConfigError).lines.join('\n')
    }
    return ''
  }
  const bucket = { ASSETD_S3_BUCKET: 'b1s' }
  assert.equal(readConfig({ ...bucket, ASSETD_FILES_MODE: 'redirect' }).filesMode, 'redirect')
  assert.equal(
    readConfig({ ASSETD_FILES_BASE_URL: 'https://cdn.example/f/' }).filesBaseUrl,
    'https://cdn.example/f',
  )
  assert.match(faultOf({ ASSETD_FILES_MODE: 'redirect' }), /^ASSETD_FILES_MODE .*set ASSETD_S3_BUCKET/)
  assert.match(
    faultOf({ ASSETD_FILES_MODE: 'cdn' }),
    /^ASSETD_FILES_MODE is "cdn": give one of service, redirect$/,
  )
  assert.match(
    faultOf({ ...bucket, ASSETD_FILES_MODE: 'redirect', ASSETD_FILES_BASE_URL: 'https://cdn.example' }),
    /keep one of the two$/,
  )
})

test('nginx can be told of files on the disk, where it is known who it is', () => {
  const proxies = { ASSETD_TRUSTED_PROXIES: '127.0.0.1' }
  const readWith = (text: string) => readConfig({ ...proxies, ASSETD_ACCEL_REDIRECT: text }).accelRedirect
  const faultsWith = (env: Env): readonly string[] => {
    try {
      readConfig({ ...proxies, ASSETD_ACCEL_REDIRECT: '/assetd-blobs/', ...env })
    } catch (error) {
      return (error as ConfigError).lines
    }
    return []
  }
  assert.equal(readConfig({}).accelRedirect, null)
  assert.equal(readWith(''), null)
  assert.equal(readWith('/assetd-blobs/'), '/assetd-blobs/')
  assert.equal(
    readWith('/assetd-blobs'),
    '/assetd-blobs/',
    'as with other paths, one slash or none is the same',
  )
  assert.equal(readWith('/in/a_b.c-d//'), '/in/a_b.c-d/')
  for (const text of [
    'assetd-blobs/',
    '/',
    '//',
    '@named',
    '/a?b/',
    '/a#b/',
    '/a b/',
    '/a%2f/',
    '/a\r\nSet-Cookie: b/',
    '/a\nb/',
    '/../a/',
    '/a/./b/',
    '/a//b/',
    '//a/',
    'https://a.example/b/',
    '/é/',
    '/a;b/',
    '/$uri/',
    `/${'a'.repeat(600)}/`,
  ]) {
    const [line = '', ...more] = faultsWith({ ASSETD_ACCEL_REDIRECT: text })
    assert.match(
      line,
      /^ASSETD_ACCEL_REDIRECT is "[^\n]*": give the path of an internal location[^\n]*$/,
      text,
    )
    assert.deepEqual(more, [], text)
  }
  for (const [env, words] of [
    [{ ASSETD_S3_BUCKET: 'b1s' }, /^ASSETD_ACCEL_REDIRECT .*ASSETD_S3_BUCKET.*keep one of the two$/],
    [
      { ASSETD_S3_BUCKET: 'b1s', ASSETD_FILES_MODE: 'redirect' },
      /^ASSETD_ACCEL_REDIRECT .*ASSETD_FILES_MODE is redirect.*keep one of the two$/,
    ],
    [
      { ASSETD_TRUSTED_PROXIES: '' },
      /^ASSETD_TRUSTED_PROXIES is required where ASSETD_ACCEL_REDIRECT is set: /,
    ],
    [{ ASSETD_TRUSTED_PROXIES: 'nginx' }, /^ASSETD_TRUSTED_PROXIES has "nginx"/],
  ] satisfies readonly (readonly [Env, RegExp])[]) {
    const [line = '', ...more] = faultsWith(env)
    assert.match(line, words)
    assert.deepEqual(more, [])
  }
  for (const env of [
    { ASSETD_DATABASE_URL: 'postgres://h/d' },
    { ASSETD_FILES_BASE_URL: 'https://cdn.example' },
  ])
    assert.deepEqual(faultsWith(env), [])
})
