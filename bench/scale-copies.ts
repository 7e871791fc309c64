/** How many uploads a second one, two and three copies take through nginx, and whose CPU they cost. */

import type { CopyProcess } from '../test/scale/copy-process.ts'
import { startNginx } from '../test/scale/nginx.ts'
import { freePort } from '../test/scale/programs.ts'
import { median, percentile, shown, table } from './figures.ts'
import { cpuSecondsOf } from './processes.ts'
import {
  type Burst,
  bursts,
  type Closing,
  closeAll,
  type Ground,
  open,
  prepareGround,
  send,
  sharedStores,
  startMeasured,
} from './scale-load.ts'

type Measured = { perSecond: number; p50: number; p99: number; cpuMs: Record<string, number> }

export async function measureCopies(rounds: number, say: (text: string) => void): Promise<string> {
  const closing: Closing = []
  open.push(() => closeAll(closing))
  try {
    const ground = await prepareGround(closing)
    const rows = [
      [
        '',
        'copies',
        'uploads/s',
        'beside one copy',
        'p50 / p99',
        'CPU of an upload: copies, PostgreSQL, S3, Redis, nginx, load',
      ],
    ]
    for (const burst of bursts) {
      const all: Measured[][] = [[], [], []]
      for (let round = 0; round < rounds; round++) {
        for (const copies of round % 2 === 0 ? [1, 2, 3] : [3, 2, 1]) {
          const one = await measure(ground, burst, copies)
          all[copies - 1]?.push(one)
          say(`${burst.title}, ${copies} copies, round ${round + 1}: ${shown(one.perSecond)} uploads/s`)
        }
      }
      all.forEach((some, at) => {
        const ratios = some.map(
          ({ perSecond }, round) => perSecond / (all[0]?.[round]?.perSecond ?? Number.NaN),
        )
        const cpu = Object.keys(some[0]?.cpuMs ?? {}).map((name) =>
          shown(median(some.map(({ cpuMs }) => cpuMs[name] ?? 0))),
        )
        rows.push([
          at === 0 ? burst.title : '',
          String(at + 1),
          shown(median(some.map(({ perSecond }) => perSecond))),
          `${shown(median(ratios))} (${shown(Math.min(...ratios))} to ${shown(Math.max(...ratios))})`,
          `${shown(median(some.map(({ p50 }) => p50)))} / ${shown(median(some.map(({ p99 }) => p99)))} ms`,
          `${cpu.join(', ')} ms`,
        ])
      })
    }
    return table(rows)
  } finally {
    await closeAll(closing)
  }
}

async function measure(ground: Ground, burst: Burst, copies: number): Promise<Measured> {
  const closing: Closing = []
  open.push(() => closeAll(closing))
  try {
    const port = await freePort()
    const settings = {
      ...(await sharedStores(ground)),
      ASSETD_REDIS_URL: ground.redis.url,
      ASSETD_PUBLIC_URL: `http://127.0.0.1:${port}`,
      ASSETD_TRUSTED_PROXIES: '127.0.0.1',
    }
    const started: CopyProcess[] = []
    for (let at = 0; at < copies; at++) started.push(await startMeasured(ground, settings, closing))
    const nginx = await startNginx(
      port,
      started.map((copy) => copy.port),
    )
    closing.push(() => nginx.stop())
    await send(ground, nginx.url, { ...burst, uploads: Math.ceil(burst.uploads / 8) }) // pools and code are warm
    const cpu = (): Record<string, number> => ({
      copies: started.reduce((sum, { pid }) => sum + cpuSecondsOf([pid]), 0),
      postgres: cpuSecondsOf([ground.postgres.processes()[0] ?? 0]),
      s3: cpuSecondsOf([ground.s3.processes()[0] ?? 0]),
      redis: cpuSecondsOf([ground.redis.pid()]),
      nginx: cpuSecondsOf([nginx.pid]),
    })
    const before = cpu()
    const result = await send(ground, nginx.url, burst)
    const after = cpu()
    const spent = Object.keys(after).map((name) => [name, (after[name] ?? 0) - (before[name] ?? 0)] as const)
    return {
      perSecond: burst.uploads / result.seconds,
      p50: percentile(result.latenciesMs, 0.5),
      p99: percentile(result.latenciesMs, 0.99),
      cpuMs: Object.fromEntries(
        [...spent, ['load', result.cpuSeconds] as const].map(([name, seconds]) => [
          name,
          (seconds / burst.uploads) * 1_000,
        ]),
      ),
    }
  } finally {
    await closeAll(closing)
  }
}
