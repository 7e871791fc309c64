/** A browser puts bytes to the bucket past the service, where the bucket's rule lets it, and `assetd doctor` sees whether. */
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { PutBucketCorsCommand } from '@aws-sdk/client-s3'
import type { S3Options } from '../../src/adapters/s3-connection.ts'
import { probeS3Cors } from '../../src/adapters/s3-cors.ts'
import { announce, complete } from '../api.ts'
import { png } from '../media/samples.ts'
import { launch, skip as noBrowser } from '../page.ts'
import { startService } from '../service.ts'
import { clientOf, freshBucket, type S3Server, settingsOf } from './s3.ts'
import { s3Servers } from './s3-servers.ts'

const servers = s3Servers()

/** As docs/s3.md has it. */
async function allow(
  server: S3Server,
  { bucket }: S3Options,
  origin: string,
  headers: string[],
): Promise<void> {
  const client = clientOf(server.port)
  const rule = {
    AllowedOrigins: [origin],
    AllowedMethods: ['PUT'],
    AllowedHeaders: headers,
    MaxAgeSeconds: 60,
  }
  await client.send(new PutBucketCorsCommand({ Bucket: bucket, CORSConfiguration: { CORSRules: [rule] } }))
  client.destroy()
}

const needed = ['content-type', 'x-amz-checksum-sha256']

for (const { name, skip, begin } of servers) {
  describe(`pages of other origins and a bucket of ${name}`, { skip }, () => {
    let server: S3Server
    before(async () => {
      server = await begin()
    })
    after(() => server.remove())

    test(`${name}: no rule, a rule for others, one that lacks a header, and the right one`, async () => {
      const options = await freshBucket(server)
      const origin = 'https://app.example.com'
      const found = async () => (await probeS3Cors(options, [origin]))[0]
      const isWrong = async (): Promise<void> => {
        const finding = await found()
        assert.equal(finding?.isFine, false)
        assert.match(String(finding?.line), /CORS rule of docs\/s3\.md/)
      }
      await isWrong()
      await allow(server, options, 'https://other.example.com', needed)
      await isWrong()
      await allow(server, options, origin, ['content-type'])
      await isWrong()
      await allow(server, options, origin, needed)
      assert.equal((await found())?.isFine, true)
    })

    test(`${name}: Chromium puts to the bucket from a page of another origin`, {
      skip: noBrowser,
    }, async (context) => {
      const options = await freshBucket(server)
      const service = await startService({ env: settingsOf(options) })
      context.after(() => service.stop())
      const browser = await launch()
      context.after(() => browser.close())
      const page = await browser.newPage()
      await page.goto(service.url) // whose policy lets it speak to the bucket
      const bytes = png()
      const sum = Buffer.from(await crypto.subtle.digest('SHA-256', new Uint8Array(bytes))).toString('hex')
      const file = { content_type: 'image/png', size_bytes: bytes.length, checksum_sha256: sum }
      const { asset_id, upload_url, upload_headers } = await announce(service, file)
      const put = () =>
        page.evaluate(
          async ({ upload_url, upload_headers, base64 }) => {
            const body = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0))
            const sent = fetch(upload_url, { method: 'PUT', headers: upload_headers, body })
            return sent.then(
              ({ status }) => status,
              (error) => String(error),
            )
          },
          { upload_url, upload_headers, base64: Buffer.from(bytes).toString('base64') },
        )
      assert.match(String(await put()), /Failed to fetch/)
      await allow(server, options, new URL(service.url).origin, needed)
      assert.equal(await put(), 200)
      const answer = await complete(service, asset_id)
      assert.equal(answer.status, 200, answer.body)
    })
  })
}
