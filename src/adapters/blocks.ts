/** Where slices of a body are copied together while it arrives. */

/** Fewer writes than slices, and a slow client holds only what it has sent. */
export const blockBytes = 256 * 1024
/** Unused blocks above this many, 8 MiB of them, go back to the system. */
const keptBlocks = 32

export type BlockPool = { take(): Buffer; give(used: readonly Buffer[]): void }

/** Blocks are used again, by whichever upload comes next: nothing of this is left to the garbage collector. */
export function createBlockPool(): BlockPool {
  const free: Buffer[] = []
  return {
    take: () => free.pop() ?? blockOf(new ArrayBuffer(blockBytes, { maxByteLength: blockBytes })),
    give(used) {
      for (const view of used) {
        if (free.length < keptBlocks) free.push(blockOf(view.buffer as ArrayBuffer))
        else (view.buffer as ArrayBuffer).transferToFixedLength(0)
      }
    },
  }
}

/** Memory that could grow begins at a page, as who writes past the page cache must have it (open(2), O_DIRECT). */
function blockOf(memory: ArrayBuffer): Buffer {
  return Buffer.from(memory, 0, blockBytes)
}
