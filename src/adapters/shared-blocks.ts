/** Blocks that more than one thread can read. */
import { type BlockPool, blockBytes, createBlockPool } from './blocks.ts'

/** 64 MiB, of which only as much is taken from the system as was ever needed at once. */
export const sharedBlocks = 256

export type SharedBlockPool = BlockPool & {
  /** Where most blocks are, each at its `byteOffset`: another thread is given it once and for all. */
  readonly memory: SharedArrayBuffer
}

/** What is needed beyond the shared memory, which is never given back, is not shared. */
export function createSharedBlockPool(): SharedBlockPool {
  const memory = new SharedArrayBuffer(0, { maxByteLength: sharedBlocks * blockBytes })
  const free: number[] = []
  const others = createBlockPool()

  const grow = (): number | undefined => {
    const at = memory.byteLength
    if (at === memory.maxByteLength) return undefined
    memory.grow(at + blockBytes)
    return at
  }

  return {
    memory,
    take() {
      const at = free.pop() ?? grow()
      return at === undefined ? others.take() : Buffer.from(memory, at, blockBytes)
    },
    give(used) {
      for (const view of used) {
        if (view.buffer === memory) free.push(view.byteOffset)
        else others.give([view])
      }
    },
  }
}
