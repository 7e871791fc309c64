/**
 * Reads a request's body piece by piece, with limits on progress instead of a limit on the whole: an honest
 * upload on a slow line may take an hour, one that stalls may not take a minute.
 */
import type { IncomingMessage } from 'node:http'
import { ClientLeft, Fault } from '../errors.ts'

export type Pace = {
  /** No byte for this long ends the request. */
  idleSeconds: number
  /** Fewer bytes a second than this, over any `idleSeconds`, end it too. */
  minBytesPerSecond: number
}

export type BodyReader = {
  /**
   * The slice is good during the call alone: its memory is freed right after.
   * @returns a promise where no more may be read until it resolves
   */
  onSlice(slice: Buffer): Promise<void> | undefined
  /** True where the request is whole although the connection may be gone. */
  isWhole(): boolean
}

/**
 * A fast client fills its connection while we read from it, and libuv then reads up to 2 MiB of it before it turns to the
 * next. After so many bytes it is the turn of the others: of whoever wants a small file meanwhile (docs/performance.md).
 */
const maxTurnBytes = 128 * 1024
const othersTurn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

/** Requests whose body is broken off by a fault of its framing: what came before it may still be read. */
const broken = new WeakMap<IncomingMessage, { fault: Fault; behindBody: boolean }>()
const readers = new WeakMap<IncomingMessage, () => void>()

/**
 * Tells the reader of the body, whether it runs already or is still to come, that the framing is broken.
 * @param behindBody the fault does no harm to a body that is whole by its own closing boundary
 */
export function failBody(request: IncomingMessage, fault: Fault, behindBody: boolean): void {
  broken.set(request, { fault, behindBody })
  readers.get(request)?.()
}

/**
 * Reads the body to its end.
 * @throws {Fault} `request_timeout` where the client stalls; what `onSlice` throws
 * @throws {ClientLeft} where the connection is gone before the body is whole
 */
export function readBody(request: IncomingMessage, pace: Pace, reader: BodyReader): Promise<void> {
  return new Promise((resolve, reject) => {
    let waitingForUs = false
    let hasEnded = false
    let turnBytes = 0
    const guard = watchPace(
      pace,
      (fault) => finish(fault),
      () => waitingForUs,
    )

    const finish = (error?: unknown): void => {
      guard.stop()
      readers.delete(request)
      request.off('data', onData).off('end', onEnd).off('close', onClose).off('error', onClose)
      // From here on whoever answers decides what becomes of bytes that still come.
      request.pause()
      if (error === undefined) resolve()
      else reject(error)
    }
    const onData = (slice: Buffer): void => {
      guard.count(slice.length)
      try {
        turnBytes += slice.length
        const wait = reader.onSlice(slice) ?? (turnBytes >= maxTurnBytes ? othersTurn() : undefined)
        free(slice)
        if (wait === undefined) {
          endIfBroken()
          return
        }
        waitingForUs = true
        turnBytes = 0
        const since = performance.now()
        request.pause()
        wait.then(() => {
          waitingForUs = false
          if (hasEnded) return finish()
          guard.forgive(since)
          endIfBroken()
          request.resume()
        }, finish)
      } catch (error) {
        finish(error)
      }
    }
    const endIfBroken = (): void => {
      const end = broken.get(request)
      if (end === undefined || waitingForUs || request.readableLength > 0) return
      finish(end.behindBody && reader.isWhole() ? undefined : end.fault)
    }
    // Node tells of the end with the last slice, also while we have asked it to wait.
    const onEnd = (): void => {
      hasEnded = true
      if (!waitingForUs) finish()
    }
    const onClose = (): void => {
      if (!hasEnded) finish(reader.isWhole() ? undefined : new ClientLeft())
    }

    if (request.destroyed && !request.readableEnded) return onClose()
    readers.set(request, endIfBroken)
    request.on('data', onData).on('end', onEnd).on('close', onClose).on('error', onClose)
    endIfBroken()
  })
}

/**
 * Gives a slice's memory back at once. Left to the garbage collector, the slices of 32 MB cost a full collection or
 * two (measured: a third of an upload's CPU). Node makes each slice of a body in memory of its own; what is not so
 * is left alone.
 */
function free({ buffer, length }: Buffer): void {
  if (buffer instanceof ArrayBuffer && buffer.byteLength === length) buffer.transfer(0)
}

/** Calls `onSlow` once the client is idle or too slow; time in which we made it wait does not count. */
function watchPace(pace: Pace, onSlow: (fault: Fault) => void, waitingForUs: () => boolean) {
  let lastByteAt = performance.now()
  let windowStart = lastByteAt
  let windowBytes = 0
  const timer = setInterval(() => {
    const now = performance.now()
    if (waitingForUs()) {
      lastByteAt = windowStart = now
      windowBytes = 0
    } else if (now - lastByteAt >= pace.idleSeconds * 1000) {
      onSlow(tooSlow(`no byte came for ${pace.idleSeconds} seconds`))
    } else if (now - windowStart >= pace.idleSeconds * 1000) {
      const rate = (windowBytes * 1000) / (now - windowStart)
      if (rate < pace.minBytesPerSecond) {
        onSlow(
          tooSlow(`${Math.round(rate)} bytes a second came, and at least ${pace.minBytesPerSecond} must`),
        )
      }
      windowStart = now
      windowBytes = 0
    }
  }, 500)
  return {
    count(bytes: number): void {
      lastByteAt = performance.now()
      windowBytes += bytes
    },
    /** The time since then was ours. */
    forgive(sinceMs: number): void {
      const now = performance.now()
      lastByteAt = now
      windowStart += now - Math.max(sinceMs, windowStart)
    },
    stop: () => clearInterval(timer),
  }
}

function tooSlow(what: string): Fault {
  return new Fault(
    'request_timeout',
    `The request body is too slow: ${what}. Send it again on a faster connection.`,
  )
}
