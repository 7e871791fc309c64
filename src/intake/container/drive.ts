/**
 * Feeds a walker with a file that arrives in slices. Nothing of the file is kept but what the walker's present
 * ask needs, and the work is linear in the file however small the slices are.
 */
import { crc32 as nativeCrc32 } from 'node:zlib'
import type { Ask, Walk } from './walk.ts'

export type Drive<T> = {
  /** Every byte of the slice is used up before this returns, so the caller may use its memory again. */
  write(slice: Buffer): void
  end(): T
}

const nothing: Buffer = Buffer.alloc(0)
const waiting = Symbol('waiting for more of the file')

/** An ask in progress: uses up input and gives its answer, or says that it is waiting for more. */
type Pending = (input: Input, ended: boolean) => unknown

export function drive<T>(walk: Walk<T>): Drive<T> {
  const input = createInput()
  let verdict: { value: T } | undefined
  let pending: Pending | undefined

  function advance(first: IteratorResult<Ask, T>): void {
    let step = first
    while (step.done !== true) {
      const answer = atOnce(step.value, input)
      if (answer === waiting) {
        pending = begin(step.value)
        return
      }
      step = walk.next(answer)
    }
    verdict = { value: step.value }
    pending = undefined
  }

  function feed(ended: boolean): void {
    if (verdict === undefined && pending === undefined) advance(walk.next())
    while (pending !== undefined) {
      const answer = pending(input, ended)
      if (answer === waiting) return
      advance(walk.next(answer))
    }
  }

  return {
    write(slice) {
      if (verdict !== undefined) return
      input.give(slice)
      feed(false)
    },
    end() {
      feed(true)
      if (verdict === undefined) throw new Error('a walker that saw the end neither returned nor threw')
      return verdict.value
    },
  }
}

/** Most asks are small and lie within the slice at hand: these need no state. */
function atOnce(ask: Ask, input: Input): unknown {
  if (ask.ask === 'findPair' || ask.ask === 'tail' || ask.bytes > input.atHand()) return waiting
  if (ask.ask === 'peek') return input.view(input.atHand())
  if (ask.ask === 'skip') {
    input.use(ask.bytes)
    return ask.bytes
  }
  const part = input.view(ask.bytes)
  input.use(ask.bytes)
  return ask.ask === 'take' ? Buffer.from(part) : { bytes: ask.bytes, crc: nativeCrc32(part, ask.seed) }
}

function begin(ask: Ask): Pending {
  switch (ask.ask) {
    case 'take':
      return taking(ask.bytes)
    case 'peek':
      return peeking(ask.bytes)
    case 'skip':
      return skipping(ask.bytes)
    case 'crc32':
      return summing(ask.bytes, ask.seed)
    case 'findPair':
      return findingPair(ask.first, ask.second)
    case 'tail':
      return keepingTail(ask.bytes)
  }
}

type Input = ReturnType<typeof createInput>

/** What has arrived and is not used up: the slice, and before it perhaps bytes that were only peeked at. */
function createInput() {
  let current = nothing
  let at = 0
  let slice = nothing
  let usedBefore = 0

  function refill(): void {
    if (at < current.length) return
    usedBefore += at
    current = slice
    slice = nothing
    at = 0
  }

  return {
    give(bytes: Buffer): void {
      slice = bytes
      refill()
    },
    /** How many bytes of the file were used up so far. */
    usedBytes: () => usedBefore + at,
    /** How many bytes are at hand in one piece; 0 when there are none. */
    atHand: (): number => current.length - at,
    /** The next bytes, at most `wanted` and at most those at hand; not used up. */
    view: (wanted: number): Buffer => current.subarray(at, at + wanted),
    use(bytes: number): void {
      at += bytes
      refill()
    },
    /** Puts back what a peek had to gather, before the slice that it ended in. */
    putBack(bytes: Buffer): void {
      usedBefore += at - bytes.length
      slice = current.subarray(at)
      current = bytes
      at = 0
      refill()
    },
  }
}

/** Copies of the slices would cost the whole file; a copy of what was asked for is at most `maxTakeBytes`. */
function gather(bytes: number): (input: Input, ended: boolean) => Buffer | typeof waiting {
  let gathered: Buffer = nothing
  let filled = 0
  return (input, ended) => {
    if (gathered.length < bytes) gathered = Buffer.allocUnsafe(bytes)
    while (filled < bytes && input.atHand() > 0) {
      const part = input.view(bytes - filled)
      filled += part.copy(gathered, filled)
      input.use(part.length)
    }
    return filled < bytes && !ended ? waiting : gathered.subarray(0, filled)
  }
}

function taking(bytes: number): Pending {
  return gather(bytes)
}

function peeking(bytes: number): Pending {
  const gathering = gather(bytes)
  return (input, ended) => {
    const answer = gathering(input, ended)
    if (answer !== waiting) input.putBack(answer)
    return answer
  }
}

/** Uses up at most `wanted` bytes, part by part; gives how many there were. */
function eachPart(input: Input, wanted: number, look: (part: Buffer) => void): number {
  let through = 0
  while (through < wanted && input.atHand() > 0) {
    const part = input.view(wanted - through)
    look(part)
    through += part.length
    input.use(part.length)
  }
  return through
}

function skipping(bytes: number): Pending {
  // Counted up: a length that lies may be above 2^53, where what is left of it would be rounded.
  let through = 0
  return (input, ended) => {
    while (through < bytes && input.atHand() > 0) {
      const some = Math.min(bytes - through, input.atHand())
      through += some
      input.use(some)
    }
    return through < bytes && !ended ? waiting : through
  }
}

function summing(bytes: number, seed: number): Pending {
  let left = bytes
  let crc = seed
  return (input, ended) => {
    left -= eachPart(input, left, (part) => {
      crc = nativeCrc32(part, crc)
    })
    return left > 0 && !ended ? waiting : { bytes: bytes - left, crc }
  }
}

function keepingTail(bytes: number): Pending {
  const kept = Buffer.allocUnsafe(2 * bytes)
  let filled = 0
  return (input, ended) => {
    eachPart(input, Number.POSITIVE_INFINITY, (part) => {
      const end = part.subarray(Math.max(0, part.length - bytes))
      // Moved at most once for each `bytes` bytes, so the whole stays linear for slices of one byte too.
      if (filled + end.length > kept.length) {
        kept.copyWithin(0, filled - bytes, filled)
        filled = bytes
      }
      filled += end.copy(kept, filled)
    })
    if (!ended) return waiting
    return { last: kept.subarray(Math.max(0, filled - bytes), filled), sizeBytes: input.usedBytes() }
  }
}

function findingPair(first: number, second: number): Pending {
  let endedOnFirst = false
  return (input, ended) => {
    while (input.atHand() > 0) {
      const part = input.view(pairWindowBytes)
      const after = endedOnFirst && part[0] === second ? 1 : afterPair(part, first, second)
      input.use(after > 0 ? after : part.length)
      if (after > 0) return true
      endedOnFirst = part[part.length - 1] === first
    }
    return ended ? false : waiting
  }
}

const pairWindowBytes = 16_384
const nativeHits = 64

/**
 * Where the pair ends in `part`, 0 where it is not in it. The native search for one byte is many times faster
 * than a loop where that byte is rare, and many times slower where a hostile file is full of it (measured:
 * 216 ms for 32 MiB of 0xFF, against 30 ms): so it gets a number of hits, and a loop does the rest.
 */
function afterPair(part: Buffer, first: number, second: number): number {
  let at = part.indexOf(first)
  for (let hits = 0; hits < nativeHits; hits++) {
    if (at < 0) return 0
    if (part[at + 1] === second) return at + 2
    at = part.indexOf(first, at + 1)
  }
  return at < 0 ? 0 : afterPairByLoop(part, at, first, second)
}

/** A function of its own, and the length read once: together three times as fast. */
function afterPairByLoop(part: Buffer, start: number, first: number, second: number): number {
  const end = part.length
  for (let next = start + 1; next < end; next++) {
    if (part[next] === second && part[next - 1] === first) return next + 1
  }
  return 0
}
