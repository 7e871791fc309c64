/**
 * `npm run bench:start`: from the start of `node bin/assetd.mjs serve` to its first answer of /healthz, on an empty data
 * folder and on one that is there, from the second start on: the first of all compiles what the others find compiled.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { request } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { percentile, shown } from './figures.ts'
import { cleanEnvironment, freePort } from './server.ts'

const launcher = fileURLToPath(new URL('../bin/assetd.mjs', import.meta.url))
const times = 15
const maxMs = 500

/** Milliseconds until the first answer; the service is ended again. */
async function startOnce(dataDir: string): Promise<number> {
  const port = await freePort()
  const env = {
    ...cleanEnvironment(),
    ASSETD_PORT: String(port),
    ASSETD_DATA_DIR: dataDir,
    ASSETD_LOG_LEVEL: 'error',
  }
  const begun = performance.now()
  const child = spawn(process.execPath, [launcher, 'serve'], { env, stdio: 'ignore' })
  while (!(await answers(port))) await new Promise((resolve) => setTimeout(resolve, 2))
  const took = performance.now() - begun
  await end(child)
  return took
}

function answers(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const asked = request({ port, path: '/healthz', agent: false }, (answer) => {
      answer.resume()
      resolve(answer.statusCode === 200)
    })
    asked.once('error', () => resolve(false)).end()
  })
}

function end(child: ChildProcess): Promise<unknown> {
  const ended = new Promise((resolve) => child.once('exit', resolve))
  child.kill('SIGTERM')
  return ended
}

const dir = mkdtempSync(join(tmpdir(), 'assetd-bench-'))
try {
  const used = join(dir, 'used')
  await startOnce(used)
  for (const [title, folderOf] of [
    ['an empty data folder', (at: number) => join(dir, String(at))],
    ['one that is there', () => used],
  ] as const) {
    const taken: number[] = []
    for (let at = 0; at < times; at++) taken.push(await startOnce(folderOf(at)))
    const median = percentile(taken, 0.5)
    console.log(
      `P10  from node to the first answer of /healthz, ${title}: ${shown(median)} ms (${shown(Math.min(...taken))} to ${shown(Math.max(...taken))}), at most ${maxMs}: ${median <= maxMs ? 'met' : 'MISSED'}`,
    )
  }
} finally {
  rmSync(dir, { recursive: true, force: true })
}
