/** What is sent, and one server under one such load: its CPU, memory, rate and latencies. */
import { execFileSync } from 'node:child_process'
import { randomFillSync } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { wav } from '../test/media/samples.ts'
import type { LoadGenerator, LoadResult } from './load.ts'
import { cpuSecondsOf, type MemoryPeak, watchMemory } from './processes.ts'
import type { Server } from './servers.ts'

export const MiB = 1024 * 1024

export type Workload = {
  title: string
  sizeBytes: number
  parallel: number
  /** In one round. */
  uploads: number
  quickUploads: number
  /** A fresh Idempotency-Key with each upload. */
  idempotency: boolean
}

export const workloads: readonly Workload[] = [
  {
    title: '32 MB files, one at a time',
    sizeBytes: 32 * MiB,
    parallel: 1,
    uploads: 40,
    quickUploads: 8,
    idempotency: false,
  },
  {
    title: '32 MB files, 8 at once',
    sizeBytes: 32 * MiB,
    parallel: 8,
    uploads: 48,
    quickUploads: 8,
    idempotency: false,
  },
  {
    title: '100 KB files, 32 at once, each with an Idempotency-Key',
    sizeBytes: 100_000,
    parallel: 32,
    uploads: 3000,
    quickUploads: 500,
    idempotency: true,
  },
]

export const memoryLoad: Workload = {
  title: '30 MB files, 64 at once',
  sizeBytes: 30 * MiB,
  parallel: 64,
  uploads: 64,
  quickUploads: 64,
  idempotency: false,
}

export type Burst = {
  uploads: number
  seconds: number
  cpuSeconds: number
  latenciesMs: number[]
  peak: MemoryPeak
  /** What the load generator used. */
  loadCpuSeconds: number
}

export type Round = { assetd: Burst; nginx: Burst | null }
export type Outcome = { workload: Workload; rounds: Round[] }
export type Servers = { assetd: Server; nginx: Server | null }
export type Bench = { servers: Servers; load: LoadGenerator; dir: string; isQuick: boolean }

/** An answer that is no success, or a file that is not there: then the figures are worth nothing. */
export class UploadsFailed extends Error {}

/** The workload to both servers, one after the other; who begins takes turns. */
export async function oneRound(bench: Bench, workload: Workload, number: number): Promise<Round> {
  const { assetd, nginx } = bench.servers
  if (nginx === null) return { assetd: await burst(bench, assetd, workload), nginx: null }
  if (number % 2 === 0) {
    const ours = await burst(bench, assetd, workload)
    return { assetd: ours, nginx: await burst(bench, nginx, workload) }
  }
  const theirs = await burst(bench, nginx, workload)
  return { assetd: await burst(bench, assetd, workload), nginx: theirs }
}

let bursts = 0

/** @throws {UploadsFailed} */
async function burst(bench: Bench, server: Server, workload: Workload): Promise<Burst> {
  const uploads = bench.isQuick ? workload.quickUploads : workload.uploads
  const { parallel, idempotency, sizeBytes } = workload
  const file = sampleFile(bench.dir, sizeBytes)
  // What the last one left to be written must not slow this one.
  execFileSync('sync')
  const endWatch = watchMemory(server.pid)
  const cpuBefore = cpuSecondsOf(server.pid)
  const prefix = `burst-${++bursts}`
  const result = await bench.load(server.target, { file, uploads, parallel, idempotency, prefix })
  // A log line may come after the answer: it is part of the price.
  await new Promise((done) => setTimeout(done, 200))
  const cpuSeconds = cpuSecondsOf(server.pid) - cpuBefore
  const peak = endWatch()
  check(server, uploads, result, server.removeUploads(sizeBytes))
  const { seconds, latenciesMs, cpuSeconds: loadCpuSeconds } = result
  return { uploads, seconds, cpuSeconds, latenciesMs, peak, loadCpuSeconds }
}

/** A server that refuses is fast: every answer must be a success, and every file be there. */
function check({ name }: Server, uploads: number, result: LoadResult, stored: number): void {
  if (result.errors > 0) {
    throw new UploadsFailed(`${name} failed ${result.errors} of ${uploads} uploads: ${result.firstError}`)
  }
  if (result.count !== uploads || stored !== uploads) {
    throw new UploadsFailed(`${name} answered ${result.count} of ${uploads} uploads and stored ${stored}`)
  }
}

const wavHeaderBytes = 44
const samples = new Map<string, number>()

/** A WAV file full of noise: to search zeros could be cheaper than to search what people record. */
function sampleFile(dir: string, sizeBytes: number): string {
  const path = join(dir, `sample-${sizeBytes}.wav`)
  if (samples.get(path) === sizeBytes) return path
  const bytes = wav({ sizeBytes })
  writeFileSync(path, randomFillSync(bytes, wavHeaderBytes))
  samples.set(path, sizeBytes)
  return path
}
