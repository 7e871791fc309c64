/**
 * SHA-256 away from the thread that serves connections, which it would keep busy for a third of a large upload. What has
 * no whole block is hashed here and now: to ask another thread costs more.
 */
import { hash } from 'node:crypto'
import { extname } from 'node:path'
import { Worker } from 'node:worker_threads'
import { blockBytes } from './blocks.ts'
import type { HashReply, HashRequest, Piece } from './hash-worker.ts'

export interface BlockHash {
  /** The blocks may be used again once the promise resolves, or rejects. */
  update(blocks: readonly Buffer[]): Promise<unknown>
  /** Of everything, in hex. Once, and after the last update. */
  digest(): Promise<string>
  /** In place of `digest`. */
  drop(): void
}

type HashThread = { begin(): BlockHash; isDead(): boolean }

/**
 * The thread starts with the first large file, and again with the next should it ever die.
 * @param memory where most of the blocks are
 */
export function createHashes(memory: SharedArrayBuffer): () => BlockHash {
  let thread: HashThread | null = null
  const inThread = (): BlockHash => {
    if (thread === null || thread.isDead()) thread = startThread(memory)
    return thread.begin()
  }
  return () => {
    let chosen: BlockHash | null = null
    return {
      async update(blocks) {
        chosen ??= blocks[0]?.length === blockBytes ? inThread() : hashHere()
        return chosen.update(blocks)
      },
      async digest() {
        if (chosen === null) throw new Error('nothing was hashed')
        return chosen.digest()
      },
      drop: () => chosen?.drop(),
    }
  }
}

/** At once, and not in steps: there is one block alone. */
function hashHere(): BlockHash {
  let digest = ''
  return {
    async update([block = Buffer.alloc(0)]) {
      digest = hash('sha256', block)
    },
    digest: async () => digest,
    drop: () => {},
  }
}

function startThread(memory: SharedArrayBuffer): HashThread {
  // `.js` in the package, where the code is compiled.
  const program = new URL(`./hash-worker${extname(import.meta.url)}`, import.meta.url)
  const worker = new Worker(program, { workerData: memory, name: 'hash' })
  worker.unref()
  const waiting: { resolve(reply: HashReply): void; reject(error: unknown): void }[] = []
  let failure: unknown = null
  let lastId = 0

  worker.on('message', (reply: HashReply) => {
    waiting.shift()?.resolve(reply) // it answers in the order in which it was asked
    if (waiting.length === 0) worker.unref()
  })
  const die = (error: unknown): void => {
    failure ??= error
    for (const one of waiting.splice(0)) one.reject(failure)
  }
  worker.on('error', die)
  worker.on('messageerror', die) // whose reply it was is not known
  worker.on('exit', () => die(new Error('the thread that hashes has ended')))

  const ask = async (request: HashRequest): Promise<HashReply> => {
    if (failure !== null) throw failure
    worker.postMessage(request)
    if (waiting.length === 0) worker.ref()
    return new Promise((resolve, reject) => waiting.push({ resolve, reject }))
  }

  const pieceOf = (block: Buffer): Piece =>
    block.buffer === memory ? [block.byteOffset, block.length] : block

  return {
    isDead: () => failure !== null,
    begin() {
      const id = ++lastId
      return {
        update: (blocks) => ask({ id, add: blocks.map(pieceOf) }),
        async digest() {
          const digest = await ask({ id, end: 'digest' })
          if (digest === null) throw new Error('the thread that hashes gave no hash')
          return digest
        },
        drop: () => void ask({ id, end: 'drop' }).catch(() => {}),
      }
    },
  }
}
