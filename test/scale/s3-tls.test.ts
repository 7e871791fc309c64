/** A store that is reached by TLS, with a certificate of one's own. */
import assert from 'node:assert/strict'
import { execFileSync, spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { announce } from '../api.ts'
import { png } from '../media/samples.ts'
import { launcher, startService, upload } from '../service.ts'
import { findProgram } from './programs.ts'
import { credentials, settingsOf } from './s3.ts'
import { noVersitygw, startVersitygw } from './versitygw.ts'

const noOpenssl = findProgram('openssl') === undefined ? 'openssl is not installed' : false

test('TLS: with the certificate known all works, and without it the start says so', {
  skip: noVersitygw || noOpenssl,
}, async (context) => {
  const folder = mkdtempSync(join(tmpdir(), 'assetd-tls-'))
  context.after(() => rmSync(folder, { recursive: true, force: true }))
  const [cert, key] = [join(folder, 'cert.pem'), join(folder, 'key.pem')]
  const made = ['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2', '-subj', '/CN=store']
  const files = ['-addext', 'subjectAltName=IP:127.0.0.1', '-out', cert, '-keyout', key]
  execFileSync('openssl', [...made, ...files], { stdio: 'ignore' })
  const server = await startVersitygw({ tls: { cert, key } })
  context.after(() => server.remove())
  const bucket = `t${randomBytes(6).toString('hex')}`
  const endpoint = `https://127.0.0.1:${server.port}`
  const make = `const { S3Client, CreateBucketCommand } = await import('@aws-sdk/client-s3')
    const client = new S3Client({ endpoint: '${endpoint}', region: 'us-east-1', forcePathStyle: true })
    await client.send(new CreateBucketCommand({ Bucket: '${bucket}' }))`
  const trusting = { NODE_EXTRA_CA_CERTS: cert }
  execFileSync(process.execPath, ['--input-type=module', '-e', make], {
    env: { ...process.env, ...credentials, ...trusting },
  })
  const options = { bucket, endpoint, region: null, forcePathStyle: true, prefix: '' }
  const service = await startService({ env: { ...settingsOf(options), ...trusting } })
  context.after(() => service.stop())
  const response = await upload(service, png())
  assert.equal(response.status, 200)
  const { url } = ((await response.json()) as { data: { url: string } }).data
  assert.deepEqual(Buffer.from(await (await fetch(url)).arrayBuffer()), png())
  const { upload_url } = await announce(service, { content_type: 'image/png', size_bytes: 5 })
  assert.ok(upload_url.startsWith(`${endpoint}/`))

  const env = {
    ...process.env,
    ...settingsOf(options),
    ASSETD_PORT: '0',
    ASSETD_DATA_DIR: join(folder, 'data'),
  }
  const refused = spawnSync(process.execPath, [launcher, 'serve'], { encoding: 'utf8', env, timeout: 30_000 })
  assert.notEqual(refused.status, 0)
  assert.match(refused.stderr + refused.stdout, /certificate or TLS of 127\.0\.0\.1/)
})
