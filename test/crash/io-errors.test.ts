/** Each system call of an upload fails, one after the other, and the service goes on. */
import assert from 'node:assert/strict'
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { stepsUpTo } from '../form.ts'
import { assertError, plain } from '../raw-http.ts'
import { contentsOf, eventually, type RunningService, startService, upload } from '../service.ts'
import { assertInOrder, assertNothingStray, assertOneEach, assertServed } from './survival.ts'
import {
  callsDuring,
  startTraceable,
  type Thread,
  type Trace,
  trace,
  whyNotTraceable,
} from './traced-service.ts'
import { newFile, newUpload, refusedUpload, type Sent, send } from './uploads.ts'

const skip = await whyNotTraceable()

const callsOf: Record<Exclude<Thread, 'main'>, string> = {
  files: 'openat,mkdir,pwrite64,pwritev,fsync,fdatasync,close,rename',
  database: 'pwrite64,pwritev,fsync,fdatasync,ftruncate',
}

async function assertRefused(service: RunningService, sent: Sent, words: string): Promise<void> {
  const response = await upload(service, sent.file, { 'idempotency-key': sent.key })
  const answer = await plain(response)
  assert.equal(answer.status, 503, `${words}: ${answer.body}`)
  assertError(answer, { status: 503, code: 'service_unavailable' })
  assert.ok(Number(answer.headers['retry-after']) >= 1)
}

/** After a failed fsync the kernel may have dropped what was to be written: a second one would succeed and lie. */
function assertNoFileSyncedAgain(calls: readonly string[]): void {
  const failed = calls.filter((line) => /^f(data)?sync\(.*\/incoming\/.*INJECTED/.test(line))
  for (const line of failed) {
    const [, path = ''] = /<([^>]+)>/.exec(line) ?? []
    assert.equal(calls.filter((one) => /^f(data)?sync\(/.test(one) && one.includes(path)).length, 1, path)
  }
}

describe('a system call of an upload fails: 503, no file and no row stays, and the same key is taken in afterwards', {
  skip,
}, () => {
  for (const [thread, error, only, few, door] of [
    ['files', 'EIO', null, 14, 'multipart'],
    ['files', 'ENOSPC', null, 5, 'multipart'],
    ['files', 'EMFILE', 'openat', 3, 'multipart'],
    ['files', 'EACCES', 'openat', 3, 'multipart'],
    ['files', 'EROFS', 'openat,mkdir,rename', 3, 'multipart'],
    ['database', 'EIO', null, 8, 'multipart'],
    ['database', 'ENOSPC', null, 5, 'multipart'],
    ['files', 'EIO', null, 10, 'direct'],
    ['files', 'ENOSPC', null, 6, 'direct'],
    ['database', 'EIO', null, 10, 'direct'],
  ] as const) {
    const words = `${thread === 'files' ? 'a file' : 'the database'}, ${error}, each call, ${door} upload`
    it(`case 69, 70: ${words}`, async (context) => {
      const service = await startTraceable()
      const stored: Sent[] = []
      const calls = await callsDuring(service, { thread, calls: only ?? callsOf[thread] }, async () => {
        const sent = newUpload(newFile(), door)
        stored.push(sent)
        await send(service, sent)
      })
      assert.ok(calls.length >= 2)
      let failures = 0
      for (const step of stepsUpTo(calls.length, few)) {
        const { name = '', nth = 0 } = calls[step - 1] ?? {}
        const sent = newUpload(newFile(), door)
        const failing = await trace(service, {
          thread,
          calls: name,
          what: `error=${error}`,
          when: String(nth),
        })
        const answer = await send(service, sent)
        await failing.detach()
        const hit = failing.calls().some((line) => line.includes('INJECTED'))
        if (hit) {
          failures++
          // What is left of a direct upload is removed behind its answer; and what SQLite writes into the file itself
          // (not its log) it writes behind a commit that is durable already, and tries again with the next.
          const isCheckpoint = failing.calls().some((line) => /assetd\.sqlite>.*INJECTED/.test(line))
          const isBehind = (door === 'direct' || isCheckpoint) && answer?.status === 200
          if (!isBehind) {
            assert.equal(answer?.status, 503, `${name} ${nth}: ${answer?.body}`)
            assert.match(answer.body, /"service_unavailable"/)
          }
          assertNoFileSyncedAgain(failing.calls())
        }
        const next = newUpload(newFile(), door)
        await assertOneEach(service, [next])
        await eventually(() => assertOneEach(service, [sent]))
        stored.push(sent, next)
        await assertNothingStray(service.dataDir, stored)
      }
      assert.ok(failures > 0)
      context.diagnostic(`${failures} failures at ${calls.length} calls`)
      await assertServed(service, stored)
      assertInOrder(service.dataDir)
      assert.equal(await service.stop(), 0)
    })
  }
})

describe('a large file', { skip }, () => {
  const large = (): Sent => newUpload(newFile(12 * 1024 * 1024))

  async function assertAsIfNothingHappened(
    service: RunningService,
    sent: Sent,
    stored: Sent[] = [],
  ): Promise<void> {
    await assertNothingStray(service.dataDir, stored)
    await eventually(() => assertOneEach(service, [sent]))
    await assertServed(service, [sent])
    assertInOrder(service.dataDir)
    assert.equal(await service.stop(), 0)
  }

  /** It is opened once by way of the page cache, and then once more. */
  const refuseDirect = (service: RunningService, error: string): Promise<Trace> =>
    trace(service, { thread: 'files', calls: 'openat', what: `error=${error}`, when: '2' })

  it('case 69, 70: its disk fails past the page cache: 503, nothing stays', async () => {
    const service = await startTraceable()
    const sent = large()
    // The first 1 MiB is four blocks: the fifth write of any kind goes past the page cache.
    const failing = await trace(service, {
      thread: 'files',
      calls: 'openat,pwrite64,pwritev',
      what: 'error=EIO',
      when: '5',
    })
    const answer = await send(service, sent)
    await failing.detach()
    assert.equal(answer?.status, 503)
    assert.ok(failing.calls().some((line) => /^openat\(.*\/incoming\/.*O_DIRECT/.test(line)))
    assert.ok(failing.calls().some((line) => /^pwrite.*INJECTED/.test(line)))
    await assertAsIfNothingHappened(service, sent)
  })

  for (const error of ['EPERM', 'EOPNOTSUPP', 'EMFILE']) {
    it(`${error} when it is to be written past the page cache: it is whole all the same`, async () => {
      const service = await startTraceable()
      const failing = await refuseDirect(service, error)
      const stored = [large(), large()]
      for (const sent of stored) assert.equal((await send(service, sent))?.status, 200)
      await failing.detach()
      const asked = failing.calls().filter((line) => line.includes('O_DIRECT'))
      assert.match(asked[0] ?? '', /INJECTED/)
      assert.equal(asked.length, error === 'EMFILE' ? 2 : 1, 'a disk that refuses is asked once')
      await assertServed(service, stored)
      assert.equal(await service.stop(), 0)
    })
  }

  it('case 69, 70: a disk that takes none past the page cache: a sync fails while more arrives: 503, nothing stays, and it is not synced again', async () => {
    const service = await startTraceable()
    const refusing = await refuseDirect(service, 'EINVAL')
    const before = large()
    assert.equal((await send(service, before))?.status, 200)
    await refusing.detach()
    assert.ok(refusing.calls().some((line) => /O_DIRECT.*EINVAL.*INJECTED/.test(line)))
    await assertServed(service, [before])

    const sent = large()
    const calls = 'fsync,fdatasync'
    const failing = await trace(service, { thread: 'files', calls, what: 'error=EIO', when: '1' })
    const answer = await send(service, sent)
    await failing.detach()
    assert.equal(answer?.status, 503)
    assert.ok(failing.calls().some((line) => /^fdatasync\(.*INJECTED/.test(line)))
    assertNoFileSyncedAgain(failing.calls())
    await assertAsIfNothingHappened(service, sent, [before])
  })
})

describe('calls fail for as long as the disk is broken', { skip }, () => {
  for (const [words, injections] of [
    ['fsync of files', [['files', 'fsync,fdatasync']]],
    ['rename and unlink', [['files', 'rename,unlink']]],
    ['writes to files, and unlink', [['files', 'pwrite64,pwritev,unlink']]],
    [
      'fsync of the database, and unlink',
      [
        ['database', 'fsync,fdatasync'],
        ['files', 'unlink'],
      ],
    ],
  ] as const) {
    it(`case 70: ${words}: 503 each time, reads go on; repaired, uploads work and within seconds nothing is stray`, async () => {
      const service = await startTraceable()
      const early = newUpload()
      await assertOneEach(service, [early])
      const broken = await Promise.all(
        injections.map(([thread, calls]) => trace(service, { thread, calls, what: 'error=EIO' })),
      )
      const tried = [newUpload(), newUpload(), newUpload()]
      for (const one of tried) await assertRefused(service, one, words)
      await assertServed(service, [early])
      for (const one of broken) await one.detach()
      await eventually(() => assertOneEach(service, tried))
      await assertNothingStray(service.dataDir, [early, ...tried])
      assertInOrder(service.dataDir)
      assert.equal(await service.stop(), 0)
    })
  }
})

describe('bytes that cannot be removed', { skip }, () => {
  /** Every file that is there has a row that names it. */
  function assertNamed(dataDir: string): number {
    const { incoming, blobs, assets } = contentsOf(dataDir)
    const named = assets.map(({ blob_key }) => blob_key)
    for (const file of [...incoming, ...blobs]) assert.ok(named.includes(file), `no row names ${file}`)
    return incoming.length + blobs.length
  }

  for (const isKilled of [false, true]) {
    const ending = isKilled
      ? 'the service is killed, and its next start takes them'
      : 'removed once they can be'
    it(`case 70: of a refused upload: the row stays with them; ${ending}`, async () => {
      let service = await startTraceable()
      const broken = await trace(service, { thread: 'files', calls: 'unlink', what: 'error=EIO' })
      assert.equal((await send(service, refusedUpload()))?.status, 400)
      assert.equal(assertNamed(service.dataDir), 1, 'the file could not be removed')
      if (isKilled) {
        await service.stop({ keepData: true, signal: 'SIGKILL' })
        service = await startTraceable({ dataDir: service.dataDir })
      } else {
        await broken.detach()
      }
      await assertNothingStray(service.dataDir, [])
      await service.stop()
    })

    it(`case 70: of an upload whose commit failed: the row stays with them; ${ending}`, async () => {
      let service = await startTraceable()
      // The first fsync of the database is the reservation's, the second the commit's.
      const failing = await trace(service, {
        thread: 'database',
        calls: 'fsync,fdatasync',
        what: 'error=EIO',
        when: '2',
      })
      const broken = await trace(service, {
        thread: 'files',
        calls: 'unlink',
        what: isKilled ? 'signal=KILL' : 'error=EIO',
      })
      const sent = newUpload()
      const answer = await send(service, sent)
      if (isKilled) {
        assert.equal(answer, null)
        await service.exited
        assert.equal(assertNamed(service.dataDir), 1)
        service = await startTraceable({ dataDir: service.dataDir, env: { ASSETD_API_KEY: service.key } })
      } else {
        assert.equal(answer?.status, 503)
        assert.equal(assertNamed(service.dataDir), 1)
        await failing.detach()
        await broken.detach()
      }
      await assertNothingStray(service.dataDir, [])
      await assertOneEach(service, [sent])
      await service.stop()
    })
  }
})

describe('a file that cannot be read', { skip }, () => {
  let service: RunningService
  before(async () => {
    service = await startTraceable()
  })
  after(() => service.stop())

  /** Which nobody has asked for yet: what was read is in memory for a minute. */
  async function freshUrl(): Promise<string> {
    const sent = newUpload(newFile(20_000))
    await assertOneEach(service, [sent])
    return (JSON.parse(sent.acknowledged ?? '') as { data: { url: string } }).data.url
  }

  for (const [calls, status] of [
    ['openat', 503],
    ['pread64,read', 500],
  ] as const) {
    it(`case 70: ${calls} fails: the answer is an error that carries nothing of the file`, async () => {
      const url = await freshUrl()
      const broken = await trace(service, { thread: 'files', calls, what: 'error=EIO' })
      const answer = await plain(await fetch(url))
      await broken.detach()
      assertError(answer, { status })
      const ofFile = ['etag', 'last-modified', 'accept-ranges', 'content-disposition', 'content-range']
      assert.deepEqual(
        ofFile.filter((name) => name in answer.headers),
        [],
      )
      assert.equal(answer.headers['content-security-policy'], "default-src 'none'; sandbox")
      const good = await fetch(url)
      assert.equal(good.status, 200)
      assert.equal((await good.arrayBuffer()).byteLength, 20_000)
    })
  }
})

describe('the first start', { skip }, () => {
  const folder = mkdtempSync(join(tmpdir(), 'assetd-first-'))
  after(() => rmSync(folder, { recursive: true }))

  it('case 66: each folder that it makes is durable by name before it is ready', async () => {
    const log = join(folder, 'calls')
    const dataDir = join(folder, 'a', 'b', 'data')
    // -D: the service stays our own child, and gets our signals.
    const watch = ['strace', '-D', '-f', '-yy', '-o', log, '-e', 'trace=mkdir,fsync,write']
    const service = await startService({ dataDir, through: watch })
    const calls = readFileSync(log, 'utf8').split('\n')
    await service.stop()
    const ready = calls.findIndex((line) => line.includes('listens on'))
    const made = calls.flatMap((line, at) => {
      const [, path] = /mkdir\("([^"]+)", \w+\)\s+= 0/.exec(line) ?? []
      return path?.startsWith(folder) ? [{ path, at }] : []
    })
    assert.ok(made.length >= 5, 'a, a/b, a/b/data, blobs, incoming')
    for (const { path, at } of made) {
      const synced = calls.findIndex(
        (line, index) => index > at && /fsync\(/.test(line) && line.includes(`<${dirname(path)}>`),
      )
      assert.ok(synced > at && synced < ready, `the name of ${path} is not durable`)
    }
    assert.ok(!existsSync(dataDir))
  })
})
