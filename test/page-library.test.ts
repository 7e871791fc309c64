/** The web page at `/`, in a real browser: what is there, found, shown, copied and deleted; keys, windows and colours. */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import type { Browser, Page } from 'playwright-core'
import { uploadDirectly } from './api.ts'
import { encodeSample } from './media/encode.ts'
import { jpeg, pdf, png, wav } from './media/samples.ts'
import { zip } from './media/zip.ts'
import {
  assertNoSidewaysScroll,
  choose,
  fileIn,
  launch,
  leastContrast,
  open,
  rowOf,
  settled,
  signIn,
  skip,
  statusOf,
  stored,
  uploadNamed,
} from './page.ts'
import { eventually, type RunningService, startService } from './service.ts'

const count = 45

describe('assets on the page, in Chromium', { skip }, () => {
  let service: RunningService
  let browser: Browser
  let folder: string

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'assetd-page-'))
    service = await startService()
    for (let at = 0; at < count - 4; at++)
      await uploadNamed(service, `picture ${at}.png`, png({ sizeBytes: 500 + at }))
    await uploadNamed(service, 'a sound.wav', wav())
    await uploadNamed(service, 'paper.pdf', pdf())
    await uploadNamed(service, 'photo of a harbour.jpg', jpeg())
    await uploadDirectly(service, 'application/zip', zip({ 'a.txt': Buffer.from('a') }), 'bundle.zip')
    browser = await launch()
  })
  after(async () => {
    await browser?.close()
    await service?.stop()
    await rm(folder, { recursive: true, force: true })
  })

  const fileOf = (name: string, bytes: Uint8Array): string => fileIn(folder, name, bytes)
  const namesIn = (page: Page): Promise<string[]> => page.locator('#assets .name').allInnerTexts()

  it('lists them, newest first, a page at a time, without a repeat', async () => {
    const { page, trouble } = await open(browser, service.url)
    await signIn(page, service.key)
    const more = page.getByRole('button', { name: 'More' })
    assert.equal((await namesIn(page)).length, 20)
    assert.equal((await namesIn(page))[0], 'bundle.zip')
    for (const shown of [40, count]) {
      await more.click()
      await eventually(async () => assert.equal((await namesIn(page)).length, shown))
    }
    assert.equal(await more.isVisible(), false)
    assert.equal(new Set(await namesIn(page)).size, count)
    assert.deepEqual(trouble, [])
    await page.context().close()
  })

  it('finds by name among all kinds, and by the search of the service among images', async () => {
    const { page, trouble, asked } = await open(browser, service.url)
    await signIn(page, service.key)
    const note = page.locator('#search-note')
    const words = page.getByLabel('Search assets')
    const kind = page.getByLabel('Kind of asset')
    const find = async (text: string, of: string): Promise<string[]> => {
      await kind.selectOption({ label: of })
      await words.fill(text)
      await words.press('Enter')
      await settled(page)
      return namesIn(page)
    }
    assert.deepEqual(await find('SOUND a', 'All kinds'), ['a sound.wav'])
    assert.match(
      String(await note.textContent()),
      /^Looked through all of them for these words, in name, type and owner\.$/,
    )
    assert.deepEqual(await find('picture 17', 'All kinds'), ['picture 17.png'])
    const id = String(await rowOf(page, 'picture 17').locator('code').textContent())
    assert.deepEqual(await find(id, 'All kinds'), ['picture 17.png'])
    assert.deepEqual(await find('', 'Documents'), ['bundle.zip', 'paper.pdf'])
    assert.deepEqual(await find('harbour', 'Images'), ['photo of a harbour.jpg'])
    assert.match(String(await note.textContent()), /^Searched all images/)
    assert.ok(asked.some((url) => url.includes('/v3/assets/search?query=harbour&type=image')))
    assert.equal((await find('picture', 'Images')).length, 20)
    await page.getByRole('button', { name: 'More' }).click()
    await eventually(async () => assert.equal((await namesIn(page)).length, 40))
    assert.deepEqual(await find('nowhere', 'All kinds'), [])
    assert.match(String(await note.textContent()), /^Nothing found\. Looked through all of them/)
    assert.equal((await find('', 'All kinds')).length, 20)
    assert.deepEqual(trouble, [])
    await page.context().close()
  })

  it('says what is wrong where the list cannot be had, and tries again', async () => {
    const { page } = await open(browser, service.url)
    await page.route('**/v3/assets?*', (route) => route.abort())
    await page.getByLabel('API key').fill(service.key)
    await page.keyboard.press('Enter')
    await page.locator('#library-error').filter({ hasText: 'There is no answer from 127.0.0.1' }).waitFor()
    await page.unroute('**/v3/assets?*')
    await page.getByRole('button', { name: 'Try again' }).click()
    await eventually(async () => assert.equal((await namesIn(page)).length, 20))
    assert.equal(await page.locator('#library-error').textContent(), '')
    await page.context().close()
  })

  it('previews images and sounds, and offers documents as links', async () => {
    const { page, trouble } = await open(browser, service.url)
    await signIn(page, service.key)
    const stage = page.locator('#preview-stage')
    const preview = async (name: string): Promise<void> => {
      await page.getByRole('button', { name, exact: true }).click()
      assert.equal(await page.locator('#preview-title').textContent(), name)
    }
    const close = () => page.getByRole('button', { name: 'Close' }).click()
    await preview('photo of a harbour.jpg')
    await eventually(async () =>
      assert.equal(
        await stage.locator('img').evaluate((one: { naturalWidth: number }) => one.naturalWidth),
        8,
      ),
    )
    assert.match(String(await page.locator('#preview-facts').textContent()), /Pixels8 × 8/)
    await close()
    await preview('a sound.wav')
    await eventually(async () =>
      assert.ok(
        Number(await stage.locator('audio').evaluate((one: { duration: number }) => one.duration)) > 0.1,
      ),
    )
    await close()
    await eventually(async () => assert.equal(await stage.locator('*').count(), 0))
    for (const name of ['paper.pdf', 'bundle.zip']) {
      await preview(name)
      assert.equal(await stage.locator('img, video, audio, iframe, embed, object').count(), 0)
      const download = page.waitForEvent('download')
      await page.getByRole('link', { name: 'Open the file' }).click()
      assert.match((await download).suggestedFilename(), /^asset_\w+\.(pdf|zip)$/)
      await close()
    }
    assert.deepEqual(trouble, [])
    await page.context().close()
  })

  it('previews videos', async (test) => {
    const file = await encodeSample('webm', folder)
    if (file === null) return test.skip('ffmpeg is not installed')
    await uploadNamed(service, 'film.webm', readFileSync(file))
    const { page, trouble } = await open(browser, service.url)
    await signIn(page, service.key)
    await page.getByRole('button', { name: 'film.webm', exact: true }).click()
    const video = page.locator('#preview-stage video')
    await eventually(async () =>
      assert.ok(Number(await video.evaluate((one: { readyState: number }) => one.readyState)) >= 1),
    )
    assert.equal(await video.getAttribute('controls'), '')
    await page.keyboard.press('Escape')
    assert.deepEqual(trouble, [])
    await page.getByRole('button', { name: 'Delete: film.webm' }).click()
    await page.getByRole('button', { name: 'Delete', exact: true }).click()
    await rowOf(page, 'film.webm').waitFor({ state: 'detached' })
    await page.context().close()
  })

  for (const way of ['the clipboard of the browser', 'a selection, where a page is not secure'] as const) {
    it(`copies the ID and the URL by ${way}`, async () => {
      const { page, trouble } = await open(browser, service.url, {
        permissions: ['clipboard-read', 'clipboard-write'],
      })
      if (way !== 'the clipboard of the browser') {
        await page.addInitScript(
          'Object.defineProperty(Navigator.prototype, "clipboard", { value: undefined })',
        )
        await page.reload()
      }
      await signIn(page, service.key)
      const id = await rowOf(page, 'paper.pdf').locator('code').textContent()
      const copied = async (): Promise<string> => {
        const field = page.getByLabel('Search assets')
        await field.fill('')
        await field.press('ControlOrMeta+v')
        return field.inputValue()
      }
      for (const [what, text] of [
        ['ID', id],
        ['URL', `${service.url}/files/${id}.pdf`],
      ] as const) {
        await page.getByRole('button', { name: `Copy ${what}: paper.pdf` }).click()
        await page
          .locator('#said')
          .filter({ hasText: `Copy ${what}: copied.` })
          .waitFor()
        assert.equal(await copied(), text)
      }
      assert.deepEqual(trouble, [])
      await page.context().close()
    })
  }

  it('deletes after a question, and not without', async () => {
    const url = await uploadNamed(service, 'unwanted.png', png())
    const { page, trouble } = await open(browser, service.url)
    await signIn(page, service.key)
    const question = page.getByRole('dialog')
    const ask = () => page.getByRole('button', { name: 'Delete: unwanted.png' }).click()
    await ask()
    assert.match(String(await question.textContent()), /unwanted\.png.* is deleted for good/)
    await page.getByRole('button', { name: 'Keep it' }).click()
    await ask()
    await page.keyboard.press('Escape')
    await question.waitFor({ state: 'hidden' })
    assert.equal((await fetch(url)).status, 200)

    await page.route('**/v3/assets/asset_*', (route) => route.abort(), { times: 1 })
    await ask()
    await page.getByRole('button', { name: 'Delete', exact: true }).click()
    await page.locator('#confirm-error').filter({ hasText: 'There is no answer' }).waitFor()
    await page.getByRole('button', { name: 'Delete', exact: true }).click()
    await rowOf(page, 'unwanted.png').waitFor({ state: 'detached' })
    assert.equal((await fetch(url)).status, 404)
    assert.equal(await page.evaluate('document.activeElement.innerText'), 'bundle.zip')
    assert.deepEqual(trouble, [])
    await page.context().close()
  })

  it('works by the keyboard alone, and always shows where it is', async () => {
    const { page, trouble } = await open(browser, service.url)
    const focused =
      '(document.activeElement.id === "files" ? document.querySelector("label[for=files]") : document.activeElement)'
    /** Tab by Tab to the element that has this name. */
    const go = async (name: string, key = 'Tab'): Promise<void> => {
      for (let steps = 0; steps < 40; steps++) {
        await page.keyboard.press(key)
        const [label, outline] = (await page.evaluate(`(() => {
          const one = ${focused}
          const seen = one.matches('.open') ? one.closest('.name') : one
          return [one.ariaLabel ?? one.innerText ?? '', getComputedStyle(seen).outlineStyle]
        })()`)) as [string, string]
        assert.notEqual(outline, 'none', `the focus on ${label} is seen`)
        if (label === name) return
      }
      assert.fail(`no way to ${name}`)
    }
    page.on('filechooser', () => {}) // told of early: it takes the browser a moment to ask us
    await page.locator('#key:focus').waitFor()
    await page.keyboard.type(service.key)
    await page.keyboard.press('Enter')
    await page.locator('#desk').waitFor()
    await settled(page)
    await eventually(async () => assert.equal(await page.evaluate('document.activeElement.id'), 'files'))
    const chooser = page.waitForEvent('filechooser')
    await page.keyboard.press('Space')
    await (await chooser).setFiles(fileOf('by-keys.png', png({ sizeBytes: 7_000 })))
    await stored(page, 'by-keys.png')
    await rowOf(page, 'by-keys.png').waitFor()
    await go('by-keys.png')
    await page.keyboard.press('Enter')
    await page.getByRole('dialog').waitFor()
    await page.keyboard.press('Escape')
    assert.equal(await page.evaluate('document.activeElement.innerText'), 'by-keys.png')
    await go('Delete: by-keys.png')
    await page.keyboard.press('Enter')
    assert.equal(await page.evaluate('document.activeElement.id'), 'confirm-no')
    await go('Delete')
    await page.keyboard.press('Space')
    await rowOf(page, 'by-keys.png').waitFor({ state: 'detached' })
    assert.equal(await page.evaluate('document.activeElement.innerText'), 'bundle.zip')
    await go('Sign out', 'Shift+Tab')
    await page.keyboard.press('Enter')
    await page.getByLabel('API key').waitFor()
    assert.deepEqual(trouble, [])
    await page.context().close()
  })

  for (const colorScheme of ['light', 'dark'] as const) {
    it(`fits a window of 320 pixels, with good contrast, where ${colorScheme} colours are wanted`, async () => {
      const { page, trouble } = await open(browser, service.url, {
        colorScheme,
        viewport: { width: 320, height: 640 },
      })
      const look = async (): Promise<void> => {
        await assertNoSidewaysScroll(page)
        const { ratio, text, count } = await leastContrast(page)
        assert.ok(count > 3 && ratio >= 4.5, `${ratio} at ${text}`)
      }
      await page.getByLabel('API key').fill('wrong')
      await page.keyboard.press('Enter')
      await page.locator('#sign-in-error').filter({ hasText: /./ }).waitFor()
      await look()
      await signIn(page, service.key)
      await choose(page, fileOf('words.txt', Buffer.from('words')))
      await statusOf(page, 'words.txt')
        .filter({ hasText: /^The file/ })
        .waitFor()
      await look()
      await page.getByRole('button', { name: 'photo of a harbour.jpg', exact: true }).click()
      await look()
      await page.keyboard.press('Escape')
      await page.getByRole('button', { name: 'Delete: photo of a harbour.jpg' }).click()
      await look()
      const ground = String(await page.evaluate('getComputedStyle(document.body).backgroundColor'))
      const brightness = Number(/\d+/.exec(ground)?.[0])
      assert.ok(colorScheme === 'dark' ? brightness < 60 : brightness > 200, ground)
      assert.deepEqual(trouble, [])
      await page.context().close()
    })
  }
})
