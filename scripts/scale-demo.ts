/**
 * `npm run scale:demo`: PostgreSQL, an S3 server, Redis, three copies of the service and nginx, from what is installed
 * here. Uploads go through nginx, a copy is killed in the middle of them, and then everything that was answered with
 * 200 is looked at. Exit 0: nothing was lost. All of it listens on loopback and is gone afterwards.
 */
import { createHash, randomBytes } from 'node:crypto'
import { ListObjectsV2Command } from '@aws-sdk/client-s3'
import { Client } from 'pg'
import { type CopyProcess, startCopy } from '../test/scale/copy-process.ts'
import { noNginx, startNginx } from '../test/scale/nginx.ts'
import { noPostgres, startPostgres } from '../test/scale/postgres.ts'
import { freePort } from '../test/scale/programs.ts'
import { noRedis, startRedis } from '../test/scale/redis.ts'
import { clientOf, credentials, freshBucket } from '../test/scale/s3.ts'
import { noVersitygw, startVersitygw } from '../test/scale/versitygw.ts'
import { anyWav, checkAll, type Outcome, type Upload, uploadAll } from './scale-demo-uploads.ts'

const uploads = 60
const atOnce = 8
const killAfter = 20

const say = (text = ''): void => console.log(text)
const startMs = performance.now()
const step = (text: string): void =>
  say(`${`${((performance.now() - startMs) / 1000).toFixed(1)} s`.padStart(7)}  ${text}`)

const undo: (() => Promise<void>)[] = []
let stopping: Promise<void> | null = null
/** Whoever asks waits for the same end: a signal may come while all is being stopped. */
function stopAll(): Promise<void> {
  stopping ??= stopEach()
  return stopping
}
async function stopEach(): Promise<void> {
  for (const one of undo.toReversed())
    await one().catch((error) => say(`could not be stopped: ${error.message}`))
}
for (const signal of ['SIGINT', 'SIGTERM'] as const)
  process.once(signal, () => void stopAll().then(() => process.exit(1)))

const missing = [noPostgres, noVersitygw, noRedis, noNginx].filter((reason) => reason !== false)
if (missing.length > 0) {
  say('Not everything is here that the demonstration starts:')
  for (const reason of missing) say(`  ${reason}`)
  process.exit(1)
}

let isGood = false
try {
  isGood = await demonstrate()
} catch (error) {
  say(`\nThe demonstration could not be carried through: ${(error as Error).stack}`)
}
await stopAll()
step('All is stopped.')
say(isGood ? '\nNothing was lost.' : '\nNOT as promised: see above.')
process.exit(isGood ? 0 : 1)

async function demonstrate(): Promise<boolean> {
  say('Three copies of assetd on PostgreSQL, S3 and Redis, behind nginx\n')
  const postgres = await startPostgres()
  undo.push(() => postgres.remove())
  const databaseUrl = await postgres.freshUrl()
  step(`PostgreSQL keeps the records        127.0.0.1:${new URL(databaseUrl).port}`)
  const s3 = await startVersitygw()
  undo.push(() => s3.remove())
  const { bucket } = await freshBucket(s3)
  step(`versitygw, an S3 server, the bytes  127.0.0.1:${s3.port}`)
  const redis = await startRedis()
  undo.push(() => redis.remove())
  step(`Redis counts requests               127.0.0.1:${redis.port}`)

  const port = await freePort()
  const key = randomBytes(24).toString('hex')
  const settings = {
    ASSETD_PUBLIC_URL: `http://127.0.0.1:${port}`,
    ASSETD_TRUSTED_PROXIES: '127.0.0.1',
    ASSETD_API_KEY: key,
    ASSETD_DATABASE_URL: databaseUrl,
    ASSETD_S3_BUCKET: bucket,
    ASSETD_S3_ENDPOINT: `http://127.0.0.1:${s3.port}`,
    ASSETD_S3_REGION: 'us-east-1',
    ASSETD_S3_FORCE_PATH_STYLE: 'on',
    ...credentials,
    ASSETD_REDIS_URL: redis.url,
    ASSETD_RATE_LIMIT: '100000/min',
    ASSETD_IDEMPOTENCY_LEASE_SECONDS: '3', // so that one needs not wait half a minute for what the killed one held
  }
  const copies: CopyProcess[] = []
  const start = async (at?: number): Promise<CopyProcess> => {
    const copy = await startCopy(at === undefined ? settings : { ...settings, ASSETD_PORT: String(at) })
    undo.push(() => copy.stop())
    return copy
  }
  copies.push(...(await Promise.all([start(), start(), start()])))
  step(`three copies of assetd              ${copies.map((copy) => `127.0.0.1:${copy.port}`).join(', ')}`)
  const nginx = await startNginx(
    port,
    copies.map((copy) => copy.port),
  )
  undo.push(() => nginx.stop())
  step(`nginx in front of them              ${nginx.url}\n`)

  step(
    `${uploads} files of 0.1 to 8 MB go up through nginx, ${atOnce} at a time, each under a key of its own.`,
  )
  const all: Upload[] = Array.from({ length: uploads }, (_, index) => {
    const file = anyWav(index % 5 === 4 ? 8_000_000 : 100_000 + index * 20_000)
    return {
      key: `demo-${index}`,
      file,
      sha256: createHash('sha256').update(file).digest('hex'),
      answer: null,
    }
  })
  const [, victim] = copies
  let killed: Promise<void> | undefined
  const told: Outcome[] = []
  await uploadAll({ url: nginx.url, key }, all, atOnce, (outcome) => {
    told.push(outcome)
    const done = told.filter(({ status }) => status === 200).length
    if (done < killAfter || killed !== undefined || victim === undefined) return
    step(
      `${done} are answered with 200. kill -9 the copy at 127.0.0.1:${victim.port}, in the middle of what it does.`,
    )
    killed = victim.kill()
  })
  await killed
  const notOk = told.filter(({ status }) => status !== 200)
  const kinds = Object.entries(Object.groupBy(notOk, ({ status }) => String(status ?? 'no answer')))
  step(
    notOk.length === 0
      ? 'No upload noticed.'
      : `${notOk.length} got no 200 at first (${kinds.map(([kind, list]) => `${list?.length} × ${kind}`).join(', ')}), and were sent again under the same key.`,
  )
  const seen = nginx.requests().filter(({ method }) => method === 'POST')
  const shares = copies.map(
    (copy) => seen.filter(({ upstream }) => String(upstream).includes(`:${copy.port}`)).length,
  )
  step(`All ${uploads} are answered with 200; the three copies had ${shares.join(', ')} requests.\n`)

  const findings = await checkAll({ url: nginx.url, key }, all)
  step(`${findings.whole} of ${uploads} come back through nginx with the SHA-256 that was sent.`)
  step(`${findings.replayed} of ${uploads} keys, sent once more, give the first answer again, byte for byte.`)
  const left = await eventuallyClean(databaseUrl, s3.port, bucket)
  step(
    `PostgreSQL has ${left.completed} assets (${left.unfinished} unfinished), the bucket ${left.objects} objects.`,
  )
  step('What the killed copy had under way, another one has taken back.\n')
  if (victim !== undefined) {
    const again = await start(victim.port)
    const response = await fetch(`${again.url}/readyz`)
    step(`The killed copy is started again, and says ${await response.text()}`)
  }
  return (
    findings.whole === uploads &&
    findings.replayed === uploads &&
    findings.faults.length === 0 &&
    left.completed === uploads &&
    left.unfinished === 0 &&
    left.objects === uploads
  )
}

type Left = { completed: number; unfinished: number; objects: number }

/** Waits for the lease of the killed copy to end, and for another one to tidy up behind it. */
async function eventuallyClean(databaseUrl: string, s3Port: number, bucket: string): Promise<Left> {
  for (const endMs = performance.now() + 60_000; ; await new Promise((resolve) => setTimeout(resolve, 500))) {
    const left = await countLeft(databaseUrl, s3Port, bucket)
    if ((left.unfinished === 0 && left.objects === left.completed) || performance.now() > endMs) return left
  }
}

async function countLeft(databaseUrl: string, s3Port: number, bucket: string): Promise<Left> {
  const client = new Client(databaseUrl)
  await client.connect()
  const { rows } = await client.query<{ state: string; count: string }>(
    'SELECT state, count(*) AS count FROM assets GROUP BY state',
  )
  await client.end()
  const of = (isWanted: (state: string) => boolean): number =>
    rows.filter(({ state }) => isWanted(state)).reduce((sum, { count }) => sum + Number(count), 0)
  const store = clientOf(s3Port)
  const listed = await store.send(new ListObjectsV2Command({ Bucket: bucket }))
  store.destroy()
  const objects = (listed.Contents ?? []).filter(({ Key }) => !Key?.endsWith('store-id')).length
  return {
    completed: of((state) => state === 'completed'),
    unfinished: of((state) => state !== 'completed'),
    objects,
  }
}
