/**
 * Requests of one connection: carried out one at a time, in their order, and only where the answer can be heard. All
 * at once, one segment of 64 KB could open hundreds of files; without a bound, it is kept as thousands of requests.
 */
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'

/** Requests that may be unanswered on one connection. Whoever sends more gets these answers, and no others. */
export const maxUnanswered = 8

type Waiting = { request: IncomingMessage; response: ServerResponse }

type Line = {
  unanswered: number
  /** The last that came and is to be answered: the one that the parser's faults are about. */
  newest: Waiting | null
  /** More came than may wait: the connection ends behind the newest. */
  isCut: boolean
  /** An answer said `Connection: close`: nothing that comes behind it is carried out (RFC 9112 section 9.6). */
  isClosing: boolean
}

const lines = new WeakMap<Socket, Line>()

function lineOf(socket: Socket): Line {
  let line = lines.get(socket)
  if (line === undefined) {
    line = { unanswered: 0, newest: null, isCut: false, isClosing: false }
    lines.set(socket, line)
  }
  return line
}

type Parser = { onIncoming?: (request: IncomingMessage, keepAlive: boolean) => number }

/**
 * Ends the reading of requests on a new connection where one too many comes. Node offers no way to: it makes requests
 * of all that one read brought, which may be thousands. So this goes between it and its parser.
 */
export function boundRequests(socket: Socket): void {
  const { parser } = socket as Socket & { parser?: Parser }
  const take = parser?.onIncoming
  if (parser === undefined || take === undefined) return
  const line = lineOf(socket)
  parser.onIncoming = (request, keepAlive) => {
    if (line.unanswered < maxUnanswered) return take(request, keepAlive)
    line.isCut = true
    return -1 // a fault to the parser, which takes nothing more
  }
}

/** Calls `start` once all requests before this one are answered; never where an answer before it was the last. */
export function inTurn(request: IncomingMessage, response: ServerResponse, start: () => void): void {
  const { socket } = request
  const line = lineOf(socket)
  const before = line.newest?.response
  line.newest = { request, response }
  line.unanswered++
  response.once('close', () => {
    line.unanswered--
    if (line.newest?.response === response) line.newest = null
  })
  const begin = (): void => {
    if (socket.destroyed) return
    if (line.isClosing) socket.destroySoon()
    else {
      socket.setTimeout(0) // how patient we are with who reads the answer before says nothing of this one
      start()
    }
  }
  if (before === undefined) begin()
  // Other connections have their turn in between.
  else before.once('close', () => setImmediate(begin))
}

export const isAnswering = (socket: Socket): boolean => lineOf(socket).newest !== null
export const newestOn = (socket: Socket): Waiting | null => lineOf(socket).newest
export const isCut = (socket: Socket): boolean => lineOf(socket).isCut

/** Nothing that comes behind the current request is carried out. */
export function closeAfterAnswer(socket: Socket): void {
  lineOf(socket).isClosing = true
}

/** True where the answer must say `Connection: close`: no other follows it. */
export function isLast(request: IncomingMessage): boolean {
  const line = lineOf(request.socket)
  if (line.isClosing) return true
  return line.newest?.request === request && (line.isCut || request.socket.readableEnded)
}
