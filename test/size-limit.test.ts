/** The limit of 32 MB, to the byte, and refusals of larger bodies that every client hears (10, 11, 34). */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import {
  type Client,
  curl,
  curlMissing,
  eagerCurl,
  fetchClient,
  goMissing,
  nodeHttp,
  pythonMissing,
  startGo,
  startPython,
} from './clients/programs.ts'
import { samples } from './media/samples.ts'
import {
  assertClean,
  assertError,
  type Baseline,
  baseline,
  boundary,
  chunked,
  fileBody,
  latin1,
  open,
  residentBytes,
  serverPid,
  uploadHead,
} from './raw-http.ts'
import { type RunningService, startService } from './service.ts'

const limit = 33_554_432
const mebibyte = 1024 * 1024
/** What is read and dropped so that a refusal is heard; the multipart around the file counts. */
const drainedBytes = 128 * mebibyte
const around = 4_096

let service: RunningService
let clean: Baseline
const folder = mkdtempSync(join(tmpdir(), 'assetd-limit-'))
const exact = fileOf('exact.png', samples.png({ sizeBytes: limit }), limit)
const above = fileOf('above.png', samples.png({ sizeBytes: limit + 1 }), limit + 1)
// Begins as a picture and has holes behind it: nothing to write, and nothing that refuses it earlier.
const twice = fileOf('64.png', samples.png({ sizeBytes: mebibyte }), 64 * mebibyte)
const most = fileOf('128.png', samples.png({ sizeBytes: mebibyte }), drainedBytes - around)

function fileOf(name: string, bytes: Uint8Array, size: number): string {
  const path = join(folder, name)
  writeFileSync(path, bytes)
  truncateSync(path, size)
  return path
}

before(async () => {
  service = await startService()
  const first = await fetchClient.upload(jobOf(fileOf('small.png', samples.png(), samples.png().length)))
  assert.equal(first.status, 200)
  clean = baseline(service)
})
after(async () => {
  await service.stop()
  rmSync(folder, { recursive: true, force: true })
})

function jobOf(path: string, how: 'length' | 'chunked' = 'length', key = service.key) {
  return { url: `${service.url}/v3/assets`, key, path, how }
}

type Answer = { status: number; body: string }

function reasonOf(answer: Answer): string {
  const { error } = JSON.parse(answer.body)
  return `${answer.status} ${error.code} ${error.param} ${error.details?.reason ?? ''}`.trimEnd()
}

const tooLarge = '400 invalid_parameter file file_too_large'
const unauthorised = '401 authentication_failed null'

/** The client gets each answer; a reset or a hang would throw. Afterwards nothing is left of what was refused. */
async function keepsToTheLimit(client: Client): Promise<void> {
  try {
    for (const how of ['length', 'chunked'] as const) {
      const taken = await client.upload(jobOf(exact, how))
      assert.equal(taken.status, 200, `${how}: ${taken.body}`)
      assert.equal(JSON.parse(taken.body).data.size_bytes, limit)
      await assertClean(service, clean, { assets: 1 })
      clean = { ...clean, assets: clean.assets + 1, blobs: clean.blobs + 1 }
      const large = how === 'length' ? most : twice
      for (const path of [above, large]) {
        const refused = await client.upload(jobOf(path, how))
        assert.equal(reasonOf(refused), tooLarge, `${how}, ${path}`)
        assert.equal(JSON.parse(refused.body).error.details.max_bytes, limit)
      }
      const refused = await client.upload(jobOf(large, how, 'unknown'))
      assert.equal(reasonOf(refused), unauthorised, `${how}, ${large}`)
      await assertClean(service, clean)
    }
  } finally {
    client.close()
  }
}

test('curl: 32 MB to the byte; larger bodies are refused and heard', { skip: curlMissing }, () =>
  keepsToTheLimit(curl),
)
test('curl that does not wait for 100-continue', { skip: curlMissing }, () => keepsToTheLimit(eagerCurl))
test('fetch: 32 MB to the byte; larger bodies are refused and heard', () => keepsToTheLimit(fetchClient))
test('node:http: 32 MB to the byte; larger bodies are refused and heard', () => keepsToTheLimit(nodeHttp))
test('Python: 32 MB to the byte; larger bodies are refused and heard', { skip: pythonMissing }, () =>
  keepsToTheLimit(startPython()),
)
test('Go: 32 MB to the byte; larger bodies are refused and heard', { skip: goMissing }, () =>
  keepsToTheLimit(startGo()),
)

test('case 11: a chunked body is refused at the limit, not at its end', async () => {
  const connection = await open(service)
  const start = fileBody(samples.png({ sizeBytes: 40 * mebibyte })).subarray(0, limit + 2_000)
  await connection.send(
    uploadHead({ key: service.key, body: start, length: 'chunked' }),
    chunked(start).subarray(0, -5),
  )
  const answer = await connection.answer({ withinMs: 10_000 }) // the last chunk never comes
  assertError(answer, { status: 400, code: 'invalid_parameter', param: 'file', reason: 'file_too_large' })
  assert.equal(answer.headers.connection, 'close')
  connection.reset()
  await assertClean(service, clean)
})

test('case 10: what is dropped is bounded: a client that never stops is cut off', async () => {
  const connection = await open(service)
  const piece = Buffer.alloc(mebibyte)
  let sent = 0
  await connection.send(uploadHead({ key: 'unknown', body: piece, length: 2 ** 33 }))
  assertError(await connection.answer(), { status: 401 })
  const startedAt = performance.now()
  while (!connection.socket.destroyed && sent < 512) {
    await connection.send(piece)
    sent++
    if ((await Promise.race([connection.closed(1), Promise.resolve('open')]).catch(() => 'open')) !== 'open')
      break
  }
  await connection.closed(5_000)
  assert.ok(sent >= 120 && sent < 256, `${sent} MiB were taken`)
  assert.ok(performance.now() - startedAt < 30_000)
  connection.reset()
  await assertClean(service, clean)
})

test('case 84: many uploads dropped after 1 MB leave nothing, and memory comes back', async () => {
  const pid = serverPid(service)
  const part = fileBody(samples.png({ sizeBytes: 2 * mebibyte })).subarray(0, mebibyte)
  const head = uploadHead({ key: service.key, body: part, length: 2 * mebibyte + 500 })
  const drop = async (): Promise<void> => {
    const connection = await open(service)
    await connection.send(head, part)
    connection.reset()
  }
  const round = async (): Promise<number> => {
    for (let wave = 0; wave < 5; wave++) await Promise.all(Array.from({ length: 20 }, drop))
    await assertClean(service, clean)
    return residentBytes(pid)
  }
  const first = await round()
  const second = await round()
  assert.ok(second - first < 64 * mebibyte, `${first} bytes, then ${second}`)
})

test('the limit can be set', async () => {
  const small = await startService({ env: { ASSETD_MAX_FILE_BYTES: '1000' } })
  try {
    const send = async (sizeBytes: number): Promise<number> => {
      const body = new FormData()
      body.append('file', new Blob([new Uint8Array(samples.png({ sizeBytes }))]))
      const answer = await fetch(`${small.url}/v3/assets`, {
        method: 'POST',
        headers: { 'x-api-key': small.key },
        body,
      })
      if (answer.status === 400) {
        const refused = (await answer.json()) as { error: { details: Record<string, unknown> } }
        const { allowed, ...rest } = refused.error.details
        assert.ok(Array.isArray(allowed) && allowed.length === 7)
        assert.deepEqual(rest, {
          reason: 'file_too_large',
          max_bytes: 1_000,
          declared: 'application/octet-stream',
          detected: null,
        })
      }
      return answer.status
    }
    assert.deepEqual([await send(1_000), await send(1_001)], [200, 400])
  } finally {
    await small.stop()
  }
})

test('the boundary’s own bytes are not counted', async () => {
  const long = 'b'.repeat(70)
  const file = samples.png({ sizeBytes: limit })
  const body = Buffer.concat([
    latin1(`--${long}\r\nContent-Disposition: form-data; name="a"\r\n\r\n${'f'.repeat(100_000)}\r\n`),
    latin1(
      `--${long}\r\nContent-Disposition: form-data; name="file"; filename="${'n'.repeat(10_000)}"\r\n\r\n`,
    ),
    file,
    latin1(`\r\n--${long}--\r\n`),
  ])
  const connection = await open(service)
  const contentType = `multipart/form-data; boundary=${long}`
  assert.notEqual(long, boundary)
  await connection.send(uploadHead({ key: service.key, body, contentType }), body)
  const answer = await connection.answer({ withinMs: 60_000 })
  assert.equal(answer.status, 200, answer.body.toString())
  connection.reset()
})
