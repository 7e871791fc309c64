/** Plain uploads by the clients that must work unchanged. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import {
  type Client,
  curl,
  curlMissing,
  fetchClient,
  goMissing,
  nodeHttp,
  pythonMissing,
  startGo,
  startPython,
} from './clients/programs.ts'
import { samples } from './media/samples.ts'
import { exampleFile, type RunningService, startService } from './service.ts'

let service: RunningService
const folder = mkdtempSync(join(tmpdir(), 'assetd-clients-'))
const files = Object.entries(samples).map(([name, make]) => {
  const bytes = make({ sizeBytes: 300_000 })
  const path = join(folder, `sample.${name}`)
  writeFileSync(path, bytes)
  return { name, path, bytes }
})

before(async () => {
  service = await startService()
})
after(async () => {
  await service.stop()
  rmSync(folder, { recursive: true, force: true })
})

async function uploadsAll(client: Client): Promise<void> {
  try {
    for (const how of ['length', 'chunked'] as const) {
      for (const { name, path, bytes } of files) {
        const job = { url: `${service.url}/v3/assets`, key: service.key, path, how }
        const answer = await client.upload(job)
        assert.equal(answer.status, 200, `${name}, ${how}: ${answer.body}`)
        const { data } = JSON.parse(answer.body)
        assert.equal(data.size_bytes, bytes.length)
        assert.ok(data.url.endsWith(`.${name}`), data.url)
        const stored = await fetch(data.url)
        assert.ok(Buffer.from(await stored.arrayBuffer()).equals(bytes), `${name}, ${how}: the same bytes`)
      }
    }
    const refused = await client.upload({
      url: `${service.url}/v3/assets`,
      key: 'unknown',
      path: exampleFile,
      how: 'length',
    })
    assert.equal(refused.status, 401, refused.body)
    assert.equal(JSON.parse(refused.body).error.code, 'authentication_failed')
  } finally {
    client.close()
  }
}

test('curl -F', { skip: curlMissing }, () => uploadsAll(curl))
test('fetch with FormData, and with a stream', () => uploadsAll(fetchClient))
test('node:http', () => uploadsAll(nodeHttp))
test('Python', { skip: pythonMissing }, () => uploadsAll(startPython()))
test('Go', { skip: goMissing }, () => uploadsAll(startGo()))
