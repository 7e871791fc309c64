/**
 * The black-box suite of the embedded default, on other stores: the same files, each in a process as `npm test` runs it,
 * with nothing changed but where records, bytes and counters are. What is skipped there says why. The short form takes the
 * files that speak most to the stores, on all three at once.
 */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { describe, type TestContext, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { isShort } from '../form.ts'
import { redisDatabases, type TestStores } from '../stores.ts'
import type { Outcome } from './outcomes.ts'
import { noPostgres, psql, startPostgres } from './postgres.ts'
import { noRedis, startRedis } from './redis.ts'
import { credentials } from './s3.ts'
import { noVersitygw, startVersitygw } from './versitygw.ts'

const root = fileURLToPath(new URL('../..', import.meta.url))

const inShort = /\/(batches|direct-uploads|files|library|multipart-door|resolve|zero-character)\.test\.ts$/

/** All that start a service. */
const files = ['test', 'test/clients', 'test/media']
  .flatMap((folder) => readdirSync(join(root, folder)).map((name) => join(folder, name)))
  .filter((path) => path.endsWith('.test.ts'))
  .filter((path) => !isShort || inShort.test(path))
  .filter((path) => /startService/.test(readFileSync(join(root, path), 'utf8')))

async function outcomesOf(stores: TestStores, these: readonly string[]): Promise<Outcome[]> {
  const { NODE_TEST_CONTEXT: _, ...env } = process.env
  const reporter = fileURLToPath(new URL('outcomes.ts', import.meta.url))
  const options = ['--test-concurrency=2', '--test-timeout=120000', `--test-reporter=${reporter}`]
  const child = spawn(process.execPath, ['--test', ...options, ...these], {
    cwd: root,
    env: { ...env, TEST_STORES: JSON.stringify(stores) },
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const all: Outcome[] = []
  for await (const line of createInterface(child.stdout)) if (line.startsWith('{')) all.push(JSON.parse(line))
  return all
}

async function postgres(context: TestContext): Promise<TestStores> {
  const server = await startPostgres()
  context.after(() => server.remove())
  return {
    postgres: (await server.freshUrl()).replace(/\/\w+$/, ''),
    ...(psql === undefined ? {} : { psql }),
  }
}

async function s3(context: TestContext): Promise<TestStores> {
  // Pages put to it from their own origin.
  const server = await startVersitygw({ env: { VGW_CORS_ALLOW_ORIGIN: '*' } })
  context.after(() => server.remove())
  const env = {
    ...credentials,
    ASSETD_S3_ENDPOINT: `http://127.0.0.1:${server.port}`,
    ASSETD_S3_FORCE_PATH_STYLE: 'on',
    ASSETD_S3_REGION: 'us-east-1',
  }
  return { s3: { env, buckets: server.buckets } }
}

async function redis(context: TestContext): Promise<TestStores> {
  const server = await startRedis({ databases: String(redisDatabases) })
  context.after(() => server.remove())
  return { redis: server.url }
}

const stacks = [
  {
    name: 'PostgreSQL, S3 and Redis',
    parts: [postgres, s3, redis],
    skip: noPostgres || noVersitygw || noRedis,
  },
  { name: 'PostgreSQL', parts: [postgres], skip: noPostgres },
  { name: 'S3', parts: [s3], skip: noVersitygw },
]

describe('the black-box suite on other stores', () => {
  for (const { name, parts, skip } of isShort ? stacks.slice(0, 1) : stacks) {
    test(name, { skip, timeout: 1_800_000 }, async (context) => {
      let stores: TestStores = {}
      for (const part of parts) stores = { ...stores, ...(await part(context)) }
      const all = await outcomesOf(stores, files)
      const count = (wanted: Outcome['outcome']): number =>
        all.filter(({ outcome }) => outcome === wanted).length
      context.diagnostic(`${count('passed')} passed, ${count('failed')} failed, ${count('skipped')} skipped`)
      for (const { file, name, outcome, why } of all)
        if (outcome === 'skipped') context.diagnostic(`skipped: ${file}: ${name}: ${why}`)
      assert.ok(count('passed') > files.length * 5, 'hardly anything ran')
      assert.deepEqual(
        all.filter(({ outcome }) => outcome === 'failed'),
        [],
      )
    })
  }
})
