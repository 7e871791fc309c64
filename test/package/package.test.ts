/** The package as its users have it: packed, installed in an empty folder by npm alone, and used from there. */
import assert from 'node:assert/strict'
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { fileURLToPath } from 'node:url'
import { png } from '../media/samples.ts'
import { launch, open, rowOf, signIn, skip as skipBrowser } from '../page.ts'
import { type RunningService, startService, withoutSettings } from '../service.ts'

const root = fileURLToPath(new URL('../..', import.meta.url))
const folder = mkdtempSync(join(tmpdir(), 'assetd-package-'))
after(() => rmSync(folder, { recursive: true }))

/** The npm of the machine; without what an npm that runs this test has set for its own package. */
function npm(cwd: string, program: 'npm' | 'npx', ...args: string[]) {
  const env = Object.entries(withoutSettings(process.env)).filter(([name]) => !/^npm_/i.test(name))
  return spawnSync(program, args, { cwd, encoding: 'utf8', env: Object.fromEntries(env), timeout: 300_000 })
}

function done({ status, stdout, stderr }: ReturnType<typeof npm>): string {
  assert.equal(status, 0, `${stdout}\n${stderr}`)
  return stdout
}

const registry = npm(folder, 'npm', 'view', 'commander', 'version', '--prefer-offline', '--fetch-retries=1')
const skip = registry.status === 0 ? false : 'npm cannot reach its registry, and has nothing kept of it'

describe('the package', { skip }, () => {
  const packed = join(folder, 'packed')
  /** A folder of a user, with nothing in it. */
  const home = join(folder, 'home')
  let service: RunningService

  before(async () => {
    for (const path of [packed, home]) mkdirSync(path)
    done(npm(root, 'npm', 'pack', '--pack-destination', packed))
    const [tarball = ''] = readdirSync(packed)
    assert.match(tarball, /^assetd-\d.*\.tgz$/)
    done(npm(home, 'npm', 'install', '--prefer-offline', '--no-audit', '--no-fund', join(packed, tarball)))
    const bin = join(home, 'node_modules/assetd/bin/assetd.mjs')
    service = await startService({ program: [bin, 'serve'] })
  })
  after(async () => {
    await service?.stop()
  })

  const env = (): Record<string, string | undefined> => ({
    ...withoutSettings(process.env),
    ASSETD_URL: service.url,
    ASSETD_API_KEY: service.key,
  })

  const script = (name: string, text: string) => {
    writeFileSync(join(home, name), text)
    const { status, stdout, stderr } = spawnSync(process.execPath, [name], {
      cwd: home,
      encoding: 'utf8',
      env: env(),
    })
    assert.equal(status, 0, stderr)
    return JSON.parse(stdout) as Record<string, unknown>
  }

  it('has what it needs and nothing of how it is made', () => {
    const inside = readdirSync(join(home, 'node_modules/assetd'), { recursive: true, encoding: 'utf8' })
    for (const path of inside) assert.doesNotMatch(path, /^(src|test|bench|scripts)\b|\.test\.|(?<!\.d)\.ts$/)
    // Its install script would report who installs us.
    assert.ok(!readdirSync(join(home, 'node_modules')).includes('@scarf'))
  })

  it('npx assetd serve runs the service, and its pages are whole', async () => {
    writeFileSync(join(home, 'key'), 'k'.repeat(40))
    const child = spawn('npx', ['assetd', 'serve'], {
      cwd: home,
      env: { ...withoutSettings(process.env), ASSETD_PORT: '0', ASSETD_API_KEY_FILE: join(home, 'key') },
      stdio: ['ignore', 'pipe', 'ignore'],
      detached: true,
    })
    try {
      const { url, example } = await greetingOf(child)
      assert.deepEqual(readFileSync(example), readFileSync(join(root, 'examples/first-upload.png')))
      for (const path of ['/readyz', '/openapi.json'])
        assert.equal((await fetch(url + path)).status, 200, path)
      for (const path of ['/', '/docs', '/docs/errors']) await assertWhole(url + path)
    } finally {
      // The whole group, which is of this child alone: npx, the launcher and the service.
      process.kill(-Number(child.pid), 'SIGTERM')
      await new Promise((resolve) => child.once('exit', resolve))
    }
  })

  it('its page has all its modules, and works in a browser', async (test) => {
    const seen = new Set<string>()
    const visit = async (url: string): Promise<void> => {
      if (seen.has(url)) return
      seen.add(url)
      const answer = await fetch(url)
      assert.equal(answer.status, 200, url)
      const text = await answer.text()
      const named = /\.js$/.test(url)
        ? text.matchAll(/\bfrom\s*['"](\.[^'"]+)['"]/g)
        : url.endsWith('/')
          ? text.matchAll(/(?:src|href)="(\/page\/[^"]+)"/g)
          : []
      if (/\.js$/.test(url)) assert.match(String(answer.headers.get('content-type')), /^text\/javascript/)
      for (const [, path] of named) await visit(new URL(String(path), url).href)
    }
    await visit(`${service.url}/`)
    const paths = [...seen].map((url) => new URL(url).pathname)
    for (const path of ['/page/page.css', '/page/icon.svg', '/page/uploads.js', '/client/upload.js'])
      assert.ok(paths.includes(path), `${path} in ${paths}`)

    if (skipBrowser) return test.diagnostic(skipBrowser)
    const browser = await launch()
    try {
      const { page, trouble } = await open(browser, service.url)
      await signIn(page, service.key)
      await page.locator('#files').setInputFiles([join(root, 'examples/first-upload.png')])
      await rowOf(page, 'first-upload.png').waitFor()
      assert.deepEqual(trouble, [])
    } finally {
      await browser.close()
    }
  })

  it('npx assetd upload uses it', async () => {
    writeFileSync(join(home, 'a.png'), png())
    const { status, stdout, stderr } = await run('npx', ['assetd', 'upload', 'a.png'])
    assert.equal(status, 0, stderr)
    const [, url = ''] = stdout.split('\t')
    assert.deepEqual(Buffer.from(await (await fetch(url)).arrayBuffer()), png())
    assert.match((await run('npx', ['assetd', '--version'])).stdout, /^\d+\.\d+\.\d+\n$/)
    assert.match((await run('npx', ['assetd', 'upload', 'none.png'])).stderr, /there is no such file/)
  })

  const using = `
    const client = createClient({ baseUrl: process.env.ASSETD_URL, apiKey: process.env.ASSETD_API_KEY })
    const { asset_id } = await client.upload(new Blob([await readFile('a.png')]), { name: 'a.png' })
    const { name } = await client.get(asset_id)
    console.log(JSON.stringify({ name, typed: (await client.get('none').catch((e) => e)) instanceof AssetdError }))`

  it('the client is imported in Node.js', () => {
    const text = `import { AssetdError, createClient } from 'assetd/client'\nimport { readFile } from 'node:fs/promises'\n${using}`
    assert.deepEqual(script('client.mjs', text), { name: 'a.png', typed: true })
    const fromDisk = `import { openFile } from 'assetd/client/node'\nconst { name, size } = await openFile('a.png')\nconsole.log(JSON.stringify({ name, size }))`
    assert.deepEqual(script('disk.mjs', fromDisk), { name: 'a.png', size: 85 })
  })

  it('the client goes through a bundler, for a browser too', () => {
    const tools = join(folder, 'tools')
    mkdirSync(tools)
    done(npm(tools, 'npm', 'install', '--prefer-offline', '--no-audit', '--no-fund', 'esbuild@0.28.2'))
    const esbuild = join(tools, 'node_modules/.bin/esbuild')
    const entry = `import { AssetdError, createClient } from 'assetd/client'\nimport { readFile } from 'node:fs/promises'\n${using}`
    writeFileSync(join(home, 'entry.mjs'), entry)
    done(bundle(esbuild, 'entry.mjs', '--platform=node', '--outfile=bundled.mjs'))
    rmSync(join(home, 'entry.mjs'))
    const bundled = readFileSync(join(home, 'bundled.mjs'), 'utf8')
    assert.doesNotMatch(bundled, /assetd\/client'/)
    assert.deepEqual(script('moved.mjs', bundled), { name: 'a.png', typed: true })
    writeFileSync(join(home, 'page.mjs'), `export { createClient } from 'assetd/client'`)
    done(bundle(esbuild, 'page.mjs', '--platform=browser', '--outfile=page.js'))
  })

  function bundle(esbuild: string, ...args: string[]) {
    return spawnSync(esbuild, [...args, '--bundle', '--format=esm', '--log-level=error'], {
      cwd: home,
      encoding: 'utf8',
    })
  }

  for (const [module, types] of [
    ['nodenext', []],
    ['preserve', ['--lib', 'esnext,dom']],
  ] as const) {
    it(`the client has types (module ${module})`, () => {
      const good = `import { AssetdError, createClient } from 'assetd/client'
        const client = createClient({ baseUrl: '', apiKey: '' })
        export const name: Promise<string> = client.get('x').then((asset) => asset.name)
        export const code = (error: unknown): string => (error instanceof AssetdError ? error.code : '')\n`
      const check = (text: string) => {
        writeFileSync(join(home, 'typed.mts'), text)
        const tsc = join(root, 'node_modules/.bin/tsc')
        const args = ['--noEmit', '--strict', '--module', module, '--target', 'es2024', ...types, 'typed.mts']
        if (types.length === 0)
          args.unshift('--types', 'node', '--typeRoots', join(root, 'node_modules/@types'))
        return spawnSync(process.execPath, [tsc, ...args], { cwd: home, encoding: 'utf8' })
      }
      done(check(good))
      const bad = check(good.replace('Promise<string>', 'Promise<number>'))
      assert.match(bad.stdout, /typed\.mts\(3,\d+\): error TS2322/)
    })
  }

  async function run(command: string, args: string[]) {
    const child = spawn(command, args, { cwd: home, env: env(), stdio: ['ignore', 'pipe', 'pipe'] })
    let [stdout, stderr] = ['', '']
    child.stdout.on('data', (piece) => {
      stdout += piece
    })
    child.stderr.on('data', (piece) => {
      stderr += piece
    })
    const status = await new Promise<number | null>((resolve) => child.once('close', resolve))
    return { status, stdout, stderr }
  }
})

/** Whatever a page of ours names is there, and so on: styles, scripts and what they import. */
async function assertWhole(page: string, seen: Set<string> = new Set()): Promise<void> {
  if (seen.has(page)) return
  seen.add(page)
  const answer = await fetch(page)
  assert.equal(answer.status, 200, page)
  const kind = answer.headers.get('content-type') ?? ''
  const text = await answer.text()
  const names = kind.startsWith('text/html')
    ? /<(?:link|script|img)\b[^>]*?\b(?:src|href)="([^"#]+)"/g
    : /^(?:import|export)\b[^'"\n]*['"](\.[^'"\n]+)['"]/gm
  if (!/html|javascript/.test(kind)) return
  for (const [, name = ''] of text.matchAll(names)) await assertWhole(new URL(name, answer.url).href, seen)
}

/** Where it listens, and the file that it offers for a first upload. */
function greetingOf(child: ChildProcess): Promise<{ url: string; example: string }> {
  return new Promise((resolve, reject) => {
    let text = ''
    child.stdout?.on('data', (piece) => {
      text += piece
      const url = /listens on (http:\/\/\S+),/.exec(text)?.[1]
      const example = /file=@([^']+)'/.exec(text)?.[1]
      if (url !== undefined && example !== undefined) resolve({ url, example })
    })
    child.once('exit', (status) => reject(new Error(`it ended with ${status}: ${text}`)))
  })
}
