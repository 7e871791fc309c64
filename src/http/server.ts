/**
 * The HTTP server below the routes: limits, the events that Node leaves to us, and answers in our envelope where
 * the parser itself refuses a request.
 */
import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { Fault } from '../errors.ts'
import { failBody } from './body.ts'
import { createCrowd } from './crowd.ts'
import { type Expectation, HttpFault } from './framing.ts'
import { boundRequests, closeAfterAnswer, inTurn, isAnswering, isCut, newestOn } from './pipeline.ts'
import { toProblem } from './problem.ts'

/** Imported by name, the module loads all that it has, the client of `fetch` among it: a thirtieth of the start. */
export const { createServer, METHODS, STATUS_CODES } = process.getBuiltinModule('node:http')

export type Handler = (request: IncomingMessage, response: ServerResponse) => unknown

export type ServerOptions = {
  newRequestId(): string
  /** The address of the page that explains each code. Read late: the port may not be known at first. */
  docsUrl(): string
  /** One line for a request that never reached a route. */
  onRefused(refused: { requestId: string; fault: Fault; status: number; address: string | undefined }): void
  maxConnections: number
  /** There were more; see `Crowd`. */
  onFull(closed: number): void
}

export interface HttpServer {
  readonly server: Server
  /** Requests go to `handler` from now on, those first that came before and wait. */
  serve(handler: Handler): void
}

const expectations = new WeakMap<IncomingMessage, Expectation>()

/** What the client waits for before it sends its body. */
export function expectationOf(request: IncomingMessage): Expectation {
  return expectations.get(request) ?? 'none'
}

export function createHttpServer(options: ServerOptions): HttpServer {
  const early: Parameters<Handler>[] = []
  let handle: Handler = (...exchange) => early.push(exchange)
  const server = createServer({
    maxHeaderSize: 16 * 1024,
    headersTimeout: 20_000,
    requestTimeout: 0, // bodies have limits on progress instead (body.ts)
    keepAliveTimeout: 65_000,
    connectionsCheckingInterval: 2_000,
    requireHostHeader: false, // checked in framing.ts, with our envelope
    insecureHTTPParser: false,
  })
  server.maxHeadersCount = 0 // else Node drops what is above the limit without a word; framing.ts counts
  // A client may close its sending side once its request is whole and still read the answer.
  Object.assign(server, { httpAllowHalfOpen: true })

  const crowd = createCrowd(options)
  server.on('connection', (socket: Socket) => {
    crowd.enter(socket)
    boundRequests(socket)
  })

  const accept = (expectation: Expectation) => (request: IncomingMessage, response: ServerResponse) => {
    expectations.set(request, expectation)
    const { socket } = request
    inTurn(request, response, () => handle(request, response))
    crowd.busy(socket)
    response.once('close', () => {
      if (!isAnswering(socket)) crowd.idle(socket)
    })
  }
  server.on('request', accept('none'))
  server.on('checkContinue', accept('continue'))
  server.on('checkExpectation', accept('unknown'))
  server.on('connect', (request: IncomingMessage, socket: Duplex) => {
    if (isAnswering(socket as Socket)) {
      // Node has let go of the connection: what is under way could not be answered in its turn.
      socket.on('error', () => {})
      return void socket.destroy()
    }
    const fault = new Fault('method_not_allowed', 'CONNECT is not offered here.', {
      details: { allowed_methods: ['GET', 'HEAD', 'POST'] },
    })
    refuse(options, socket as Socket, fault, request.socket.remoteAddress)
  })
  server.on('clientError', (error: NodeJS.ErrnoException, socket: Duplex) => {
    onClientError(options, error, socket as Socket)
  })
  return {
    server,
    serve(handler) {
      handle = handler
      for (const exchange of early.splice(0)) handler(...exchange)
    },
  }
}

/** The client closed its side, or its trailers have a length: neither changes a body that was whole before. */
const behindBody = new Set(['HPE_INVALID_EOF_STATE', 'HPE_INVALID_CONTENT_LENGTH'])

/** Connections whose bytes are no longer HTTP. */
const failed = new WeakSet<Socket>()

function onClientError(options: ServerOptions, error: NodeJS.ErrnoException, socket: Socket): void {
  if (error.code === 'ECONNRESET') return void socket.destroy()
  if (isCut(socket)) return // what comes is read and dropped, so that the answers are heard
  closeAfterAnswer(socket)
  // Whatever comes behind the fault is one again: it is read and dropped, so that the answer is heard.
  if (failed.has(socket)) return
  if (!socket.writable) return void socket.destroy()
  failed.add(socket)
  const fault = parserFault(error)
  const current = newestOn(socket)
  if (current !== null) {
    // The fault is in the body of the request under way, or behind it: it gets its answer, then the connection ends.
    const { request, response } = current
    if (response.headersSent) response.once('finish', () => socket.destroySoon())
    else if (!request.complete) failBody(request, fault, behindBody.has(error.code ?? ''))
    return
  }
  refuse(options, socket, fault, socket.remoteAddress)
}

function parserFault(error: NodeJS.ErrnoException): Fault {
  switch (error.code) {
    case 'HPE_HEADER_OVERFLOW':
      return new HttpFault(431, 'The request line and headers are larger than 16384 bytes together.')
    case 'HPE_CHUNK_EXTENSIONS_OVERFLOW':
      return new HttpFault(413, 'The chunk extensions of the body are too large. Send none.')
    case 'HPE_INVALID_METHOD':
      return new HttpFault(400, 'The request does not begin with a method of HTTP/1.1.')
    case 'ERR_HTTP_REQUEST_TIMEOUT':
      return new Fault('request_timeout', 'The request headers took too long. Send them at once.')
    default:
      return new HttpFault(400, 'The request is not well-formed HTTP/1.1.')
  }
}

/** Answers on the bare connection, reads a little further so that the answer is heard, and closes. */
function refuse(options: ServerOptions, socket: Socket, fault: Fault, address: string | undefined): void {
  const requestId = options.newRequestId()
  const { status, headers, body } = toProblem(fault, options.docsUrl())
  options.onRefused({ requestId, fault, status, address })
  const all = {
    ...headers,
    'x-request-id': requestId,
    date: new Date().toUTCString(),
    'content-length': String(Buffer.byteLength(body)),
    connection: 'close',
  }
  const lines = Object.entries(all).map(([name, value]) => `${name}: ${value}`)
  socket.on('error', () => {}) // after CONNECT nobody else listens: a client that resets would end the process
  socket.end([`HTTP/1.1 ${status} ${STATUS_CODES[status]}`, ...lines, '', body].join('\r\n'))
  socket.resume()
  const timer = setTimeout(() => socket.destroy(), 2_000)
  socket.once('close', () => clearTimeout(timer))
}
