/**
 * `npm run bench`: the same work for assetd and for what a user would pick instead, side by side on this machine, in
 * rounds that take turns. The speed of a machine drifts, so a figure counts only as its ratio to nginx's of the same
 * round. docs/performance.md explains the figures.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { chart } from './chart.ts'
import { buildLoadGenerator } from './load.ts'
import { type Bench, type Outcome, oneRound, RequestsFailed } from './measure.ts'
import { assetd } from './peers/assetd.ts'
import { assetdBehindNginx } from './peers/assetd-nginx.ts'
import { pocketbase, tusd } from './peers/go.ts'
import { nginx } from './peers/nginx.ts'
import { expressMulter, fastifyMultipart } from './peers/npm.ts'
import { findProgram, Unable } from './programs.ts'
import { asJson, describeMachine, report } from './report.ts'
import { rows } from './rows.ts'
import { freePort, type Peer, type Server } from './server.ts'

const peers: readonly Peer[] = [
  assetd,
  nginx,
  assetdBehindNginx,
  tusd,
  expressMulter,
  fastifyMultipart,
  pocketbase,
]

const usage = `Usage: npm run bench -- [options]
  --rounds N      how often everything is measured (3)
  --quick         a short form, for a first look; its figures are rough
  --rows P1,P3    these alone, of ${rows.map(({ id }) => id).join(', ')}
  --peers A,B     beside these alone, of ${peers
    .slice(1)
    .map(({ name }) => name)
    .join(', ')}
  --install       fetches the peers that are written in Go with \`go install\`
  --json          the figures as JSON
  --chart FILE    draws them, as SVG
  --dir FOLDER    where the files go, 5 GB in three rounds; removed afterwards (${tmpdir()})`

type Options = {
  rounds: number
  isQuick: boolean
  asJson: boolean
  mayInstall: boolean
  rows: typeof rows
  peers: readonly Peer[]
  chartFile: string | null
  dir: string
}

type Closing = (() => Promise<void> | void)[]

async function main(options: Options): Promise<void> {
  if (process.platform !== 'linux') throw new Unable('it reads CPU and memory from /proc, so it needs Linux')
  const go = findProgram('go')
  if (go === null)
    throw new Unable('go is missing: the load generator is written in it. Install Go 1.21 or later')
  mkdirSync(options.dir, { recursive: true })
  const dir = mkdtempSync(join(options.dir, 'assetd-bench-'))
  const closing: Closing = [() => rmSync(dir, { recursive: true, force: true })]
  const close = async (): Promise<void> => {
    for (let one = closing.pop(); one !== undefined; one = closing.pop()) await one()
  }
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.once(signal, () => close().finally(() => process.exit(1)))
  }
  try {
    const load = await buildLoadGenerator(go, dir)
    const { servers, missing } = await startServers(options, dir, closing)
    await measure({ servers, load, dir, isQuick: options.isQuick }, options, missing)
  } finally {
    await close()
  }
}

async function startServers(
  options: Options,
  dir: string,
  closing: Closing,
): Promise<{ servers: Server[]; missing: string[] }> {
  const servers: Server[] = []
  const missing: string[] = []
  for (const [at, peer] of options.peers.entries()) {
    const place = { dir: join(dir, String(at)), port: await freePort(), mayInstall: options.mayInstall }
    mkdirSync(place.dir)
    const started = await peer.start(place)
    if ('missing' in started) {
      missing.push(`${peer.name}: ${started.missing}`)
      console.error(`bench: without ${missing.at(-1)}`)
    } else {
      servers.push(started)
      closing.push(() => started.stop())
    }
  }
  return { servers, missing }
}

async function measure(bench: Bench, options: Options, missing: readonly string[]): Promise<void> {
  const progress = (text: string): void => console.error(`bench: ${text}`)
  progress('warming up')
  for (const row of options.rows) await oneRound({ ...bench, isQuick: true }, row, 0)
  const outcomes = options.rows.map((row): Outcome => ({ row, rounds: [] }))
  for (let number = 1; number <= options.rounds; number++) {
    for (const { row, rounds } of outcomes) {
      progress(`round ${number} of ${options.rounds}: ${row.id} ${row.title}`)
      rounds.push(await oneRound(bench, row, number))
    }
  }
  const judgements = options.rows.flatMap(({ verdict }, at) => {
    const outcome = outcomes[at]
    return outcome === undefined ? [] : [{ outcome, judged: verdict(outcome) }]
  })
  console.log((options.asJson ? asJson : report)(judgements, missing))
  if (options.chartFile !== null) writeFileSync(options.chartFile, chart(outcomes, describeMachine()))
}

function readOptions(args: string[]): Options | null {
  try {
    const { values } = parseArgs({
      args,
      options: {
        rounds: { type: 'string', default: '3' },
        quick: { type: 'boolean', default: false },
        rows: { type: 'string' },
        peers: { type: 'string' },
        install: { type: 'boolean', default: false },
        json: { type: 'boolean', default: false },
        chart: { type: 'string' },
        dir: { type: 'string', default: tmpdir() },
        help: { type: 'boolean', short: 'h', default: false },
      },
    })
    if (values.help) return null
    if (!/^[1-9]\d{0,3}$/.test(values.rounds)) throw new Unable('--rounds takes a whole number from 1')
    return {
      rounds: Number(values.rounds),
      isQuick: values.quick,
      asJson: values.json,
      mayInstall: values.install,
      rows: chosen('--rows', rows, values.rows, ({ id }) => id),
      peers: [assetd, ...chosen('--peers', peers.slice(1), values.peers, ({ name }) => name)],
      chartFile: values.chart === undefined ? null : resolve(values.chart),
      dir: resolve(values.dir),
    }
  } catch (error) {
    throw new Unable(`${(error as Error).message}\n${usage}`)
  }
}

/** Those of a list that are asked for by name, or all. */
function chosen<T>(
  option: string,
  all: readonly T[],
  names: string | undefined,
  nameOf: (one: T) => string,
): T[] {
  if (names === undefined) return [...all]
  return names.split(',').map((name) => {
    const one = all.find((other) => nameOf(other).toLowerCase() === name.trim().toLowerCase())
    if (one === undefined)
      throw new Unable(`${option}: there is no ${name}, but ${all.map(nameOf).join(', ')}`)
    return one
  })
}

try {
  const options = readOptions(process.argv.slice(2))
  if (options === null) console.log(usage)
  else await main(options)
} catch (error) {
  if (!(error instanceof Unable || error instanceof RequestsFailed)) throw error
  console.error(`bench: ${error.message}`)
  process.exitCode = 1
}
