/** What has to hold on a data folder after whatever has happened to the service that ran on it. */
import assert from 'node:assert/strict'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { assetd, contentsOf, eventually, type RunningService } from '../service.ts'
import { type Sent, send, sha256 } from './uploads.ts'

/** What was acknowledged is there, byte for byte. */
export async function assertServed(service: RunningService, all: readonly Sent[]): Promise<void> {
  for (const { key, acknowledged, sha256: expected } of all) {
    if (acknowledged === null) continue
    const { data } = JSON.parse(acknowledged) as { data: { url: string } }
    const response = await fetch(service.url + new URL(data.url).pathname)
    assert.equal(response.status, 200, `the asset of ${key} is acknowledged`)
    assert.equal(sha256(new Uint8Array(await response.arrayBuffer())), expected)
  }
}

/** Each key has one asset: sent again, what was acknowledged is replayed, and what was not is taken in now. */
export async function assertOneEach(service: RunningService, some: readonly Sent[]): Promise<void> {
  for (const sent of some) {
    const before = sent.acknowledged
    const answer = await send(service, sent)
    if (answer === null) throw new Error('the connection dropped')
    assert.equal(answer.status, 200, answer.body)
    if (before !== null) assert.deepEqual([answer.body, answer.replayed], [before, true])
  }
}

/** Within seconds nothing is there but the assets of these uploads, each with its row, its bytes and its key. */
export async function assertNothingStray(
  dataDir: string,
  all: readonly Sent[],
  { keys: expectedKeys = all.map(({ key }) => key) }: { keys?: string[] } = {},
): Promise<void> {
  await eventually(() => {
    const { assets, blobs, incoming, keys, directUploads } = contentsOf(dataDir)
    assert.deepEqual(incoming, [], 'unfinished files')
    assert.deepEqual(
      assets.filter(({ state }) => state !== 'completed').map(({ asset_id }) => asset_id),
      [],
      'unfinished rows',
    )
    assert.deepEqual(blobs.toSorted(), assets.map(({ blob_key }) => String(blob_key)).toSorted())
    const hashes = all.map((sent) => sent.sha256).toSorted()
    assert.deepEqual(assets.map((asset) => String(asset.sha256)).toSorted(), hashes)
    const finished = keys.filter(({ route }) => route !== 'POST /v3/assets/direct-uploads')
    assert.deepEqual(finished.map(({ key }) => String(key)).toSorted(), expectedKeys.toSorted())
    const held = directUploads.filter(
      ({ blob_key, scratch_blob_key, token }) => blob_key ?? scratch_blob_key ?? token,
    )
    assert.deepEqual(held, [], 'direct uploads with bytes of their own, or that somebody holds')
  })
}

/** The database says so of itself, and so does our own check, which reads every byte. */
export function assertInOrder(dataDir: string): void {
  const database = new DatabaseSync(join(dataDir, 'assetd.sqlite'), { readOnly: true })
  assert.deepEqual(
    database
      .prepare('PRAGMA integrity_check')
      .all()
      .map(({ integrity_check }) => integrity_check),
    ['ok'],
  )
  database.close()
  const fsck = assetd(dataDir, 'fsck', '--deep')
  assert.equal(fsck.status, 0, fsck.stdout + fsck.stderr)
}
