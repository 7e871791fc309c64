/** Tries with a small object what the service will do with every one: for a start, and for who asks what is wrong. */
import {
  AbortMultipartUploadCommand,
  CreateMultipartUploadCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListMultipartUploadsCommand,
  ListObjectsV2Command,
  PutObjectCommand,
} from '@aws-sdk/client-s3'
import { randomName } from '../asset.ts'
import { connectS3, type S3, S3Fault, type S3Options } from './s3-connection.ts'
import { StoreRefused } from './store-refused.ts'

/** The bucket cannot be worked with; one line, without a secret. */
export class S3Refused extends StoreRefused {
  override readonly name = 'S3Refused'
}

export type S3Finding = { tried: string; isFine: boolean; line: string }

/** A start is not to wait as long as an upload does. */
const limits = { attemptMs: 5_000, callMs: 8_000 }

type Trial = { tried: string; right: string; run(s3: S3, name: string): Promise<unknown> }

const trials: readonly Trial[] = [
  { tried: 'put', right: 's3:PutObject', run: (s3, name) => put(s3, name) },
  {
    tried: 'head',
    right: 's3:GetObject',
    run: (s3, name) => send(s3, (client, call) => client.send(new HeadObjectCommand(of(s3, name)), call)),
  },
  {
    tried: 'get',
    right: 's3:GetObject',
    run: (s3, name) =>
      send(s3, async (client, call) => {
        const { Body } = await client.send(new GetObjectCommand(of(s3, name)), call)
        if ((await Body?.transformToString()) !== name) throw new Error('other bytes came back than were put')
      }),
  },
  {
    tried: 'list',
    right: 's3:ListBucket',
    run: (s3, name) =>
      send(s3, (client, call) =>
        client.send(new ListObjectsV2Command({ Bucket: s3.bucket, Prefix: name, MaxKeys: 1 }), call),
      ),
  },
  {
    tried: 'list uploads',
    right: 's3:ListBucketMultipartUploads',
    run: (s3, name) =>
      send(s3, (client, call) =>
        client.send(new ListMultipartUploadsCommand({ Bucket: s3.bucket, Prefix: name }), call),
      ),
  },
  { tried: 'abort an upload', right: 's3:AbortMultipartUpload', run: beginAndAbort },
  {
    tried: 'delete',
    right: 's3:DeleteObject',
    run: (s3, name) => send(s3, (client, call) => client.send(new DeleteObjectCommand(of(s3, name)), call)),
  },
]

/**
 * Everything that was tried and what became of it, up to the first failure that all others would share.
 * @returns a line for each, of which none has a secret in it
 */
export async function probeS3(options: S3Options): Promise<S3Finding[]> {
  const place = s3PlaceOf(options)
  const findings: S3Finding[] = []
  let s3: S3
  try {
    s3 = connectS3(options)
  } catch (error) {
    return [{ tried: 'connect', isFine: false, line: `${place} cannot be used: ${(error as Error).message}` }]
  }
  const name = s3.nameOf(`assetd-probe-${randomName()}`)
  try {
    for (const { tried, right, run } of trials) {
      try {
        await run(s3, name)
        findings.push({ tried, isFine: true, line: `${place}: ${tried} works` })
      } catch (error) {
        const why = whyOf(error, options, right)
        findings.push({ tried, isFine: false, line: `${place} ${why.line}` })
        if (why.isOfAll) break
      }
    }
  } finally {
    s3.close()
  }
  return findings
}

/**
 * For a start.
 * @throws {S3Refused} with the first thing that does not work
 */
export async function assertS3Usable(options: S3Options): Promise<void> {
  const wrong = (await probeS3(options)).find(({ isFine }) => !isFine)
  if (wrong !== undefined) throw new S3Refused(wrong.line)
}

/** Where it is, for people. */
export function s3PlaceOf({ bucket, endpoint, prefix }: S3Options): string {
  const at = endpoint === null ? '' : ` at ${new URL(endpoint).host}`
  return `The bucket ${bucket}${at}${prefix === '' ? '' : `, under ${prefix}`}`
}

function of(s3: S3, name: string) {
  return { Bucket: s3.bucket, Key: name }
}

function send<T>(s3: S3, attempt: Parameters<typeof s3.run<T>>[0]): Promise<T> {
  return s3.run(attempt, limits)
}

async function put(s3: S3, name: string): Promise<void> {
  await send(s3, (client, call) => client.send(new PutObjectCommand({ ...of(s3, name), Body: name }), call))
}

async function beginAndAbort(s3: S3, name: string): Promise<void> {
  await send(s3, async (client, call) => {
    const { UploadId } = await client.send(new CreateMultipartUploadCommand(of(s3, name)), call)
    await client.send(new AbortMultipartUploadCommand({ ...of(s3, name), UploadId }), call)
  })
}

type Why = {
  line: string
  /** Nothing else can work then. */
  isOfAll: boolean
}

/** By the store's own word, or the system's; what it is, and what to do. */
const reasons: readonly [code: RegExp, why: (options: S3Options) => string][] = [
  [/^NoSuchBucket$/, () => 'does not exist: make it, or correct ASSETD_S3_BUCKET'],
  [
    /^(InvalidAccessKeyId|XAdminUserNotFound|InvalidClientTokenId|UnrecognizedClientException|InvalidToken|ExpiredToken)$/,
    () => 'does not know these credentials: correct AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or the role',
  ],
  [/^SignatureDoesNotMatch$/, () => 'refuses the signature: AWS_SECRET_ACCESS_KEY is another key’s'],
  [
    /^(CredentialsProviderError|Credentials)/,
    () =>
      'cannot be used without credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give this machine a role',
  ],
  [
    /^(PermanentRedirect|AuthorizationHeaderMalformed|IllegalLocationConstraintException|AuthorizationQueryParametersError|301)$/,
    () => 'is in another region: correct ASSETD_S3_REGION',
  ],
  [/^RequestTimeTooSkewed$/, () => 'refuses this machine’s clock: set it right'],
  [
    /^(ECONNREFUSED|ENOTFOUND|EAI_AGAIN|EHOSTUNREACH|ENETUNREACH|ECONNRESET|EPIPE|TimeoutError|ETIMEDOUT|socket hang up)$/,
    (options) => `cannot be reached: is ASSETD_S3_ENDPOINT (${endpointOf(options)}) right, and the store up?`,
  ],
  [
    /^(ERR_TLS|CERT_|DEPTH_ZERO|SELF_SIGNED|UNABLE_TO|ERR_SSL|EPROTO)/,
    (options) => `cannot be reached safely: the certificate or TLS of ${endpointOf(options)} is not right`,
  ],
]

function whyOf(error: unknown, options: S3Options, right: string): Why {
  const [code, said] = error instanceof S3Fault ? [error.said, reasonIn(error)] : ['', String(error)]
  const known = reasons.find(([pattern]) => pattern.test(code))
  if (known !== undefined) return { line: `${known[1](options)} (${said})`, isOfAll: true }
  if (/Region is missing/.test(said)) return { line: 'has no region: set ASSETD_S3_REGION', isOfAll: true }
  const status = error instanceof S3Fault ? error.status : null
  if (status === 403)
    return { line: `does not give these credentials the right ${right} (${said})`, isOfAll: false }
  if (status === 301) return { line: 'is in another region: correct ASSETD_S3_REGION', isOfAll: true }
  return { line: `cannot be used: ${said}`, isOfAll: status === null }
}

function reasonIn({ cause }: S3Fault): string {
  return cause instanceof Error ? cause.message : String(cause)
}

function endpointOf({ endpoint }: S3Options): string {
  return endpoint === null ? 'AWS' : new URL(endpoint).host
}
