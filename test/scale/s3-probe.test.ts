/** What a start and `assetd doctor` say of a bucket that cannot be worked with: one line each, without a secret. */
import assert from 'node:assert/strict'
import { after, before, describe, mock, type TestContext, test } from 'node:test'
import { PutBucketPolicyCommand } from '@aws-sdk/client-s3'
import type { S3Options } from '../../src/adapters/s3-connection.ts'
import { assertS3Usable, probeS3, S3Refused } from '../../src/adapters/s3-probe.ts'
import { freePort } from './programs.ts'
import { noRadosgw, type RadosGateway, startRadosgw } from './radosgw.ts'
import { clientOf, credentials, freshBucket, placeOf, type S3Server } from './s3.ts'
import { s3Servers } from './s3-servers.ts'
import { noVersitygw, startVersitygw } from './versitygw.ts'

/** For one test alone. */
function withCredentials(context: TestContext, id: string | undefined, secret: string | undefined): void {
  const set = (name: keyof typeof credentials, value: string | undefined): void => {
    if (value === undefined) delete process.env[name]
    else process.env[name] = value
  }
  set('AWS_ACCESS_KEY_ID', id)
  set('AWS_SECRET_ACCESS_KEY', secret)
  process.env.AWS_EC2_METADATA_DISABLED = 'true'
  context.after(() => Object.assign(process.env, credentials))
}

async function refused(options: S3Options, why: RegExp): Promise<void> {
  const started = performance.now()
  await assert.rejects(assertS3Usable(options), (error) => {
    assert.ok(error instanceof S3Refused, String(error))
    assert.match(error.message, why)
    assert.doesNotMatch(error.message, /not-a-secret|\n|Signature=/)
    return true
  })
  assert.ok(performance.now() - started < 15_000)
}

const servers = s3Servers()

for (const { name, skip, begin } of servers) {
  describe(name, { skip }, () => {
    let server: S3Server
    before(async () => {
      server = await begin()
    })
    after(() => server.remove())

    test(`${name}: a bucket that is right is right in all that is tried, and nothing is left in it`, async () => {
      const options = await freshBucket(server)
      const findings = await probeS3({ ...options, prefix: 'media/' })
      assert.deepEqual(
        findings.map(({ tried, isFine }) => [tried, isFine]),
        ['put', 'head', 'get', 'list', 'list uploads', 'abort an upload', 'delete'].map((one) => [one, true]),
      )
      await assertS3Usable(options)
      const { openS3Blobs } = await import('../../src/adapters/s3-blobs.ts')
      const blobs = openS3Blobs(options)
      for await (const keys of blobs.list()) assert.deepEqual(keys, [])
      await blobs.close()
    })

    test(`${name}: case 98: no such bucket`, () =>
      refused({ ...placeOf(server.port), bucket: 'nowhere' }, /nowhere at .* does not exist: make it/))

    test(`${name}: case 98: a secret of another key, a key that nobody knows, and none at all`, async (context) => {
      const options = await freshBucket(server)
      withCredentials(context, credentials.AWS_ACCESS_KEY_ID, 'another')
      await refused(options, /AWS_SECRET_ACCESS_KEY is another key/)
      withCredentials(context, 'nobody', 'another')
      await refused(options, /does not know these credentials/)
      withCredentials(context, undefined, undefined)
      await refused(options, /without credentials: set AWS_ACCESS_KEY_ID/)
    })

    test(`${name}: a clock that is wrong by hours is seen, and allowed for`, async (context) => {
      const options = await freshBucket(server)
      mock.timers.enable({ apis: ['Date'], now: Date.now() + 5 * 3_600_000 })
      context.after(() => mock.timers.reset())
      await assertS3Usable(options)
    })
  })
}

describe('radosgw', { skip: noRadosgw }, () => {
  let server: RadosGateway
  before(async () => {
    server = await startRadosgw()
  })
  after(() => server.remove())

  test('case 98: the right that is missing is named', async (context) => {
    const options = await freshBucket(server)
    const { id, secret } = await server.addUser('guest')
    const owner = clientOf(server.port)
    context.after(() => owner.destroy())
    const all = [
      'PutObject',
      'GetObject',
      'ListBucket',
      'ListBucketMultipartUploads',
      'AbortMultipartUpload',
      'DeleteObject',
    ]
    for (const right of all) {
      const of = (effect: string, rights: readonly string[]) => ({
        Effect: effect,
        Principal: { AWS: ['arn:aws:iam:::user/guest'] },
        Action: rights.map((one) => `s3:${one}`),
        Resource: [`arn:aws:s3:::${options.bucket}`, `arn:aws:s3:::${options.bucket}/*`],
      })
      // Denied, since whoever put an object may else read it by being its owner.
      const policy = JSON.stringify({
        Version: '2012-10-17',
        Statement: [of('Allow', all), of('Deny', [right])],
      })
      await owner.send(new PutBucketPolicyCommand({ Bucket: options.bucket, Policy: policy }))
      withCredentials(context, id, secret)
      await refused(options, new RegExp(`the right s3:${right} `))
      Object.assign(process.env, credentials)
    }
  })
})

test('an endpoint where nobody listens, with no such name, and without TLS', async (context) => {
  const port = await freePort()
  await refused({ ...placeOf(port), bucket: 'any' }, /cannot be reached: is ASSETD_S3_ENDPOINT \(127/)
  const nowhere = { ...placeOf(port), endpoint: 'http://nowhere.invalid', bucket: 'any' }
  await refused(nowhere, /cannot be reached: is ASSETD_S3_ENDPOINT \(nowhere\.invalid\)/)
  if (noVersitygw !== false) return
  const server = await startVersitygw()
  context.after(() => server.remove())
  const plain = { ...placeOf(server.port), endpoint: `https://127.0.0.1:${server.port}`, bucket: 'any' }
  await refused(plain, /certificate or TLS of 127/)
})

test('another region', { skip: noVersitygw }, async (context) => {
  const server = await startVersitygw()
  context.after(() => server.remove())
  const options = await freshBucket(server)
  await refused({ ...options, region: 'eu-central-1' }, /another region: correct ASSETD_S3_REGION/)
})
