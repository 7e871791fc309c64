/**
 * The environment, read once into one frozen object. The only reader of `ASSETD_*`: everything else is handed
 * its settings. `docs/configuration.md` describes each name, and a test holds the two together.
 */
import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { type MediaType, mediaTypeNames } from './asset.ts'
import { isKubernetesName, kubernetesFaults, unknownNames } from './config-names.ts'
import {
  type FilesSettings,
  readFilesMode,
  readStores,
  type Stores,
  storeSecrets,
  storeSettings,
} from './config-stores.ts'
import {
  allowedTypes,
  issuer,
  list,
  network,
  oneOf,
  origin,
  publicUrl,
  type RateLimit,
  rateLimit,
  secret,
  Unusable,
  wholeNumber,
} from './config-values.ts'

export type OAuth = { issuer: string; audience: string; workspaceClaim: string | null }

export type Config = FilesSettings & {
  host: string
  port: number
  /** Without a trailing slash; null: `http://host:port` of the socket we listen on. */
  publicUrl: string | null
  dataDir: string
  stores: Stores
  apiKey: string | null
  rateLimit: RateLimit | null
  maxFileBytes: number
  allowedTypes: ReadonlySet<MediaType>
  directMaxBytes: number
  directExpirySeconds: number
  urlImport: boolean
  maxUploads: number
  maxUploadBytes: number
  minFreeBytes: number
  bodyIdleSeconds: number
  minBytesPerSecond: number
  idempotencyLeaseSeconds: number
  shutdownGraceSeconds: number
  oauth: OAuth | null
  trustedProxies: readonly string[]
  logLevel: LogLevel
  corsOrigins: readonly string[]
}

export const logLevels = ['fatal', 'error', 'warn', 'info', 'debug', 'silent'] as const
export type LogLevel = (typeof logLevels)[number]

/** The environment is not one that we can run with; each line names one variable and says what to do. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError'
  readonly lines: readonly string[]
  constructor(lines: readonly string[]) {
    super(lines.join('\n'))
    this.lines = lines
  }
}

const everyAddress = new Set(['0.0.0.0', '::'])

const settings = {
  ASSETD_HOST: (text: string) => text,
  ASSETD_PORT: (text: string) => wholeNumber(text, 0, 65_535),
  ASSETD_PUBLIC_URL: publicUrl,
  ASSETD_DATA_DIR: (text: string) => resolve(text),
  ...storeSettings,
  ASSETD_API_KEY: secret,
  ASSETD_RATE_LIMIT: rateLimit,
  ASSETD_MAX_FILE_BYTES: (text: string) => wholeNumber(text, 1, 5 * 1024 ** 3),
  ASSETD_ALLOWED_TYPES: allowedTypes,
  ASSETD_DIRECT_MAX_BYTES: (text: string) => wholeNumber(text, 1, 5 * 1024 ** 3),
  ASSETD_DIRECT_EXPIRY_SECONDS: (text: string) => wholeNumber(text, 1, 7 * 24 * 3_600),
  ASSETD_URL_IMPORT: (text: string) => oneOf(text, ['on', 'off']) === 'on',
  ASSETD_MAX_UPLOADS: (text: string) => wholeNumber(text, 1, 100_000),
  ASSETD_MAX_UPLOAD_BYTES: (text: string) => wholeNumber(text, 1, 2 ** 50),
  ASSETD_MIN_FREE_BYTES: (text: string) => wholeNumber(text, 0, 2 ** 50),
  ASSETD_BODY_IDLE_SECONDS: (text: string) => wholeNumber(text, 1, 3_600),
  ASSETD_MIN_BYTES_PER_SECOND: (text: string) => wholeNumber(text, 0, 1_000_000_000),
  ASSETD_IDEMPOTENCY_LEASE_SECONDS: (text: string) => wholeNumber(text, 1, 3_600),
  ASSETD_SHUTDOWN_GRACE_SECONDS: (text: string) => wholeNumber(text, 0, 3_600),
  ASSETD_OAUTH_ISSUER: issuer,
  ASSETD_OAUTH_AUDIENCE: (text: string) => text,
  ASSETD_OAUTH_WORKSPACE_CLAIM: (text: string) => text,
  ASSETD_TRUSTED_PROXIES: (text: string) => list(text).map(network),
  ASSETD_LOG_LEVEL: (text: string) => oneOf(text, logLevels),
  ASSETD_CORS_ORIGINS: (text: string) => list(text).map(origin),
} as const

type Name = keyof typeof settings

/** Settings whose value is a secret: never shown in a message, and also read from the file `<NAME>_FILE`. */
const secrets: readonly Name[] = ['ASSETD_API_KEY', ...storeSecrets]

/** Read by the commands that speak to a service; `serve` knows the name, so that both can share an environment. */
const clientSettings = ['ASSETD_URL'] as const

/** Every name that we know, for the documentation's test. */
export const settingNames: readonly string[] = [
  ...Object.keys(settings),
  ...clientSettings,
  ...secrets.map((name) => `${name}_FILE`),
]

/** How many threads Node.js has for the disk: the launcher's number (bin/launch.mjs), or Node's own. */
export const poolThreads = Number(process.env.UV_THREADPOOL_SIZE) || 4

/**
 * Reads the settings of `serve`.
 * @param env usually `process.env`; a name set to nothing counts as not set, but for secrets
 * @throws {ConfigError} with one line for each name that is unknown or has a value we cannot use
 */
export function readConfig(env: Record<string, string | undefined>): Config {
  const faults = [...kubernetesFaults(env), ...unknownNames(env, settingNames)]
  const read = reader(env, faults)
  const stores = readStores(read, faults)
  const config: Config = {
    host: read('ASSETD_HOST') ?? '127.0.0.1',
    port: read('ASSETD_PORT') ?? 8080,
    publicUrl: read('ASSETD_PUBLIC_URL') ?? null,
    dataDir: read('ASSETD_DATA_DIR') ?? resolve('data'),
    stores,
    ...readFilesMode(read, stores.s3, faults),
    apiKey: read('ASSETD_API_KEY') ?? null,
    rateLimit: read('ASSETD_RATE_LIMIT') ?? { limit: 300, windowSeconds: 60 },
    maxFileBytes: read('ASSETD_MAX_FILE_BYTES') ?? 32 * 1024 * 1024,
    allowedTypes: read('ASSETD_ALLOWED_TYPES') ?? new Set(mediaTypeNames),
    directMaxBytes: read('ASSETD_DIRECT_MAX_BYTES') ?? 2 * 1024 ** 3,
    directExpirySeconds: read('ASSETD_DIRECT_EXPIRY_SECONDS') ?? 3_600,
    urlImport: read('ASSETD_URL_IMPORT') ?? false,
    maxUploads: read('ASSETD_MAX_UPLOADS') ?? 256,
    maxUploadBytes: read('ASSETD_MAX_UPLOAD_BYTES') ?? 0,
    minFreeBytes: read('ASSETD_MIN_FREE_BYTES') ?? 256 * 1024 ** 2,
    bodyIdleSeconds: read('ASSETD_BODY_IDLE_SECONDS') ?? 30,
    minBytesPerSecond: read('ASSETD_MIN_BYTES_PER_SECOND') ?? 4_096,
    idempotencyLeaseSeconds: read('ASSETD_IDEMPOTENCY_LEASE_SECONDS') ?? 30,
    shutdownGraceSeconds: read('ASSETD_SHUTDOWN_GRACE_SECONDS') ?? 25,
    oauth: oauth(read, faults),
    trustedProxies: read('ASSETD_TRUSTED_PROXIES') ?? [],
    logLevel: read('ASSETD_LOG_LEVEL') ?? 'info',
    corsOrigins: read('ASSETD_CORS_ORIGINS') ?? [],
  }
  // `off` is a value of its own: it must not fall back to the default above.
  if (env.ASSETD_RATE_LIMIT?.trim() === 'off') config.rateLimit = null
  if (everyAddress.has(config.host) && config.publicUrl === null && !env.ASSETD_PUBLIC_URL?.trim()) {
    faults.push(
      `ASSETD_PUBLIC_URL is required where ASSETD_HOST is ${config.host}: give the address that clients use, such as https://media.example.com`,
    )
  }
  if (config.accelRedirect !== null && !env.ASSETD_TRUSTED_PROXIES?.trim()) {
    // Whoever is not nginx would take the answer, which has no body, for an empty file.
    faults.push(
      'ASSETD_TRUSTED_PROXIES is required where ASSETD_ACCEL_REDIRECT is set: give the address that nginx reaches the service from, such as 127.0.0.1',
    )
  }
  // One upload of the largest size has to fit, with the 1 MiB that may come beside its file. A direct one counts no more.
  const leastUploadBytes = config.maxFileBytes + 1024 ** 2
  if (config.maxUploadBytes === 0) config.maxUploadBytes = Math.max(4 * 1024 ** 3, leastUploadBytes)
  if (config.maxUploadBytes < leastUploadBytes) {
    faults.push(
      `ASSETD_MAX_UPLOAD_BYTES is "${config.maxUploadBytes}": give at least ${leastUploadBytes}, which is ASSETD_MAX_FILE_BYTES and 1 MiB`,
    )
  }
  if (faults.length > 0) throw new ConfigError(faults)
  return Object.freeze(config)
}

export type StoreConfig = Pick<Config, 'dataDir' | 'stores'>

/**
 * Reads just where everything is kept, for commands that work on it beside a running service.
 * @throws {ConfigError}
 */
export function readStoreConfig(env: Record<string, string | undefined>): StoreConfig {
  const faults: string[] = []
  const read = reader(env, faults)
  const config = {
    dataDir: read('ASSETD_DATA_DIR') ?? resolve('data'),
    stores: readStores(read, faults),
  }
  if (faults.length > 0) throw new ConfigError(faults)
  return config
}

/** Where the commands find the service, and the key that they send. */
export type ClientConfig = { url: string; apiKey: string }

/** @throws {ConfigError} */
export function readClientConfig(env: Record<string, string | undefined>): ClientConfig {
  const faults: string[] = []
  const read = (name: string, value: () => string | undefined): string | undefined => {
    try {
      return value()
    } catch (error) {
      if (!(error instanceof Unusable)) throw error
      faults.push(`${name} ${error.message}`)
      return undefined
    }
  }
  const url = read('ASSETD_URL', () => publicUrl(env.ASSETD_URL?.trim() || 'http://127.0.0.1:8080'))
  const apiKey = read('ASSETD_API_KEY', () => {
    const key = rawValue(env, 'ASSETD_API_KEY')?.trim()
    if (!key)
      throw new Unusable('is not set: give an API key of the service, or its file as ASSETD_API_KEY_FILE')
    if (!/^[\x21-\x7e]+$/.test(key)) throw new Unusable('has characters that a header cannot carry')
    return key
  })
  if (url === undefined || apiKey === undefined) throw new ConfigError(faults)
  return { url, apiKey }
}

type Read = <N extends Name>(name: N) => ReturnType<(typeof settings)[N]> | undefined

/** @param faults takes a line for each value that cannot be used */
function reader(env: Record<string, string | undefined>, faults: string[]): Read {
  return (name) => {
    try {
      const text = rawValue(env, name)
      return text === undefined
        ? undefined
        : (settings[name](text) as ReturnType<(typeof settings)[typeof name]>)
    } catch (error) {
      if (!(error instanceof Unusable)) throw error
      if (!isKubernetesName(name, env[name])) faults.push(`${name} ${error.message}`)
      return undefined
    }
  }
}

function oauth(read: Read, faults: string[]): OAuth | null {
  const issuer = read('ASSETD_OAUTH_ISSUER')
  const audience = read('ASSETD_OAUTH_AUDIENCE')
  const workspaceClaim = read('ASSETD_OAUTH_WORKSPACE_CLAIM') ?? null
  if (issuer === undefined) {
    const orphan = audience !== undefined ? 'ASSETD_OAUTH_AUDIENCE' : 'ASSETD_OAUTH_WORKSPACE_CLAIM'
    if ((audience ?? workspaceClaim) !== null && !faults.some((fault) => fault.startsWith('ASSETD_OAUTH_'))) {
      faults.push(`${orphan} is set but ASSETD_OAUTH_ISSUER is not: set both, or neither`)
    }
    return null
  }
  if (audience === undefined) {
    // RFC 9068 section 4: without an audience, a token made for any other service would open this one.
    faults.push(
      'ASSETD_OAUTH_AUDIENCE is required where ASSETD_OAUTH_ISSUER is set: give the audience (aud) that the issuer puts into tokens for this service',
    )
    return null
  }
  return { issuer, audience, workspaceClaim }
}

function rawValue(env: Record<string, string | undefined>, name: Name): string | undefined {
  const given = env[name]
  if (!secrets.includes(name)) return given === undefined || given.trim() === '' ? undefined : given.trim()
  const file = env[`${name}_FILE`]
  if (given !== undefined && file !== undefined) {
    throw new Unusable(`and ${name}_FILE are both set: keep one of them`)
  }
  if (file === undefined) return given
  try {
    return readFileSync(file, 'utf8').replace(/\r?\n$/, '')
  } catch (error) {
    const reason = (error as NodeJS.ErrnoException).code ?? 'unreadable'
    throw new Unusable(`cannot be read: ${name}_FILE names ${file} (${reason})`)
  }
}
