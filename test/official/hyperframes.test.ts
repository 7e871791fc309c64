/**
 * The official npm client against the service, as it comes from the registry. What it asks for that is not ours, the
 * render of what it has uploaded, the test answers itself, from a proxy in front of the service.
 */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { createHash, randomBytes, randomUUID } from 'node:crypto'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type IncomingHttpHeaders, type IncomingMessage, request, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { buffer, text } from 'node:stream/consumers'
import { after, before, beforeEach, describe, it } from 'node:test'
import { type RunningService, startService, withoutSettings } from '../service.ts'
import { commandOf, installed } from './installed.ts'

const client = installed('hyperframes', '0.8.170')

type Passed = { method: string; path: string; status: number; sent: IncomingHttpHeaders; body: Buffer }

describe('the official npm client', { skip: 'missing' in client && client.missing }, () => {
  let service: RunningService
  let proxy: Server
  let url: string
  /** What the client has asked for, in its order. */
  let passed: Passed[]
  const folder = mkdtempSync(join(tmpdir(), 'assetd-hyperframes-'))

  before(async () => {
    proxy = createServer((incoming, outgoing) => {
      void pass(incoming).then(({ status, headers, body }) => outgoing.writeHead(status, headers).end(body))
    })
    await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve))
    url = `http://127.0.0.1:${(proxy.address() as AddressInfo).port}`
    service = await startService({ env: { ASSETD_PUBLIC_URL: url } })
    mkdirSync(join(folder, 'home'))
    mkdirSync(join(folder, 'a-video'))
    const page = '<div data-composition-id="main" data-width="640" data-height="360" data-duration="1"></div>'
    writeFileSync(join(folder, 'a-video', 'index.html'), `<!doctype html><html><body>${page}</body></html>`)
    writeFileSync(join(folder, 'a-video', 'noise.bin'), randomBytes(3_000_000))
  })
  after(async () => {
    proxy.close()
    await service.stop()
    rmSync(folder, { recursive: true })
  })
  beforeEach(() => {
    passed = []
  })

  type Answer = { status: number; headers: IncomingHttpHeaders; body: Buffer }

  async function pass(incoming: IncomingMessage): Promise<Answer> {
    const body = await buffer(incoming)
    const { method = '', url: target = '', headers } = incoming
    const answer =
      target === '/v3/hyperframes/renders' ? rendered : await forward(method, target, headers, body)
    passed.push({ method, path: target.split('?')[0] ?? '', status: answer.status, sent: headers, body })
    return answer
  }

  const rendered: Answer = {
    status: 200,
    headers: { 'content-type': 'application/json' },
    body: Buffer.from('{"data":{"render_id":"hfr_of_the_test"}}'),
  }

  function forward(
    method: string,
    path: string,
    headers: IncomingHttpHeaders,
    body: Buffer,
  ): Promise<Answer> {
    return new Promise((resolve, reject) => {
      const outgoing = request({ host: service.host, port: service.port, method, path, headers })
      outgoing.on('error', reject).on('response', async (response) => {
        const { statusCode: status = 0, headers: received } = response
        resolve({ status, headers: received, body: await buffer(response) })
      })
      outgoing.end(body)
    })
  }

  async function run(args: string[], key = service.key) {
    if ('missing' in client) throw new Error(client.missing)
    const child = spawn(process.execPath, [commandOf(client.folder, 'hyperframes'), ...args], {
      cwd: folder,
      env: {
        ...withoutSettings(process.env),
        HOME: join(folder, 'home'),
        HEYGEN_API_URL: url,
        HEYGEN_API_KEY: key,
        HYPERFRAMES_NO_TELEMETRY: '1',
        HYPERFRAMES_NO_UPDATE_CHECK: '1',
        HYPERFRAMES_NO_AUTO_INSTALL: '1',
        HYPERFRAMES_SKIP_SKILLS: '1',
        DO_NOT_TRACK: '1',
        NO_COLOR: '1',
      },
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    const status = new Promise<number | null>((resolve) => child.once('exit', resolve))
    const [stdout, stderr] = await Promise.all([text(child.stdout), text(child.stderr)])
    return { status: await status, stdout, stderr, all: stdout + stderr }
  }

  const callsOf = (): string[] => passed.map(({ method, path, status }) => `${method} ${path} ${status}`)

  it('"auth status" says whose key it is', async () => {
    const { status, stdout, all } = await run(['auth', 'status', '--json'])
    assert.equal(status, 0, all)
    const told = JSON.parse(stdout) as { user: { username: string }; api_error: unknown; type: string }
    assert.equal(told.user.username, 'default')
    assert.equal(told.type, 'api_key')
    assert.equal(told.api_error, null)
    assert.deepEqual(callsOf(), ['GET /v3/users/me 200'])
  })

  it('"auth status" says that a key is not good', async () => {
    const { status, all } = await run(['auth', 'status'], `sk_${randomUUID()}`)
    assert.equal(status, 1, all)
    assert.match(all, /Invalid or expired API key/)
    assert.deepEqual(callsOf(), ['GET /v3/users/me 401'])
  })

  for (const [what, more] of [
    ['', []],
    [', with one key for both of its routes', ['--idempotency-key', randomUUID()]],
  ] as const) {
    it(`"cloud render" uploads a zip${what}, and has an asset of it`, async () => {
      const { status, stdout, all } = await run([
        'cloud',
        'render',
        'a-video',
        '--no-wait',
        '--json',
        ...more,
      ])
      assert.equal(status, 0, all)
      const told = JSON.parse(stdout) as { render: { render_id: string } }
      assert.equal(told.render.render_id, 'hfr_of_the_test')
      const [announced, put, completed, render] = passed
      assert.ok(announced && put && completed && render, callsOf().join(', '))
      const { project } = JSON.parse(render.body.toString()) as {
        project: { type: string; asset_id: string }
      }
      assert.equal(project.type, 'asset_id')
      assert.deepEqual(callsOf(), [
        'POST /v3/assets/direct-uploads 200',
        `PUT /uploads/${project.asset_id} 200`,
        `POST /v3/assets/${project.asset_id}/complete 200`,
        'POST /v3/hyperframes/renders 200',
      ])
      assert.equal(announced.sent['x-api-key'], service.key)
      assert.equal(announced.sent['idempotency-key'], more[1])
      assert.equal(put.sent['x-api-key'], undefined, 'the URL is all that it needs')
      const { data } = (await (
        await fetch(`${service.url}/v3/assets/${project.asset_id}`, { headers: { 'x-api-key': service.key } })
      ).json()) as { data: { type: string; name: string; url: string } }
      assert.equal(data.type, 'document')
      assert.equal(data.name, 'a-video.zip')
      const file = await fetch(data.url)
      assert.equal(file.headers.get('content-type'), 'application/zip')
      const bytes = Buffer.from(await file.arrayBuffer())
      const sha256 = createHash('sha256').update(bytes).digest('hex')
      assert.equal(sha256, createHash('sha256').update(put.body).digest('hex'))
      assert.equal(JSON.parse(announced.body.toString()).checksum_sha256, sha256)
    })
  }

  it('"cloud render" shows what the service says where it refuses', async () => {
    const { status, all } = await run(['cloud', 'render', 'a-video', '--no-wait'], `sk_${randomUUID()}`)
    assert.notEqual(status, 0)
    assert.match(all, /HTTP 401/)
    assert.match(all, /Invalid or expired API key/)
  })
})
