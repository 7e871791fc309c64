/** One server under one load: its CPU, memory, rate and latencies. */
import { execFileSync } from 'node:child_process'
import { randomFillSync } from 'node:crypto'
import { rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { wav } from '../test/media/samples.ts'
import type { Load, LoadGenerator, LoadResult } from './load.ts'
import type { Burst, Metric } from './metrics.ts'
import { cpuSecondsOf, watchMemory } from './processes.ts'
import { filesIn, type Server, type Target } from './server.ts'

export type Work = {
  kind: 'upload' | 'get'
  sizeBytes: number
  parallel: number
  /** In one round. */
  requests: number
  quickRequests: number
  /** A fresh Idempotency-Key with each upload. */
  idempotency?: boolean
  /** Uploads that run all the while and are not measured. */
  beside?: { sizeBytes: number; parallel: number }
  /** Where a row has several. */
  title?: string
}

export type Row = {
  id: string
  title: string
  /** What the row is about; the others are told too. */
  figure: Metric
  works: readonly Work[]
  /** The names of the servers that take part; all of them where it is absent. */
  only?: readonly string[]
}

/** By server, one burst for each work of the row. */
export type Round = Map<string, Burst[]>
export type Outcome = { row: Row; rounds: Round[] }
export type Bench = {
  servers: readonly Server[]
  load: LoadGenerator
  dir: string
  isQuick: boolean
}

/** An answer that is no success, or a file that is not there: then the figures are worth nothing. */
export class RequestsFailed extends Error {}

/** The row's work for one server after the other; who begins takes turns. */
export async function oneRound(bench: Bench, row: Row, number: number): Promise<Round> {
  const round: Round = new Map()
  const able = bench.servers.filter((server) => canTake(server, row))
  const first = number % Math.max(1, able.length)
  for (const server of [...able.slice(first), ...able.slice(0, first)]) {
    const bursts: Burst[] = []
    for (const work of row.works) bursts.push(await burst(bench, server, work))
    round.set(server.name, bursts)
  }
  return round
}

function canTake({ name, upload, publish }: Server, { only, works }: Row): boolean {
  if (only !== undefined && !only.includes(name)) return false
  return works.every(({ kind }) => (kind === 'get' ? publish : upload) !== undefined)
}

/**
 * Files up to this size stay until the end. For each file that it makes, ext4 looks past the numbers of all that were
 * deleted within the last minute, and where it has no journal for up to five (RECENTCY_DIRTY in its ialloc.c): the burst
 * before would take up to a third of the next one's CPU.
 */
const keptBytes = 1024 * 1024

let bursts = 0

/** @throws {RequestsFailed} */
async function burst(bench: Bench, server: Server, work: Work): Promise<Burst> {
  const target = await targetOf(bench, server, work)
  const endOthers = beginOthers(bench, server, work)
  // What the last one left to be written must not slow this one.
  execFileSync('sync')
  const storedBefore = countFiles(server, work.sizeBytes)
  const endWatch = watchMemory(server.pids)
  const cpuBefore = cpuSecondsOf(server.pids)
  const load = loadOf(bench, work)
  const result = await bench.load.run(target, load)
  // A log line may come after the answer: it is part of the price.
  await new Promise((done) => setTimeout(done, 200))
  const cpuSeconds = cpuSecondsOf(server.pids) - cpuBefore
  const peak = endWatch()
  const others = await endOthers()
  check(server, load.requests, result)
  const stored = countFiles(server, work.sizeBytes) - storedBefore
  if (work.kind === 'upload' && stored !== load.requests) {
    throw failed(server, `stored ${stored} of ${load.requests} files`)
  }
  removeLargeFiles(server)
  if (others !== null) check(server, others.count, others)
  const { seconds, latenciesMs, cpuSeconds: loadCpuSeconds } = result
  return { requests: load.requests, seconds, cpuSeconds, latenciesMs, peak, loadCpuSeconds }
}

function countFiles({ files }: Server, wantedBytes: number): number {
  return filesIn(files).filter(({ sizeBytes }) => sizeBytes === wantedBytes).length
}

/** They would fill the disk. */
function removeLargeFiles({ files }: Server): void {
  for (const { path, sizeBytes } of filesIn(files)) if (sizeBytes > keptBytes) rmSync(path)
}

async function targetOf({ dir }: Bench, server: Server, work: Work): Promise<Target> {
  if (work.kind === 'upload' && server.upload !== undefined) return server.upload
  const url = await server.publish?.(sampleFile(dir, work.sizeBytes))
  if (url === undefined) throw failed(server, 'can take no such work')
  return { mode: 'get', url, expect: '200' }
}

function loadOf({ dir, isQuick }: Bench, work: Work): Load {
  const isUpload = work.kind === 'upload'
  return {
    file: isUpload ? sampleFile(dir, work.sizeBytes) : null,
    requests: isQuick ? work.quickRequests : work.requests,
    parallel: work.parallel,
    idempotency: work.idempotency ?? false,
    prefix: `burst-${++bursts}`,
    bodyBytes: isUpload ? -1 : work.sizeBytes,
  }
}

function beginOthers(bench: Bench, { upload }: Server, { beside }: Work): () => Promise<LoadResult | null> {
  if (beside === undefined || upload === undefined) return async () => null
  const load = loadOf(bench, { kind: 'upload', requests: 0, quickRequests: 0, ...beside })
  return bench.load.begin(upload, load)
}

/** A server that refuses is fast: every answer must be a success. */
function check(server: Server, requests: number, result: LoadResult): void {
  if (result.errors > 0) {
    throw failed(server, `failed ${result.errors} of ${requests} requests: ${result.firstError}`)
  }
  if (result.count !== requests) throw failed(server, `answered ${result.count} of ${requests} requests`)
}

function failed({ name }: Server, what: string): RequestsFailed {
  return new RequestsFailed(`${name} ${what}`)
}

const wavHeaderBytes = 44
const samples = new Map<string, number>()

/** A WAV file full of noise: to search zeros could be cheaper than to search what people record. */
export function sampleFile(dir: string, sizeBytes: number): string {
  const path = join(dir, `sample-${sizeBytes}.wav`)
  if (samples.get(path) === sizeBytes) return path
  const bytes = wav({ sizeBytes })
  writeFileSync(path, randomFillSync(bytes, wavHeaderBytes))
  samples.set(path, sizeBytes)
  return path
}
