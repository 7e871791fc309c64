/** More connections than the process may have descriptors for: whoever has a request is served all the same. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { connect, type Socket } from 'node:net'
import { after, before, describe, it } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { isShort } from '../form.ts'
import { samples } from '../media/samples.ts'
import {
  assertClean,
  type Baseline,
  baseline,
  descriptors,
  exchange,
  fileBody,
  open,
  requestHead,
  residentBytes,
  serverPid,
  uploadHead,
  uploadRequest,
} from '../raw-http.ts'
import { eventually, type RunningService, startService } from '../service.ts'

const limit = 256
const skip = spawnSync('prlimit', ['--version']).status === 0 ? false : 'there is no prlimit here'
const png = samples.png({ sizeBytes: 200_000 })

/** Connects and says nothing, or `first` alone. Whatever becomes of the connection is no concern of ours. */
function crowdIn({ host, port }: RunningService, first?: string): Socket {
  const socket = connect({ host, port, noDelay: true }).on('error', () => {})
  socket.resume()
  if (first !== undefined) socket.write(first)
  return socket
}

describe('case 83: a limit of 256 descriptors', { skip }, () => {
  let service: RunningService
  let unburdened: Baseline
  let pid: number

  before(async () => {
    service = await startService({ through: ['prlimit', `--nofile=${limit}`] })
    pid = serverPid(service)
    await assertServed('the first')
    unburdened = baseline(service)
    uploads = 0
  })
  after(() => service.stop())

  let uploads = 0
  async function assertServed(what: string): Promise<void> {
    const alive = await exchange(service, [requestHead('GET /healthz HTTP/1.1')])
    assert.equal(alive.status, 200, what)
    const stored = await exchange(service, [uploadRequest({ key: service.key, body: fileBody(png) })])
    assert.equal(stored.status, 200, `${what}: ${stored.body}`)
    uploads++
    const { url } = (JSON.parse(String(stored.body)) as { data: { url: string } }).data
    const read = await exchange(service, [requestHead(`GET ${new URL(url).pathname} HTTP/1.1`)])
    assert.ok(read.status === 200 && read.body.equals(png), `${what}: what was stored is read`)
  }

  async function assertRecovered(): Promise<void> {
    await assertClean(service, unburdened, { assets: uploads })
    await assertServed('after all')
    assert.equal(service.child.exitCode, null)
    assert.equal(serverPid(service), pid, 'it is the process of before')
  }

  for (const [what, first] of [
    ['say nothing', undefined],
    ['have said half a request', 'POST /v3/assets HTTP/1.1\r\nHost: a.test\r\nX-A: '],
    ['were answered and stay', requestHead('GET /healthz HTTP/1.1')],
  ] as const) {
    it(`case 83: 1,000 connections that ${what}: uploads, /healthz and files are answered`, async () => {
      const crowd = Array.from({ length: 1_000 }, () => crowdIn(service, first))
      try {
        await eventually(() => assert.ok(descriptors(pid).length > limit / 4, 'the crowd is in'))
        for (let at = 0; at < 10; at++) await assertServed(what)
        assert.ok(descriptors(pid).length <= limit * 0.7, `${descriptors(pid).length} descriptors are held`)
      } finally {
        for (const socket of crowd) socket.destroy()
      }
      await assertRecovered()
    })
  }

  it('case 83: a connection that has a request under way is not closed for others', async () => {
    const body = fileBody(png)
    const slow = await open(service)
    await slow.send(uploadHead({ key: service.key, body }), body.subarray(0, 100_000))
    await sleep(200)
    const crowd = Array.from({ length: 1_000 }, () => crowdIn(service))
    await eventually(() => assert.ok(crowd.filter((socket) => socket.destroyed).length > 500))
    await slow.send(body.subarray(100_000))
    assert.equal((await slow.answer()).status, 200)
    uploads++
    slow.reset()
    for (const socket of crowd) socket.destroy()
    await assertRecovered()
  })

  it('case 83: 2,000 connections a second: uploads, /healthz and files are answered', async () => {
    const resident = residentBytes(pid)
    const seconds = isShort ? 3 : 10
    const crowd = new Set<Socket>()
    let made = 0
    const knocking = setInterval(() => {
      for (let at = 0; at < 40; at++) {
        const socket = crowdIn(service)
        crowd.add(socket)
        socket.once('close', () => crowd.delete(socket))
        made++
      }
    }, 20)
    try {
      const end = performance.now() + seconds * 1_000
      while (performance.now() < end) {
        await assertServed(`${made} connections`)
        await sleep(100)
      }
    } finally {
      clearInterval(knocking)
      for (const socket of crowd) socket.destroy()
    }
    assert.ok(made > seconds * 500, `only ${made} connections were made in ${seconds} s`)
    await assertRecovered()
    const grown = residentBytes(pid) - resident
    assert.ok(grown < 64 * 1024 * 1024, `it holds ${grown} bytes more than before`)
  })

  it('case 83: the log says that it was full, and not for each connection', () => {
    const lines = service.log().filter((line) => /too many connections/.test(String(line.msg)))
    assert.ok(lines.length >= 1 && lines.length <= 3, `${lines.length} lines`)
    assert.equal(lines[0]?.level, 'warn')
    assert.equal(lines[0]?.max, (limit - 64) / 2)
  })
})
