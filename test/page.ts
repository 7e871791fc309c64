/** The web page in a real browser, as its tests use it. */
import assert from 'node:assert/strict'
import { existsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type Browser, type BrowserContextOptions, chromium, type Page } from 'playwright-core'
import type { RunningService } from './service.ts'
import { bucketEndpoint } from './stores.ts'

const executablePath = '/usr/bin/chromium'
export const skip = existsSync(executablePath) ? false : 'Chromium is not installed (/usr/bin/chromium)'

export const launch = (): Promise<Browser> =>
  chromium.launch({
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

export type Opened = {
  page: Page
  /** Whatever the page asked of others, was refused by its policy, or failed at; and the dialogs of scripts. */
  trouble: string[]
  /** Every address that was asked for. */
  asked: string[]
}

/** Opens the page in a session of its own. */
export async function open(
  browser: Browser,
  url: string,
  options: BrowserContextOptions = {},
): Promise<Opened> {
  const context = await browser.newContext({ viewport: { width: 1000, height: 900 }, ...options })
  return watch(await context.newPage(), url)
}

export async function watch(page: Page, url: string): Promise<Opened> {
  page.setDefaultTimeout(30_000)
  const [trouble, asked]: string[][] = [[], []]
  page.on('request', (request) => {
    asked?.push(request.url())
    // To a bucket, by a URL that the service has signed, and to nowhere else.
    const isSignedPut = bucketEndpoint !== null && /[?&]X-Amz-Signature=/.test(request.url())
    const isOurs = request.url().startsWith(`${new URL(url).origin}/`)
    if (!isOurs && !isSignedPut) trouble?.push(`asked for ${request.url()}`)
  })
  page.on('console', (message) => {
    // What the page itself shows in words.
    if (!/^Failed to load resource: /.test(message.text())) trouble?.push(`console: ${message.text()}`)
  })
  page.on('pageerror', (error) => trouble?.push(`failed: ${error}`))
  page.on('dialog', (dialog) => {
    trouble?.push(`dialog: ${dialog.message()}`)
    void dialog.dismiss()
  })
  await page.addInitScript(
    `addEventListener('securitypolicyviolation', (event) => console.log('refused by policy: ' + event.violatedDirective))`,
  )
  await page.goto(url)
  return { page, trouble: trouble ?? [], asked: asked ?? [] }
}

export async function signIn(page: Page, key: string): Promise<void> {
  await page.getByLabel('API key').fill(key)
  await page.getByRole('button', { name: 'Sign in' }).click()
  await page.locator('#desk').waitFor()
  await settled(page)
}

/** Until the list has what was asked for last. */
export async function settled(page: Page): Promise<void> {
  await page.locator('#assets:not([aria-busy])').waitFor({ state: 'attached' })
}

export const rowOf = (page: Page, name: string) => page.locator('#assets > li').filter({ hasText: name })
export const uploadOf = (page: Page, name: string) =>
  page.locator('#upload-rows > li').filter({ hasText: name })

export const statusOf = (page: Page, name: string) => uploadOf(page, name).locator('.status')

/** Until an upload of that name has ended well. */
export async function stored(page: Page, name: string): Promise<void> {
  const done = statusOf(page, name).filter({ hasText: /^Stored/ })
  await done.waitFor({ timeout: 30_000 })
}

/** Writes a file to choose. @returns its path */
export function fileIn(folder: string, name: string, bytes: Uint8Array): string {
  const path = join(folder, name)
  writeFileSync(path, bytes)
  return path
}

export const choose = (page: Page, ...paths: string[]) => page.locator('#files').setInputFiles(paths)

/** Uploads by the API, under a name. @returns its URL */
export async function uploadNamed(
  service: Pick<RunningService, 'url' | 'key'>,
  name: string,
  bytes: Uint8Array,
): Promise<string> {
  const form = new FormData()
  form.append('file', new Blob([new Uint8Array(bytes)]), name)
  const headers = { 'x-api-key': service.key }
  const answer = await fetch(`${service.url}/v3/assets`, { method: 'POST', headers, body: form })
  assert.equal(answer.status, 200, name)
  return ((await answer.json()) as { data: { url: string } }).data.url
}

/** Lets files that a script makes fall onto the page. */
export async function drop(page: Page, files: { name: string; base64: string }[]): Promise<void> {
  await page.evaluate(`{
    const data = new DataTransfer()
    for (const { name, base64 } of ${JSON.stringify(files)})
      data.items.add(new File([Uint8Array.fromBase64(base64)], name))
    window.dispatchEvent(new DragEvent('drop', { dataTransfer: data, bubbles: true, cancelable: true }))
  }`)
}

/** That nothing is wider than the window. */
export async function assertNoSidewaysScroll(page: Page): Promise<void> {
  const wide = await page.evaluate(`[...document.querySelectorAll('body *')]
    .filter((one) => one.checkVisibility() && one.getBoundingClientRect().right > innerWidth + 0.5)
    .map((one) => one.outerHTML.slice(0, 120))`)
  assert.deepEqual(wide, [])
  const widths = '[document.scrollingElement.scrollWidth, innerWidth]'
  const [scroll, window] = (await page.evaluate(widths)) as [number, number]
  assert.ok(scroll <= window, `${scroll} pixels in a window of ${window}`)
}

/**
 * The contrast of every visible text with what is behind it (WCAG 2.2, 1.4.3), the least of them.
 * Colours come from a canvas, which knows every way to write one.
 */
export async function leastContrast(page: Page): Promise<{ ratio: number; text: string; count: number }> {
  return (await page.evaluate(`(() => {
    const canvas = new OffscreenCanvas(1, 1).getContext('2d', { willReadFrequently: true })
    const read = (colour) => {
      canvas.clearRect(0, 0, 1, 1)
      canvas.fillStyle = colour
      canvas.fillRect(0, 0, 1, 1)
      return canvas.getImageData(0, 0, 1, 1).data
    }
    const light = (colour) => {
      const [r, g, b] = [...read(colour)].slice(0, 3).map((v) => v / 255).map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
      return 0.2126 * r + 0.7152 * g + 0.0722 * b
    }
    const behind = (element) => {
      for (let at = element; at !== null; at = at.parentElement) {
        const { backgroundColor } = getComputedStyle(at)
        if (read(backgroundColor)[3] === 255) return backgroundColor
      }
      return 'white'
    }
    const texts = [...document.querySelectorAll('body *')].filter((one) =>
      one.checkVisibility() && !one.closest('.unseen') && [...one.childNodes].some((node) => node.nodeType === 3 && node.data.trim() !== ''))
    const found = texts.map((one) => {
      const [a, b] = [light(getComputedStyle(one).color), light(behind(one))].sort((x, y) => y - x)
      return { ratio: (a + 0.05) / (b + 0.05), text: one.textContent.slice(0, 60), count: texts.length }
    })
    return found.sort((x, y) => x.ratio - y.ratio)[0]
  })()`)) as { ratio: number; text: string; count: number }
}
