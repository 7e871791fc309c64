/** Get, list, search and delete; and whose each asset is. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { after, before, describe, it } from 'node:test'
import { call, uploadDirectly } from './api.ts'
import { mp3, png, wav } from './media/samples.ts'
import { assertClean, assertError, baseline, open } from './raw-http.ts'
import { assetd, contentsOf, eventually, type RunningService, startService, upload } from './service.ts'

type Caller = { url: string; key: string }

let service: RunningService
before(async () => {
  service = await startService()
})
after(() => service.stop())

const newKey = (...args: string[]): Caller => {
  const made = assetd(service.dataDir, 'keys', 'create', '--json', ...args)
  return { url: service.url, key: JSON.parse(made.stdout).key }
}

async function uploadNamed(caller: Caller, name: string, bytes: Uint8Array = png()): Promise<string> {
  const form = new FormData()
  form.append('file', new Blob([new Uint8Array(bytes)]), name)
  const response = await fetch(`${caller.url}/v3/assets`, {
    method: 'POST',
    headers: { 'x-api-key': caller.key },
    body: form,
  })
  const body = await response.text()
  assert.equal(response.status, 200, body)
  return JSON.parse(body).data.asset_id
}

/** Follows the pages to the end. */
async function pages(caller: Caller, path: string): Promise<string[][]> {
  const found: string[][] = []
  for (let token: string | null = ''; token !== null; ) {
    const more: string = token === '' ? '' : `&token=${token}`
    const { status, json, body } = await call(caller, 'GET', path + more)
    assert.equal(status, 200, body)
    assert.equal(json.has_more, json.next_token !== null)
    found.push(json.data.map(({ id }: { id: string }) => id))
    token = json.next_token
  }
  return found
}

describe('get', () => {
  it('tells what is known of an asset', async () => {
    const id = await uploadNamed(service, 'Mein Bild.png')
    const { status, json } = await call(service, 'GET', `/v3/assets/${id}`)
    assert.equal(status, 200)
    const { uploaded_at, ...facts } = json.data
    assert.ok(Math.abs(uploaded_at - Date.now() / 1000) < 60, 'in seconds')
    assert.deepEqual(facts, {
      id,
      name: 'Mein Bild.png',
      type: 'image',
      owner: 'default',
      space_id: 'default',
      folder_id: null,
      url: `${service.url}/files/${id}.png`,
      mime_type: 'image/png',
      size_bytes: png().length,
      width: 4,
      height: 3,
    })
  })

  it('an unfinished, an unknown and another’s are the same 404', async () => {
    const others = newKey('--workspace', 'others')
    const id = await uploadNamed(others, 'a')
    const messages = new Set<string>()
    for (const one of [id, 'asset_nothing', 'x'.repeat(200)]) {
      const answer = await call(service, 'GET', `/v3/assets/${one}`)
      messages.add(assertError(answer, { status: 404, code: 'asset_not_found' }).message)
    }
    assert.equal(messages.size, 1)
  })

  it('who may is told by the scopes', async () => {
    const reader = newKey('--scopes', 'assets:read')
    const writer = newKey('--scopes', 'assets:write')
    const id = await uploadNamed(writer, 'a')
    assert.equal((await call(reader, 'GET', `/v3/assets/${id}`)).status, 200)
    assert.equal((await call(writer, 'GET', `/v3/assets/${id}`)).status, 403)
    assert.equal((await call(reader, 'DELETE', `/v3/assets/${id}`)).status, 403)
    for (const caller of [reader, writer])
      assert.equal((await call(caller, 'GET', '/v3/users/me')).status, 200)
    const { json } = await call(newKey('--owner', 'ann'), 'GET', '/v3/users/me')
    assert.deepEqual(json.data, { username: 'ann', email: null, first_name: null, last_name: null })
  })
})

describe('list', () => {
  const own = { workspace: 'lists' }
  let ann: Caller
  let bob: Caller
  const ids: { ann: string[]; bob: string[] } = { ann: [], bob: [] }
  before(async () => {
    ann = newKey('--workspace', own.workspace, '--owner', 'ann')
    bob = newKey('--workspace', own.workspace, '--owner', 'bob')
    for (let at = 0; at < 7; at++) {
      ids.ann.unshift(await uploadNamed(ann, `a${at}.png`))
      ids.bob.unshift(await uploadNamed(bob, `b${at}.png`))
    }
  })
  const all = (): string[] => ids.ann.flatMap((id, at) => [String(ids.bob[at]), id])

  it('has the newest first, page by page, of the whole workspace or of one owner', async () => {
    assert.deepEqual((await pages(ann, '/v3/assets?limit=100')).flat(), all())
    for (const limit of [1, 3, 5, 14]) {
      const found = await pages(bob, `/v3/assets?limit=${limit}`)
      assert.deepEqual(found.flat(), all())
      assert.ok(found.slice(0, -1).every((page) => page.length === limit))
    }
    assert.deepEqual((await pages(ann, '/v3/assets?limit=2&username=bob')).flat(), ids.bob)
    assert.deepEqual((await pages(ann, '/v3/assets?limit=2&username=nobody')).flat(), [])
    assert.equal((await call(ann, 'GET', '/v3/assets')).json.data.length, 14)
  })

  it('the root folder has all of them, any other none', async () => {
    assert.deepEqual((await pages(ann, '/v3/assets?limit=100&folder_id=')).flat(), all())
    assert.deepEqual((await pages(ann, '/v3/assets?folder_id=f')).flat(), [])
  })

  it('what is added and deleted between two pages neither doubles nor hides another', async () => {
    const first = await call(ann, 'GET', '/v3/assets?limit=5')
    const end: string = first.json.data[4].id
    const added = await uploadNamed(ann, 'late.png')
    assert.equal((await call(ann, 'DELETE', `/v3/assets/${end}`)).status, 200)
    const second = await call(ann, 'GET', `/v3/assets?limit=100&token=${first.json.next_token}`)
    assert.deepEqual(
      second.json.data.map(({ id }: { id: string }) => id),
      all().slice(5),
    )
    const now = (await pages(ann, '/v3/assets?limit=100')).flat()
    assert.deepEqual(now, [added, ...all().filter((id) => id !== end)])
  })

  it('refuses what it cannot use, and says which', async () => {
    for (const [query, param] of [
      ['limit=0', 'limit'],
      ['limit=101', 'limit'],
      ['limit=1.5', 'limit'],
      ['limit=', 'limit'],
      ['limit=5&limit=6', 'limit'],
      ['token=abc', 'token'],
      [`token=${Buffer.from('[1,2]').toString('base64url')}`, 'token'],
      [`token=${Buffer.from('["1","a"]').toString('base64url')}`, 'token'],
      [`username=${'x'.repeat(1001)}`, 'username'],
    ] as const) {
      const answer = await call(ann, 'GET', `/v3/assets?${query}`)
      assertError(answer, { status: 400, code: 'invalid_parameter', param, reason: 'invalid_value' })
    }
  })
})

describe('search', () => {
  let ann: Caller
  const found = async (query: string, more = ''): Promise<string[]> =>
    (await pages(ann, `/v3/assets/search?type=image&query=${encodeURIComponent(query)}${more}`)).flat()
  let beach: string
  let city: string
  before(async () => {
    ann = newKey('--workspace', 'searches', '--owner', 'ann')
    beach = await uploadNamed(ann, 'Holiday_Beach-2024.PNG')
    city = await uploadNamed(ann, 'holiday city Zürich.png')
    await uploadNamed(ann, 'holiday song.mp3', mp3())
    await uploadNamed(newKey('--workspace', 'elsewhere', '--owner', 'ann'), 'holiday elsewhere.png')
  })

  it('finds images by words of their names, by the beginnings of words, and by owner, the newest first', async () => {
    assert.deepEqual(await found('holiday'), [city, beach])
    assert.deepEqual(await found('HOLIDAY beach'), [beach])
    assert.deepEqual(await found('hol bea'), [beach])
    assert.deepEqual(await found('zurich'), [city], 'without its dots too')
    for (const form of ['NFC', 'NFD']) assert.deepEqual(await found('Zürich'.normalize(form)), [city], form)
    assert.deepEqual(await found('ann'), [city, beach])
    assert.deepEqual(await found('2024'), [beach])
    assert.deepEqual(await found('png holiday'), [city, beach])
    assert.deepEqual(await found('elsewhere'), [])
    assert.deepEqual(await found('song'), [])
    assert.deepEqual(await found('holiday', '&limit=1'), [city, beach])
  })

  it('what looks like a query language is words', async () => {
    for (const query of [
      '"holiday',
      'holiday*',
      '(holiday',
      'NOT holiday',
      'workspace : wabc',
      "holiday' OR '1'='1",
      'holiday AND OR NOT',
      'name:holiday',
      '-holiday',
      '^holiday',
      '🎉',
      '%',
    ]) {
      const answer = await call(ann, 'GET', `/v3/assets/search?type=image&query=${encodeURIComponent(query)}`)
      assert.equal(answer.status, 200, `${query}: ${answer.body}`)
      for (const { id } of answer.json.data) assert.ok([beach, city].includes(id), query)
    }
    assert.deepEqual(await found('searches'), [], 'the workspace is no word of a text')
  })

  it('tells what is known, and has nothing public and no icons', async () => {
    const { json } = await call(ann, 'GET', '/v3/assets/search?type=image&query=beach')
    assert.deepEqual(json.data, [
      {
        type: 'image',
        id: beach,
        url: `${service.url}/files/${beach}.png`,
        width: 4,
        height: 3,
        orientation: 'landscape',
        is_transparent: null,
      },
    ])
    assert.deepEqual(await found('holiday', '&scope=public'), [])
    assert.deepEqual(await found('holiday', '&scope=personal'), [city, beach])
    const icons = await call(ann, 'GET', '/v3/assets/search?type=icon&query=holiday')
    assert.deepEqual(icons.json, { data: [], has_more: false, next_token: null })
  })

  it('refuses what is missing or unknown', async () => {
    for (const [query, param, reason] of [
      ['type=image', 'query', 'missing_value'],
      ['type=image&query=%20', 'query', 'missing_value'],
      ['query=a', 'type', 'missing_value'],
      ['query=a&type=video', 'type', 'invalid_value'],
      ['query=a&type=image&scope=all', 'scope', 'invalid_value'],
      ['query=a&type=image&limit=51', 'limit', 'invalid_value'],
      [`query=${'a'.repeat(201)}&type=image`, 'query', 'invalid_value'],
    ] as const) {
      const answer = await call(ann, 'GET', `/v3/assets/search?${query}`)
      assertError(answer, { status: 400, code: 'invalid_parameter', param, reason })
    }
  })

  it('a deleted one is found no more', async () => {
    const id = await uploadNamed(ann, 'gone soon.png')
    assert.deepEqual(await found('gone soon'), [id])
    await call(ann, 'DELETE', `/v3/assets/${id}`)
    assert.deepEqual(await found('gone soon'), [])
  })
})

describe('delete', () => {
  it('stops the URL at once, frees the bytes, and is 404 the second time', async () => {
    const before = baseline(service)
    const { asset_id, url } = await uploadDirectly(service, 'audio/wav', wav())
    const answer = await call(service, 'DELETE', `/v3/assets/${asset_id}`)
    assert.deepEqual([answer.status, answer.json], [200, { data: { id: asset_id } }])
    assert.equal((await fetch(url)).status, 404)
    const again = await call(service, 'DELETE', `/v3/assets/${asset_id}`)
    assertError(again, { status: 404, code: 'asset_not_found' })
    await assertClean(service, before)
  })

  it('case 40: of two assets of the same bytes the other stays whole', async () => {
    const bytes = wav()
    const [first, second] = [await uploadNamed(service, 'a', bytes), await uploadNamed(service, 'b', bytes)]
    await call(service, 'DELETE', `/v3/assets/${first}`)
    const response = await fetch(`${service.url}/files/${second}.wav`)
    assert.deepEqual(Buffer.from(await response.arrayBuffer()), bytes)
  })

  it('case 44: another workspace’s is 404, and stays', async () => {
    const others = newKey('--workspace', 'thieves')
    const id = await uploadNamed(service, 'mine')
    for (const [method, path, body] of [
      ['GET', `/v3/assets/${id}`],
      ['DELETE', `/v3/assets/${id}`],
      ['POST', `/v3/assets/${id}/complete`, {}],
    ] as const) {
      assertError(await call(others, method, path, body), { status: 404, code: 'asset_not_found' })
    }
    assert.equal((await fetch(`${service.url}/files/${id}.png`)).status, 200)
    const headers = { 'idempotency-key': 'the-same-key' }
    const mine = await upload(service, png(), headers)
    const theirs = await upload(others, png(), headers)
    assert.notEqual(await mine.text(), await theirs.text(), 'nor does a key reach over')
  })

  it('case 55: a replay after the asset was deleted is the original answer; its URL is 404', async () => {
    const headers = { 'idempotency-key': 'deleted-later' }
    const original = await (await upload(service, png(), headers)).text()
    const { asset_id, url } = JSON.parse(original).data
    await call(service, 'DELETE', `/v3/assets/${asset_id}`)
    const replay = await upload(service, png(), headers)
    assert.equal(await replay.text(), original)
    assert.equal(replay.headers.get('idempotent-replayed'), 'true')
    assert.equal((await fetch(url)).status, 404)
  })

  it('case 58: of many deletes at once one passes; who reads then reads to the end or is told', async () => {
    const bytes = wav({ sizeBytes: 6_000_000 })
    for (let times = 0; times < 5; times++) {
      const id = await uploadNamed(service, 'raced', bytes)
      const reads = Array.from({ length: 4 }, () => fetch(`${service.url}/files/${id}.wav`))
      const deletes = Array.from({ length: 8 }, () => call(service, 'DELETE', `/v3/assets/${id}`))
      const completes = Array.from({ length: 3 }, () =>
        call(service, 'POST', `/v3/assets/${id}/complete`, {}),
      )
      const statuses = (await Promise.all(deletes)).map(({ status }) => status)
      assert.equal(statuses.filter((status) => status === 200).length, 1, statuses.join())
      assert.equal(statuses.filter((status) => status === 404).length, 7)
      for (const { status } of await Promise.all(completes)) assert.ok([200, 404].includes(status))
      for (const response of await Promise.all(reads)) {
        assert.ok([200, 404].includes(response.status))
        const body = Buffer.from(await response.arrayBuffer())
        if (response.status === 200) assert.ok(body.equals(bytes), 'a whole answer is of the right bytes')
      }
      assert.equal((await fetch(`${service.url}/files/${id}.wav`)).status, 404)
    }
    await eventually(() =>
      assert.ok(contentsOf(service.dataDir).assets.every(({ state }) => state === 'completed')),
    )
    assert.equal(assetd(service.dataDir, 'fsck').status, 0)
  })

  it('case 88: a range that is read while its asset is deleted is whole', async () => {
    const bytes = wav({ sizeBytes: 20_000_000 })
    const id = await uploadNamed(service, 'ranged', bytes)
    const connection = await open(service)
    const begun = once(connection.socket, 'data').then(() => connection.socket.pause())
    await connection.send(`GET /files/${id}.wav HTTP/1.1\r\nHost: a\r\nRange: bytes=1000-15000999\r\n\r\n`)
    await begun
    assert.equal((await call(service, 'DELETE', `/v3/assets/${id}`)).status, 200)
    connection.socket.resume()
    const answer = await connection.answer({ withinMs: 20_000 })
    assert.equal(answer.status, 206)
    assert.ok(answer.body.equals(bytes.subarray(1_000, 15_001_000)))
    connection.reset()
  })

  it('a client that deletes and lists sees it gone', async () => {
    const id = await uploadNamed(service, 'seen')
    await call(service, 'DELETE', `/v3/assets/${id}`)
    const { json } = await call(service, 'GET', '/v3/assets?limit=100')
    assert.ok(json.data.every((asset: { id: string }) => asset.id !== id))
  })
})
