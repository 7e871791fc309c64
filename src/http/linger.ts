/**
 * Refusing early and being heard. A server that closes while a client still sends makes the client's system
 * drop the answer (a reset). So: send the whole answer, go on reading for a while, then close; nginx calls it a
 * lingering close, RFC 9112 section 9.6 asks for it.
 */
import type { IncomingMessage } from 'node:http'
import { Readable } from 'node:stream'

export type LingerLimits = { maxConnections: number; maxBytes: number; idleMs: number; totalMs: number }

export const lingerLimits: LingerLimits = {
  maxConnections: 64,
  maxBytes: 128 * 1024 * 1024,
  idleMs: 5_000,
  totalMs: 30_000,
}

export interface Linger {
  /**
   * The answer's body as a stream that is whole at once, but ends only when the request's body has been read
   * and dropped, or a limit is met. Node closes the connection at its end.
   */
  answer(request: IncomingMessage, payload: Buffer): Readable
  readonly connections: number
}

export function createLinger(limits: LingerLimits = lingerLimits): Linger {
  let connections = 0
  return {
    get connections() {
      return connections
    },
    answer(request, payload) {
      if (connections >= limits.maxConnections) return Readable.from([payload])
      connections++
      const body = new Readable({ read() {} })
      body.push(payload)
      drain(request, limits, () => {
        connections--
        body.push(null)
      })
      return body
    },
  }
}

function drain(request: IncomingMessage, limits: LingerLimits, onDone: () => void): void {
  let drained = 0
  const done = (): void => {
    clearTimeout(idle)
    clearTimeout(total)
    request.off('data', onData).off('end', done).off('close', done).off('error', done)
    request.socket.off('end', done)
    onDone()
  }
  const onData = (slice: Buffer): void => {
    drained += slice.length
    idle.refresh()
    if (drained > limits.maxBytes) done()
  }
  const idle = setTimeout(done, limits.idleMs)
  const total = setTimeout(done, limits.totalMs)
  if (request.readableEnded || request.destroyed) {
    done()
    return
  }
  request.on('data', onData).on('end', done).on('close', done).on('error', done)
  request.socket.once('end', done) // the client sends no more, whole or not
  request.resume()
}

/** True while bytes of this request's body are still to come. */
export function hasUnreadBody(request: IncomingMessage): boolean {
  if (request.complete || request.socket.readableEnded) return false
  const length = request.headers['content-length']
  return request.headers['transfer-encoding'] !== undefined || (length !== undefined && length !== '0')
}
