/**
 * How many connections there may be. Each costs a descriptor, as each file does: without a bound, a crowd that does
 * nothing but connect takes those of files too, and no upload can be stored. Where a connection too many comes, the
 * one that has been idle for longest makes room for it.
 */
import { readFileSync } from 'node:fs'
import type { Socket } from 'node:net'

export type CrowdOptions = {
  maxConnections: number
  /** At once, and then once a minute at most. @param closed the connections that were closed since the last time */
  onFull(closed: number): void
}

export interface Crowd {
  enter(socket: Socket): void
  /** A request of this connection is under way: it is not closed for others. */
  busy(socket: Socket): void
  idle(socket: Socket): void
}

/** For the database, the listener, the files and folders of uploads in the moment of their end. */
const keptDescriptors = 64

/** Above this it is memory that ends first. */
const mostConnections = 10_000

/** @returns the connections that leave each other one descriptor for a file, and the process its own */
export function connectionShare(descriptors: number): number {
  const share = Math.floor((descriptors - keptDescriptors) / 2)
  return Math.min(mostConnections, Math.max(8, share))
}

/** How many descriptors this process may have: Node.js raises its own limit as far as it may when it starts. */
export function descriptorLimit(): number {
  try {
    const [, soft] = /^Max open files +(\d+)/m.exec(readFileSync('/proc/self/limits', 'utf8')) ?? []
    return soft === undefined ? Number.POSITIVE_INFINITY : Number(soft)
  } catch {
    return limitOfReport() // not Linux; and many times as slow
  }
}

function limitOfReport(): number {
  if (process.report === undefined) return Number.POSITIVE_INFINITY
  const { userLimits } = process.report.getReport() as { userLimits?: { open_files?: { soft?: unknown } } }
  const soft = userLimits?.open_files?.soft
  return typeof soft === 'number' ? soft : Number.POSITIVE_INFINITY
}

export function createCrowd({ maxConnections, onFull }: CrowdOptions): Crowd {
  const present = new Set<Socket>()
  /** Those that have sent no whole request head since they came or were answered, the longest idle first. */
  const waiting = new Set<Socket>()
  const closed = countEachMinute(onFull)

  const leave = (socket: Socket): void => {
    present.delete(socket)
    waiting.delete(socket)
  }
  return {
    enter(socket) {
      if (present.size >= maxConnections) {
        const [first = socket] = waiting
        leave(first)
        first.destroy()
        closed()
        if (first === socket) return
      }
      present.add(socket)
      waiting.add(socket)
      socket.once('close', () => leave(socket))
    },
    busy: (socket) => void waiting.delete(socket),
    idle(socket) {
      if (present.has(socket)) waiting.add(socket)
    },
  }
}

function countEachMinute(tell: (count: number) => void): () => void {
  let count = 0
  let isQuiet = false
  const speak = (): void => {
    isQuiet = count > 0
    if (!isQuiet) return
    tell(count)
    count = 0
    setTimeout(speak, 60_000).unref()
  }
  return () => {
    count++
    if (!isQuiet) speak()
  }
}
