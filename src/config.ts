/**
 * The environment, read once into one frozen object. The only reader of `ASSETD_*`: everything else is handed
 * its settings. `docs/configuration.md` describes each name, and a test holds the two together.
 */
import { readFileSync } from 'node:fs'
import { isIP } from 'node:net'
import { resolve } from 'node:path'
import { type MediaType, mediaTypeNames } from './asset.ts'
import { isKubernetesName, kubernetesFaults, unknownNames } from './config-names.ts'

export type RateLimit = { limit: number; windowSeconds: number }

export type OAuth = { issuer: string; audience: string; workspaceClaim: string | null }

export type Config = {
  host: string
  port: number
  /** Without a trailing slash; null: `http://host:port` of the socket we listen on. */
  publicUrl: string | null
  dataDir: string
  apiKey: string | null
  rateLimit: RateLimit | null
  maxFileBytes: number
  allowedTypes: ReadonlySet<MediaType>
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

/** A value was given but cannot be used; the message goes on after the variable's name. */
class Unusable extends Error {}

const loopbackHosts = new Set(['127.0.0.1', '::1', '[::1]', 'localhost'])
const everyAddress = new Set(['0.0.0.0', '::'])

const settings = {
  ASSETD_HOST: (text: string) => text,
  ASSETD_PORT: (text: string) => wholeNumber(text, 0, 65_535),
  ASSETD_PUBLIC_URL: publicUrl,
  ASSETD_DATA_DIR: (text: string) => resolve(text),
  ASSETD_API_KEY: secret,
  ASSETD_RATE_LIMIT: rateLimit,
  ASSETD_MAX_FILE_BYTES: (text: string) => wholeNumber(text, 1, 5 * 1024 ** 3),
  ASSETD_ALLOWED_TYPES: allowedTypes,
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
const secrets: readonly Name[] = ['ASSETD_API_KEY']

/** Every name that we know, for the documentation's test. */
export const settingNames: readonly string[] = [
  ...Object.keys(settings),
  ...secrets.map((name) => `${name}_FILE`),
]

/**
 * Reads the settings of `serve`.
 * @param env usually `process.env`; a name set to nothing counts as not set, but for secrets
 * @throws {ConfigError} with one line for each name that is unknown or has a value we cannot use
 */
export function readConfig(env: Record<string, string | undefined>): Config {
  const faults = [...kubernetesFaults(env), ...unknownNames(env, settingNames)]
  const read = <N extends Name>(name: N): ReturnType<(typeof settings)[N]> | undefined => {
    try {
      const text = rawValue(env, name)
      return text === undefined ? undefined : (settings[name](text) as ReturnType<(typeof settings)[N]>)
    } catch (error) {
      if (!(error instanceof Unusable)) throw error
      if (!isKubernetesName(name, env[name])) faults.push(`${name} ${error.message}`)
      return undefined
    }
  }
  const config: Config = {
    host: read('ASSETD_HOST') ?? '127.0.0.1',
    port: read('ASSETD_PORT') ?? 8080,
    publicUrl: read('ASSETD_PUBLIC_URL') ?? null,
    dataDir: read('ASSETD_DATA_DIR') ?? resolve('data'),
    apiKey: read('ASSETD_API_KEY') ?? null,
    rateLimit: read('ASSETD_RATE_LIMIT') ?? { limit: 300, windowSeconds: 60 },
    maxFileBytes: read('ASSETD_MAX_FILE_BYTES') ?? 32 * 1024 * 1024,
    allowedTypes: read('ASSETD_ALLOWED_TYPES') ?? new Set(mediaTypeNames),
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
  if (faults.length > 0) throw new ConfigError(faults)
  return Object.freeze(config)
}

/**
 * Reads just the data folder, for commands that work on it beside a running service.
 * @returns an absolute path
 */
export function readDataDir(env: Record<string, string | undefined>): string {
  return resolve(env.ASSETD_DATA_DIR?.trim() || 'data')
}

/** True for an address that only this machine can reach. */
export function isLoopback(host: string): boolean {
  return loopbackHosts.has(host) || (isIP(host) === 4 && host.startsWith('127.'))
}

type Read = <N extends Name>(name: N) => ReturnType<(typeof settings)[N]> | undefined

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

function wholeNumber(text: string, least: number, most: number): number {
  const value = Number(text)
  if (!/^\d+$/.test(text) || value < least || value > most) {
    throw new Unusable(`is ${shown(text)}: give a whole number from ${least} to ${most}`)
  }
  return value
}

function publicUrl(text: string): string {
  const url = absoluteUrl(text)
  if (url.search || url.hash || url.username || url.password) {
    throw new Unusable(`is ${shown(text)}: it may have a path, but no user, query or fragment`)
  }
  return (url.origin + url.pathname).replace(/\/+$/, '')
}

function absoluteUrl(text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : null
  if (url === null || !['http:', 'https:'].includes(url.protocol)) {
    throw new Unusable(
      `is ${shown(text)}: give a whole URL with its scheme, such as https://media.example.com`,
    )
  }
  return url
}

function issuer(text: string): string {
  const url = absoluteUrl(text)
  if (url.protocol === 'http:' && !isLoopback(url.hostname)) {
    throw new Unusable(`is ${shown(text)}: an issuer must be https (http is taken from loopback alone)`)
  }
  return text
}

function secret(text: string): string {
  if (text.length < 32) {
    throw new Unusable(
      `has ${text.length} characters: a key needs at least 32; one can be made with: openssl rand -hex 32`,
    )
  }
  if (!/^[\x21-\x7e]+$/.test(text)) {
    throw new Unusable('has characters that a header cannot carry: use visible ASCII without spaces')
  }
  return text
}

function rateLimit(text: string): RateLimit | undefined {
  if (text === 'off') return undefined
  const match = /^([1-9]\d{0,8})\/(sec|min|hour)$/.exec(text)
  if (!match) throw new Unusable(`is ${shown(text)}: give N/sec, N/min, N/hour or off, such as 300/min`)
  const windowSeconds = { sec: 1, min: 60, hour: 3600 }[match[2] as 'sec' | 'min' | 'hour']
  return { limit: Number(match[1]), windowSeconds }
}

function allowedTypes(text: string): ReadonlySet<MediaType> {
  const names = list(text)
  const unknown = names.filter((name) => !(mediaTypeNames as string[]).includes(name))
  if (unknown.length > 0 || names.length === 0) {
    throw new Unusable(
      `has ${shown(unknown.join(','))}: give some of ${mediaTypeNames.join(',')}, with commas between`,
    )
  }
  return new Set(names as MediaType[])
}

function network(text: string): string {
  const [address = '', prefix, ...more] = text.split('/')
  const bits = { 0: -1, 4: 32, 6: 128 }[isIP(address)] ?? -1
  if (
    bits < 0 ||
    more.length > 0 ||
    (prefix !== undefined && !(/^\d+$/.test(prefix) && Number(prefix) <= bits))
  ) {
    throw new Unusable(
      `has ${shown(text)}: give addresses or networks such as 10.0.0.0/8, with commas between`,
    )
  }
  return text
}

function origin(text: string): string {
  if (text === '*') return text
  if (!URL.canParse(text) || new URL(text).origin !== text) {
    throw new Unusable(`has ${shown(text)}: give origins such as https://app.example.com, or *`)
  }
  return text
}

function oneOf<T extends string>(text: string, values: readonly T[]): T {
  if (!(values as readonly string[]).includes(text)) {
    throw new Unusable(`is ${shown(text)}: give one of ${values.join(', ')}`)
  }
  return text as T
}

function list(text: string): string[] {
  return text
    .split(',')
    .map((item) => item.trim())
    .filter((item) => item !== '')
}

function shown(text: string): string {
  const bare = text.replace(/\/\/[^/?#]*@/, '//…@') // a URL may have a password in it
  return JSON.stringify(bare.length > 80 ? `${bare.slice(0, 80)}…` : bare)
}
