/** Where slices of a body are copied together while it arrives. */

/** Fewer writes than slices, and a slow client holds only what it has sent. */
export const blockBytes = 256 * 1024
/** Unused blocks above this many, 8 MiB of them, go back to the system. */
const keptBlocks = 32

export type BlockPool = { take(): Buffer; give(used: Buffer[]): void }

/** Blocks are used again, by whichever upload comes next: nothing of this is left to the garbage collector. */
export function createBlockPool(): BlockPool {
  const free: Buffer[] = []
  return {
    take: () => free.pop() ?? Buffer.allocUnsafeSlow(blockBytes),
    give(used) {
      for (const view of used) {
        if (free.length < keptBlocks) free.push(Buffer.from(view.buffer as ArrayBuffer))
        else (view.buffer as ArrayBuffer).transfer(0)
      }
    },
  }
}
