/**
 * `npm run bench:slow-disk`: how long a GET takes while sixteen uploads run all the time on a disk whose every sync takes
 * 20 ms more. strace makes it so slow (Debian: strace); the figure is a time, for the disk is the same everywhere.
 */
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { percentile, shown } from './figures.ts'
import { buildLoadGenerator, type Load } from './load.ts'
import { sampleFile } from './measure.ts'
import { startAssetd } from './peers/assetd.ts'
import { findProgram, Unable } from './programs.ts'
import { freePort } from './server.ts'

const syncMs = 20
const uploadsAtOnce = 16
const maxP95Ms = 10
const sizeBytes = 100_000
/** More than the service keeps in memory: each GET reads the file. */
const askedBytes = 300_000
const rounds = 3

async function main(dir: string): Promise<void> {
  const [go, strace] = [findProgram('go'), findProgram('strace')]
  if (go === null || strace === null) throw new Unable('go and strace are needed (Debian: golang-go strace)')
  const load = await buildLoadGenerator(go, dir)
  const calls = 'fsync,fdatasync,sync_file_range,msync'
  const slow = `inject=${calls}:delay_exit=${syncMs * 1000}`
  const tracing = ['-f', '-qq', '--seccomp-bpf', '-o', '/dev/null', '-e', `trace=${calls}`, '-e', slow]
  const place = { dir: join(dir, 'assetd'), port: await freePort(), mayInstall: false }
  mkdirSync(place.dir)
  const server = await startAssetd(place, [strace, ...tracing])
  try {
    const file = sampleFile(dir, sizeBytes)
    const url = (await server.publish?.(sampleFile(dir, askedBytes))) ?? ''
    const of = (more: Partial<Load>): Load => ({
      file,
      requests: 600,
      parallel: 1,
      idempotency: false,
      prefix: '',
      bodyBytes: -1,
      ...more,
    })
    if (server.upload === undefined) throw new Unable('the server takes no uploads')
    const get = () => load.run({ mode: 'get', url, expect: '200' }, of({ file: null, bodyBytes: askedBytes }))
    await get()
    const all: number[] = []
    for (let round = 1; round <= rounds; round++) {
      const alone = await get()
      const end = load.begin(server.upload, of({ parallel: uploadsAtOnce, idempotency: true }))
      const beside = await get()
      const uploads = await end()
      if (alone.errors + beside.errors + uploads.errors > 0) throw new Unable('requests failed')
      const [p95Alone, p95] = [alone, beside].map(({ latenciesMs }) => percentile(latenciesMs, 0.95))
      all.push(p95 ?? Number.NaN)
      console.log(
        `round ${round}: p95 of GET ${shown(p95Alone ?? Number.NaN)} ms alone, ${shown(p95 ?? Number.NaN)} ms beside uploads (p50 ${shown(percentile(uploads.latenciesMs, 0.5))} ms, ${shown(uploads.count / uploads.seconds)}/s)`,
      )
    }
    const median = percentile(all, 0.5)
    console.log(
      `P8  p95 of GET beside ${uploadsAtOnce} uploads, each sync ${syncMs} ms longer: ${shown(median)} ms (${shown(Math.min(...all))} to ${shown(Math.max(...all))}), at most ${maxP95Ms}: ${median <= maxP95Ms ? 'met' : 'MISSED'}`,
    )
  } finally {
    await server.stop()
  }
}

const dir = mkdtempSync(join(tmpdir(), 'assetd-bench-'))
try {
  await main(dir)
} catch (error) {
  if (!(error instanceof Unable)) throw error
  console.error(`bench: ${error.message}`)
  process.exitCode = 1
} finally {
  rmSync(dir, { recursive: true, force: true })
}
