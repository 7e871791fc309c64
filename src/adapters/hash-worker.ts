/** The thread that hashes. It does what it is asked in its order, and answers each request in that order too. */
import { createHash, type Hash } from 'node:crypto'
import { parentPort, workerData } from 'node:worker_threads'

/** Where it is in the memory that both threads have, and its length; or the bytes, where it is not in it. */
export type Piece = readonly [at: number, length: number] | Uint8Array

export type HashRequest = { id: number; add: Piece[] } | { id: number; end: 'digest' | 'drop' }

/** The hash in hex, for `digest` alone. */
export type HashReply = string | null

const port = parentPort
if (port === null) throw new Error('this is the body of a thread')

const memory = workerData as SharedArrayBuffer
const hashes = new Map<number, Hash>()

function carryOut(request: HashRequest): HashReply {
  const begun = hashes.get(request.id)
  if ('end' in request) {
    hashes.delete(request.id)
    return request.end === 'digest' ? (begun?.digest('hex') ?? null) : null
  }
  const hash = begun ?? createHash('sha256')
  hashes.set(request.id, hash)
  for (const piece of request.add)
    hash.update(piece instanceof Uint8Array ? piece : new Uint8Array(memory, ...piece))
  return null
}

// Without an answer to each, the next would be taken for its answer: better to die, and fail what is under way.
port.on('messageerror', (error) => {
  throw error
})
port.on('message', (request: HashRequest) => port.postMessage(carryOut(request)))
