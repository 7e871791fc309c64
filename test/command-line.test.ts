/** `assetd keys`, `assetd tokens` and the rest of the command line, beside a running service. */
import assert from 'node:assert/strict'
import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { wav } from './media/samples.ts'
import { fileBody, open, uploadRequest } from './raw-http.ts'
import {
  assetd,
  type CommandResult,
  contentsOf,
  eventually,
  type RunningService,
  startService,
  upload,
} from './service.ts'
import { sqliteOnly } from './stores.ts'

describe('without a service', () => {
  const nowhere = join(mkdtempSync(join(tmpdir(), 'assetd-test-')), 'nothing')

  it('says its version and explains itself', () => {
    assert.match(assetd(nowhere, '--version').stdout, /^\d+\.\d+\.\d+\n$/)
    const help = assetd(nowhere, '--help')
    assert.equal(help.status, 0)
    for (const word of ['serve', 'keys', 'tokens', 'docs/configuration.md'])
      assert.match(help.stdout, new RegExp(word))
    assert.match(assetd(nowhere, 'keys', 'create', '--help').stdout, /--expires <duration>/)
  })

  it('makes no folder: only serve does', { skip: sqliteOnly('a command needs no folder') }, () => {
    const { status, stderr } = assetd(nowhere, 'keys', 'list')
    assert.equal(status, 1)
    assert.match(stderr, /^assetd: there is no assetd data in .*\n$/)
  })

  for (const args of [
    ['kyes'],
    ['keys', 'create', '--expires', 'soon'],
    ['keys', 'create', '--scopes', 'assets:admin'],
    ['keys', 'create', '--workspace', ''],
    ['keys', 'revoke'],
    ['tokens', 'create', '--expires', '31d'],
    ['copy', '--to-data-dir', ''],
    ['copy', '--to-data-dir', join(nowhere, 'copy'), '--to-s3-bucket='],
    ['backup', ''],
    ['restore', ''],
  ]) {
    it(`refuses ${args.join(' ')} as a fault of usage`, () => {
      const { status, stderr } = assetd(nowhere, ...args)
      assert.equal(status, 2)
      assert.match(stderr, /^error: /)
    })
  }
})

describe('beside a running service', () => {
  let service: RunningService
  before(async () => {
    service = await startService()
  })
  after(() => service.stop())

  const run = (...args: string[]): CommandResult => assetd(service.dataDir, ...args)
  const uploadWith = async (key: string): Promise<number> => (await upload({ ...service, key }, wav())).status

  it('case 41: what it makes and revokes counts within a second', async () => {
    const made = run('keys', 'create', '--workspace', 'acme', '--owner', 'ann', '--expires', '90d', '--json')
    assert.equal(made.status, 0)
    const key = JSON.parse(made.stdout) as Record<string, string>
    assert.match(String(key.key), /^assetd_[0-9a-f]{12}_[0-9a-f]{48}$/)
    assert.equal(key.workspace, 'acme')
    assert.equal(await uploadWith(String(key.key)), 200)

    assert.equal(run('keys', 'revoke', String(key.key_id)).status, 0)
    assert.equal(await uploadWith(String(key.key)), 401, 'at the first try')

    const again = run('keys', 'revoke', String(key.key_id))
    assert.equal(again.status, 1)
    assert.match(again.stderr, /^assetd: there is no key/)
  })

  it('case 45: an upload that began before its key was revoked is completed, and is the last one', async () => {
    const made = run('keys', 'create', '--json')
    const { key, key_id } = JSON.parse(made.stdout) as { key: string; key_id: string }
    const request = uploadRequest({ key, body: fileBody(wav({ sizeBytes: 400_000 })) })
    const connection = await open(service)
    await connection.send(request.subarray(0, -100))
    await eventually(() =>
      assert.ok(contentsOf(service.dataDir).assets.some(({ state }) => state === 'pending')),
    )
    assert.equal(run('keys', 'revoke', key_id).status, 0)
    assert.equal(await uploadWith(key), 401)
    await connection.send(request.subarray(-100))
    assert.equal((await connection.answer()).status, 200)
    connection.reset()
  })

  it('shows keys without their secrets, for people and for machines', () => {
    const key = run('keys', 'create', '--owner', 'bob').stdout.trim()
    const table = run('keys', 'list').stdout
    assert.match(table, /^key_id +state +workspace/)
    assert.match(table, /active +default +bob +assets:read assets:write/)
    assert.equal(table.includes(key.slice(20)), false)
    const rows = JSON.parse(run('keys', 'list', '--json').stdout) as { owner: string; state: string }[]
    assert.equal(rows.find(({ owner }) => owner === 'bob')?.state, 'active')
  })

  it('an expired key, a mistyped one and an unknown one get the same words', async () => {
    const brief = run('keys', 'create', '--expires', '1s').stdout.trim()
    await eventually(async () => assert.equal(await uploadWith(brief), 401))
    const messages = await Promise.all(
      [brief, `${brief.slice(0, -1)}x`, 'unknown', '', 'x'.repeat(10_000)].map(async (key) => {
        const answer = await upload({ ...service, key }, wav())
        assert.equal(answer.status, 401)
        assert.equal(answer.headers.get('www-authenticate'), 'Bearer realm="assetd", error="invalid_token"')
        return ((await answer.json()) as { error: { message: string } }).error.message
      }),
    )
    assert.deepEqual([...new Set(messages)], ['Invalid or expired API key. Verify your x-api-key header.'])
  })

  it('a key without assets:write is 403 and still told its rate limit', async () => {
    const limited = await startService({ env: { ASSETD_RATE_LIMIT: '9/min' } })
    try {
      const key = assetd(limited.dataDir, 'keys', 'create', '--scopes', 'assets:read').stdout.trim()
      const answer = await upload({ ...limited, key }, wav())
      assert.equal(answer.status, 403)
      assert.equal(answer.headers.get('ratelimit'), '"default";r=9;t=0')
      assert.match(
        answer.headers.get('www-authenticate') ?? '',
        /error="insufficient_scope", scope="assets:write"/,
      )
    } finally {
      await limited.stop()
    }
  })

  it('writes down the last use, to the minute', async () => {
    const own = await startService()
    const key = JSON.parse(assetd(own.dataDir, 'keys', 'create', '--json').stdout) as { key: string }
    assert.equal((await upload({ ...own, key: key.key }, wav())).status, 200)
    await own.stop({ keepData: true })
    const [row] = JSON.parse(assetd(own.dataDir, 'keys', 'list', '--json').stdout) as {
      last_used_at: string
    }[]
    assert.match(String(row?.last_used_at), /:00Z$/)
    assert.ok(Math.abs(Date.parse(String(row?.last_used_at)) - Date.now()) < 120_000)
  })
})
