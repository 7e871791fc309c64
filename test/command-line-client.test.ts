/** `assetd upload`, `ls`, `get` and `rm`, each a process of its own beside a running service. */
import assert from 'node:assert/strict'
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { after, before, describe, it } from 'node:test'
import { isShort } from './form.ts'
import { png, wav } from './media/samples.ts'
import { peakResidentBytes } from './raw-http.ts'
import {
  type CommandResult,
  contentsOf,
  eventually,
  launcher,
  type RunningService,
  startService,
  withoutSettings,
  workingPid,
} from './service.ts'
import { type SlowLine, slowLine } from './slow-line.ts'

const folder = mkdtempSync(join(tmpdir(), 'assetd-cli-'))
after(() => rmSync(folder, { recursive: true }))

const mib = 1024 * 1024

function fileOf(name: string, bytes: Uint8Array): string {
  writeFileSync(join(folder, name), bytes)
  return join(folder, name)
}

type Env = Record<string, string>
const running = new Set<ChildProcess>()
after(() => {
  for (const child of running) child.kill('SIGKILL')
})

function start(env: Env, ...args: string[]) {
  const child = spawn(process.execPath, [launcher, ...args], {
    env: { ...withoutSettings(process.env), ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
    cwd: folder,
  })
  running.add(child)
  child.once('exit', () => running.delete(child))
  const status = new Promise<number | null>((resolve) => child.once('exit', resolve))
  const result = Promise.all([status, text(child.stdout), text(child.stderr)]).then(
    ([status, stdout, stderr]): CommandResult => ({ status, stdout, stderr }),
  )
  return { child, result }
}

const envOf = ({ url, key }: Pick<RunningService, 'url' | 'key'>): Env => ({
  ASSETD_URL: url,
  ASSETD_API_KEY: key,
})

describe('beside a service', () => {
  let service: RunningService
  before(async () => {
    service = await startService()
  })
  after(() => service.stop())

  const run = (...args: string[]): Promise<CommandResult> => start(envOf(service), ...args).result

  describe('upload', () => {
    it('prints id, URL and file, and the URL has the bytes', async () => {
      const { status, stdout, stderr } = await run('upload', fileOf('one.png', png()))
      assert.deepEqual([status, stderr], [0, ''])
      const [id, url = '', name] = stdout.trimEnd().split('\t')
      assert.match(String(id), /^asset_/)
      assert.equal(name, join(folder, 'one.png'))
      const bytes = await (await fetch(url)).arrayBuffer()
      assert.deepEqual(Buffer.from(bytes), png())
    })

    it('takes several at once, goes on after a failure, and says which failed', async () => {
      const good = Array.from({ length: 5 }, (_, at) => fileOf(`${at}.png`, png({ sizeBytes: 200 + at })))
      const bad = fileOf('bad.png', Buffer.from('not a picture'))
      const away = join(folder, 'away.png')
      const { status, stdout, stderr } = await run('upload', ...good, bad, away, folder, '--parallel', '2')
      assert.equal(status, 1)
      assert.deepEqual(
        stdout
          .trimEnd()
          .split('\n')
          .map((line) => line.split('\t')[2])
          .sort(),
        good,
      )
      assert.match(stderr, /bad\.png: .*\(request req_/)
      assert.match(stderr, /away\.png: there is no such file/)
      assert.match(stderr, /it is a folder/)
      assert.match(stderr, /\n.*3 of 8 files could not be uploaded: .*bad\.png, .*away\.png/)
    })

    it('prints JSON, a line for each file, of failures too', async () => {
      const files = [fileOf('j.png', png()), fileOf('j.txt', Buffer.from('text'))]
      const { status, stdout } = await run('upload', '--json', ...files)
      assert.equal(status, 1)
      const lines = stdout
        .trimEnd()
        .split('\n')
        .map((line) => JSON.parse(line))
      const [stored, refused] = files.map((file) => lines.find((line) => line.file === file))
      assert.deepEqual(Object.keys(stored), ['file', 'asset_id', 'url', 'mime_type', 'size_bytes'])
      assert.deepEqual([refused.error.code, refused.error.status], ['invalid_parameter', 400])
      assert.equal(refused.error.details.reason, 'unsupported_type')
    })

    it('a file of 40 MiB goes directly', async () => {
      const bytes = wav({ sizeBytes: 40 * mib })
      const { status, stdout } = await run('upload', fileOf('large.wav', bytes))
      assert.equal(status, 0)
      const answer = await fetch(String(stdout.split('\t')[1]))
      assert.ok(Buffer.from(await answer.arrayBuffer()).equals(bytes))
      const route = '/v3/assets/:asset_id/complete'
      assert.ok(service.log().some((line) => line.route === route && line.status === 200))
    })

    it('needs no more memory for a large file', {
      skip: process.platform === 'linux' ? false : 'memory is read from /proc, which Linux has',
    }, async () => {
      const least = await peakOf(sparseWav(40 * mib))
      const most = await peakOf(sparseWav((isShort ? 200 : 500) * mib))
      assert.ok(most - least < 50 * mib, `${most / mib} MiB, and ${least / mib} MiB for 40 MiB`)
    })

    /** A WAV of silence that takes no room on the disk. */
    function sparseWav(sizeBytes: number): string {
      const start = wav({ sizeBytes: 4_096 })
      const data = start.indexOf('data')
      start.writeUInt32LE(sizeBytes - 8, 4)
      start.writeUInt32LE(sizeBytes - data - 8, data + 4)
      const file = fileOf(`sparse-${sizeBytes}.wav`, start)
      truncateSync(file, sizeBytes)
      return file
    }

    /** The most memory that the upload of this file was seen to use. */
    async function peakOf(file: string): Promise<number> {
      const { child, result } = start(envOf(service), 'upload', file)
      let peak = 0
      const look = setInterval(() => {
        try {
          const pid = workingPid(child)
          if (pid !== null) peak = Math.max(peak, peakResidentBytes(pid))
        } catch {
          // It has just ended.
        }
      }, 50)
      const { status, stderr } = await result
      clearInterval(look)
      assert.equal(status, 0, stderr)
      return peak
    }

    it('a wrong key is said to be one', async () => {
      const file = fileOf('key.png', png())
      const wrong = start({ ...envOf(service), ASSETD_API_KEY: 'wrong' }, 'upload', file)
      const { status, stderr } = await wrong.result
      assert.equal(status, 1)
      assert.match(stderr, /does not know this key: set ASSETD_API_KEY/)
    })

    it('a key from a file is taken; without one, and with a URL that is none, nothing is tried', async () => {
      const file = fileOf('x.png', png())
      const { ASSETD_URL = '' } = envOf(service)
      const keyFile = fileOf('key', Buffer.from(`${service.key}\n`))
      assert.equal(
        (await start({ ASSETD_URL, ASSETD_API_KEY_FILE: keyFile }, 'upload', file).result).status,
        0,
      )
      const without = await start({ ASSETD_URL: 'nowhere' }, 'upload', file).result
      assert.equal(without.status, 2)
      assert.match(
        without.stderr,
        /^assetd: ASSETD_URL is "nowhere": give .*\nassetd: ASSETD_API_KEY is not set: /,
      )
    })
  })

  describe('ls, get and rm', () => {
    const idOf = async (name: string, bytes: Buffer): Promise<string> =>
      String((await run('upload', fileOf(name, bytes))).stdout.split('\t')[0])

    it('ls shows the newest first, as many as are asked for, and says where there are more', async () => {
      const own = await startService()
      const here = (...args: string[]) => start(envOf(own), ...args).result
      assert.match((await here('ls')).stderr, /There are no assets yet/)
      for (let at = 0; at < 3; at++)
        await here('upload', fileOf(`ls ${at}.png`, png({ sizeBytes: 400 + at })))
      const all = (await here('ls')).stdout
      assert.match(all, /^ID +TYPE +SIZE +UPLOADED +NAME\n/)
      assert.deepEqual(
        [...all.matchAll(/image +(\d+) bytes +\S+Z +(.*)$/gm)].map(([, size, name]) => [size, name]),
        [
          ['402', 'ls 2.png'],
          ['401', 'ls 1.png'],
          ['400', 'ls 0.png'],
        ],
      )
      const two = await here('ls', '--limit', '2', '--json')
      assert.equal(
        two.stdout
          .trimEnd()
          .split('\n')
          .map((line) => JSON.parse(line)).length,
        2,
      )
      assert.match(two.stderr, /There are more/)
      const every = await here('ls', '--limit', '2', '--all')
      assert.deepEqual([every.stdout, every.stderr], [all, ''])
      assert.equal((await here('ls', '--username', 'nobody')).stdout, '')
      await own.stop()
    })

    it('a name cannot steer the terminal', async () => {
      const form = new FormData()
      form.append('file', new Blob([new Uint8Array(png())]), 'a\u001b[31m\u202eb.png')
      const headers = { 'x-api-key': service.key }
      await fetch(`${service.url}/v3/assets`, { method: 'POST', headers, body: form })
      const { stdout } = await run('ls', '--limit', '1')
      assert.ok(stdout.includes('[31m'), stdout)
      assert.ok(!stdout.includes('\u001b') && !stdout.includes('\u202e'))
    })

    it('get shows what is known', async () => {
      const id = await idOf('get.png', png())
      const { stdout } = await run('get', id)
      assert.match(stdout, new RegExp(`^id +${id}$`, 'm'))
      assert.match(stdout, /^size_bytes +85$/m)
      assert.equal(JSON.parse((await run('get', id, '--json')).stdout).name, 'get.png')
      const unknown = await run('get', 'asset_none')
      assert.equal(unknown.status, 1)
      assert.match(unknown.stderr, /^assetd: There is no such asset/)
    })

    it('get -o brings the bytes, and replaces a file only when told to', async () => {
      const bytes = wav({ sizeBytes: 3 * mib })
      const id = await idOf('down.wav', bytes)
      const to = join(folder, 'brought.wav')
      assert.equal((await run('get', id, '-o', to)).status, 0)
      assert.ok(readFileSync(to).equals(bytes))
      writeFileSync(to, 'mine')
      const again = await run('get', id, '-o', to)
      assert.equal(again.status, 1)
      assert.match(again.stderr, /is there already; add --force/)
      assert.equal(readFileSync(to, 'utf8'), 'mine')
      assert.equal((await run('get', id, '-o', to, '--force')).status, 0)
      assert.ok(readFileSync(to).equals(bytes))
      assert.match((await run('get', id, '-o', folder)).stderr, /is a folder/)
      assert.match(
        (await run('get', id, '-o', join(folder, 'no/where'))).stderr,
        /cannot be written \(ENOENT\)/,
      )
    })

    it('get -o keeps nothing of bytes that are cut or others', async () => {
      const bytes = Buffer.from('only these')
      let headers: Record<string, string> = {}
      const other = createServer((request, response) => {
        if (request.url === '/file') return response.writeHead(200, headers).end(bytes)
        const { port } = other.address() as AddressInfo
        const asset = { id: 'asset_1', name: 'x', uploaded_at: 1, size_bytes: bytes.length }
        return response.end(JSON.stringify({ data: { ...asset, url: `http://127.0.0.1:${port}/file` } }))
      })
      await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', resolve))
      const url = `http://127.0.0.1:${(other.address() as AddressInfo).port}`
      const into = mkdtempSync(join(folder, 'cut-'))
      const get = () =>
        start({ ASSETD_URL: url, ASSETD_API_KEY: 'k' }, 'get', 'x', '-o', join(into, 'f')).result
      headers = { 'content-length': '20', connection: 'close' }
      assert.match((await get()).stderr, /broke after 10 of 10 bytes/)
      headers = { etag: `"${'0'.repeat(64)}"` }
      assert.match((await get()).stderr, /their SHA-256 differs/)
      assert.deepEqual(readdirSync(into), [])
      headers = {}
      assert.equal((await get()).status, 0)
      other.close()
    })

    it('Ctrl-C in the middle of get -o leaves no file', async () => {
      const other = createServer((request, response) => {
        if (request.url === '/file') return response.writeHead(200).write('the first bytes')
        const { port } = other.address() as AddressInfo
        const asset = { id: 'asset_1', name: 'x', uploaded_at: 1, size_bytes: 1_000 }
        return response.end(JSON.stringify({ data: { ...asset, url: `http://127.0.0.1:${port}/file` } }))
      })
      await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', resolve))
      const url = `http://127.0.0.1:${(other.address() as AddressInfo).port}`
      const into = mkdtempSync(join(folder, 'stopped-'))
      const { child, result } = start(
        { ASSETD_URL: url, ASSETD_API_KEY: 'k' },
        'get',
        'x',
        '-o',
        join(into, 'f'),
      )
      await eventually(() => assert.equal(readdirSync(into).length, 1), 20_000)
      child.kill('SIGINT')
      child.kill('SIGINT')
      assert.equal((await result).status, 130)
      assert.deepEqual(readdirSync(into), [])
      other.closeAllConnections()
      other.close()
    })

    it('rm deletes after --yes alone where there is no terminal, and says what was not there', async () => {
      const id = await idOf('rm.png', png())
      const asked = await run('rm', id)
      assert.equal(asked.status, 1)
      assert.match(asked.stderr, /nothing is deleted unless you say --yes/)
      assert.equal((await run('get', id)).status, 0)
      const { status, stdout, stderr } = await run('rm', '--yes', 'asset_none', id)
      assert.deepEqual([status, stdout], [1, `${id} is deleted.\n`])
      assert.match(stderr, /asset_none: There is no such asset.*\n.*1 of 2 assets could not be deleted/)
      assert.equal((await run('get', id)).status, 1)
    })
  })
})

describe('a service behind a slow line', () => {
  let line: SlowLine
  let service: RunningService
  before(async () => {
    line = await slowLine()
    service = await startService({ env: { ...line.env, ASSETD_PUBLIC_URL: line.url } })
    line.leadTo(service.port)
  })
  after(async () => {
    line.close()
    await service.stop()
  })

  for (const [door, sizeBytes] of [
    ['multipart', 30 * mib],
    ['direct', 60 * mib],
  ] as const) {
    it(`Ctrl-C in the middle of an upload by the ${door} door: nothing is stored`, async () => {
      const file = fileOf('stopped.wav', wav({ sizeBytes }))
      const earlier = line.bytes(door)
      const { child, result } = start({ ...envOf(service), ASSETD_URL: line.url }, 'upload', file)
      await eventually(() => assert.ok(line.bytes(door) - earlier > 4 * mib), 20_000)
      const under = contentsOf(service.dataDir)
      const open = under.directUploads.filter(({ state }) => state === 'pending_upload')
      assert.equal(under.assets.length + open.length, 1, 'it is under way')
      child.kill('SIGINT')
      const { status, stdout, stderr } = await result
      assert.deepEqual([status, stdout], [130, ''])
      assert.match(stderr, /stopped; what was not whole is not kept/)
      assert.ok(line.bytes(door) - earlier < sizeBytes)
      await eventually(() => {
        const { incoming, blobs, assets } = contentsOf(service.dataDir)
        assert.deepEqual([incoming, blobs, assets], [[], [], []])
      })
    })
  }

  it('tells how far it is, in plain lines where there is no terminal', async () => {
    const file = fileOf('slow.wav', wav({ sizeBytes: 60 * mib }))
    const { result } = start({ ...envOf(service), ASSETD_URL: line.url }, 'upload', file)
    const { status, stderr } = await result
    assert.equal(status, 0)
    assert.match(stderr, /^\d+ % {2}[\d.]+ MB of 62\.9 MB {2}[\d.]+ MB\/s {2}.*slow\.wav\n/)
    assert.doesNotMatch(stderr, /\r/)
  })
})

const terminalProgram = spawnSync('script', ['--version']).error === undefined
const noTerminal = terminalProgram ? false : 'the program script, of util-linux, is not installed'

const clearLine = '\r\u{1b}[K'

describe('at a terminal', { skip: noTerminal }, () => {
  let line: SlowLine
  let service: RunningService
  before(async () => {
    line = await slowLine()
    service = await startService()
    line.leadTo(service.port)
  })
  after(async () => {
    line.close()
    await service.stop()
  })

  async function atTerminal(
    says: string | null,
    ...args: string[]
  ): Promise<{ status: number | null; screen: string }> {
    const command = [process.execPath, launcher, ...args].map((word) => `'${word}'`).join(' ')
    const child = spawn('script', ['-qec', command, '/dev/null'], {
      env: { ...withoutSettings(process.env), ...envOf(service), ASSETD_URL: line.url },
      stdio: ['pipe', 'pipe', 'ignore'],
    })
    running.add(child)
    child.once('exit', () => running.delete(child))
    let screen = ''
    child.stdout.setEncoding('utf8').on('data', (piece) => {
      screen += piece
      if (says !== null && screen.includes('(y/N)')) {
        child.stdin.write(`${says}\n`)
        says = null
      }
    })
    const status = await new Promise<number | null>((resolve) => child.once('exit', resolve))
    child.stdin.destroy()
    return { status, screen }
  }

  it('upload draws a bar that moves, and takes it away', async () => {
    const file = fileOf('bar.wav', wav({ sizeBytes: 30 * mib }))
    const { status, screen } = await atTerminal(null, 'upload', file)
    assert.equal(status, 0)
    const drawn = screen.split(clearLine)
    const shares = drawn.flatMap((line) => /^\[#*-*\] (\d+) %/.exec(line)?.[1] ?? []).map(Number)
    assert.ok(new Set(shares).size > 2, screen)
    assert.deepEqual(
      shares,
      shares.toSorted((a, b) => a - b),
    )
    assert.match(String(drawn.at(-1)), /^asset_\w+\t\S+\t\S+bar\.wav\r\n$/)
  })

  it('rm asks, and deletes on yes alone', async () => {
    const uploaded = await start(envOf(service), 'upload', fileOf('ask.png', png())).result
    const [id = ''] = uploaded.stdout.split('\t')
    const no = await atTerminal('n', 'rm', id)
    assert.equal(no.status, 1)
    assert.match(no.screen, /Delete asset_\w+ for good\? \(y\/N\)[\s\S]*nothing is deleted/)
    assert.equal((await start(envOf(service), 'get', id).result).status, 0)
    assert.equal((await atTerminal('y', 'rm', id)).status, 0)
    assert.equal((await start(envOf(service), 'get', id).result).status, 1)
  })
})

describe('what may pass by itself', () => {
  it('429 with Retry-After: the upload waits, says so, and is stored once', async () => {
    const service = await startService({ env: { ASSETD_RATE_LIMIT: '2/sec' } })
    try {
      const files = Array.from({ length: 6 }, (_, at) => fileOf(`r${at}.png`, png({ sizeBytes: 300 + at })))
      const { status, stdout, stderr } = await start(
        envOf(service),
        'upload',
        '--parallel',
        '6',
        '--tries',
        '12',
        ...files,
      ).result
      assert.equal(status, 0, stderr)
      assert.equal(stdout.trimEnd().split('\n').length, 6)
      assert.match(stderr, /429 rate_limit_exceeded; try 2 of 12 in \d+ s/)
      assert.equal(contentsOf(service.dataDir).assets.length, 6)
    } finally {
      await service.stop()
    }
  })

  it('a service that is away is named, with what to do; one that comes back in time is not', async () => {
    const file = fileOf('away.png', png())
    const gone = await startService()
    await gone.stop({ keepData: true })
    const failed = await start(envOf(gone), 'upload', '--tries', '2', file).result
    assert.equal(failed.status, 1)
    assert.match(failed.stderr, /no answer \(ECONNREFUSED\); try 2 of 2 in \d+ s/)
    assert.match(failed.stderr, /cannot be reached \(ECONNREFUSED\): is the service running there\?/)
    const { child, result } = start(envOf(gone), 'upload', '--tries', '8', file)
    await new Promise<void>((resolve) => child.stderr?.once('data', () => resolve()))
    const back = await startService({
      dataDir: gone.dataDir,
      env: { ASSETD_PORT: String(gone.port), ASSETD_API_KEY: gone.key },
    })
    assert.equal((await result).status, 0)
    await back.stop()
  })

  it('something else at the address is said to be no assetd', async () => {
    const other = createServer((_request, response) => response.end('hello'))
    await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', resolve))
    const url = `http://127.0.0.1:${(other.address() as AddressInfo).port}`
    const file = fileOf('other.png', png())
    const { status, stderr } = await start({ ASSETD_URL: url, ASSETD_API_KEY: 'k' }, 'upload', file).result
    other.close()
    assert.equal(status, 1)
    assert.match(stderr, /is not assetd: set ASSETD_URL/)
  })
})
