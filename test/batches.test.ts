/** Many direct uploads at once, completed in the background. */
import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { type Announced, type ApiAnswer, call, put, uploadDirectly } from './api.ts'
import { png, wav } from './media/samples.ts'
import { assertError } from './raw-http.ts'
import { assetd, contentsOf, eventually, type RunningService, startService, upload } from './service.ts'

type Caller = { url: string; key: string }
type Item = Announced & { item_index: number }

let service: RunningService
before(async () => {
  service = await startService()
})
after(() => service.stop())

const good = png()
const image = { filename: 'a.png', content_type: 'image/png', size_bytes: good.length }

const create = (body: object, headers: Record<string, string> = {}, caller: Caller = service) =>
  call(caller, 'POST', '/v3/assets/direct-uploads/batches', body, headers)

async function created(files: object[]): Promise<{ batch_id: string; items: Item[] }> {
  const answer = await create({ files, title: 'a title' })
  assert.equal(answer.status, 200, answer.body)
  return answer.json.data
}

const drive = (batch_id: string, headers: Record<string, string> = {}, caller: Caller = service) =>
  call(caller, 'POST', '/v3/assets/complete/batches', { batch_id }, headers)

const read = (batch_id: string, query = '', caller: Caller = service): Promise<ApiAnswer> =>
  call(caller, 'GET', `/v3/assets/batches/${batch_id}${query}`)

/** Waits until the batch is no longer being worked on. */
const settled = (batch_id: string, caller: Caller = service, withinMs = 30_000) =>
  eventually(async () => {
    const { json, body } = await read(batch_id, '', caller)
    assert.notEqual(json.data.status, 'processing', body)
    return json.data
  }, withinMs)

describe('a batch', () => {
  it('is announced whole, put item by item, and completed in the background; each item has its own fate', async () => {
    const sound = wav()
    const { batch_id, items } = await created([
      image,
      { filename: 'b.wav', content_type: 'audio/wav', size_bytes: sound.length },
      { ...image, content_type: 'video/mp4' },
      { ...image, checksum_sha256: '0'.repeat(64) },
    ])
    assert.match(batch_id, /^batch_[0-9a-z]{26}$/)
    assert.deepEqual(
      items.map(({ item_index }) => item_index),
      [0, 1, 2, 3],
    )
    const [first, second, third] = items
    assert.ok(first && second && third)
    for (const [item, bytes] of [
      [first, good],
      [second, sound],
      [third, good],
    ] as const)
      assert.equal((await put(item, bytes)).status, 200)
    const answer = await drive(batch_id)
    assert.deepEqual([answer.status, answer.json], [202, { data: { batch_id, status: 'processing' } }])
    const data = await eventually(async () => {
      const { json } = await read(batch_id)
      assert.equal(json.data.counts_by_status.processing, 0)
      return json.data
    })
    assert.equal(data.status, 'processing', 'one has no bytes yet')
    assert.deepEqual(data.counts_by_status, { pending_upload: 1, processing: 0, completed: 2, failed: 1 })
    assert.equal(data.total_items, 4)
    assert.equal(data.title, 'a title')
    assert.ok(Math.abs(data.created_at - Date.now() / 1000) < 60)
    assert.deepEqual(
      data.items.map(({ status }: { status: string }) => status),
      ['completed', 'completed', 'failed', 'pending_upload'],
    )
    const [, , failed] = data.items
    assert.deepEqual(Object.keys(failed.error), ['code', 'message', 'param', 'doc_url', 'details'])
    assert.equal(failed.error.details.reason, 'type_mismatch')
    const asset = await call(service, 'GET', `/v3/assets/${data.items[1].video_id}`)
    assert.equal(asset.json.data.name, 'b.wav')
  })

  it('is failed only if no item succeeded', async () => {
    const { batch_id, items } = await created([{ ...image, content_type: 'image/jpeg' }])
    await put(items[0] as Item, good)
    await drive(batch_id)
    assert.equal((await settled(batch_id)).status, 'failed')
  })

  it('repeating the completion drives it on: what was put meanwhile is completed too', async () => {
    const { batch_id, items } = await created([image, image])
    await put(items[0] as Item, good)
    await drive(batch_id)
    await put(items[1] as Item, good)
    await drive(batch_id)
    const data = await settled(batch_id)
    assert.deepEqual([data.status, data.counts_by_status.completed], ['completed', 2])
    assert.equal((await drive(batch_id)).status, 202)
  })

  it('is read in pages', async () => {
    const { batch_id } = await created(Array.from({ length: 5 }, () => image))
    const seen: number[] = []
    for (let token: string | null = null; ; ) {
      const { json }: ApiAnswer = await read(batch_id, `?limit=2${token === null ? '' : `&token=${token}`}`)
      const { items, has_more, next_token } = json.data
      seen.push(...items.map(({ item_index }: { item_index: number }) => item_index))
      assert.equal(has_more, next_token !== null)
      token = next_token
      if (token === null) break
    }
    assert.deepEqual(seen, [0, 1, 2, 3, 4])
  })

  it('case 96: 101 files, none, or one that cannot be: 400, and nothing was announced', async () => {
    const before = await eventually(() => {
      const contents = contentsOf(service.dataDir)
      const isBusy = contents.directUploads.some(({ token, scratch_blob_key }) => token ?? scratch_blob_key)
      assert.ok(!isBusy, 'what an item of another test leaves is still being removed')
      return contents
    })
    for (const [files, param] of [
      [Array.from({ length: 101 }, () => image), 'files'],
      [[], 'files'],
      ['a', 'files'],
      [undefined, 'files'],
      [[image, 7], 'files[1]'],
      [[...Array.from({ length: 17 }, () => image), { ...image, size_bytes: 0 }], 'files[17].size_bytes'],
      [[image, { ...image, content_type: 'text/plain' }], 'files[1].content_type'],
    ] as const) {
      const answer = await create({ files }, { 'idempotency-key': 'batch-refused' })
      assertError(answer, { status: 400, code: 'invalid_parameter', param })
    }
    assert.deepEqual(contentsOf(service.dataDir), before)
    const passed = await create({ files: [image] }, { 'idempotency-key': 'batch-refused' })
    assert.equal(passed.status, 200, 'and its key is free')
  })

  it('case 96: two of one name are two; the same key gives the same batch', async () => {
    const headers = { 'idempotency-key': 'batch' }
    const body = { files: [image, image], callback_url: 'https://example.com/hook' }
    const answers = await Promise.all(Array.from({ length: 5 }, () => create(body, headers)))
    const passed = answers.filter(({ status }) => status === 200)
    assert.ok(passed.length > 0)
    assert.equal(new Set(passed.map((answer) => answer.body)).size, 1)
    for (const other of answers.filter(({ status }) => status !== 200))
      assertError(other, { status: 409, code: 'request_in_progress' })
    const [first, second] = passed[0]?.json.data.items ?? []
    assert.notEqual(first.asset_id, second.asset_id)
    const again = await create(body, headers)
    assert.equal(again.headers['idempotent-replayed'], 'true')
    const batch = first && passed[0]?.json.data.batch_id
    const driven = [await drive(batch, headers), await drive(batch, headers)]
    assert.deepEqual(
      driven.map(({ status }) => status),
      [202, 202],
      'one key on two routes is two',
    )
    assert.equal(driven[1]?.headers['idempotent-replayed'], 'true')
  })

  it('case 95, 96: an item without bytes fails when its time is over, and an item that is cancelled at once', async () => {
    const brief = await startService({ env: { ASSETD_DIRECT_EXPIRY_SECONDS: '2' } })
    const answer = await create({ files: [image, image] }, {}, brief)
    const { batch_id, items } = answer.json.data
    assert.equal((await call(brief, 'DELETE', `/v3/assets/${items[0].asset_id}`)).status, 200)
    await new Promise((resolve) => setTimeout(resolve, 2_200))
    await brief.stop({ keepData: true })
    const again = await startService({ dataDir: brief.dataDir, env: { ASSETD_API_KEY: brief.key } })
    const data = await settled(batch_id, again)
    assert.equal(data.status, 'failed')
    for (const item of data.items) assert.equal(item.error.code, 'asset_not_found')
    await again.stop()
  })

  it('case 44: of another workspace, or of nothing: 404 in the same words', async () => {
    const made = assetd(service.dataDir, 'keys', 'create', '--workspace', 'others', '--json')
    const others = { url: service.url, key: JSON.parse(made.stdout).key }
    const { batch_id } = await created([image])
    const messages = new Set<string>()
    for (const answer of [
      await read(batch_id, '', others),
      await drive(batch_id, {}, others),
      await read('batch_nothing'),
      await drive('batch_nothing'),
    ]) {
      messages.add(assertError(answer, { status: 404, code: 'batch_not_found' }).message)
    }
    assert.equal(messages.size, 1)
  })

  it('survives a restart half-way: what was sealed is completed by the next run', async () => {
    const own = await startService()
    const sound = wav({ sizeBytes: 2_000_000 })
    const file = { filename: 's.wav', content_type: 'audio/wav', size_bytes: sound.length }
    const { batch_id, items } = (await create({ files: Array.from({ length: 12 }, () => file) }, {}, own))
      .json.data
    for (const item of items) assert.equal((await put(item, sound)).status, 200)
    assert.equal((await drive(batch_id, {}, own)).status, 202)
    await own.stop({ keepData: true, signal: 'SIGKILL' })
    const again = await startService({ dataDir: own.dataDir, env: { ASSETD_API_KEY: own.key } })
    const data = await settled(batch_id, again, 60_000)
    assert.deepEqual([data.status, data.counts_by_status.completed], ['completed', 12])
    await eventually(() => {
      const { assets, blobs, incoming } = contentsOf(again.dataDir)
      assert.deepEqual([assets.length, blobs.length, incoming.length], [12, 12, 0])
    })
    assert.equal(assetd(again.dataDir, 'fsck', '--deep').status, 0)
    await again.stop()
  })
})

describe('statuses', () => {
  it('tells how each stands, whichever door it came through', async () => {
    const { batch_id, items } = await created([image, image])
    const direct = await uploadDirectly(service, 'image/png', good)
    const plain = (await (await upload(service, good)).json()) as { data: { asset_id: string } }
    const gone = await uploadDirectly(service, 'image/png', good)
    await call(service, 'DELETE', `/v3/assets/${gone.asset_id}`)
    const ids = [items[0]?.asset_id, direct.asset_id, plain.data.asset_id, gone.asset_id, 'asset_nothing']
    const path = `/v3/assets/statuses?asset_ids=${ids.join(',')}&batch_ids=${batch_id}`
    const { json, status } = await call(service, 'GET', path)
    assert.equal(status, 200)
    assert.deepEqual(
      json.data.map((one: Record<string, unknown>) => [
        one.video_id,
        one.status,
        one.batch_id,
        one.item_index,
      ]),
      [
        [ids[0], 'pending_upload', batch_id, 0],
        [ids[1], 'completed', null, null],
        [ids[2], 'completed', null, null],
        [ids[3], 'not_found', null, null],
        [ids[4], 'not_found', null, null],
        [ids[0], 'pending_upload', batch_id, 0],
        [items[1]?.asset_id, 'pending_upload', batch_id, 1],
      ],
    )
    assert.deepEqual([json.has_more, json.next_token], [false, null])
  })

  it('says the same of a deleted item, whether it is asked for by itself or with its batch', async () => {
    const { batch_id, items } = await created([image])
    const [item] = items
    assert.ok(item)
    await put(item, good)
    await drive(batch_id)
    assert.equal((await settled(batch_id)).status, 'completed')
    assert.equal((await call(service, 'DELETE', `/v3/assets/${item.asset_id}`)).status, 200)
    const path = `/v3/assets/statuses?asset_ids=${item.asset_id}&batch_ids=${batch_id}`
    const { json } = await call(service, 'GET', path)
    assert.deepEqual(
      json.data.map((one: Record<string, unknown>) => [one.video_id, one.status, one.batch_id]),
      [
        [item.asset_id, 'not_found', batch_id],
        [item.asset_id, 'not_found', batch_id],
      ],
    )
  })

  it('refuses none, and more than 100 together', async () => {
    const none = await call(service, 'GET', '/v3/assets/statuses')
    assertError(none, { status: 400, code: 'invalid_parameter', param: 'asset_ids', reason: 'missing_value' })
    const { batch_id } = await created(Array.from({ length: 60 }, () => image))
    const ids = Array.from({ length: 41 }, (_, at) => `asset_${at}`)
    const many = await call(service, 'GET', `/v3/assets/statuses?asset_ids=${ids}&batch_ids=${batch_id}`)
    assertError(many, { status: 400, code: 'invalid_parameter', param: 'asset_ids' })
    const enough = await call(
      service,
      'GET',
      `/v3/assets/statuses?asset_ids=${ids.slice(1)}&batch_ids=${batch_id}`,
    )
    assert.equal(enough.json.data.length, 100)
  })
})
