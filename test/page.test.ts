/** The web page at `/`, in a real browser: signing in and uploads. */
import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import type { Browser } from 'playwright-core'
import { jpeg, mp3, pdf, png, wav } from './media/samples.ts'
import { zip } from './media/zip.ts'
import {
  choose,
  fileIn,
  launch,
  open,
  rowOf,
  signIn,
  skip,
  statusOf,
  stored,
  uploadOf,
  watch,
} from './page.ts'
import { contentsOf, eventually, exampleFile, type RunningService, startService } from './service.ts'
import { type SlowLine, slowLine } from './slow-line.ts'

const mib = 1024 * 1024

describe('signing in and uploads on the page, in Chromium', { skip }, () => {
  let line: SlowLine
  let service: RunningService
  let browser: Browser
  let folder: string

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'assetd-page-'))
    line = await slowLine()
    service = await startService({ env: { ...line.env, ASSETD_PUBLIC_URL: line.url } })
    line.leadTo(service.port)
    browser = await launch()
  })
  after(async () => {
    await browser?.close()
    await service?.stop()
    line?.close()
    await rm(folder, { recursive: true, force: true })
  })

  const fileOf = (name: string, bytes: Uint8Array): string => fileIn(folder, name, bytes)

  it('asks for a key until a good one comes, keeps it for this tab alone, and forgets it', async () => {
    const { page, trouble, asked } = await open(browser, line.url)
    const key = page.getByLabel('API key')
    const error = page.locator('#sign-in-error')
    for (const [wrong, words] of [
      ['wrong', /Invalid or expired API key/],
      ['a key', /cannot be an API key/],
      ['ключ', /cannot be an API key/],
    ] as const) {
      await key.fill(wrong)
      await page.keyboard.press('Enter')
      await error.filter({ hasText: words }).waitFor()
      assert.equal(await page.locator('#desk').isVisible(), false)
    }
    await signIn(page, service.key)
    assert.equal(await key.isVisible(), false)

    await page.reload()
    await page.locator('#desk').waitFor()
    assert.equal(await page.evaluate('localStorage.length + document.cookie.length'), 0)
    const other = await watch(await page.context().newPage(), line.url)
    await other.page.getByLabel('API key').waitFor()

    await page.getByRole('button', { name: 'Sign out' }).click()
    await key.waitFor()
    assert.equal(await key.inputValue(), '')
    assert.equal(await page.evaluate('sessionStorage.length'), 0)
    assert.equal(await page.evaluate('document.activeElement.id'), 'key')
    await page.reload()
    await key.waitFor()
    assert.deepEqual([...trouble, ...other.trouble], [])
    assert.deepEqual(
      asked.filter((url) => url.includes(service.key)),
      [],
    )
    await page.context().close()
  })

  it('asks again once the key is no longer taken, and goes on with another', async () => {
    const { page, trouble } = await open(browser, line.url)
    await signIn(page, service.key)
    const refusal = { error: { code: 'authentication_failed', message: 'It was revoked.', param: null } }
    await page.route('**/v3/**', (route) => route.fulfill({ status: 401, json: refusal }))
    await choose(page, exampleFile)
    await page.locator('#sign-in-error').filter({ hasText: 'It was revoked.' }).waitFor()
    assert.equal(await page.evaluate('sessionStorage.length'), 0)
    await page.unroute('**/v3/**')
    await signIn(page, service.key)
    await page.getByRole('button', { name: 'Retry: first-upload.png' }).click()
    await stored(page, 'first-upload.png')
    assert.deepEqual(trouble, [])
    await page.context().close()
  })

  it('takes files that are chosen, and files that are dropped anywhere', async () => {
    const { page, trouble } = await open(browser, line.url)
    await signIn(page, service.key)
    let sent = 0
    page.on('request', (request) => {
      if (request.method() === 'POST') sent++
    })
    const names = ['chosen.png', 'chosen too.wav', 'third.jpg', 'fourth.pdf', 'fifth.mp3']
    const made = [png({ sizeBytes: 5_000 }), wav(), jpeg(), pdf(), mp3()]
    await choose(page, ...names.map((name, at) => fileOf(name, made[at] ?? png())))
    for (const name of names) await stored(page, name)
    assert.equal(sent, names.length, 'each is sent once')
    assert.deepEqual(await page.locator('#upload-rows .name').allTextContents(), names)
    const { width, height } = { width: 900, height: 850 }
    const session = await page.context().newCDPSession(page)
    const files = [
      fileOf('dropped.jpg', jpeg()),
      fileOf('dropped.zip', zip({ 'a.txt': Buffer.from('a') })),
      folder,
    ]
    const data = { items: [], files, dragOperationsMask: 1 }
    for (const type of ['dragEnter', 'dragOver', 'drop'] as const) {
      await session.send('Input.dispatchDragEvent', { type, x: width, y: height, data })
      if (type === 'dragOver') await page.locator('#drop.over').waitFor()
    }
    for (const name of ['dropped.jpg', 'dropped.zip']) await stored(page, name)
    assert.match(String(await page.locator('#drop-error').textContent()), /^Folders are not taken/)
    assert.equal(await page.locator('#drop.over').count(), 0)
    const facts = await rowOf(page, 'chosen.png').locator('.facts').textContent()
    assert.match(String(facts), /^PNG5\.0 KB4 × 3\S+/)
    assert.match(
      String(await rowOf(page, 'chosen.png').locator('code').textContent()),
      /^asset_[0-9a-z]{26}$/,
    )
    await page.getByRole('button', { name: 'Clear finished' }).click()
    assert.equal(await page.locator('#uploads').isVisible(), false)
    assert.deepEqual(trouble, [])
    await page.context().close()
  })

  it('sends a large file by direct upload, and shows how far it is', async () => {
    const { page, trouble, asked } = await open(browser, line.url)
    await signIn(page, service.key)
    await choose(page, fileOf('large.wav', wav({ sizeBytes: 40 * mib })))
    const bar = uploadOf(page, 'large.wav').locator('progress')
    const seen = new Set<number>()
    await eventually(async () => {
      seen.add(Number(await bar.getAttribute('value')))
      assert.match(String(await statusOf(page, 'large.wav').textContent()), /^Stored, 41\.9 MB/)
    }, 30_000)
    assert.ok(seen.size >= 4, `it moves: ${[...seen]}`)
    assert.match(String(await page.locator('#said').textContent()), /large\.wav is stored/)
    assert.ok(asked.some((url) => url.includes('/uploads/asset_') || /[?&]X-Amz-Signature=/.test(url)))
    await rowOf(page, 'large.wav').waitFor()
    assert.deepEqual(trouble, [])
    await page.context().close()
  })

  it('works at another address than the public URL', async () => {
    const { page, trouble } = await open(browser, service.url.replace('127.0.0.1', 'localhost'))
    await signIn(page, service.key)
    await choose(page, fileOf('elsewhere.wav', wav({ sizeBytes: 34 * mib })), exampleFile)
    await stored(page, 'elsewhere.wav')
    const tile = rowOf(page, 'first-upload.png').first().locator('.tile img')
    await eventually(async () =>
      assert.ok(Number(await tile.evaluate((one: { naturalWidth: number }) => one.naturalWidth)) > 0),
    )
    assert.deepEqual(trouble, [])
    await page.context().close()
  })

  it('works below the path of the public URL, with it and without it', async () => {
    const publicUrl = 'https://media.example.com/media'
    const own = await startService({ env: { ASSETD_PUBLIC_URL: publicUrl } })
    for (const path of ['', '/', '/media', '/media/']) {
      const { page, trouble } = await open(browser, own.url + path)
      await signIn(page, own.key)
      const name = `below${path.replaceAll('/', '-')}.zip`
      await choose(page, exampleFile, fileOf(name, zip({ 'a.txt': Buffer.from('a') })))
      await stored(page, name)
      const tile = rowOf(page, 'first-upload.png').first().locator('.tile img')
      const width = () => tile.evaluate((one: { naturalWidth: number }) => one.naturalWidth)
      await eventually(async () => assert.ok((await width()) > 0))
      await rowOf(page, name).locator('.open').click()
      assert.match(
        String(await page.locator('#preview-facts').textContent()),
        new RegExp(`URL${publicUrl}/files/`),
      )
      assert.deepEqual(trouble, [])
      await page.context().close()
    }
    await own.stop()
  })

  for (const [door, sizeBytes] of [
    ['multipart', 20 * mib],
    ['direct', 40 * mib],
  ] as const) {
    it(`cancels an upload by the ${door} door in the middle, which leaves nothing; and retries it`, async () => {
      const earlier = contentsOf(service.dataDir)
      const { page, trouble } = await open(browser, line.url)
      await signIn(page, service.key)
      const name = `cancelled-${door}.wav`
      await line.crawling(async () => {
        await choose(page, fileOf(name, wav({ sizeBytes })))
        await statusOf(page, name)
          .filter({ hasText: /^[\d.]+ MB of/ })
          .waitFor()
        await page.getByRole('button', { name: `Cancel: ${name}` }).click()
        await statusOf(page, name)
          .filter({ hasText: /^Cancelled/ })
          .waitFor()
      })
      await eventually(() => {
        const { blobs, incoming, assets } = contentsOf(service.dataDir)
        assert.deepEqual([blobs, incoming, assets.length], [earlier.blobs, [], earlier.assets.length])
      })
      assert.equal(await rowOf(page, name).count(), 0)
      await page.getByRole('button', { name: `Retry: ${name}` }).click()
      await stored(page, name)
      await rowOf(page, name).waitFor()
      assert.deepEqual(trouble, [])
      await page.context().close()
    })
  }

  it('promises nothing where all was sent before it was cancelled', async () => {
    const { page } = await open(browser, line.url)
    await signIn(page, service.key)
    await page.route('**/complete', () => {})
    await choose(page, fileOf('late.zip', zip({ 'late.txt': Buffer.from('late') })))
    const status = statusOf(page, 'late.zip')
    await status.filter({ hasText: 'the service looks at it' }).waitFor()
    await page.getByRole('button', { name: 'Cancel: late.zip' }).click()
    await status.filter({ hasText: /^Cancelled, after all was sent/ }).waitFor()
    await page.context().close()
  })

  it('tells in words why a file is refused, and retries what may pass', async () => {
    const { page, trouble } = await open(browser, line.url)
    await signIn(page, service.key)
    await choose(page, fileOf('notes.txt', Buffer.from('Only text.\n')))
    await statusOf(page, 'notes.txt')
      .filter({ hasText: /^The file is a text .*Convert it/ })
      .waitFor()
    assert.equal(await page.getByRole('button', { name: /^Retry/ }).count(), 0)
    await page.getByRole('button', { name: 'Remove: notes.txt' }).click()
    assert.equal(await uploadOf(page, 'notes.txt').count(), 0)

    const failures = [
      { status: 503, code: 'service_unavailable', headers: { 'retry-after': '4' } },
      { status: 500, code: 'internal_error', headers: {} },
    ]
    await page.route('**/v3/assets', async (route) => {
      const failure = route.request().method() === 'POST' ? failures.shift() : undefined
      if (failure === undefined) return route.fallback()
      const { status, code, headers } = failure
      return route.fulfill({
        status,
        headers,
        json: { error: { code, message: `It is ${code}.`, param: null } },
      })
    })
    await choose(page, fileOf('patient.png', png({ sizeBytes: 6_000 })))
    const status = statusOf(page, 'patient.png')
    await status.filter({ hasText: /^It is service_unavailable\. Next try in \d s/ }).waitFor()
    await status.filter({ hasText: 'It is internal_error.' }).waitFor()
    await page.getByRole('button', { name: 'Retry: patient.png' }).click()
    await stored(page, 'patient.png')
    assert.deepEqual(trouble, [])
    await page.context().close()
  })
})
