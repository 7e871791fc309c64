/**
 * `npm run bench`: the same files to assetd and to nginx's WebDAV PUT, side by side on this machine, in rounds
 * that take turns. The speed of a machine drifts, so a figure counts only as its ratio to nginx's of the same round.
 * docs/performance.md explains the figures.
 */
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { buildLoadGenerator } from './load.ts'
import {
  type Bench,
  memoryLoad,
  type Outcome,
  oneRound,
  type Servers,
  UploadsFailed,
  type Workload,
  workloads,
} from './measure.ts'
import { findProgram, Unable } from './programs.ts'
import { report } from './report.ts'
import { startAssetd, startNginx } from './servers.ts'

const usage = `Usage: npm run bench -- [options]
  --rounds N     how often everything is measured (3)
  --quick        a short form, for a first look; its figures are rough
  --json         the figures as JSON
  --dir FOLDER   where the files go; removed afterwards (${tmpdir()})`

type Options = { rounds: number; isQuick: boolean; asJson: boolean; dir: string }

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
    const servers = await startServers(dir, closing)
    await measure({ servers, load, dir, isQuick: options.isQuick }, options)
  } finally {
    await close()
  }
}

async function startServers(dir: string, closing: Closing): Promise<Servers> {
  const assetd = await startAssetd(join(dir, 'assetd'))
  closing.push(() => assetd.stop())
  const nginx = await startNginx(join(dir, 'nginx'))
  if ('missing' in nginx) {
    console.error(`bench: ${nginx.missing}`)
    return { assetd, nginx: null }
  }
  closing.push(() => nginx.stop())
  return { assetd, nginx }
}

async function measure(bench: Bench, { rounds, isQuick, asJson }: Options): Promise<void> {
  const progress = (text: string): void => {
    if (!asJson) console.error(`bench: ${text}`)
  }
  progress('warming up')
  for (const workload of workloads) await oneRound({ ...bench, isQuick: true }, workload, 0)
  const outcomeOf = (workload: Workload): Outcome => ({ workload, rounds: [] })
  const outcomes = workloads.map(outcomeOf)
  const memory = outcomeOf(memoryLoad)
  for (let number = 1; number <= rounds; number++) {
    for (const outcome of [...outcomes, memory]) {
      if (isQuick && outcome === memory && number < rounds) continue // the longest of all, and the least noisy
      progress(`round ${number} of ${rounds}: ${outcome.workload.title}`)
      outcome.rounds.push(await oneRound(bench, outcome.workload, number))
    }
  }
  console.log(report(outcomes, memory, asJson))
}

function readOptions(args: string[]): Options | null {
  try {
    const { values } = parseArgs({
      args,
      options: {
        rounds: { type: 'string', default: '3' },
        quick: { type: 'boolean', default: false },
        json: { type: 'boolean', default: false },
        dir: { type: 'string', default: tmpdir() },
        help: { type: 'boolean', short: 'h', default: false },
      },
    })
    if (values.help) return null
    if (!/^[1-9]\d{0,3}$/.test(values.rounds)) throw new Unable('--rounds takes a whole number from 1')
    const { quick: isQuick, json: asJson } = values
    return { rounds: Number(values.rounds), isQuick, asJson, dir: resolve(values.dir) }
  } catch (error) {
    throw new Unable(`${(error as Error).message}\n${usage}`)
  }
}

try {
  const options = readOptions(process.argv.slice(2))
  if (options === null) console.log(usage)
  else await main(options)
} catch (error) {
  if (!(error instanceof Unable || error instanceof UploadsFailed)) throw error
  console.error(`bench: ${error.message}`)
  process.exitCode = 1
}
