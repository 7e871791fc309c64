/** One request and what is learned of it on the way, for its answer's headers and its one line in the log. */
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { FastifyBaseLogger } from 'fastify'
import type { Fault } from '../errors.ts'
import type { Caller } from '../principal.ts'

export type Exchange = {
  readonly id: string
  readonly startedAtMs: number
  caller: Caller | null
  fault: Fault | null
  assetId: string | null
  replayed: boolean
  /** Bytes of the file that was taken in or given out. */
  bytes: number
  /** nginx was told to send these bytes. */
  handedOver: boolean
}

export function newExchange(id: string): Exchange {
  return {
    id,
    startedAtMs: performance.now(),
    caller: null,
    fault: null,
    assetId: null,
    replayed: false,
    bytes: 0,
    handedOver: false,
  }
}

/** Writes the request's line: who, what, how it ended. No query, no credentials, no name the client chose. */
export function logExchange(
  log: FastifyBaseLogger,
  exchange: Exchange,
  request: IncomingMessage,
  response: ServerResponse,
  seen: { route: string | null; address: string },
): void {
  const { caller, fault } = exchange
  const line = {
    request_id: exchange.id,
    method: request.method,
    route: seen.route,
    status: response.headersSent ? response.statusCode : null,
    code: fault?.code,
    reason: fault?.details?.reason,
    duration_ms: Math.round((performance.now() - exchange.startedAtMs) * 10) / 10,
    bytes: exchange.bytes,
    handed_over: exchange.handedOver || undefined,
    workspace: caller?.principal.workspace,
    key_id: caller?.keyId ?? undefined,
    address: seen.address,
    asset_id: exchange.assetId ?? undefined,
    replayed: exchange.replayed || undefined,
    client_request_id: clientRequestId(request),
    client_left: clientLeft(request, response) || undefined,
    err: fault?.cause,
  }
  if (fault?.code === 'internal_error') log.error(line, 'request')
  else if (fault?.code === 'service_unavailable') log.warn(line, 'request')
  else log.info(line, 'request')
}

/** The connection ended, or its other end sends no more, before the exchange was whole. */
function clientLeft(request: IncomingMessage, response: ServerResponse): boolean {
  return !response.writableFinished || (request.socket.readableEnded && !request.complete)
}

function clientRequestId(request: IncomingMessage): string | undefined {
  const id = request.headers['x-request-id']
  return typeof id === 'string' ? id.slice(0, 128) : undefined
}
