/** CPU of the service for one upload: on SQLite and disk, and on PostgreSQL and S3, in rounds that take turns. */
import { join } from 'node:path'
import type { CopyProcess } from '../test/scale/copy-process.ts'
import { median, shown, table } from './figures.ts'
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

export async function measureCpu(rounds: number, say: (text: string) => void): Promise<string> {
  const closing: Closing = []
  open.push(() => closeAll(closing))
  try {
    const ground = await prepareGround(closing)
    const shared = await sharedStores(ground)
    const services: Record<string, CopyProcess> = {
      'SQLite + disk': await startMeasured(ground, { ASSETD_DATA_DIR: join(ground.folder, 'data') }, closing),
      'PostgreSQL + S3': await startMeasured(ground, shared, closing),
      'PostgreSQL + S3 + Redis': await startMeasured(
        ground,
        { ...shared, ASSETD_REDIS_URL: ground.redis.url },
        closing,
      ),
    }
    const names = Object.keys(services)
    const rows = [['CPU of the service for one upload', ...names, `${names[1]} ÷ ${names[0]}`]]
    for (const burst of bursts) {
      const all = new Map<string, number[]>(names.map((name) => [name, []]))
      for (const service of Object.values(services))
        await send(ground, service.url, { ...burst, uploads: Math.ceil(burst.uploads / 4) })
      for (let round = 0; round < rounds; round++) {
        for (const name of round % 2 === 0 ? names : names.toReversed()) {
          const ms = await spent(ground, services[name] as CopyProcess, burst)
          all.get(name)?.push(ms)
          say(`${burst.title}, ${name}, round ${round + 1}: ${shown(ms)} ms`)
        }
      }
      const [ours = [], theirs = []] = names.map((name) => all.get(name))
      const ratios = theirs.map((ms, round) => ms / (ours[round] ?? Number.NaN))
      rows.push([
        burst.title,
        ...names.map((name) => `${shown(median(all.get(name) ?? []))} ms`),
        `${shown(median(ratios))} (${shown(Math.min(...ratios))} to ${shown(Math.max(...ratios))})`,
      ])
    }
    return table(rows)
  } finally {
    await closeAll(closing)
  }
}

/** Milliseconds of an upload, of the launcher, the service and all its threads. */
async function spent(ground: Ground, service: CopyProcess, burst: Burst): Promise<number> {
  const before = cpuSecondsOf([service.pid])
  await send(ground, service.url, burst)
  await new Promise((resolve) => setTimeout(resolve, 300)) // a log line may come after the answer
  return ((cpuSecondsOf([service.pid]) - before) / burst.uploads) * 1_000
}
