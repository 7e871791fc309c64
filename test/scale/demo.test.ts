/** `npm run scale:demo` as a user runs it. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { it, type TestContext } from 'node:test'
import { fileURLToPath } from 'node:url'
import { eventually } from '../service.ts'
import { noNginx } from './nginx.ts'
import { noPostgres } from './postgres.ts'
import { noRedis } from './redis.ts'
import { noVersitygw } from './versitygw.ts'

const script = fileURLToPath(new URL('../../scripts/scale-demo.ts', import.meta.url))
const skip = [noPostgres, noVersitygw, noRedis, noNginx].find((reason) => reason !== false) ?? false

type Run = { status: number | null; output: string; folder: string }

/** @param interruptAt what it has said when Ctrl-C is typed */
async function run(
  context: TestContext,
  env: Record<string, string> = {},
  interruptAt?: string,
): Promise<Run> {
  const folder = mkdtempSync(join(tmpdir(), 'assetd-demo-'))
  chmodSync(folder, 0o755) // PostgreSQL runs as another user
  context.after(() => rmSync(folder, { recursive: true, force: true }))
  const child = spawn(process.execPath, [script], {
    env: { ...process.env, TMPDIR: folder, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let output = ''
  let isInterrupted = false
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding('utf8').on('data', (piece) => {
      output += piece
      if (isInterrupted || interruptAt === undefined || !output.includes(interruptAt)) return
      isInterrupted = child.kill('SIGINT') // once: a second one ends it at once
    })
  const status = await new Promise<number | null>((resolve) => child.once('close', resolve))
  return { status, output, folder }
}

/** Processes that have this folder in their command line or environment. */
function processesOf(folder: string): string[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
    .filter((name) => {
      try {
        return (
          readFileSync(`/proc/${name}/cmdline`, 'utf8') + readFileSync(`/proc/${name}/environ`, 'utf8')
        ).includes(folder)
      } catch {
        return false
      }
    })
}

async function assertGone({ folder, output }: Run): Promise<void> {
  await eventually(() => assert.deepEqual(processesOf(folder), [], output))
  assert.deepEqual(readdirSync(folder), [])
}

it('the demonstration: a copy is killed, nothing is lost, and nothing stays behind', {
  skip,
}, async (context) => {
  const done = await run(context)
  assert.equal(done.status, 0, done.output)
  assert.match(done.output, /kill -9 the copy/)
  assert.match(
    done.output,
    /\n +[\d.]+ s {2}60 of 60 come back through nginx with the SHA-256 that was sent\.\n/,
  )
  assert.match(done.output, /60 of 60 keys, sent once more, give the first answer again/)
  assert.match(done.output, /PostgreSQL has 60 assets \(0 unfinished\), the bucket 60 objects\./)
  assert.match(done.output, /\nNothing was lost\.\n$/)
  await assertGone(done)
})

it('Ctrl-C in the middle of it: nothing stays behind', { skip }, async (context) => {
  const done = await run(context, {}, 'kill -9 the copy')
  assert.equal(done.status, 1, done.output)
  await assertGone(done)
})

it('a program that is missing is named with where it comes from', async (context) => {
  const done = await run(context, { PATH: '/nowhere', HOME: '/nowhere' })
  assert.equal(done.status, 1, done.output)
  assert.match(done.output, /versitygw is not installed \(go install \S+\)/)
  await assertGone(done)
})
