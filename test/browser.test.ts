/** What a real browser does with our pages and with the files that we serve. */
import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { type Browser, chromium, type Page } from 'playwright-core'
import { encodeSample } from './media/encode.ts'
import { exampleFile, type RunningService, startService, upload } from './service.ts'

const executablePath = '/usr/bin/chromium'
const skip = existsSync(executablePath) ? false : 'Chromium is not installed (/usr/bin/chromium)'

describe('in Chromium', { skip }, () => {
  let service: RunningService
  let browser: Browser
  let folder: string

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'assetd-browser-'))
    service = await startService()
    browser = await chromium.launch({
      executablePath,
      args: [
        '--no-sandbox',
        '--disable-gpu',
        '--disable-quic',
        '--no-first-run',
        '--disable-background-networking',
        '--disable-component-update',
        '--disable-sync',
      ],
    })
  })
  after(async () => {
    await browser?.close()
    await service?.stop()
    await rm(folder, { recursive: true, force: true })
  })

  /** Opens a page and notes whatever it asks of others, refuses to run, or fails at. */
  async function open(path: string): Promise<{ page: Page; trouble: string[] }> {
    const page = await browser.newPage()
    page.setDefaultTimeout(30_000)
    const trouble: string[] = []
    page.on('request', (request) => {
      const url = request.url()
      if (!url.startsWith(service.url) && !/^(data|blob):/.test(url)) trouble.push(`asked for ${url}`)
    })
    page.on('console', (message) => {
      if (message.type() === 'error') trouble.push(message.text())
    })
    page.on('pageerror', (error) => trouble.push(String(error)))
    await page.goto(path.startsWith('http') ? path : service.url + path)
    return { page, trouble }
  }

  const urlOf = async (file: string): Promise<string> => {
    const answer = await upload(service, file)
    assert.equal(answer.status, 200)
    return ((await answer.json()) as { data: { url: string } }).data.url
  }

  it('/docs shows the API, loads nothing from elsewhere, and tries it', async () => {
    const { page, trouble } = await open('/docs')
    await page.getByText('Upload Asset').first().click()
    await page.getByRole('button', { name: 'Try it out' }).click()
    await page.getByRole('button', { name: 'Authorize' }).first().click()
    await page.locator('#api_key_value').fill(service.key)
    await page.locator('.modal-ux .authorize').first().click()
    await page.locator('.modal-ux .btn-done').first().click()
    await page.locator('input[type=file]').setInputFiles(exampleFile)
    await page.getByRole('button', { name: 'Execute' }).click()
    await page.locator('.live-responses-table').getByText('asset_id').first().waitFor({ timeout: 30_000 })
    assert.deepEqual(trouble, [])
    await page.close()
  })

  it('/docs/errors has an entry where doc_url points', async () => {
    const refused = (await (await fetch(`${service.url}/v3/assets`, { method: 'POST' })).json()) as {
      error: { doc_url: string }
    }
    const { page, trouble } = await open(refused.error.doc_url)
    assert.equal(await page.locator(':target').textContent(), 'authentication_failed (401)')
    assert.deepEqual(trouble, [])
    await page.close()
  })

  it('the example is shown at its url', async () => {
    const { page } = await open(await urlOf(exampleFile))
    const size = await page.locator('img').evaluate((image: { naturalWidth: number }) => image.naturalWidth)
    assert.equal(size, readFileSync(exampleFile).readUInt32BE(16))
    await page.close()
  })

  for (const type of ['mp4', 'webm', 'mp3', 'wav'] as const) {
    it(`a ${type} opened by itself plays, under its Content-Security-Policy`, async (test) => {
      const file = await encodeSample(type, folder)
      if (file === null) return test.skip('ffmpeg is not installed')
      const { page, trouble } = await open(await urlOf(file))
      // Debian's Chromium has all of these decoders.
      await page.waitForFunction('document.querySelector("video").readyState >= 2', undefined, {
        timeout: 30_000,
      })
      await page.evaluate('document.querySelector("video").muted = true')
      await page.evaluate('document.querySelector("video").play()')
      await page.waitForFunction('document.querySelector("video").currentTime > 0', undefined, {
        timeout: 30_000,
      })
      assert.deepEqual(trouble, [])
      await page.close()
    })
  }
})
