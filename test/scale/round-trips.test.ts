/** How often a request waits for the database, the bucket and Redis: counted on the lines to them. */
import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { wav } from '../media/samples.ts'
import { eventually } from '../service.ts'
import { assetdOn } from './commands.ts'
import { type CopyProcess, startCopy } from './copy-process.ts'
import { noPostgres, type PostgresServer, startPostgres } from './postgres.ts'
import { noRedis, type RedisServer, startRedis } from './redis.ts'
import { credentials, freshBucket, type S3Server } from './s3.ts'
import { countTurns, type Turns } from './turns.ts'
import { noVersitygw, startVersitygw } from './versitygw.ts'

const skip = noPostgres || noVersitygw || noRedis
const times = 10

type Counted = { database: number; bucket: number; redis: number; bucketLines: string[] }

describe('round trips', { skip }, () => {
  let postgres: PostgresServer
  let s3: S3Server
  let redis: RedisServer
  let lines: { database: Turns; bucket: Turns; redis: Turns }
  let copy: CopyProcess
  let key: string
  before(async () => {
    postgres = await startPostgres()
    s3 = await startVersitygw()
    redis = await startRedis()
    const direct = await postgres.freshUrl()
    const url = new URL(direct)
    const { bucket } = await freshBucket(s3)
    lines = {
      database: await countTurns(Number(url.port)),
      bucket: await countTurns(s3.port),
      redis: await countTurns(redis.port),
    }
    url.port = String(lines.database.port)
    const settings = {
      ASSETD_DATABASE_URL: url.href,
      ASSETD_S3_BUCKET: bucket,
      ASSETD_S3_ENDPOINT: `http://127.0.0.1:${lines.bucket.port}`,
      ASSETD_S3_REGION: 'us-east-1',
      ASSETD_S3_FORCE_PATH_STYLE: 'on',
      ...credentials,
      ASSETD_REDIS_URL: `redis://127.0.0.1:${lines.redis.port}`,
    }
    copy = await startCopy(settings)
    // A key of the database, as most are; the command does not go through our lines, which stand still meanwhile.
    key = assetdOn({ ...settings, ASSETD_DATABASE_URL: direct }, 'keys', 'create').split('\n')[0] ?? ''
    await upload(wav()) // connections are made
    // While the command ran, our lines stood still, and so did Redis for the copy.
    await eventually(async () =>
      assert.match(await (await fetch(`${copy.url}/readyz`)).text(), /"counters":"ok"/),
    )
  })
  after(async () => {
    await copy.stop()
    for (const line of Object.values(lines)) await line.close()
    await redis.remove()
    await s3.remove()
    await postgres.remove()
  })

  const upload = async (
    file: Buffer,
    headers: Record<string, string> = {},
  ): Promise<{ url: string; asset_id: string }> => {
    const form = new FormData()
    form.append('file', new Blob([new Uint8Array(file)]), 'a.wav')
    const response = await fetch(`${copy.url}/v3/assets`, {
      method: 'POST',
      headers: { 'x-api-key': key, ...headers },
      body: form,
    })
    const text = await response.text()
    assert.equal(response.status, 200, text)
    return (JSON.parse(text) as { data: { url: string; asset_id: string } }).data
  }

  /** Of such requests the one with the fewest: what goes on in the background only adds to it. */
  async function counted(request: (index: number) => Promise<unknown>): Promise<Counted> {
    const all: Counted[] = []
    for (let index = 0; index < times; index++) {
      const before = { d: lines.database.count(), b: lines.bucket.count(), r: lines.redis.count() }
      await request(index)
      await sleep(30)
      all.push({
        database: lines.database.count() - before.d,
        bucket: lines.bucket.count() - before.b,
        redis: lines.redis.count() - before.r,
        bucketLines: lines.bucket.firstLines().slice(before.b),
      })
    }
    const fewest = (of: (one: Counted) => number): number => Math.min(...all.map(of))
    const calm = all.find((one) => one.bucket === fewest(({ bucket }) => bucket))
    return {
      database: fewest(({ database }) => database),
      bucket: fewest(({ bucket }) => bucket),
      redis: fewest(({ redis }) => redis),
      bucketLines:
        calm?.bucketLines.map((line) => line.replace(/\/t\w+\/\S+/, '/…').replace(/ HTTP.*/, '')) ?? [],
    }
  }

  const tell = (what: string, { database, bucket, redis, bucketLines }: Counted): void =>
    console.log(`${what}: database ${database}, bucket ${bucket} (${bucketLines.join(', ')}), Redis ${redis}`)

  it('an upload costs three to the database at most: the key, the reservation, the record', async () => {
    const file = wav({ sizeBytes: 100_000 })
    const plain = await counted(() => upload(file))
    tell('upload of 100 KB', plain)
    assert.equal(plain.database, 3)
    assert.ok(plain.redis <= 1) // 0 where this machine is too busy for Redis to answer in time
    const keyed = await counted((index) => upload(file, { 'idempotency-key': `key-${index}` }))
    tell('upload of 100 KB under an Idempotency-Key', keyed)
    assert.equal(keyed.database, 3)
    assert.ok(keyed.redis <= 1)
    const replayed = await counted(() => upload(file, { 'idempotency-key': 'key-1' }))
    tell('its replay', replayed)
    assert.ok(replayed.database <= 3)
    assert.equal(replayed.bucket, 0)
    const large = await counted(() => upload(wav({ sizeBytes: 32 * 1024 * 1024 })))
    tell('upload of 32 MB', large)
    assert.equal(large.database, 3)
  })

  it('reading costs two at most', async () => {
    const { url, asset_id } = await upload(wav())
    const headers = { 'x-api-key': key }
    const paths = { 'get of an asset': `/v3/assets/${asset_id}`, 'list of assets': '/v3/assets?limit=20' }
    for (const [what, path] of Object.entries(paths)) {
      const read = await counted(async () => {
        const response = await fetch(copy.url + path, { headers })
        assert.equal(response.status, 200, await response.text())
      })
      tell(what, read)
      assert.deepEqual([read.database, read.bucket], [2, 0], what)
      assert.ok(read.redis <= 1)
    }
    const file = await counted(async () => {
      const response = await fetch(copy.url + new URL(url).pathname)
      assert.equal(response.status, 200)
      await response.arrayBuffer()
    })
    tell('download of a file', file)
    assert.deepEqual([file.database, file.redis], [1, 0])
  })

  it('of a direct upload each of the three steps is told', async () => {
    const bytes = wav({ sizeBytes: 100_000 })
    const ask = async (path: string, body: object): Promise<{ data: Record<string, unknown> }> => {
      const response = await fetch(copy.url + path, {
        method: 'POST',
        headers: { 'x-api-key': key, 'content-type': 'application/json' },
        body: JSON.stringify(body),
      })
      const text = await response.text()
      assert.equal(response.status, 200, text)
      return JSON.parse(text)
    }
    const announced: { asset_id: string; upload_url: string; upload_headers: Record<string, string> }[] = []
    const announcing = await counted(async () => {
      const asked = { filename: 'a.wav', content_type: 'audio/wav', size_bytes: bytes.length }
      const { data } = await ask('/v3/assets/direct-uploads', asked)
      announced.push(data as (typeof announced)[0])
    })
    tell('announcing a direct upload', announcing)
    const putting = await counted(async (index) => {
      const { upload_url, upload_headers } = announced[index] as (typeof announced)[0]
      const response = await fetch(upload_url, {
        method: 'PUT',
        headers: upload_headers,
        body: new Uint8Array(bytes),
      })
      assert.ok(response.ok, await response.text())
    })
    tell('its put', putting)
    const completing = await counted((index) => ask(`/v3/assets/${announced[index]?.asset_id}/complete`, {}))
    tell('its completion', completing)
    assert.ok(announcing.database <= 3 && putting.database <= 3 && completing.database <= 8)
  })
})
