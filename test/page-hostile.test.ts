/** Names and files of people who wish us ill, shown by the web page: all of it is text and pictures, and none runs. */
import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import type { Browser, Page } from 'playwright-core'
import { mediaTypeNames } from '../src/asset.ts'
import { type Polyglot, polyglots } from './media/polyglots.ts'
import { png, samples } from './media/samples.ts'
import {
  assertNoSidewaysScroll,
  drop,
  launch,
  type Opened,
  open,
  rowOf,
  settled,
  signIn,
  skip,
  uploadNamed,
  uploadOf,
} from './page.ts'
import { eventually, type RunningService, startService } from './service.ts'

const run = 'console.log("RAN")'

/** What each is to look like: null where it stands as it is. */
const names: [name: string, shown: string | null][] = [
  [`<img src=x onerror='${run}'>.png`, null],
  [`"><script>${run}</script>.png`, null],
  [`' onmouseover='${run}' x='.png`, null],
  [`javascript:${run}.png`, null],
  ['&lt;b&gt;bold&amp;.png', null],
  ['{{PREFIX}} {{1+1}} %s.png', null],
  ['photo\u202egnp.exe', 'photo\u{fffd}gnp.exe'],
  ['\u2067turned\u2066\u200fround.png', '\u{fffd}turned\u{fffd}\u{fffd}round.png'],
  ['e\u0301'.repeat(50), null],
  ['صورة فوتوغرافية.png', null],
  ['\u{1f469}\u200d\u{1f52c} in the lab.png', null],
  ['a'.repeat(8_192), `${'a'.repeat(200)}…`],
  ['two words '.repeat(800), `${'two words '.repeat(20)}…`],
]

describe('hostile names and files on the page, in Chromium', { skip }, () => {
  let service: RunningService
  let browser: Browser
  let opened: Opened
  let page: Page

  before(async () => {
    service = await startService()
    browser = await launch()
  })
  after(async () => {
    await browser?.close()
    await service?.stop()
  })

  /** Pointed at, opened, asked about, and closed again. */
  async function handle(at: number): Promise<void> {
    const row = page.locator('#assets > li').nth(at)
    await row.hover()
    await row.locator('.open').click()
    await page.locator('#preview').waitFor()
    await page.waitForTimeout(50)
    await page.getByRole('button', { name: 'Close' }).click()
    await row.getByRole('button', { name: /^Delete/ }).click()
    await page.getByRole('button', { name: 'Keep it' }).click()
  }

  it('names are text, wherever they stand, and none runs or widens the page', async () => {
    opened = await open(browser, service.url, { viewport: { width: 320, height: 800 } })
    page = opened.page
    await signIn(page, service.key)
    const base64 = Buffer.from(png()).toString('base64')
    await drop(
      page,
      names.map(([name]) => ({ name, base64 })),
    )
    await eventually(
      async () => assert.equal(await page.locator('.upload[data-state="done"]').count(), names.length),
      20_000,
    )
    await assertNoSidewaysScroll(page)
    const uploads = await page.locator('#upload-rows .name').allTextContents()
    assert.deepEqual(
      uploads,
      names.map(([name, shown]) => shown ?? name),
    )
    await page.getByRole('button', { name: 'Clear finished' }).click()

    // As the list of the service has them, which may have made them shorter.
    await page.reload()
    await settled(page)
    await eventually(async () => assert.equal(await page.locator('#assets > li').count(), names.length))
    const listed = await page.locator('#assets .name').allTextContents()
    for (const [name, shown] of names) {
      // A browser writes quotes so in a form.
      const wanted = (shown ?? name).replaceAll('"', '%22').slice(0, 60)
      assert.ok(
        listed.some((one) => one.startsWith(wanted)),
        `${wanted} in ${listed}`,
      )
    }
    for (let at = 0; at < names.length; at++) await handle(at)
    await assertNoSidewaysScroll(page)
    // What a name could have made.
    assert.equal(
      await page.locator('main b, main script, #assets img[src="x"], [onmouseover], [onerror]').count(),
      0,
    )
    assert.deepEqual(opened.trouble, [])
    await page.context().close()
  })

  it('files with pages and scripts in them are shown as what they are, and none runs', async () => {
    const all = polyglots((name) => `console.log("RAN ${name}");self.ran=true`)
    const chosen = all.filter(({ name }) => /HTML inside|HTML behind|is a script|SVG inside/.test(name))
    const taken = chosen.filter(({ verdict }: Polyglot) => mediaTypeNames.some((type) => type === verdict))
    assert.ok(taken.length >= 7)
    for (const { name, file } of taken) await uploadNamed(service, `${name}.html`, file)
    opened = await open(browser, service.url)
    page = opened.page
    await signIn(page, service.key)
    for (let at = 0; at < Math.min(20, taken.length); at++) await handle(at)
    assert.equal(await page.evaluate('self.ran'), undefined)
    assert.deepEqual(opened.trouble, [])
    await page.context().close()
  })

  it('an answer of the API with markup in it stays text', async () => {
    opened = await open(browser, service.url)
    page = opened.page
    await signIn(page, service.key)
    const markup = `<img src=x onerror='${run}'><script>${run}</script>`
    const error = { code: 'internal_error', message: markup, param: null, doc_url: null }
    await page.route('**/v3/assets', (route) => route.fulfill({ status: 500, json: { error } }))
    await drop(page, [{ name: 'a.wav', base64: samples.wav().toString('base64') }])
    const status = uploadOf(page, 'a.wav').locator('.status')
    await status.filter({ hasText: markup }).waitFor()
    await page.unroute('**/v3/assets')
    const asset = {
      id: markup,
      name: markup,
      type: 'image',
      owner: markup,
      space_id: 'default',
      uploaded_at: 1,
      folder_id: null,
      url: `javascript:${run}`,
      mime_type: markup,
      size_bytes: 1,
      width: 1,
      height: 1,
    }
    const list = { data: [asset], has_more: false, next_token: null }
    await page.route('**/v3/assets?*', (route) => route.fulfill({ json: list }))
    await page.reload()
    await rowOf(page, markup).waitFor()
    await handle(0)
    assert.equal(await page.locator('main script, #preview script, [onerror]').count(), 0)
    assert.deepEqual(
      opened.trouble.filter((what) => !/refused by policy: img-src|violates the following/.test(what)),
      [],
    )
    await page.context().close()
  })

  it('would be seen: markup that is put in as HTML is refused by the policy, and tells', async () => {
    opened = await open(browser, service.url)
    page = opened.page
    const put = `document.body.innerHTML = '<img src=x>'`
    assert.match(
      await page.evaluate(`(() => { try { ${put} } catch (e) { return String(e) } })()`),
      /TrustedHTML/,
    )
    await page.evaluate(
      `document.body.append(Object.assign(document.createElement('img'), { src: 'https://other.test/x' }))`,
    )
    const handler = `document.body.setAttribute('onclick', '${run}')`
    assert.match(
      String(await page.evaluate(`(() => { try { ${handler} } catch (e) { return String(e) } })()`)),
      /TrustedScript/,
    )
    await eventually(() =>
      assert.ok(
        opened.trouble.some((what) => /refused by policy: img-src|default-src/.test(what)),
        opened.trouble.join(),
      ),
    )
    assert.ok(!opened.trouble.some((what) => what === 'console: RAN'))
    await page.context().close()
  })

  it('no other page can frame it, and no form of it is sent by the browser', async () => {
    const { headers } = await fetch(service.url)
    const policy = String(headers.get('content-security-policy'))
    for (const directive of [
      "default-src 'self'",
      "frame-ancestors 'none'",
      "base-uri 'none'",
      "form-action 'none'",
    ])
      assert.ok(policy.includes(directive), directive)
    assert.doesNotMatch(policy, /unsafe|\*|data:/)
    assert.equal(headers.get('x-content-type-options'), 'nosniff')
    const docs = String((await fetch(`${service.url}/docs`)).headers.get('content-security-policy'))
    for (const directive of ["default-src 'self'", "frame-ancestors 'none'", "base-uri 'none'"])
      assert.ok(docs.includes(directive), directive)
    assert.doesNotMatch(docs, /script-src|unsafe-eval/)
  })
})
