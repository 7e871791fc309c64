/** The TypeScript client in a real browser, from its source with the types stripped: no bundler, no build. */
import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { stripTypeScriptTypes } from 'node:module'
import type { AddressInfo } from 'node:net'
import { after, before, describe, it } from 'node:test'
import { type Browser, chromium, type Page } from 'playwright-core'
import type * as ClientModule from '../client/index.ts'
import { contentsOf, eventually, type RunningService, startService } from './service.ts'
import { type SlowLine, slowLine } from './slow-line.ts'

const executablePath = '/usr/bin/chromium'
const skip = existsSync(executablePath) ? false : 'Chromium is not installed (/usr/bin/chromium)'
const mib = 1024 * 1024

/** A page of another origin, and the client beside it. */
const pages = createServer((request, response) => {
  const name = /^\/client\/([\w-]+\.ts)$/.exec(request.url ?? '')?.[1]
  if (name === undefined)
    return response.writeHead(200, { 'content-type': 'text/html' }).end('<title>x</title>')
  const source = readFileSync(new URL(`../client/${name}`, import.meta.url), 'utf8')
  return response.writeHead(200, { 'content-type': 'text/javascript' }).end(stripTypeScriptTypes(source))
})

describe('in Chromium', { skip }, () => {
  let line: SlowLine
  let service: RunningService
  let browser: Browser
  let page: Page

  before(async () => {
    line = await slowLine()
    service = await startService({
      env: { ...line.env, ASSETD_CORS_ORIGINS: '*', ASSETD_PUBLIC_URL: line.url },
    })
    line.leadTo(service.port)
    await new Promise<void>((resolve) => pages.listen(0, '127.0.0.1', resolve))
    browser = await chromium.launch({
      executablePath,
      args: ['--no-sandbox', '--disable-gpu', '--disable-quic'],
    })
    page = await browser.newPage()
    // Not "localhost": there a page has what only secure ones have elsewhere.
    await page.goto(`http://127.0.0.1:${(pages.address() as AddressInfo).port}/`)
  })
  after(async () => {
    await browser?.close()
    await service?.stop()
    line?.close()
    pages.closeAllConnections()
    pages.close()
  })

  /** Uploads a WAV of silence that the page makes itself, and tells what the page saw. */
  const uploadInPage = (sizeBytes: number, abortAt = Number.POSITIVE_INFINITY, key = service.key) =>
    page.evaluate(
      async ({ baseUrl, key, sizeBytes, abortAt }) => {
        const { AssetdError, createClient } = (await import(
          /* @vite-ignore */ `${'/client/'}index.ts`
        )) as typeof ClientModule
        const head = new DataView(new ArrayBuffer(44))
        const words = ['RIFF', 'WAVE', 'fmt ', 'data'].map((word) => [...word].map((c) => c.charCodeAt(0)))
        for (const [at, offset] of [0, 8, 12, 36].entries())
          for (const [by, code] of (words[at] ?? []).entries()) head.setUint8(offset + by, code)
        head.setUint32(4, sizeBytes - 8, true)
        head.setUint32(16, 16, true)
        for (const [offset, value] of [
          [20, 1],
          [22, 1],
          [32, 2],
          [34, 16],
        ] as const)
          head.setUint16(offset, value, true)
        head.setUint32(24, 8_000, true)
        head.setUint32(28, 16_000, true)
        head.setUint32(40, sizeBytes - 44, true)
        const file = new File([head, new Uint8Array(sizeBytes - 44)], 'silence.wav')
        const end = new AbortController()
        const seen: number[] = []
        const client = createClient({ baseUrl, apiKey: key, maxTries: 2 })
        try {
          const uploaded = await client.upload(file, {
            signal: end.signal,
            onProgress({ sentBytes }) {
              seen.push(sentBytes)
              if (sentBytes >= abortAt) end.abort()
            },
          })
          const { name } = await client.get(uploaded.asset_id)
          return { seen, uploaded, name }
        } catch (error) {
          const { name, message } = error as Error
          return { seen, failed: { name, message, code: error instanceof AssetdError ? error.code : null } }
        }
      },
      { baseUrl: line.url, key, sizeBytes, abortAt },
    )

  for (const [door, sizeBytes] of [
    ['multipart', 20 * mib],
    ['direct', 40 * mib],
  ] as const) {
    it(`uploads by the ${door} door and tells how far it is`, async () => {
      const { seen, uploaded, name, failed } = await uploadInPage(sizeBytes)
      assert.equal(failed, undefined)
      assert.deepEqual([name, uploaded?.size_bytes], ['silence.wav', sizeBytes])
      assert.equal('status' in (uploaded ?? {}), door === 'direct')
      assert.ok(seen.length > 2 && Number(seen[0]) < sizeBytes, `it moves: ${seen}`)
      assert.equal(seen.at(-1), sizeBytes)
    })

    it(`an upload by the ${door} door that is aborted leaves nothing`, async () => {
      const earlier = contentsOf(service.dataDir)
      await line.crawling(async () => {
        const { failed } = await uploadInPage(sizeBytes, 6 * mib)
        assert.equal(failed?.name, 'AbortError')
      })
      await eventually(() => {
        const { blobs, incoming, assets } = contentsOf(service.dataDir)
        assert.deepEqual([blobs, incoming, assets.length], [earlier.blobs, [], earlier.assets.length])
      })
    })
  }

  it('a refusal, and a service that is away, are told apart', async () => {
    const refused = await uploadInPage(mib, undefined, 'wrong')
    assert.equal(refused.failed?.code, 'authentication_failed')
    const away = await page.evaluate(async () => {
      const { createClient } = (await import(
        /* @vite-ignore */ `${'/client/'}index.ts`
      )) as typeof ClientModule
      const client = createClient({ baseUrl: 'http://127.0.0.1:9', apiKey: 'k', maxTries: 1 })
      return client.upload(new Blob(['x'])).catch((error) => error.code)
    })
    assert.equal(away, 'not_reachable')
  })
})
