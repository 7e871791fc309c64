/** A load of uploads over several copies, that goes on whatever happens to what they need. */
import assert from 'node:assert/strict'
import { setTimeout as sleep } from 'node:timers/promises'
import { newFile, newUpload, type Sent } from '../crash/uploads.ts'
import { eventually, type RunningService, upload } from '../service.ts'

export type Tried = { status: number | null; tookMs: number; retryAfter: string | null; body: string }

export type Load = {
  /** Each upload that was begun, once for its key. */
  sent: Sent[]
  tried: Tried[]
  /** Resolves once another so many uploads were acknowledged. */
  more(count: number): Promise<void>
  stop(): Promise<void>
}

export function startLoad(
  services: readonly RunningService[],
  { workers = 6, sizeBytes = 60_000 } = {},
): Load {
  const [sent, tried]: [Sent[], Tried[]] = [[], []]
  let isOver = false
  const work = async (): Promise<void> => {
    while (!isOver) {
      const one = newUpload(newFile(sizeBytes))
      sent.push(one)
      const answer = await tryOnce(
        services[Math.floor(Math.random() * services.length)] as RunningService,
        one,
      )
      tried.push(answer)
      if (answer.status !== 200) await sleep(100)
    }
  }
  const running = Promise.all(Array.from({ length: workers }, work))
  const acknowledged = (): number => sent.filter(({ acknowledged }) => acknowledged !== null).length
  return {
    sent,
    tried,
    async more(count) {
      const goal = acknowledged() + count
      await eventually(() => assert.ok(acknowledged() >= goal, `${acknowledged()} of ${goal}`), 40_000)
    },
    async stop() {
      isOver = true
      await running
    },
  }
}

async function tryOnce(service: RunningService, one: Sent): Promise<Tried> {
  const beganMs = performance.now()
  try {
    const response = await upload(service, one.file, { 'idempotency-key': one.key, connection: 'close' })
    const body = await response.text()
    if (response.status === 200) one.acknowledged = body
    const retryAfter = response.headers.get('retry-after')
    return { status: response.status, tookMs: performance.now() - beganMs, retryAfter, body }
  } catch {
    return { status: null, tookMs: performance.now() - beganMs, retryAfter: null, body: '' }
  }
}

/** Whatever was not taken was refused as one that may come again, and in time. */
export function assertHonest(
  load: Load,
  { withinMs, least = 1 }: { withinMs: number; least?: number },
): void {
  const refused = load.tried.filter(({ status }) => status !== 200)
  for (const { status, retryAfter, body } of refused) {
    assert.equal(status, 503, body)
    assert.ok(Number(retryAfter) >= 1, body)
    assert.equal(JSON.parse(body).error.code, 'service_unavailable')
  }
  assert.ok(refused.length >= least, `${refused.length} were refused: the fault was not felt`)
  const slowest = Math.max(...load.tried.map(({ tookMs }) => tookMs))
  assert.ok(slowest < withinMs, `the slowest took ${Math.round(slowest)} ms`)
}
