import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { it } from 'node:test'
import { blockBytes } from './blocks.ts'
import { createHashes } from './hash-thread.ts'
import { createSharedBlockPool, sharedBlocks } from './shared-blocks.ts'

const sha256 = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex')

function blocksOf(bytes: Buffer, take: () => Buffer): Buffer[] {
  const blocks: Buffer[] = []
  for (let at = 0; at < bytes.length; at += blockBytes) {
    const block = take()
    blocks.push(block.subarray(0, bytes.copy(block, 0, at, at + blockBytes)))
  }
  return blocks
}

it('the hash of a file is that of all its blocks, however long it is and whatever else is hashed meanwhile', async () => {
  const pool = createSharedBlockPool()
  const newHash = createHashes(pool.memory)
  const lengths = [1, blockBytes - 1, blockBytes, blockBytes + 1, 5 * blockBytes, 7 * blockBytes + 33]
  await Promise.all(
    lengths.map(async (length) => {
      const bytes = randomBytes(length)
      const hash = newHash()
      for (const block of blocksOf(bytes, pool.take)) {
        await hash.update([block])
        pool.give([block])
      }
      assert.equal(await hash.digest(), sha256(bytes), `${length} bytes`)
    }),
  )
})

it('blocks beyond the shared memory are hashed all the same, and it is used again', async () => {
  const pool = createSharedBlockPool()
  const newHash = createHashes(pool.memory)
  const bytes = randomBytes((sharedBlocks + 3) * blockBytes + 5)
  const blocks = blocksOf(bytes, pool.take)
  assert.equal(blocks.filter(({ buffer }) => buffer === pool.memory).length, sharedBlocks)
  const hash = newHash()
  for (let at = 0; at < blocks.length; at += 50) await hash.update(blocks.slice(at, at + 50))
  assert.equal(await hash.digest(), sha256(bytes))
  pool.give(blocks)
  assert.equal(pool.take().buffer, pool.memory)
})

it('one that is dropped leaves the others as they are', async () => {
  const pool = createSharedBlockPool()
  const newHash = createHashes(pool.memory)
  const [one, other] = [newHash(), newHash()]
  const bytes = randomBytes(2 * blockBytes)
  const blocks = blocksOf(bytes, pool.take)
  await Promise.all([one.update(blocks), other.update(blocks)])
  one.drop()
  assert.equal(await other.digest(), sha256(bytes))
})

it('a thread that dies fails what it had begun, and another one begins anew', async () => {
  const pool = createSharedBlockPool()
  const newHash = createHashes(pool.memory)
  const bytes = randomBytes(blockBytes)
  const blocks = blocksOf(bytes, pool.take)
  const begun = newHash()
  await begun.update(blocks)
  // Nothing that we do makes it die: this names a place that the memory does not have.
  const nowhere = { buffer: pool.memory, byteOffset: 2 ** 40, length: blockBytes } as unknown as Buffer
  await assert.rejects(newHash().update([nowhere]))
  await assert.rejects(begun.digest())
  const next = newHash()
  await next.update(blocks)
  assert.equal(await next.digest(), sha256(bytes))
})
