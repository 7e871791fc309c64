/** Where records, bytes and counters are kept: on this machine, or in PostgreSQL, a bucket and Redis. */
import { oneOf, publicUrl, Unusable, wholeNumber } from './config-values.ts'

export type DatabaseSettings = {
  url: string
  /** Connections for each of two pools, one that reads and one that writes. */
  poolSize: number
}

export type S3Settings = {
  bucket: string
  /** Null: AWS itself. */
  endpoint: string | null
  /** Null: as the AWS SDK finds it. */
  region: string | null
  forcePathStyle: boolean
  /** Before each object's key; empty, or ends with a slash. */
  prefix: string
}

export type Stores = {
  /** Null: SQLite in the data folder. */
  database: DatabaseSettings | null
  /** Null: the data folder. */
  s3: S3Settings | null
  /** Null: counters in memory. */
  redisUrl: string | null
}

export const filesModes = ['service', 'redirect'] as const
export type FilesMode = (typeof filesModes)[number]

export const storeSettings = {
  ASSETD_DATABASE_URL: (text: string) =>
    urlOf(text, ['postgres:', 'postgresql:'], 'postgres://user@host/name'),
  ASSETD_DATABASE_POOL_SIZE: (text: string) => wholeNumber(text, 1, 1_000),
  ASSETD_S3_BUCKET: bucket,
  ASSETD_S3_ENDPOINT: publicUrl,
  ASSETD_S3_REGION: region,
  ASSETD_S3_FORCE_PATH_STYLE: (text: string) => oneOf(text, ['on', 'off']) === 'on',
  ASSETD_S3_PREFIX: prefix,
  ASSETD_REDIS_URL: (text: string) => urlOf(text, ['redis:', 'rediss:'], 'redis://host:6379'),
  ASSETD_FILES_MODE: (text: string) => oneOf(text, filesModes),
  ASSETD_FILES_BASE_URL: publicUrl,
  ASSETD_ACCEL_REDIRECT: internalLocation,
} as const

/** Settings that carry a password: never shown, and also read from the file `<NAME>_FILE`. */
export const storeSecrets = ['ASSETD_DATABASE_URL', 'ASSETD_REDIS_URL'] as const

type Read = <N extends keyof typeof storeSettings>(
  name: N,
) => ReturnType<(typeof storeSettings)[N]> | undefined

/** @param faults takes a line for each setting that says nothing without another one */
export function readStores(read: Read, faults: string[]): Stores {
  const url = read('ASSETD_DATABASE_URL')
  const poolSize = read('ASSETD_DATABASE_POOL_SIZE')
  if (url === undefined && poolSize !== undefined)
    faults.push(alone('ASSETD_DATABASE_POOL_SIZE', 'ASSETD_DATABASE_URL'))
  return {
    database: url === undefined ? null : { url, poolSize: poolSize ?? 10 },
    s3: readS3(read, faults),
    redisUrl: read('ASSETD_REDIS_URL') ?? null,
  }
}

function readS3(read: Read, faults: string[]): S3Settings | null {
  const bucket = read('ASSETD_S3_BUCKET')
  const more = {
    ASSETD_S3_ENDPOINT: read('ASSETD_S3_ENDPOINT'),
    ASSETD_S3_REGION: read('ASSETD_S3_REGION'),
    ASSETD_S3_FORCE_PATH_STYLE: read('ASSETD_S3_FORCE_PATH_STYLE'),
    ASSETD_S3_PREFIX: read('ASSETD_S3_PREFIX'),
  }
  if (bucket === undefined) {
    const orphan = Object.entries(more).find(([, value]) => value !== undefined)?.[0]
    if (orphan !== undefined && !faults.some((fault) => fault.startsWith('ASSETD_S3_')))
      faults.push(alone(orphan, 'ASSETD_S3_BUCKET'))
    return null
  }
  return {
    bucket,
    endpoint: more.ASSETD_S3_ENDPOINT ?? null,
    region: more.ASSETD_S3_REGION ?? null,
    forcePathStyle: more.ASSETD_S3_FORCE_PATH_STYLE ?? false,
    prefix: more.ASSETD_S3_PREFIX ?? '',
  }
}

export type FilesSettings = {
  filesMode: FilesMode
  /** Where answers say that files are, without a trailing slash; null: at the service itself. */
  filesBaseUrl: string | null
  /** The path of the internal location by which nginx sends files from the disk, with a trailing slash; null: we send them. */
  accelRedirect: string | null
}

/** How files reach who reads them. */
export function readFilesMode(read: Read, s3: S3Settings | null, faults: string[]): FilesSettings {
  const filesMode = read('ASSETD_FILES_MODE') ?? 'service'
  const filesBaseUrl = read('ASSETD_FILES_BASE_URL') ?? null
  if (filesMode === 'redirect' && s3 === null)
    faults.push(
      'ASSETD_FILES_MODE is redirect, and files are not in a bucket: set ASSETD_S3_BUCKET, or leave it',
    )
  if (filesMode === 'redirect' && filesBaseUrl !== null)
    faults.push(
      'ASSETD_FILES_MODE is redirect and ASSETD_FILES_BASE_URL is set: a CDN would keep addresses that end within minutes; keep one of the two',
    )
  const accelRedirect = read('ASSETD_ACCEL_REDIRECT') ?? null
  if (accelRedirect !== null && filesMode === 'redirect')
    faults.push(
      'ASSETD_ACCEL_REDIRECT is set and ASSETD_FILES_MODE is redirect: files are sent by nginx or by the bucket; keep one of the two',
    )
  else if (accelRedirect !== null && s3 !== null)
    faults.push(
      'ASSETD_ACCEL_REDIRECT is set and ASSETD_S3_BUCKET is too: nginx sends files from the data folder alone, and there are none; keep one of the two',
    )
  return { filesMode, filesBaseUrl, accelRedirect }
}

function alone(name: string, needed: string): string {
  return `${name} is set but ${needed} is not: set both, or neither`
}

/** @throws {Unusable} which never shows the text: it may have a password in it */
function urlOf(text: string, protocols: readonly string[], example: string): string {
  const url = URL.canParse(text) ? new URL(text) : null
  if (url === null || !protocols.includes(url.protocol))
    throw new Unusable(`is not a URL of the form ${example}`)
  return text
}

/** The rules of AWS for new buckets, which those of others lie within. */
function bucket(text: string): string {
  if (!/^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/.test(text))
    throw new Unusable(
      `is ${JSON.stringify(text.slice(0, 80))}: give the bucket's name alone, of 3 to 63 small letters, digits, dots and hyphens`,
    )
  return text
}

function region(text: string): string {
  if (!/^[a-z0-9-]{1,63}$/.test(text))
    throw new Unusable(`is ${JSON.stringify(text.slice(0, 80))}: give a region such as eu-central-1`)
  return text
}

/** Letters that no store, signature or log writes in another way. */
function prefix(text: string): string {
  const bare = text.replace(/\/+$/, '')
  if (!isPlainPath(bare))
    throw new Unusable(
      `is ${JSON.stringify(text.slice(0, 80))}: give names of letters, digits, "_", "." and "-" with slashes between, such as media/assetd`,
    )
  return `${bare}/`
}

/** Nor one that nginx reads in another way, in a header or in its configuration. */
function internalLocation(text: string): string {
  const bare = text.replace(/\/+$/, '')
  if (!bare.startsWith('/') || !isPlainPath(bare.slice(1)))
    throw new Unusable(
      `is ${JSON.stringify(text.slice(0, 80))}: give the path of an internal location of nginx, of letters, digits, "_", "." and "-", such as /assetd-blobs/`,
    )
  return `${bare}/`
}

function isPlainPath(path: string): boolean {
  return /^[\w.-]+(\/[\w.-]+)*$/.test(path) && path.length <= 512 && !/(^|\/)\.{1,2}(\/|$)/.test(path)
}
