/** Starting, running and ending the service, as an operator and a supervisor do. */
import assert from 'node:assert/strict'
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import {
  chmodSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { connect, createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { wav } from './media/samples.ts'
import {
  assertNoSecrets,
  contentsOf,
  eventually,
  exampleFile,
  launcher,
  type RunningService,
  startService,
  upload,
  withoutSettings,
} from './service.ts'
import {
  breakBlobStore,
  diskOnly,
  removeStores,
  setSchemaVersion,
  settingsOf,
  sqliteOnly,
  takenBackWithinMs,
} from './stores.ts'

const root = fileURLToPath(new URL('..', import.meta.url))

/** Runs `assetd serve` with these settings, to its end. */
function serveToItsEnd(env: Record<string, string>, dataDir: string) {
  return spawnSync(process.execPath, [launcher, 'serve'], {
    encoding: 'utf8',
    timeout: 60_000,
    env: { ...withoutSettings(process.env), ...settingsOf(dataDir), ASSETD_PORT: '0', ...env },
  })
}

function temporaryFolder(): string {
  return mkdtempSync(join(tmpdir(), 'assetd-test-'))
}

/** Begins an upload whose last bytes are held back until `finish`. */
async function beginUpload(
  service: RunningService,
): Promise<{ socket: Socket; finish(): void; answer(): string }> {
  const file = wav()
  const head = Buffer.from('--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n')
  const body = Buffer.concat([head, file, Buffer.from('\r\n--b--\r\n')])
  const socket = connect(service.port, service.host)
  let received = ''
  socket.setEncoding('utf8').on('data', (text) => {
    received += text
  })
  socket.on('error', () => {})
  await once(socket, 'connect')
  const headers = [
    'POST /v3/assets HTTP/1.1',
    'Host: test',
    `x-api-key: ${service.key}`,
    'Content-Type: multipart/form-data; boundary=b',
    `Content-Length: ${body.length}`,
    '\r\n',
  ]
  socket.write(headers.join('\r\n'))
  socket.write(body.subarray(0, -100))
  await eventually(() => assert.equal(contentsOf(service.dataDir).assets.length, 1))
  return { socket, finish: () => socket.write(body.subarray(-100)), answer: () => received }
}

describe('the first start', () => {
  it('prints a key and a curl line that works; the second start says how to make a key', async () => {
    const dataDir = join(temporaryFolder(), 'data')
    const env = { ...withoutSettings(process.env), ...settingsOf(dataDir), ASSETD_PORT: '0' }
    const run = async (work: (output: string) => Promise<void> | void): Promise<string> => {
      const child = spawn(process.execPath, [launcher, 'serve'], { env, stdio: ['ignore', 'pipe', 'pipe'] })
      let output = ''
      let errors = ''
      child.stdout.on('data', (text) => {
        output += text
      })
      child.stderr.on('data', (text) => {
        errors += text
      })
      await eventually(() => assert.match(output, /curl .*\n|Make a new API key/), 60_000)
      await work(output)
      child.kill('SIGTERM')
      assert.deepEqual(await once(child, 'exit'), [0, null])
      return output + errors
    }
    const first = await run((output) => {
      const [curl = ''] = /curl .*/.exec(output) ?? []
      const answer = spawnSync('sh', ['-c', `${curl} -s`], { encoding: 'utf8' })
      assert.equal(JSON.parse(answer.stdout).data.size_bytes, statSync(exampleFile).size)
    })
    const [, key = ''] = /^ {2}(assetd_\w+)$/m.exec(first) ?? []
    assert.notEqual(key, '')
    assert.equal(first.split(key).length, 3, 'the key stands in the greeting twice, and never in the log')
    const second = await run(() => {})
    assert.doesNotMatch(second, /assetd_[0-9a-f]{12}_/)
    assert.match(second, /keys create/)
    assert.equal(contentsOf(dataDir).assets.length, 1, 'the second start keeps all')
    removeStores(dataDir)
  })

  it('a taken port ends with one line that names it, before anything is made or printed', async () => {
    const holder = createServer().listen(0, '127.0.0.1')
    await once(holder, 'listening')
    const { port } = holder.address() as { port: number }
    const dataDir = join(temporaryFolder(), 'data')
    const { status, stdout, stderr } = serveToItsEnd({ ASSETD_PORT: String(port) }, dataDir)
    holder.close()
    assert.equal(status, 1)
    assert.equal(stdout, '')
    assert.match(stderr, new RegExp(`^assetd: 127\\.0\\.0\\.1:${port} is already in use.*\n$`))
    assert.equal(existsSync(dataDir), false)
  })

  it('case 98: a data folder that cannot be made, or is no folder, stops the start with one line', {
    skip: diskOnly('none is made') || (existsSync('/proc/self') ? false : 'there is no /proc here'),
  }, () => {
    for (const dataDir of ['/proc/nothing/data', exampleFile]) {
      const { status, stderr } = serveToItsEnd({}, dataDir)
      assert.equal(status, 1)
      assert.match(stderr, /^assetd: the data folder .* cannot be used: .*\n$/)
    }
  })

  it('case 98: each wrong setting gets one line, and no secret is printed', () => {
    const dataDir = join(temporaryFolder(), 'data')
    const { status, stdout, stderr } = serveToItsEnd(
      {
        ASSETD_PORT: 'tcp://10.0.0.1:80',
        ASSETD_API_KEY: 'too-short-a-secret',
        ASSETD_PUBLIC_URL: 'media.example.com',
        ASSETD_RATELIMIT: '5/min',
        ASSETD_SHUTDOWN_GRACE_SECONDS: 'soon',
      },
      dataDir,
    )
    assert.equal(status, 2)
    assert.equal(stdout, '')
    const lines = stderr.trimEnd().split('\n')
    assert.equal(lines.length, 5, stderr)
    assert.match(stderr, /ASSETD_PORT comes from Kubernetes.*enableServiceLinks: false/)
    assert.match(stderr, /ASSETD_RATELIMIT is not a setting.*nearest known one is ASSETD_RATE_LIMIT:/)
    assert.doesNotMatch(stderr, /too-short-a-secret/)
    assert.equal(existsSync(dataDir), false)
  })

  it('case 98: a data folder that cannot be made stops it in one line', {
    skip: diskOnly('none is made'),
  }, () => {
    const file = join(temporaryFolder(), 'a-file')
    writeFileSync(file, '')
    const { status, stderr } = serveToItsEnd({}, join(file, 'data'))
    assert.equal(status, 1)
    assert.match(stderr, /^assetd: the data folder .* cannot be used: .*\n$/)
  })

  it('a folder that is full of something else is left alone', {
    skip: diskOnly('the folder is not looked at'),
  }, () => {
    const folder = temporaryFolder()
    chmodSync(folder, 0o755)
    writeFileSync(join(folder, 'thesis.txt'), '')
    const { status, stderr } = serveToItsEnd({}, folder)
    assert.equal(status, 1)
    assert.match(stderr, /^assetd: the data folder .* such as thesis\.txt: name an empty folder\n$/)
    assert.equal(statSync(folder).mode & 0o777, 0o755)
    rmSync(folder, { recursive: true })
  })

  it('a schema newer than the program stops it in one line', async () => {
    const service = await startService()
    await service.stop({ keepData: true })
    setSchemaVersion(service.dataDir, 999)
    const { status, stderr } = serveToItsEnd({}, service.dataDir)
    assert.equal(status, 1)
    assert.match(stderr, /^assetd: .*version 999.*\n$/)
    removeStores(service.dataDir)
  })
})

describe('a running service', () => {
  let service: RunningService
  before(async () => {
    service = await startService({ env: { ASSETD_LOG_LEVEL: 'debug' } })
  })
  after(() => service.stop())

  it('case 100: is alive and ready', async () => {
    assert.deepEqual(await (await fetch(`${service.url}/healthz`)).json(), { data: { status: 'alive' } })
    const ready = await fetch(`${service.url}/readyz`)
    assert.equal(ready.status, 200)
    assert.equal(((await ready.json()) as { data: { status: string } }).data.status, 'ready')
  })

  it('keeps its folder at 0700 and its files at 0600', {
    skip: diskOnly('there is nothing in the folder'),
  }, async () => {
    assert.equal((await upload(service, wav())).status, 200)
    assert.equal(statSync(service.dataDir).mode & 0o777, 0o700)
    for (const name of readdirSync(service.dataDir, { recursive: true, encoding: 'utf8' })) {
      const stat = statSync(join(service.dataDir, name))
      assert.equal(stat.mode & 0o777, stat.isDirectory() ? 0o700 : 0o600, name)
    }
  })

  it('writes one JSON line a request, with all that an operator asks for and no raw query', async () => {
    const response = await upload(service, wav(), { 'x-request-id': 'theirs', 'idempotency-key': 'logged' })
    const id = response.headers.get('x-request-id')
    assert.notEqual(id, 'theirs')
    const { data } = (await response.json()) as { data: { asset_id: string; size_bytes: number } }
    const line = await service.logOf(id)
    for (const [name, value] of Object.entries({
      level: 'info',
      method: 'POST',
      route: '/v3/assets',
      status: 200,
      bytes: data.size_bytes,
      workspace: 'default',
      key_id: 'environment',
      address: '127.0.0.1',
      asset_id: data.asset_id,
      client_request_id: 'theirs',
    })) {
      assert.equal(line[name], value, name)
    }
    assert.equal(typeof line.duration_ms, 'number')
    assert.ok(!Number.isNaN(Date.parse(String(line.time))))
    const replay = await upload(service, wav(), { 'idempotency-key': 'logged' })
    assert.equal((await service.logOf(replay.headers.get('x-request-id'))).replayed, true)
    const refused = await fetch(`${service.url}/files/asset_x.png?token=canary-in-query`)
    const refusal = await service.logOf(refused.headers.get('x-request-id'))
    assert.equal(refusal.code, 'asset_not_found')
  })

  it('says in the log when the client left, and keeps nothing', async () => {
    const own = await startService()
    const { socket } = await beginUpload(own)
    socket.destroy()
    await eventually(() =>
      assert.ok(own.log().some((line) => line.client_left === true && line.address === '127.0.0.1')),
    )
    await eventually(() => assert.deepEqual(contentsOf(own.dataDir).assets, []))
    await own.stop()
  })

  it('case 99: a second service on the same folder stops with a clear line', {
    skip: sqliteOnly('services may share them'),
  }, () => {
    const { status, stderr, stdout } = serveToItsEnd({}, service.dataDir)
    assert.equal(status, 1)
    assert.equal(stdout, '')
    assert.match(stderr, /^assetd: another assetd \(process \d+\) uses the data folder .*\n$/)
  })

  it('serves its page, the documentation, the errors and the description', async () => {
    const home = await fetch(service.url, { redirect: 'manual' })
    assert.equal(home.status, 200)
    assert.match(String(home.headers.get('content-type')), /^text\/html/)
    assert.match(await home.text(), /<title>assetd<\/title>/)
    for (const path of ['/docs', '/docs/errors', '/docs/start.js', '/docs/swagger-ui.css', '/openapi.json']) {
      assert.equal((await fetch(service.url + path)).status, 200, path)
    }
    assert.equal((await fetch(`${service.url}/docs/package.json`)).status, 404)
  })

  it('case 103: no key, token or query is in anything that it printed', async () => {
    const key = `assetd_${'0'.repeat(12)}_${'c'.repeat(48)}`
    await upload({ ...service, key }, wav(), { authorization: 'Bearer canary.token.value' })
    await fetch(`${service.url}/v3/assets?canary-in-query=1`, { method: 'POST' })
    await sleep(200)
    const printed = service.output() + JSON.stringify(service.log())
    for (const secret of [service.key, key, 'canary.token', 'canary-in-query']) {
      assert.equal(printed.includes(secret), false, secret)
    }
  })
})

it('case 103: the search that every suite ends with finds what it is to find', () => {
  const key = 'test-0123456789'
  assert.doesNotThrow(() => assertNoSecrets('{"key_id":"00000000000c","status":200}', key))
  for (const text of [
    key,
    `x assetd_00000000000c_abc`,
    'Bearer eyJhbGciOi.eyJzdWIi.c2ln',
    '/v3/assets?canary-1',
  ]) {
    assert.throws(() => assertNoSecrets(`before ${text} after`, key), /a secret was printed/, text)
  }
})

describe('readiness', () => {
  it('is 503 with the checks where the storage cannot be used', async () => {
    const service = await startService()
    breakBlobStore(service.dataDir)
    const response = await fetch(`${service.url}/readyz`)
    assert.equal(response.status, 503)
    const { error } = (await response.json()) as { error: { details: { checks: Record<string, string> } } }
    const { counters = 'ok', ...checks } = error.details.checks
    assert.equal(counters, 'ok')
    assert.deepEqual(checks, {
      database: 'ok',
      storage: 'failed',
      uploads: 'ok',
      service: 'ok',
    })
    assert.equal((await fetch(`${service.url}/healthz`)).status, 200)
    const refused = await upload(service, wav())
    assert.equal(refused.status, 503)
    assert.ok(Number(refused.headers.get('retry-after')) >= 1)
    await service.stop()
  })
})

describe('ending', () => {
  it('case 67: SIGTERM lets a running upload finish, refuses new ones, and ends with status 0', async () => {
    const service = await startService()
    const running = await beginUpload(service)
    service.child.kill('SIGTERM')
    await eventually(async () => {
      const ready = await fetch(`${service.url}/readyz`)
      assert.equal(ready.status, 503)
      assert.equal(ready.headers.get('connection'), 'close')
    })
    const refused = await upload(service, wav())
    assert.equal(refused.status, 503)
    assert.equal(((await refused.json()) as { error: { code: string } }).error.code, 'service_unavailable')
    running.finish()
    await eventually(() => assert.match(running.answer(), /^HTTP\/1\.1 200 /))
    assert.equal(await service.exited, 0)
    assert.equal(contentsOf(service.dataDir).blobs.length, 1)
    removeStores(service.dataDir)
  })

  it('after the grace period it cuts uploads off and leaves nothing of them', async () => {
    const service = await startService({ env: { ASSETD_SHUTDOWN_GRACE_SECONDS: '1' } })
    await beginUpload(service)
    assert.equal(await service.stop({ keepData: true }), 0)
    const { blobs, incoming, assets } = contentsOf(service.dataDir)
    assert.deepEqual({ blobs, incoming, assets }, { blobs: [], incoming: [], assets: [] })
    removeStores(service.dataDir)
  })

  it('a second signal more than a second later ends it at once; the next start cleans up', async () => {
    const service = await startService()
    await beginUpload(service)
    service.child.kill('SIGTERM')
    await eventually(() => assert.ok(service.log().some(({ msg }) => msg === 'shutting down')))
    await sleep(1_200)
    service.child.kill('SIGTERM')
    assert.equal(await service.exited, 1)
    const again = await startService({ dataDir: service.dataDir })
    await eventually(() => {
      const { blobs, incoming, assets } = contentsOf(again.dataDir)
      assert.deepEqual({ blobs, incoming, assets }, { blobs: [], incoming: [], assets: [] })
    }, takenBackWithinMs)
    await again.stop()
  })

  it('a start removes unfinished files that no row names', {
    skip:
      sqliteOnly('another service may be writing them') || diskOnly('another service may be writing them'),
  }, async () => {
    const service = await startService()
    await service.stop({ keepData: true })
    writeFileSync(join(service.dataDir, 'incoming', 'left-behind'), 'bytes')
    const again = await startService({ dataDir: service.dataDir })
    assert.deepEqual(contentsOf(again.dataDir).incoming, [])
    await again.stop()
  })

  it('the launcher killed: the service ends by itself', async () => {
    const service = await startService()
    service.child.kill('SIGKILL')
    await eventually(() => assert.rejects(fetch(`${service.url}/healthz`)))
    removeStores(service.dataDir)
  })

  it('the launcher killed while the service starts: it ends as well, and gives its port and folder back', async () => {
    const dataDir = temporaryFolder()
    const entry = join(root, 'src', 'cli', 'entry.ts')
    const child = spawn(process.execPath, [entry, 'serve'], {
      env: { ...withoutSettings(process.env), ...settingsOf(dataDir), ASSETD_PORT: '0' },
      // As the launcher of a Node.js before 22.15 holds it, which cannot give its own place away.
      stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
    })
    child.disconnect()
    const [status] = await once(child, 'exit')
    assert.equal(status, 0)
    removeStores(dataDir)
  })

  for (const [target, signal] of [
    ['npm', 'SIGTERM'],
    ['npm', 'SIGINT'],
    ['the group', 'SIGINT'],
    ['the group', 'SIGTERM'],
  ] as const) {
    it(`${signal} to ${target}: one clean end`, async () => {
      const dataDir = temporaryFolder()
      const npm = spawn('npm', ['start'], {
        cwd: root,
        detached: true,
        env: { ...withoutSettings(process.env), ...settingsOf(dataDir), ASSETD_PORT: '0' },
        stdio: ['ignore', 'pipe', 'pipe'],
      })
      let output = ''
      let errors = ''
      npm.stdout.on('data', (text) => {
        output += text
      })
      npm.stderr.on('data', (text) => {
        errors += text
      })
      await eventually(() => assert.match(output, /listens on/), 60_000)
      const [, url = ''] = /listens on (\S+),/.exec(output) ?? []
      process.kill(target === 'npm' ? Number(npm.pid) : -Number(npm.pid), signal)
      const [status] = await once(npm, 'exit')
      assert.equal(status, 0, errors)
      assert.equal(errors.split('shutting down').length, 2, 'it shuts down once')
      await assert.rejects(fetch(`${url}/healthz`), 'nothing is left listening')
      removeStores(dataDir)
    })
  }
})

describe('the launcher', () => {
  it('stops with one line where there is no Node.js that is new enough', {
    skip: oldNode() === null && 'no Node.js older than 24 is on the PATH',
  }, () => {
    const copy = temporaryFolder()
    for (const name of ['launch.mjs', 'assetd.mjs']) {
      writeFileSync(join(copy, name), readFileSync(join(root, 'bin', name)))
    }
    chmodSync(join(copy, 'assetd.mjs'), 0o755)
    const { status, stderr } = spawnSync(String(oldNode()), [join(copy, 'assetd.mjs'), '--version'], {
      encoding: 'utf8',
    })
    assert.equal(status, 1)
    assert.match(stderr, /^assetd: there is no Node\.js for .*install Node\.js 24 or later.*\n$/)
    rmSync(copy, { recursive: true })
  })
})

/** The machine's own Node.js, where it is an old one. */
function oldNode(): string | null {
  const path = process.env.npm_node_execpath ?? '/usr/bin/node'
  const { stdout } = spawnSync(path, ['-p', 'process.versions.node.split(".")[0]'], { encoding: 'utf8' })
  return stdout && Number(stdout) < 24 ? path : null
}
