/** What becomes of one blob when the store, or the line to it, is at its worst. */
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import { buffer } from 'node:stream/consumers'
import { after, before, describe, type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { DeleteBucketCommand, ListMultipartUploadsCommand, PutObjectCommand } from '@aws-sdk/client-s3'
import { openS3Blobs } from '../../src/adapters/s3-blobs.ts'
import type { S3Options } from '../../src/adapters/s3-connection.ts'
import { randomName } from '../../src/asset.ts'
import type { Blobs } from '../../src/assets/blobs.ts'
import { bytesOf, keysIn, stored, write } from '../contract/blobs.ts'
import { isUnavailable } from '../contract/database.ts'
import { eventually } from '../service.ts'
import { freePort } from './programs.ts'
import { clientOf, freshBucket, type S3Server } from './s3.ts'
import { type Fate, type S3Proxy, startS3Proxy } from './s3-proxy.ts'
import { s3Servers } from './s3-servers.ts'

const MiB = 1024 * 1024

/** As long as a test can wait for. */
const brief = { connectMs: 500, attemptMs: 1_500, callMs: 4_500, idleMs: 1_000 }

const isPut = ({ method, url }: IncomingMessage): boolean => method === 'PUT' && !url?.includes('store-id')
const isPart = (request: IncomingMessage): boolean =>
  isPut(request) && String(request.url).includes('partNumber')
const isGet = ({ method, url }: IncomingMessage): boolean =>
  method === 'GET' && /[0-9a-z]{26}(\?|$)/.test(String(url))

/** The first ones that are meant, and then none. */
function first(count: number, isMeant: (request: IncomingMessage) => boolean, fate: Fate) {
  let left = count
  return (request: IncomingMessage): Fate => (isMeant(request) && left-- > 0 ? fate : 'pass')
}

const always =
  (isMeant: (request: IncomingMessage) => boolean, fate: Fate) =>
  (request: IncomingMessage): Fate =>
    isMeant(request) ? fate : 'pass'

const servers = s3Servers()

for (const { name, skip, begin } of servers) {
  describe(name, { skip }, () => {
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

    type Given = { blobs: Blobs; options: S3Options; context: TestContext }
    const it = (what: string, body: (given: Given) => Promise<void>) =>
      test(`${name}: ${what}`, async (context) => {
        proxy.fate = () => 'pass'
        proxy.seen.length = 0
        const options = { ...(await freshBucket(server)), ...brief }
        const blobs = openS3Blobs({ ...options, endpoint: `http://127.0.0.1:${proxy.port}` })
        context.after(() => blobs.close())
        await body({ blobs, options, context })
      })

    /** Fails as it should, in bounded time, and leaves nothing. */
    async function failsClean(blobs: Blobs, bytes: Buffer, withinMs = 10_000): Promise<void> {
      const writer = blobs.create(randomName())
      const started = performance.now()
      await assert.rejects(async () => {
        await write(writer, bytes)
        await writer.store()
      }, isUnavailable)
      assert.ok(performance.now() - started < withinMs, `${performance.now() - started} ms`)
      proxy.fate = () => 'pass'
      await writer.discard()
      assert.deepEqual(await keysIn(blobs), [])
    }

    const faults: [string, Fate][] = [
      ['500', { status: 500, code: 'InternalError' }],
      ['503 SlowDown', { status: 503, code: 'SlowDown' }],
      ['a reset', 'reset'],
      ['an answer that is lost', 'lose'],
      ['no answer', 'ignore'],
      ['a clock that is wrong', { status: 403, code: 'RequestTimeTooSkewed' }],
    ]
    for (const [what, fate] of faults) {
      it(`case 77: ${what} that passes costs a try, and what is stored is whole`, async ({ blobs }) => {
        for (const size of [100_000, 12 * MiB]) {
          for (const isMeant of [
            isPut,
            isPart,
            (request: IncomingMessage) => request.method === 'POST',
            isGet,
          ]) {
            if (fate === 'ignore' && isMeant !== isPut) continue // each costs its time
            proxy.fate = first(1, isMeant, fate)
            const bytes = randomBytes(size)
            const key = await stored(blobs, bytes)
            assert.ok((await bytesOf(blobs, key))?.equals(bytes))
            await blobs.remove(key)
          }
        }
        assert.deepEqual(await keysIn(blobs), [])
      })

      it(`case 77: ${what} that stays is service_unavailable in bounded time, and leaves nothing`, async ({
        blobs,
      }) => {
        for (const size of [100_000, 12 * MiB]) {
          proxy.fate = always(isPut, fate)
          await failsClean(blobs, randomBytes(size))
        }
      })
    }

    it('case 77: a store that is not there, and a bucket that is gone', async ({
      blobs,
      options,
      context,
    }) => {
      for (const endpoint of [`http://127.0.0.1:${await freePort()}`, 'http://nowhere.invalid:1']) {
        const lost = openS3Blobs({ ...options, endpoint })
        context.after(() => lost.close())
        const started = performance.now()
        await assert.rejects(stored(lost, Buffer.from('x')), isUnavailable)
        await assert.rejects(lost.open(randomName()), isUnavailable)
        await assert.rejects(lost.assertUsable(), isUnavailable)
        assert.ok(performance.now() - started < 25_000)
      }
      const client = clientOf(server.port)
      await client.send(new DeleteBucketCommand({ Bucket: options.bucket }))
      client.destroy()
      await assert.rejects(stored(blobs, Buffer.from('x')), isUnavailable)
      // Not one asset may be told to be lost.
      await assert.rejects(blobs.open(randomName()), isUnavailable)
      await assert.rejects(blobs.stat(randomName()), isUnavailable)
      await assert.rejects(blobs.remove(randomName()), isUnavailable)
      await assert.rejects(blobs.identity(), isUnavailable)
      await assert.rejects(blobs.assertUsable(), isUnavailable)
    })

    it('case 77: a store that is stopped (SIGSTOP) is told of in bounded time, and used again by itself', async ({
      blobs,
    }) => {
      const bytes = randomBytes(300_000)
      const key = await stored(blobs, bytes)
      for (const pid of server.processes()) process.kill(pid, 'SIGSTOP')
      const started = performance.now()
      const writer = blobs.create(randomName())
      await write(writer, bytes)
      const asked = await Promise.allSettled([
        writer.store(),
        blobs.open(key),
        blobs.assertUsable(),
        blobs.stat(key),
      ])
      const ms = performance.now() - started
      for (const pid of server.processes()) process.kill(pid, 'SIGCONT')
      assert.ok(asked.every((one) => one.status === 'rejected' && isUnavailable(one.reason)))
      assert.ok(ms < 12_000, `${ms} ms`)
      await writer.discard()
      await eventually(() => blobs.assertUsable())
      assert.ok((await bytesOf(blobs, key))?.equals(bytes))
      // What was sent to it meanwhile may have landed after we removed it: an orphan at most, and no more than that.
      await eventually(async () => {
        for (const left of await keysIn(blobs)) if (left !== key) await blobs.remove(left)
        assert.deepEqual(await keysIn(blobs), [key])
      })
    })

    it('case 78: a PUT that is given up and lands later is an orphan, never under a key that is used again', async ({
      blobs,
    }) => {
      const late = Promise.withResolvers<void>()
      proxy.fate = always(isPut, { after: late.promise })
      const key = randomName()
      const writer = blobs.create(key)
      await write(writer, randomBytes(1_000))
      await assert.rejects(writer.store(), isUnavailable)
      await writer.discard()
      assert.deepEqual(await keysIn(blobs), [])
      late.resolve() // of all tries
      await eventually(async () => assert.deepEqual(await keysIn(blobs), [key]))
      await sleep(200)
      await eventually(() => assert.equal(proxy.underWay(), 0))
      await blobs.remove(key)
      assert.deepEqual(await keysIn(blobs), [])
    })

    it('case 79: a store that says 200 and keeps fewer bytes, or others, is found out before it counts', async ({
      blobs,
      options,
    }) => {
      const client = clientOf(server.port)
      const lies: [string, (body: Buffer) => Buffer][] = [
        ['short', (body) => body.subarray(0, body.length - 1)],
        ['changed', (body) => Buffer.from(body).fill(0, 10, 20)],
        ['empty', () => Buffer.alloc(0)],
      ]
      for (const [, lie] of lies) {
        proxy.fate = always(isPut, {
          async answer({ url }, body, response) {
            const Key = String(url).split('/').at(-1)?.split('?')[0]
            const kept = { Bucket: options.bucket, Key, Body: lie(body) }
            const { ETag } = await client.send(new PutObjectCommand(kept))
            response.writeHead(200, { etag: String(ETag) }).end()
          },
        })
        await failsClean(blobs, randomBytes(5_000))
      }
      proxy.fate = always(isPut, { answer: (_, __, response) => void response.writeHead(200).end() })
      await failsClean(blobs, randomBytes(5_000))
      client.destroy()
    })

    it('a store that says of an object that there is none, and gives it, is not asked for ever', async ({
      blobs,
    }) => {
      const key = await stored(blobs, Buffer.from('x'))
      proxy.fate = always(({ method }) => method === 'HEAD', { status: 404, code: 'NotFound' })
      await assert.rejects(blobs.open(key), isUnavailable)
      proxy.fate = () => 'pass'
      assert.equal(await blobs.open(randomName()), null)
    })

    it('case 80: a slow store holds the client back, and not more than two parts are held', async ({
      blobs,
    }) => {
      proxy.fate = always(isPart, { bytesPerSecond: 20 * MiB })
      const writer = blobs.create(randomName())
      const slice = randomBytes(64 * 1024)
      const started = performance.now()
      for (let sent = 0; sent < 40 * MiB; sent += slice.length) await writer.write(slice)
      assert.ok(performance.now() - started > 1_000, 'it was as slow as the store')
      await writer.store()
      await writer.discard()
    })

    it('an upload in parts whose beginning was lost is not left behind', async ({ blobs, options }) => {
      proxy.fate = first(1, ({ method, url }) => method === 'POST' && String(url).includes('uploads'), 'lose')
      const key = await stored(blobs, randomBytes(6 * MiB))
      const client = clientOf(server.port)
      const { Uploads } = await client.send(new ListMultipartUploadsCommand({ Bucket: options.bucket }))
      client.destroy()
      assert.deepEqual(Uploads ?? [], [])
      assert.deepEqual(await keysIn(blobs), [key])
    })

    it('a read that is cut or stalls goes on where it stopped, and gives up rather than ending early', async ({
      blobs,
    }) => {
      const bytes = randomBytes(6 * MiB)
      const key = await stored(blobs, bytes)
      const read = async (): Promise<Buffer> => {
        const blob = await blobs.open(key)
        assert.ok(blob)
        return buffer(blob.stream(10, bytes.length - 1))
      }
      for (const fate of [{ cutAfter: MiB }, { stallAfter: MiB }]) {
        proxy.fate = first(2, isGet, fate)
        assert.ok((await read()).equals(bytes.subarray(10)))
        assert.ok(proxy.seen.filter((line) => line.startsWith('GET') && line.includes(key)).length >= 3)
        proxy.seen.length = 0
      }
      proxy.fate = always(isGet, { cutAfter: 1_000 })
      await assert.rejects(read(), isUnavailable)
      const blob = await blobs.open(key)
      await assert.rejects(blob?.read(0, 50_000) ?? Promise.resolve(), isUnavailable)
      await blob?.close()
    })

    it('what is given up while a part of it is under way is aborted once that has landed', async ({
      blobs,
    }) => {
      let landed: Promise<void> | undefined
      let hasLanded = false
      const seen: boolean[] = []
      proxy.fate = (request) => {
        if (request.method === 'DELETE') seen.push(hasLanded)
        if (!isPart(request)) return 'pass'
        landed ??= sleep(700).then(() => {
          hasLanded = true
        })
        return { after: landed }
      }
      const writer = blobs.create(randomName())
      await write(writer, randomBytes(6 * MiB))
      await eventually(() => assert.ok(landed))
      await writer.discard()
      assert.ok(seen.length > 0 && seen.every((isAfter) => isAfter), `${seen}`)
      assert.deepEqual(await keysIn(blobs), [])
    })

    it('case 82: whoever leaves in the middle of a read ends it at the store within a second', async ({
      blobs,
    }) => {
      const key = await stored(blobs, randomBytes(24 * MiB))
      const streams = await Promise.all(
        Array.from({ length: 20 }, async () => {
          const stream = (await blobs.open(key))?.stream(0, 24 * MiB - 1)
          await new Promise((resolve) => stream?.once('readable', resolve))
          return stream
        }),
      )
      await sleep(300)
      assert.ok(proxy.underWay() >= 20, `${proxy.underWay()}`)
      for (const stream of streams) stream?.destroy()
      await eventually(() => assert.equal(proxy.underWay(), 0), 10_000)
    })
  })
}
