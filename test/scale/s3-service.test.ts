/** The service on a bucket, when the service dies, or the store does, and what its users see of it. */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { request } from 'node:http'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { openS3Blobs } from '../../src/adapters/s3-blobs.ts'
import type { S3Options } from '../../src/adapters/s3-connection.ts'
import { randomName } from '../../src/asset.ts'
import { announce, call, complete } from '../api.ts'
import { stored, write } from '../contract/blobs.ts'
import { png, wav } from '../media/samples.ts'
import { zip } from '../media/zip.ts'
import { eventually, launcher, type RunningService, startService, upload } from '../service.ts'
import { freshBucket, type S3Server, settingsOf } from './s3.ts'
import { type S3Proxy, startS3Proxy } from './s3-proxy.ts'
import { s3Servers } from './s3-servers.ts'

const MiB = 1024 * 1024

/** A whole WAV of random sound. */
function sound(bytes: number): Buffer {
  const header = Buffer.from(wav().subarray(0, 44))
  header.writeUInt32LE(36 + bytes, 4)
  header.writeUInt32LE(bytes, 40)
  return Buffer.concat([header, randomBytes(bytes)])
}

const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex')

const servers = s3Servers()

for (const { name, skip, begin } of servers) {
  describe(`the service on a bucket of ${name}`, { skip }, () => {
    let server: S3Server
    let proxy: S3Proxy
    before(async () => {
      server = await begin()
      proxy = await startS3Proxy(server.port)
    })
    after(async () => {
      await proxy?.close()
      await server.remove()
    })

    type Given = { service: RunningService; options: S3Options; env: Record<string, string> }
    const it = (what: string, body: (given: Given) => Promise<void>) =>
      test(`${name}: ${what}`, async () => {
        proxy.fate = () => 'pass'
        const options = await freshBucket(server)
        const env = settingsOf({ ...options, endpoint: `http://127.0.0.1:${proxy.port}` })
        const service = await startService({ env })
        try {
          await body({ service, options, env })
        } finally {
          if (service.child.exitCode === null && service.child.signalCode === null) await service.stop()
        }
      })

    async function keysIn(options: S3Options): Promise<string[]> {
      const blobs = openS3Blobs(options)
      const keys: string[] = []
      for await (const some of blobs.list()) keys.push(...some)
      await blobs.close()
      return keys
    }

    /** Sends the head of an upload and most of its body, and then nothing more. */
    async function begun(service: RunningService, bytes: Buffer) {
      const boundary = 'b'
      const head = Buffer.from(
        `--${boundary}\r\ncontent-disposition: form-data; name="file"; filename="a.wav"\r\n\r\n`,
      )
      const tail = Buffer.from(`\r\n--${boundary}--\r\n`)
      const sent = request(`${service.url}/v3/assets`, {
        method: 'POST',
        headers: {
          'x-api-key': service.key,
          'content-type': `multipart/form-data; boundary=${boundary}`,
          'content-length': head.length + bytes.length + tail.length,
        },
      })
      sent.on('error', () => {})
      sent.write(head)
      sent.write(bytes.subarray(0, bytes.length - 10))
      return sent
    }

    it('case 65: killed with an upload in parts under way: the next start aborts it', async ({
      service,
      options,
      env,
    }) => {
      await begun(service, sound(14 * MiB))
      await eventually(async () => assert.equal((await keysIn(options)).length, 1), 20_000)
      await service.stop({ keepData: true, signal: 'SIGKILL' })
      assert.equal((await keysIn(options)).length, 1)
      const next = await startService({ env, dataDir: service.dataDir })
      await eventually(async () => assert.deepEqual(await keysIn(options), []))
      await next.stop()
    })

    it('case 65: killed between the PUT and the commit: the next start removes the object', async ({
      service,
      options,
      env,
    }) => {
      const held = Promise.withResolvers<void>()
      let isPut = false
      // The PUT is done, and what asks whether it was kept waits.
      proxy.fate = ({ method }) => {
        isPut ||= method === 'PUT'
        return isPut && method === 'HEAD' ? { after: held.promise } : 'pass'
      }
      const uploading = upload(service, png()).catch(() => null)
      await eventually(async () => assert.equal((await keysIn(options)).length, 1), 20_000)
      await service.stop({ keepData: true, signal: 'SIGKILL' })
      held.resolve()
      await uploading
      proxy.fate = () => 'pass'
      assert.equal((await keysIn(options)).length, 1)
      const next = await startService({ env, dataDir: service.dataDir })
      await eventually(async () => assert.deepEqual(await keysIn(options), []))
      await next.stop()
    })

    it('a client that leaves in the middle leaves no upload in parts behind', async ({
      service,
      options,
    }) => {
      const sent = await begun(service, sound(14 * MiB))
      await eventually(async () => assert.equal((await keysIn(options)).length, 1), 20_000)
      sent.destroy()
      await eventually(async () => assert.deepEqual(await keysIn(options), []))
    })

    it('case 79: a store that lies gets a 503 for the client, and no asset', async ({ service, options }) => {
      proxy.fate = ({ method }) =>
        method === 'PUT' ? { answer: (_, __, response) => void response.writeHead(200).end() } : 'pass'
      const response = await upload(service, png())
      assert.equal(response.status, 503, await response.text())
      assert.ok(Number(response.headers.get('retry-after')) >= 1)
      proxy.fate = () => 'pass'
      assert.deepEqual(await keysIn(options), [])
      assert.deepEqual((await call(service, 'GET', '/v3/assets')).json.data, [])
    })

    it('case 78: an upload that failed by time, tried again with its key, is one asset; what landed late is none', async ({
      service,
      options,
    }) => {
      const late = Promise.withResolvers<void>()
      proxy.fate = ({ method }) => (method === 'PUT' ? { after: late.promise } : 'pass')
      const key = { 'idempotency-key': 'once' }
      const bytes = png()
      const started = performance.now()
      const refused = await upload(service, bytes, key)
      assert.equal(refused.status, 503)
      assert.ok(performance.now() - started < 45_000, `${performance.now() - started} ms`)
      proxy.fate = () => 'pass'
      const good = await upload(service, bytes, key)
      assert.equal(good.status, 200)
      const answer = await good.text()
      late.resolve()
      await eventually(async () => assert.equal((await keysIn(options)).length, 2))
      assert.equal(await (await upload(service, bytes, key)).text(), answer)
      assert.equal((await call(service, 'GET', '/v3/assets')).json.data.length, 1)
    })

    it('case 77: the store is stopped, killed and started again under load: honest answers, and nothing lost', async ({
      service,
      options,
    }) => {
      const acknowledged = new Map<string, string>()
      const refusals: { status: number; ms: number; retryAfter: string | null }[] = []
      let isGoing = true
      const client = async (own: number): Promise<void> => {
        for (let count = 0; isGoing; count++) {
          const bytes = own === 0 ? sound(7 * MiB) : sound(2_000)
          const started = performance.now()
          const response = await upload(service, bytes, { 'idempotency-key': `${own}-${count}` })
          const body = await response.text()
          if (response.status === 200) acknowledged.set(JSON.parse(body).data.url, sha256(bytes))
          else {
            const ms = performance.now() - started
            refusals.push({ status: response.status, ms, retryAfter: response.headers.get('retry-after') })
            JSON.parse(body)
            await sleep(50)
          }
        }
      }
      const clients = Array.from({ length: 5 }, (_, index) => client(index))
      const more = async (count: number): Promise<void> => {
        const before = acknowledged.size
        await eventually(() => assert.ok(acknowledged.size >= before + count), 60_000)
      }
      try {
        await more(15)
        for (const pid of server.processes()) process.kill(pid, 'SIGSTOP')
        await sleep(4_000)
        for (const pid of server.processes()) process.kill(pid, 'SIGCONT')
        await more(15)
        await server.kill()
        await sleep(2_000)
        await server.start()
        await more(15)
        // Longer than anybody waits.
        await server.kill()
        await eventually(() => assert.ok(refusals.length > 0), 60_000)
        const ready = await fetch(`${service.url}/readyz`)
        assert.equal(ready.status, 503)
        await server.start()
        await more(15)
      } finally {
        isGoing = false
        await Promise.all(clients)
      }
      for (const { status, ms, retryAfter } of refusals) {
        assert.equal(status, 503)
        assert.ok(ms < 60_000, `${ms} ms`)
        assert.ok(Number(retryAfter) >= 1)
      }
      for (const [url, sum] of acknowledged) {
        const response = await fetch(url)
        assert.equal(sha256(new Uint8Array(await response.arrayBuffer())), sum, url)
      }
      // Beside the assets there is at most what landed late; of each that is listed there are the bytes.
      const listed = (await call(service, 'GET', '/v3/assets?limit=100')).json.data
      assert.ok(listed.length > 0)
      assert.ok((await keysIn(options)).length >= acknowledged.size)
    })

    it('case 82: readers that stop, and then leave, end their reads from the store', async ({ service }) => {
      // More than all buffers on the way hold together.
      const bytes = sound(120 * MiB)
      const ticket = await announce(service, { content_type: 'audio/wav', size_bytes: bytes.length })
      const { upload_url, upload_headers: headers } = ticket
      const sent = await fetch(upload_url, { method: 'PUT', headers, body: new Uint8Array(bytes) })
      assert.equal(sent.status, 200)
      const { url } = (await complete(service, ticket.asset_id)).json.data
      const before = rssOf(service)
      const readers = await Promise.all(
        Array.from({ length: 8 }, async () => {
          const reader = request(url, { agent: false })
          reader.on('error', () => {})
          reader.end()
          const [response] = await once(reader, 'response')
          response.on('error', () => {})
          response.pause() // and reads nothing
          return reader
        }),
      )
      await sleep(1_500)
      await eventually(() => assert.equal(proxy.underWay(), 8))
      const grown = rssOf(service) - before
      assert.ok(grown < 150 * MiB, `${grown / MiB} MiB more for 8 readers of 120 MiB that do not read`)
      for (const reader of readers) reader.destroy()
      await eventually(() => assert.equal(proxy.underWay(), 0), 10_000)
    })

    it('gc removes what no row names, objects and uploads in parts, and fsck reads every byte', async ({
      service,
      options,
      env,
    }) => {
      for (const bytes of [png(), sound(6 * MiB)]) assert.equal((await upload(service, bytes)).status, 200)
      const blobs = openS3Blobs(options)
      const orphan = await stored(blobs, Buffer.from('left behind'))
      const dead = blobs.create(randomName())
      await write(dead, Buffer.alloc(11 * MiB))
      await eventually(async () => assert.equal((await keysIn(options)).length, 4))
      const assetd = async (...args: string[]) => {
        const settings = { ...process.env, ...env, ASSETD_DATA_DIR: service.dataDir }
        const ended = promisify(execFile)(process.execPath, [launcher, ...args], {
          env: settings,
          timeout: 60_000,
        })
        return ended.then(
          ({ stdout }) => ({ status: 0, stdout }),
          ({ code, stdout }) => ({ status: code, stdout }),
        )
      }
      const found = await assetd('fsck', '--json')
      assert.notEqual(found.status, 0)
      assert.ok(found.stdout.includes(orphan), found.stdout)
      assert.equal((await assetd('gc', '--dry-run', '--older-than', '0s')).status, 0)
      assert.equal((await keysIn(options)).length, 4)
      assert.equal((await assetd('gc', '--older-than', '0s')).status, 0)
      assert.equal((await keysIn(options)).length, 2)
      assert.equal((await assetd('fsck', '--deep')).status, 0)
      const [first = ''] = await keysIn(options)
      const { sizeBytes = 1 } = (await blobs.stat(first)) ?? {}
      await stored(blobs, Buffer.alloc(sizeBytes), first) // other bytes, as many as before
      assert.equal((await assetd('fsck')).status, 0)
      const deep = await assetd('fsck', '--deep', '--json')
      assert.notEqual(deep.status, 0)
      assert.ok(deep.stdout.includes(first), deep.stdout)
      await dead.discard()
      await blobs.close()
    })

    it('the command-line client uploads past the service', async ({ service }) => {
      const archive = join(service.dataDir, 'a.zip')
      writeFileSync(archive, zip({ 'a.txt': 'hello' }))
      const env = { ...process.env, ASSETD_URL: service.url, ASSETD_API_KEY: service.key }
      proxy.seen.length = 0
      await promisify(execFile)(process.execPath, [launcher, 'upload', archive], { env, timeout: 60_000 })
      assert.equal(proxy.seen.filter((line) => /^PUT .*X-Amz-Signature/.test(line)).length, 1)
      const [asset] = (await call(service, 'GET', '/v3/assets')).json.data
      assert.equal(asset.mime_type, 'application/zip')
    })
  })
}

function rssOf(service: RunningService): number {
  const children = readdirSync('/proc').filter((pid) => /^\d+$/.test(pid))
  let most = 0
  for (const pid of children) {
    try {
      const status = readFileSync(`/proc/${pid}/status`, 'utf8')
      const parent = Number(/^PPid:\s+(\d+)/m.exec(status)?.[1])
      if (Number(pid) !== service.child.pid && parent !== service.child.pid) continue
      most = Math.max(most, Number(/^VmRSS:\s+(\d+)/m.exec(status)?.[1] ?? 0) * 1024)
    } catch {
      // it has ended
    }
  }
  return most
}
