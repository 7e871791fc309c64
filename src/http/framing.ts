/**
 * What Node's parser lets through and a careful server must not: headers that may come once came twice, codings
 * we do not undo, targets of other forms. Checked first, before a route is looked for.
 */
import type { IncomingMessage } from 'node:http'
import { Fault } from '../errors.ts'

/** A fault of HTTP itself, with the status that RFC 9110 has for it: 400 is `invalid_parameter`, others `invalid_request`. */
export class HttpFault extends Fault {
  readonly status: number
  constructor(status: number, message: string) {
    if (status === 400) super('invalid_parameter', message, { details: { reason: 'malformed_request' } })
    else super('invalid_request', message)
    this.status = status
  }
}

/** With two of these, one reader may believe the first and another the last: none is believed. */
const onlyOnce = new Set([
  'host',
  'content-type',
  'content-length',
  'transfer-encoding',
  'content-encoding',
  'authorization',
  'x-api-key',
  'idempotency-key',
  'expect',
])

const maxHeaderFields = 500

/** `Expect` headers as Node's two events tell them apart. */
export type Expectation = 'none' | 'continue' | 'unknown'

/** @throws {HttpFault} */
export function checkFraming(request: IncomingMessage, expectation: Expectation): void {
  const counts = countFields(request.rawHeaders)
  if (request.rawHeaders.length / 2 > maxHeaderFields) {
    throw new HttpFault(431, `The request has more than ${maxHeaderFields} header fields. Send fewer.`)
  }
  if (request.httpVersionMajor !== 1) {
    throw new HttpFault(505, 'The version of HTTP must be 1.1 or 1.0.')
  }
  if (request.httpVersion === '1.1' && counts.host === undefined) {
    throw new HttpFault(400, 'The request has no Host header. HTTP/1.1 requires exactly one.')
  }
  for (const [name, count] of Object.entries(counts)) {
    if (count > 1 && !credentialHeaders.has(name) && name !== 'idempotency-key') {
      throw new HttpFault(400, `The request has ${count} ${name} headers. Send exactly one.`)
    }
  }
  if (!isOriginForm(request.url ?? '')) {
    throw new HttpFault(
      400,
      'The request target must be a path that begins with a slash, without a fragment.',
    )
  }
  const coding = request.headers['transfer-encoding']
  if (coding !== undefined && !/(^|,)[ \t]*chunked[ \t]*$/i.test(coding)) {
    // RFC 9112 section 6.3: then nobody can tell where the body ends.
    throw new HttpFault(400, 'The last transfer coding must be chunked.')
  }
  if (coding !== undefined && coding.trim().toLowerCase() !== 'chunked') {
    throw new HttpFault(501, 'The only transfer coding that is understood is chunked.')
  }
  const content = request.headers['content-encoding']
  if (content !== undefined && content.trim().toLowerCase() !== 'identity') {
    throw new HttpFault(415, 'The request body must be sent as it is, without a Content-Encoding.')
  }
  if (expectation === 'unknown') {
    throw new HttpFault(417, 'The only expectation that can be met is 100-continue.')
  }
}

/** Repeated credentials are a fault of authentication (401), a repeated key one of its own gate. */
const credentialHeaders = new Set(['authorization', 'x-api-key'])

/** How often each header that may come once came. */
export function countFields(rawHeaders: readonly string[]): Record<string, number> {
  const counts: Record<string, number> = {}
  for (let at = 0; at < rawHeaders.length; at += 2) {
    const name = (rawHeaders[at] as string).toLowerCase()
    if (onlyOnce.has(name)) counts[name] = (counts[name] ?? 0) + 1
  }
  return counts
}

function isOriginForm(target: string): boolean {
  return target.startsWith('/') && !target.includes('#')
}
