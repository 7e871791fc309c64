/**
 * Prism, the OpenAPI proxy, between a client and the service, with the facts of the source document. Prism reads
 * bodies as text in UTF-8, so of the files only such as are can pass it whole.
 */
import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { riff, riffChunk, samples } from '../media/samples.ts'
import { fileBody, open, uploadRequest } from '../raw-http.ts'
import { eventually, type RunningService, startService, upload } from '../service.ts'
import { commandOf, installed } from './installed.ts'

const prism = installed('@stoplight/prism-cli', '5.16.0')
const documentUrl = new URL('./upload-asset.openapi.json', import.meta.url)
type Content = { 'application/json': { schema: { required?: string[] } } }
type Document = {
  paths: { '/v3/assets': { post: { responses: Record<string, { content: Content }> } } }
}
const document = JSON.parse(readFileSync(documentUrl, 'utf8')) as Document
const declared = Object.keys(document.paths['/v3/assets'].post.responses).map(Number)

const running: ChildProcess[] = []
after(() => {
  for (const child of running) child.kill()
})

/** @returns where it listens */
async function startPrism(path: string, upstream: string): Promise<string> {
  if ('missing' in prism) throw new Error(prism.missing)
  const args = ['proxy', path, upstream, '--port', '0', '--errors', 'false']
  const child = spawn(process.execPath, [commandOf(prism.folder, 'prism'), ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  running.push(child)
  let output = ''
  const hear = (piece: Buffer): void => {
    output += piece
  }
  child.stdout.on('data', hear)
  child.stderr.on('data', hear)
  return eventually(() => {
    const [, url] = /Prism is listening on (http:\S+)/.exec(output) ?? []
    if (url === undefined) throw new Error(`Prism does not listen: ${output}`)
    return url
  }, 60_000)
}

type Violation = { location: string[]; message: string }

/** What Prism says against an answer; what it says against a request is left out: bad ones are sent on purpose. */
function violations(response: Response): Violation[] {
  const found = JSON.parse(response.headers.get('sl-violations') ?? '[]') as Violation[]
  return found.filter(({ location }) => location[0] === 'response')
}

describe('with Prism in between', { skip: 'missing' in prism && prism.missing }, () => {
  let service: RunningService
  let limited: RunningService
  const folder = mkdtempSync(join(tmpdir(), 'assetd-prism-'))
  const met = new Set<number>()
  let through: { url: string; key: string }
  let throughLimited: { url: string; key: string }
  const wav = riff(
    'WAVE',
    riffChunk('fmt ', Buffer.from('01000100401f0000401f000001000800', 'hex')),
    riffChunk('data', Buffer.alloc(40)), // so little that every size is one byte of ASCII
  )

  before(async () => {
    service = await startService()
    limited = await startService({ env: { ASSETD_RATE_LIMIT: '1/hour' } })
    const path = documentUrl.pathname
    through = { url: await startPrism(path, service.url), key: service.key }
    throughLimited = { url: await startPrism(path, limited.url), key: limited.key }
  })
  after(async () => {
    await service.stop()
    await limited.stop()
    rmSync(folder, { recursive: true })
  })

  async function expect(response: Response, status: number): Promise<void> {
    assert.equal(response.status, status, await response.text())
    assert.ok(declared.includes(status))
    assert.deepEqual(violations(response), [])
    met.add(status)
  }

  it('a file is taken in and found whole', async () => {
    for (const bytes of [samples.pdf(), wav]) {
      const response = await upload(through, bytes)
      const { data } = (await response.clone().json()) as { data: { url: string } }
      await expect(response, 200)
      const file = await fetch(data.url)
      assert.ok(Buffer.from(await file.arrayBuffer()).equals(bytes))
    }
  })

  it('refusals are as the document has them', async () => {
    await expect(await upload(through, Buffer.from('no media')), 400)
    await expect(await upload(through, Buffer.alloc(0)), 400)
    await expect(await upload(through, samples.pdf().subarray(0, -20)), 400)
    await expect(await upload(through, samples.pdf(), { 'idempotency-key': 'a b' }), 400)
    const post = (init: RequestInit) => fetch(`${through.url}/v3/assets`, { method: 'POST', ...init })
    const form = new FormData()
    form.append('other', 'a')
    await expect(await post({ headers: { 'x-api-key': through.key }, body: form }), 400)
    await expect(await upload({ ...through, key: 'unknown' }, samples.pdf()), 401)
    const without = new FormData()
    without.append('file', new Blob([new Uint8Array(samples.pdf())]))
    await expect(await post({ body: without }), 401)
    await upload(throughLimited, samples.pdf())
    await expect(await upload(throughLimited, samples.pdf()), 429)
  })

  it('a key replays, and is refused while its first request runs', async () => {
    const kept = { 'idempotency-key': randomUUID() }
    await expect(await upload(through, samples.pdf(), kept), 200)
    const again = await upload(through, samples.pdf(), kept)
    assert.equal(again.headers.get('idempotent-replayed'), 'true')
    await expect(again, 200)
    const key = randomUUID()
    const lines = [`Idempotency-Key: ${key}`]
    const first = await open(service)
    const request = uploadRequest({ key: service.key, body: fileBody(samples.pdf()), lines })
    await first.send(request.subarray(0, -10))
    await eventually(async () => {
      const response = await upload(through, samples.pdf(), { 'idempotency-key': key })
      await expect(response, 409)
    })
    first.reset()
  })

  it('every status that the document declares was met', () => {
    assert.deepEqual([...met].toSorted(), declared.toSorted())
  })

  it('an answer that is not as the document has it is told of', async () => {
    const other = structuredClone(document)
    const schema = other.paths['/v3/assets'].post.responses['200']?.content['application/json'].schema
    assert.ok(schema)
    schema.required = ['more']
    const path = join(folder, 'other.json')
    writeFileSync(path, JSON.stringify(other))
    const url = await startPrism(path, service.url)
    const response = await upload({ url, key: service.key }, samples.pdf())
    const found = violations(response)
    assert.equal(found.length, 1, JSON.stringify(found))
  })
})
