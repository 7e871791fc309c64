import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { after, test } from 'node:test'
import { mediaTypeNames } from './asset.ts'
import { ConfigError, logLevels, readConfig, readStoreConfig, settingNames } from './config.ts'
import { isLoopback } from './config-values.ts'

type Env = Record<string, string | undefined>

const folder = mkdtempSync(join(tmpdir(), 'assetd-config-'))
after(() => rmSync(folder, { recursive: true }))

function faultsOf(env: Env): readonly string[] {
  try {
    readConfig(env)
    return []
  } catch (error) {
    assert.ok(error instanceof ConfigError, `not a ConfigError: ${error}`)
    assert.equal(error.message, error.lines.join('\n'))
    return error.lines
  }
}

/** The one line that this environment is refused with. */
function faultOf(env: Env): string {
  const faults = faultsOf(env)
  assert.equal(faults.length, 1, `not one line: ${faults.join('\n')}`)
  const [line = ''] = faults
  assert.ok(!line.includes('\n'))
  return line
}

test('nothing set: the defaults of the contract', () => {
  assert.deepEqual(readConfig({}), {
    host: '127.0.0.1',
    port: 8080,
    publicUrl: null,
    dataDir: resolve('data'),
    stores: { database: null, s3: null, redisUrl: null },
    filesMode: 'service',
    filesBaseUrl: null,
    accelRedirect: null,
    apiKey: null,
    rateLimit: { limit: 300, windowSeconds: 60 },
    maxFileBytes: 33_554_432,
    allowedTypes: new Set(['png', 'jpeg', 'mp4', 'webm', 'mp3', 'wav', 'pdf']),
    directMaxBytes: 2 * 1024 ** 3,
    directExpirySeconds: 3_600,
    urlImport: false,
    maxUploads: 256,
    maxUploadBytes: 4_294_967_296,
    minFreeBytes: 268_435_456,
    bodyIdleSeconds: 30,
    minBytesPerSecond: 4_096,
    idempotencyLeaseSeconds: 30,
    shutdownGraceSeconds: 25,
    oauth: null,
    trustedProxies: [],
    logLevel: 'info',
    corsOrigins: [],
  })
})

test('the object is frozen, and the environment is not touched', () => {
  const env = Object.freeze({ ASSETD_PORT: '80', PATH: '/bin', assetd_port: 'x' })
  assert.ok(Object.isFrozen(readConfig(env)))
})

const key = 'k'.repeat(32)

test('everything set', () => {
  assert.deepEqual(
    readConfig({
      ASSETD_HOST: '0.0.0.0',
      ASSETD_PORT: '0',
      ASSETD_PUBLIC_URL: 'https://Media.Example.com/assets/',
      ASSETD_DATA_DIR: 'some/where',
      ASSETD_DATABASE_URL: 'postgres://h/d',
      ASSETD_DATABASE_POOL_SIZE: '3',
      ASSETD_S3_BUCKET: 'b1s',
      ASSETD_S3_ENDPOINT: 'https://s3.example',
      ASSETD_S3_REGION: 'r',
      ASSETD_S3_FORCE_PATH_STYLE: 'on',
      ASSETD_S3_PREFIX: 'p',
      ASSETD_REDIS_URL: 'redis://h',
      ASSETD_FILES_MODE: 'service',
      ASSETD_FILES_BASE_URL: 'https://cdn.example/',
      ASSETD_API_KEY: key,
      ASSETD_RATE_LIMIT: '5/sec',
      ASSETD_MAX_FILE_BYTES: '5368709120',
      ASSETD_ALLOWED_TYPES: 'pdf, png',
      ASSETD_DIRECT_MAX_BYTES: '3000',
      ASSETD_DIRECT_EXPIRY_SECONDS: '60',
      ASSETD_URL_IMPORT: 'on',
      ASSETD_MAX_UPLOADS: '7',
      ASSETD_MAX_UPLOAD_BYTES: '6000000000',
      ASSETD_MIN_FREE_BYTES: '0',
      ASSETD_BODY_IDLE_SECONDS: '1',
      ASSETD_MIN_BYTES_PER_SECOND: '0',
      ASSETD_IDEMPOTENCY_LEASE_SECONDS: '3600',
      ASSETD_SHUTDOWN_GRACE_SECONDS: '0',
      ASSETD_OAUTH_ISSUER: 'https://id.example.com/realms/a',
      ASSETD_OAUTH_AUDIENCE: 'assetd',
      ASSETD_OAUTH_WORKSPACE_CLAIM: 'org',
      ASSETD_TRUSTED_PROXIES: '10.0.0.0/8, 192.0.2.1 ,::1/128',
      ASSETD_LOG_LEVEL: 'debug',
      ASSETD_CORS_ORIGINS: 'https://app.example.com,http://localhost:3000,*',
    }),
    {
      host: '0.0.0.0',
      port: 0,
      publicUrl: 'https://media.example.com/assets',
      dataDir: resolve('some/where'),
      stores: {
        database: { url: 'postgres://h/d', poolSize: 3 },
        s3: {
          bucket: 'b1s',
          endpoint: 'https://s3.example',
          region: 'r',
          forcePathStyle: true,
          prefix: 'p/',
        },
        redisUrl: 'redis://h',
      },
      filesMode: 'service',
      filesBaseUrl: 'https://cdn.example',
      accelRedirect: null,
      apiKey: key,
      rateLimit: { limit: 5, windowSeconds: 1 },
      maxFileBytes: 5_368_709_120,
      allowedTypes: new Set(['pdf', 'png']),
      directMaxBytes: 3_000,
      directExpirySeconds: 60,
      urlImport: true,
      maxUploads: 7,
      maxUploadBytes: 6_000_000_000,
      minFreeBytes: 0,
      bodyIdleSeconds: 1,
      minBytesPerSecond: 0,
      idempotencyLeaseSeconds: 3600,
      shutdownGraceSeconds: 0,
      oauth: { issuer: 'https://id.example.com/realms/a', audience: 'assetd', workspaceClaim: 'org' },
      trustedProxies: ['10.0.0.0/8', '192.0.2.1', '::1/128'],
      logLevel: 'debug',
      corsOrigins: ['https://app.example.com', 'http://localhost:3000', '*'],
    },
  )
})

test('a largest file above what may be under way by default raises that too', () => {
  assert.equal(readConfig({ ASSETD_MAX_FILE_BYTES: '5368709120' }).maxUploadBytes, 5_369_757_696)
})

test('a name set to nothing counts as not set', () => {
  for (const nothing of ['', ' ', '\t']) {
    const env = Object.fromEntries(
      settingNames
        .filter((name) => !/^ASSETD_(API_KEY|DATABASE_URL|REDIS_URL)/.test(name)) // secrets, which are taken as they are
        .map((name) => [name, nothing]),
    )
    assert.deepEqual(readConfig(env), readConfig({}))
  }
})

test('blanks around a value do not count', () => {
  assert.equal(readConfig({ ASSETD_PORT: ' 81\n' }).port, 81)
  assert.equal(readConfig({ ASSETD_RATE_LIMIT: ' off ' }).rateLimit, null)
})

const wrong: [name: string, value: string, says: RegExp][] = [
  ...[
    ['ASSETD_PORT', '65536', 'from 0 to 65535'],
    ['ASSETD_MAX_FILE_BYTES', '0', 'from 1 to 5368709120'],
    ['ASSETD_MAX_FILE_BYTES', '5368709121', 'from 1 to 5368709120'],
    ['ASSETD_MAX_UPLOADS', '0', 'from 1 to 100000'],
    ['ASSETD_DIRECT_MAX_BYTES', '5368709121', 'from 1 to 5368709120'],
    ['ASSETD_DIRECT_EXPIRY_SECONDS', '0', 'from 1 to 604800'],
    ['ASSETD_MIN_FREE_BYTES', '256M', 'from 0 to 1125899906842624'],
    ['ASSETD_BODY_IDLE_SECONDS', '0', 'from 1 to 3600'],
    ['ASSETD_BODY_IDLE_SECONDS', '3601', 'from 1 to 3600'],
    ['ASSETD_MIN_BYTES_PER_SECOND', '1000000001', 'from 0 to 1000000000'],
    ['ASSETD_IDEMPOTENCY_LEASE_SECONDS', '0', 'from 1 to 3600'],
    ['ASSETD_SHUTDOWN_GRACE_SECONDS', '3601', 'from 0 to 3600'],
  ].map(([name, value, range]): [string, string, RegExp] => [
    name ?? '',
    value ?? '',
    new RegExp(`is "${value}": give a whole number ${range}$`),
  ]),
  ...['-1', '+1', '1.5', '1e3', '0x50', '8080a', '１', 'NaN', 'eighty', '99999999999999999999'].map(
    (value): [string, string, RegExp] => ['ASSETD_PORT', value, /: give a whole number from 0 to 65535$/],
  ),
  [
    'ASSETD_MAX_UPLOAD_BYTES',
    '34603007',
    /is "34603007": give at least 34603008, which is ASSETD_MAX_FILE_BYTES/,
  ],
  ['ASSETD_PUBLIC_URL', 'media.example.com', /give a whole URL with its scheme, such as https:/],
  ['ASSETD_PUBLIC_URL', '//media.example.com', /give a whole URL with its scheme/],
  ['ASSETD_PUBLIC_URL', 'localhost:8080', /give a whole URL with its scheme/],
  ['ASSETD_PUBLIC_URL', 'ftp://media.example.com', /give a whole URL with its scheme/],
  ['ASSETD_PUBLIC_URL', 'https://', /give a whole URL with its scheme/],
  ['ASSETD_PUBLIC_URL', 'https://a.example/?x=1', /no user, query or fragment/],
  ['ASSETD_PUBLIC_URL', 'https://a.example/#x', /no user, query or fragment/],
  ['ASSETD_PUBLIC_URL', 'https://me@a.example/', /no user, query or fragment/],
  ...[
    '300',
    '300/day',
    '0/min',
    '-1/min',
    '1.5/min',
    '300/ min',
    '/min',
    'OFF',
    'none',
    '1000000000/min',
  ].map((value): [string, string, RegExp] => [
    'ASSETD_RATE_LIMIT',
    value,
    /give N\/sec, N\/min, N\/hour or off, such as 300\/min/,
  ]),
  ['ASSETD_ALLOWED_TYPES', 'png,gif,PDF', /has "gif,PDF": give some of png,jpeg,mp4,webm,mp3,wav,pdf/],
  ['ASSETD_ALLOWED_TYPES', ',', /give some of/],
  ['ASSETD_ALLOWED_TYPES', 'image/png', /give some of/],
  ['ASSETD_ALLOWED_TYPES', '__proto__', /give some of/],
  ['ASSETD_LOG_LEVEL', 'verbose', /is "verbose": give one of fatal, error, warn, info, debug, silent$/],
  ['ASSETD_LOG_LEVEL', 'INFO', /give one of/],
  ...[
    '10.0.0.0/33',
    '0.0.0.0/0',
    '::/0',
    '::1/129',
    '10.0.0.0/',
    '10.0.0.0/8/8',
    '10.0.0/8',
    '10.0.0.0/-1',
    'proxy',
    '10.0.0.1,x',
    '1.2.3.256',
  ].map((value): [string, string, RegExp] => [
    'ASSETD_TRUSTED_PROXIES',
    value,
    /give addresses or networks such as 10.0.0.0\/8/,
  ]),
  ...[
    'app.example.com',
    'https://app.example.com/',
    'https://app.example.com/x',
    'https://APP.example.com',
    'null',
    'https://app.example.com:443',
    'https://*.example.com/',
  ].map((value): [string, string, RegExp] => [
    'ASSETD_CORS_ORIGINS',
    value,
    /give origins such as https:\/\/app.example.com, or \*/,
  ]),
]

for (const [name, value, says] of wrong) {
  test(`case 98: ${name}=${value} is refused in one line that names it`, () => {
    const line = faultOf({ [name]: value })
    assert.ok(line.startsWith(`${name} `), line)
    assert.match(line, says)
  })
}

test('case 98: one line for each fault, all of them at once', () => {
  const lines = faultsOf({
    ASSETD_PORT: 'x',
    ASSETD_RATE_LIMIT: 'x',
    ASSETD_LOG_LEVEL: 'x',
    ASSETD_API_KEY: 'x',
    ASSETD_HOSTT: 'x',
    ASSETD_PUBLIC_URL: 'x',
    ASSETD_TRUSTED_PROXIES: 'x',
  })
  const names = lines.map((line) => line.split(' ')[0])
  assert.deepEqual(names.toSorted(), [
    'ASSETD_API_KEY',
    'ASSETD_HOSTT',
    'ASSETD_LOG_LEVEL',
    'ASSETD_PORT',
    'ASSETD_PUBLIC_URL',
    'ASSETD_RATE_LIMIT',
    'ASSETD_TRUSTED_PROXIES',
  ])
})

test('every log level and type can be set', () => {
  for (const level of logLevels) assert.equal(readConfig({ ASSETD_LOG_LEVEL: level }).logLevel, level)
  for (const type of mediaTypeNames)
    assert.deepEqual([...readConfig({ ASSETD_ALLOWED_TYPES: type }).allowedTypes], [type])
})

test('ASSETD_RATE_LIMIT: every unit, and off', () => {
  assert.deepEqual(readConfig({ ASSETD_RATE_LIMIT: '7/sec' }).rateLimit, { limit: 7, windowSeconds: 1 })
  assert.deepEqual(readConfig({ ASSETD_RATE_LIMIT: '7/min' }).rateLimit, { limit: 7, windowSeconds: 60 })
  assert.deepEqual(readConfig({ ASSETD_RATE_LIMIT: '7/hour' }).rateLimit, { limit: 7, windowSeconds: 3600 })
  assert.equal(readConfig({ ASSETD_RATE_LIMIT: 'off' }).rateLimit, null)
})

test('ASSETD_PUBLIC_URL is kept without a slash at its end', () => {
  const urls = {
    'https://a.example': 'https://a.example',
    'https://a.example/': 'https://a.example',
    'http://a.example:8080/media//': 'http://a.example:8080/media',
    'https://a.example:443/x': 'https://a.example/x',
  }
  for (const [given, kept] of Object.entries(urls))
    assert.equal(readConfig({ ASSETD_PUBLIC_URL: given }).publicUrl, kept)
})

test('every address: a public URL is required, and one that is wrong gets one line alone', () => {
  for (const host of ['0.0.0.0', '::']) {
    assert.match(faultOf({ ASSETD_HOST: host }), /^ASSETD_PUBLIC_URL is required where ASSETD_HOST is /)
    assert.match(faultOf({ ASSETD_HOST: host, ASSETD_PUBLIC_URL: '' }), /^ASSETD_PUBLIC_URL is required/)
    assert.match(faultOf({ ASSETD_HOST: host, ASSETD_PUBLIC_URL: 'x' }), /^ASSETD_PUBLIC_URL is "x"/)
    assert.equal(readConfig({ ASSETD_HOST: host, ASSETD_PUBLIC_URL: 'http://a.example' }).host, host)
  }
  for (const host of ['127.0.0.1', '::1', '192.0.2.1', 'assetd.internal']) readConfig({ ASSETD_HOST: host })
})

test('every address: a public URL of blanks is none', () => {
  assert.match(
    faultOf({ ASSETD_HOST: '0.0.0.0', ASSETD_PUBLIC_URL: ' ' }),
    /^ASSETD_PUBLIC_URL is required where ASSETD_HOST is /,
  )
})

// Unknown names

const misspelt = {
  ASSETD_PROT: 'ASSETD_PORT',
  ASSETD_API_KEYS: 'ASSETD_API_KEY',
  ASSETD_APIKEY: 'ASSETD_API_KEY',
  ASSETD_MAX_FILE_SIZE: 'ASSETD_MAX_FILE_BYTES',
  ASSETD_PUBLIC_URI: 'ASSETD_PUBLIC_URL',
  ASSETD_DATADIR: 'ASSETD_DATA_DIR',
  ASSETD_LOGLEVEL: 'ASSETD_LOG_LEVEL',
}

for (const [name, meant] of Object.entries(misspelt)) {
  test(`case 98: ${name} is refused, and ${meant} named`, () => {
    const line = faultOf({ [name]: 'a value that is not shown' })
    assert.ok(line.startsWith(`${name} is not a setting of assetd`), line)
    assert.match(line, new RegExp(`\\b${meant}\\b`))
    assert.ok(!line.includes('a value that'), line)
  })
}

test('case 98: a name like none of ours is refused too, and says what to do', () => {
  const line = faultOf({ ASSETD_SOMETHING_QUITE_DIFFERENT_INDEED: '' })
  assert.match(line, /^ASSETD_SOMETHING_QUITE_DIFFERENT_INDEED is not a setting of assetd.*[Rr]emove it/)
})

test('names of others are not ours to judge', () => {
  assert.deepEqual(faultsOf({ ASSET_PORT: 'x', assetd_port: 'x', MY_ASSETD_PORT: 'x', ASSETD: 'x' }), [])
})

test('the file of a secret is a known name; the file of anything else is none', () => {
  assert.ok(settingNames.includes('ASSETD_API_KEY_FILE'))
  assert.match(faultOf({ ASSETD_PORT_FILE: '/x' }), /^ASSETD_PORT_FILE is not a setting/)
})

// Kubernetes: https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables

test('a Kubernetes Service called assetd: each of its names is told for what it is, once', () => {
  const env = {
    ASSETD_SERVICE_HOST: '10.0.0.11',
    ASSETD_SERVICE_PORT: '80',
    ASSETD_SERVICE_PORT_HTTP: '80',
    ASSETD_PORT: 'tcp://10.0.0.11:80',
    ASSETD_PORT_80_TCP: 'tcp://10.0.0.11:80',
    ASSETD_PORT_80_TCP_PROTO: 'tcp',
    ASSETD_PORT_80_TCP_PORT: '80',
    ASSETD_PORT_80_TCP_ADDR: '10.0.0.11',
  }
  const lines = faultsOf(env)
  assert.deepEqual(
    lines.map((line) => line.split(' ')[0]),
    Object.keys(env).toSorted(),
  )
  for (const line of lines) assert.match(line, /comes from Kubernetes.*enableServiceLinks: false/)
})

test('a Kubernetes Service called assetd-web: likewise', () => {
  const env = {
    ASSETD_WEB_SERVICE_HOST: '10.0.0.11',
    ASSETD_WEB_SERVICE_PORT: '80',
    ASSETD_WEB_PORT: 'tcp://10.0.0.11:80',
    ASSETD_WEB_PORT_80_TCP: 'tcp://10.0.0.11:80',
    ASSETD_WEB_PORT_80_TCP_ADDR: '10.0.0.11',
  }
  for (const line of faultsOf(env)) assert.match(line, /comes from Kubernetes/)
})

test('a port that is no address of Kubernetes is just a wrong port', () => {
  assert.match(faultOf({ ASSETD_PORT: 'http://10.0.0.11:80' }), /^ASSETD_PORT is "http:/)
})

// Secrets

const secretFile = (content: string): string => {
  const path = join(folder, `secret-${content.length}`)
  writeFileSync(path, content)
  return path
}

test('the key may come from a file, with the line break that editors end it with', () => {
  assert.equal(readConfig({ ASSETD_API_KEY: key }).apiKey, key)
  for (const end of ['', '\n', '\r\n'])
    assert.equal(readConfig({ ASSETD_API_KEY_FILE: secretFile(key + end) }).apiKey, key)
})

const secretMarks = ['hunter2', 'HUNTER2']
const showsNoSecret = (line: string): void => {
  for (const mark of secretMarks) assert.ok(!line.includes(mark), `shows the secret: ${line}`)
}

const badKeys: [name: string, env: Env, says: RegExp][] = [
  [
    'empty',
    { ASSETD_API_KEY: '' },
    /^ASSETD_API_KEY has 0 characters: a key needs at least 32; .*openssl rand -hex 32/,
  ],
  ['short', { ASSETD_API_KEY: 'hunter2' }, /^ASSETD_API_KEY has 7 characters/],
  ['31 characters', { ASSETD_API_KEY: 'hunter2'.padEnd(31, 'x') }, /^ASSETD_API_KEY has 31 characters/],
  [
    'a space',
    { ASSETD_API_KEY: `${'hunter2'.padEnd(40, 'x')} ` },
    /^ASSETD_API_KEY has characters that a header cannot carry/,
  ],
  ['a letter beyond ASCII', { ASSETD_API_KEY: 'hunter2é'.padEnd(40, 'x') }, /^ASSETD_API_KEY has characters/],
  [
    'two lines',
    { ASSETD_API_KEY_FILE: secretFile(`${'hunter2'.padEnd(40, 'x')}\n\n`) },
    /^ASSETD_API_KEY has characters/,
  ],
  ['an empty file', { ASSETD_API_KEY_FILE: secretFile('') }, /^ASSETD_API_KEY has 0 characters/],
  [
    'a file that is not there',
    { ASSETD_API_KEY_FILE: join(folder, 'none') },
    /^ASSETD_API_KEY cannot be read: ASSETD_API_KEY_FILE names .*none \(ENOENT\)$/,
  ],
  ['a folder as file', { ASSETD_API_KEY_FILE: folder }, /^ASSETD_API_KEY cannot be read: .*\(EISDIR\)$/],
  ['no file', { ASSETD_API_KEY_FILE: '' }, /^ASSETD_API_KEY cannot be read: .*\(ENOENT\)$/],
  [
    'both',
    { ASSETD_API_KEY: 'hunter2'.padEnd(40, 'x'), ASSETD_API_KEY_FILE: secretFile(key) },
    /^ASSETD_API_KEY and ASSETD_API_KEY_FILE are both set: keep one of them$/,
  ],
]

for (const [name, env, says] of badKeys) {
  test(`case 98: a key that cannot be used (${name}) is not shown`, () => {
    const line = faultOf(env)
    assert.match(line, says)
    showsNoSecret(line)
  })
}

test('case 98: a password in a URL is not shown', () => {
  for (const env of [
    { ASSETD_PUBLIC_URL: 'https://me:hunter2@a.example/' },
    { ASSETD_PUBLIC_URL: 'ftp://me:hunter2@a.example/' },
    { ASSETD_OAUTH_ISSUER: 'http://me:hunter2@a.example/', ASSETD_OAUTH_AUDIENCE: 'a' },
  ]) {
    showsNoSecret(faultOf(env))
  }
})

test('a value that is very long is cut in the message', () => {
  assert.ok(faultOf({ ASSETD_PORT: 'x'.repeat(10_000) }).length < 250)
})

// OAuth

test('an issuer needs an audience', () => {
  assert.match(
    faultOf({ ASSETD_OAUTH_ISSUER: 'https://id.example.com' }),
    /^ASSETD_OAUTH_AUDIENCE is required where ASSETD_OAUTH_ISSUER is set/,
  )
  assert.match(
    faultOf({ ASSETD_OAUTH_AUDIENCE: 'a' }),
    /^ASSETD_OAUTH_AUDIENCE is set but ASSETD_OAUTH_ISSUER is not/,
  )
  assert.match(faultOf({ ASSETD_OAUTH_WORKSPACE_CLAIM: 'a' }), /^ASSETD_OAUTH_WORKSPACE_CLAIM is set but/)
})

test('a wrong issuer is one line alone', () => {
  const more = { ASSETD_OAUTH_AUDIENCE: 'a', ASSETD_OAUTH_WORKSPACE_CLAIM: 'b' }
  assert.match(
    faultOf({ ASSETD_OAUTH_ISSUER: 'id.example.com', ...more }),
    /^ASSETD_OAUTH_ISSUER is "id.example.com"/,
  )
})

test('an issuer is https, and http on loopback alone', () => {
  const audience = { ASSETD_OAUTH_AUDIENCE: 'a' }
  for (const issuer of [
    'https://id.example.com',
    'http://127.0.0.1:9000/x',
    'http://localhost:9000',
    'http://[::1]:9000/',
  ]) {
    assert.equal(readConfig({ ASSETD_OAUTH_ISSUER: issuer, ...audience }).oauth?.issuer, issuer)
  }
  for (const issuer of ['http://id.example.com', 'http://localhost.example.com', 'http://10.0.0.1'])
    assert.match(faultOf({ ASSETD_OAUTH_ISSUER: issuer, ...audience }), /an issuer must be https/)
})

test('an issuer whose name only begins like a loopback address is not on loopback', () => {
  assert.match(
    faultOf({ ASSETD_OAUTH_ISSUER: 'http://127.0.0.1.example.com', ASSETD_OAUTH_AUDIENCE: 'a' }),
    /an issuer must be https/,
  )
})

test('loopback: the addresses that only this machine can reach', () => {
  for (const host of ['127.0.0.1', '127.1.2.3', '::1', '[::1]', 'localhost'])
    assert.ok(isLoopback(host), host)
  for (const host of ['0.0.0.0', '::', '10.0.0.1', 'example.com', '127.example.com', '128.0.0.1'])
    assert.ok(!isLoopback(host), host)
})

// The data folder alone

test('the data folder is the same for serve and for the other commands', () => {
  for (const value of [undefined, '', 'data', './a/../b', '/tmp/x', ' ', ' padded '])
    assert.equal(
      readStoreConfig({ ASSETD_DATA_DIR: value }).dataDir,
      readConfig({ ASSETD_DATA_DIR: value }).dataDir,
      `${value}`,
    )
})

test('the data folder is read without judging the rest', () => {
  const { dataDir } = readStoreConfig({ ASSETD_DATA_DIR: '/x', ASSETD_PORT: 'nonsense', ASSETD_WRONG: '' })
  assert.equal(dataDir, '/x')
})
