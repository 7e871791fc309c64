/**
 * Files with script in them, uploaded and opened in a real browser in every way that a page has: none of it may run.
 * Each script says on the console that it runs, marks its window, and calls a server that is not ours.
 */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { after, before, describe, it } from 'node:test'
import { type Browser, chromium, type Page } from 'playwright-core'
import { mediaTypeNames } from '../../src/asset.ts'
import { isShort } from '../form.ts'
import { type Polyglot, polyglots } from '../media/polyglots.ts'
import { eventually, type RunningService, startService, upload } from '../service.ts'

const executablePath = '/usr/bin/chromium'
const skip = existsSync(executablePath) ? false : 'Chromium is not installed (/usr/bin/chromium)'

type Uploaded = Polyglot & { url: string }

/** The ways in which a page takes in a file; `URL` stands for its address. */
const embeddings: readonly string[] = [
  '<script src="URL"></script>',
  '<script src="URL" charset="latin1"></script>',
  '<script type="module" src="URL"></script>',
  '<iframe src="URL"></iframe>',
  '<object data="URL"></object>',
  '<object data="URL" type="text/html"></object>',
  '<embed src="URL">',
  '<embed src="URL" type="text/html">',
  '<img src="URL">',
  '<video src="URL" autoplay muted></video>',
  '<audio src="URL"></audio>',
  '<link rel="stylesheet" href="URL">',
  '<svg><use href="URL#x"/><image href="URL"/></svg>',
  '<script>import("URL").catch(() => {})</script>',
  '<script>try { new Worker("URL") } catch {}</script>',
  '<script>try { new Worker("URL", { type: "module" }) } catch {}</script>',
  '<script>navigator.serviceWorker?.register("URL").catch(() => {})</script>',
  '<script>new Worker(URL.createObjectURL(new Blob([`try { importScripts("URL") } catch {}`])))</script>',
]

function takingIn(embedding: string, urls: readonly string[]): string {
  return urls.map((url) => embedding.replaceAll(/\bURL\b(?!\.)/g, url)).join('\n')
}

describe('case 37: script in served files, in Chromium', { skip }, () => {
  let service: RunningService
  let browser: Browser
  let canary: Server
  let canaryUrl: string
  let files: Polyglot[]
  let uploaded: Uploaded[]
  const ran: string[] = []

  const scriptFor = (name: string): string =>
    `console.log("RAN ${name}");self.ran="${name}";new Image().src="${canaryUrl}/ran?${encodeURIComponent(name)}"`

  before(async () => {
    canary = createServer((request, response) => {
      const url = new URL(request.url ?? '/', canaryUrl)
      if (url.pathname === '/ran') ran.push(`called: ${url.search}`)
      const file = files.find(({ name }) => url.searchParams.get('file') === name)
      const type = url.searchParams.get('as') ?? 'text/plain'
      response.writeHead(200, { 'content-type': type }).end(file?.file ?? '')
    }).listen(0, '127.0.0.1')
    await once(canary, 'listening')
    canaryUrl = `http://127.0.0.1:${(canary.address() as AddressInfo).port}`
    files = polyglots(scriptFor)
    service = await startService()
    browser = await chromium.launch({
      executablePath,
      args: [
        '--no-sandbox',
        '--disable-gpu',
        '--disable-quic',
        '--no-first-run',
        '--disable-background-networking',
      ],
    })
    uploaded = await uploadAll()
  })
  after(async () => {
    await browser?.close()
    await service?.stop()
    canary?.closeAllConnections()
    canary?.close()
  })

  /** Those that the service takes; it must refuse the others. */
  async function uploadAll(): Promise<Uploaded[]> {
    const taken: Uploaded[] = []
    for (const one of files) {
      const answer = await upload(service, one.file)
      const accepted = mediaTypeNames.some((type) => type === one.verdict)
      assert.equal(answer.status, accepted ? 200 : 400, one.name)
      const { data } = (await answer.json()) as { data?: { url: string } }
      if (data !== undefined) taken.push({ ...one, url: data.url })
    }
    return taken
  }

  async function newPage(): Promise<Page> {
    const page = await browser.newPage()
    page.setDefaultTimeout(90_000)
    page.on('console', (message) => {
      if (message.text().startsWith('RAN')) ran.push(`console: ${message.text()}`)
    })
    page.on('dialog', (dialog) => {
      ran.push(`dialog: ${dialog.message()}`)
      void dialog.dismiss()
    })
    return page
  }

  /** What ran since the last time, once the page has had time to run more. */
  async function whatRan(page: Page): Promise<string[]> {
    await page.waitForTimeout(200)
    for (const frame of page.frames()) {
      const mark = await frame.evaluate('self.ran').catch(() => undefined)
      if (mark !== undefined) ran.push(`marked: ${mark}`)
    }
    return ran.splice(0)
  }

  const control = (name: string, as: string): string =>
    `${canaryUrl}/control?file=${encodeURIComponent(name)}&as=${encodeURIComponent(as)}`

  it('would be seen: served as a page, the same files run', async () => {
    for (const name of [
      'HTML inside png',
      'HTML behind jpeg',
      'HTML inside wav',
      'HTML behind mp3',
      'SVG inside webm',
    ]) {
      const page = await newPage()
      await page.goto(control(name, 'text/html'))
      const seen = await whatRan(page)
      assert.ok(seen.includes(`console: RAN ${name}`), `${name}: ${seen}`)
      assert.ok(seen.includes(`marked: ${name}`), `${name}: ${seen}`)
      assert.ok(
        seen.some((one) => one.startsWith('called: ')),
        `${name}: ${seen}`,
      )
      await page.close()
    }
  })

  it('would be seen: served as programs, those that are scripts run', async () => {
    for (const name of ['JPEG that is a script', 'WAV that is a script']) {
      const page = await newPage()
      await page.goto(control('', 'text/html'))
      await page.setContent(
        `<script>var RIFF</script><script charset="latin1" src="${control(name, 'text/javascript')}"></script>`,
      )
      const seen = await whatRan(page)
      assert.ok(seen.includes(`console: RAN ${name}`), `${name}: ${seen}`)
      await page.close()
    }
  })

  it('would be seen: what runs in a worker', async () => {
    const name = 'JPEG that is a script'
    const address = control(name, 'text/javascript; charset=latin1')
    // Modules are read as UTF-8, in which this one is no program.
    for (const embedding of embeddings.filter((one) => /new Worker\(/.test(one) && !/module/.test(one))) {
      const page = await newPage()
      await page.goto(control('', 'text/html'))
      await page.setContent(takingIn(embedding, [address]))
      const see = async () => assert.ok((await whatRan(page)).includes(`console: RAN ${name}`), embedding)
      await eventually(see)
      await page.close()
    }
  })

  it('opened by itself, none runs', async (test) => {
    assert.ok(uploaded.length > 100)
    const some = isShort ? uploaded.filter(({ name }) => /HTML|is a script|PDF with/.test(name)) : uploaded
    const page = await newPage()
    let downloads = 0
    page.on('download', (download) => {
      downloads++
      void download.cancel()
    })
    for (const { name, url, verdict } of some) {
      const opened = page.goto(url).then(
        () => 'shown',
        () => 'not shown',
      )
      assert.equal(await opened, verdict === 'pdf' ? 'not shown' : 'shown', name)
    }
    assert.deepEqual(await whatRan(page), [])
    const documents = some.filter(({ verdict }) => verdict === 'pdf').length
    await eventually(() => assert.equal(downloads, documents))
    test.diagnostic(`${some.length} files, ${documents} of them as downloads`)
    await page.close()
  })

  for (const place of ['another origin', 'our own origin'] as const) {
    for (const embedding of embeddings) {
      it(`taken in by a page of ${place}, none runs: ${embedding}`, async () => {
        const some = isShort ? uploaded.filter(({ name }) => /HTML inside|is a script/.test(name)) : uploaded
        assert.deepEqual(
          [...new Set(some.map(({ verdict }) => verdict))].toSorted(),
          mediaTypeNames.toSorted(),
        )
        await openWith(embedding, some, place)
      })
    }
  }

  /** One page that takes in all the files in one way. */
  async function openWith(embedding: string, some: readonly Uploaded[], place: string): Promise<void> {
    const page = await newPage()
    const address = `${place === 'our own origin' ? service.url : canaryUrl}/a-page-that-takes-in-files`
    const body = takingIn(
      embedding,
      some.map(({ url }) => url),
    )
    await page.route(address, (route) =>
      route.fulfill({ contentType: 'text/html', body: `<!doctype html><script>var RIFF</script>${body}` }),
    )
    const asked = new Set<string>()
    page.on('request', (request) => asked.add(request.url()))
    await page.goto(address)
    const names = some.map(({ name }) => name).join(', ')
    assert.deepEqual(await whatRan(page), [], `${embedding} with one of ${names}`)
    // Else nothing would have been tried: what may not be asked for at all are workers of another origin.
    if (!/Worker/.test(embedding))
      for (const { url } of some) assert.ok(asked.has(url), `${embedding} asked for ${url}`)
    await page.close()
  }
})
