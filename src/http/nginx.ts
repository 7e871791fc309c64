/** What may be left to an nginx in front of us, which sends a file that it is told of by `X-Accel-Redirect`. */
import type { FastifyRequest } from 'fastify'
import type { Selection } from './conditions.ts'

/** nginx holds these against the file on its disk, before our ETag is there: with If-Match it says 412 to the right one. */
const judgedByFile = ['if-match', 'if-none-match', 'if-modified-since', 'if-unmodified-since'] as const

/** nginx makes several parts, or a 416, of others that we answer with the whole or with one range. */
const plainRange = /^bytes=(?:\d{1,15}-\d{0,15}|-\d{1,15})$/

/**
 * True where nginx asks for somebody else, and makes of the bare file and the request the answer that was selected. Never
 * for who asks us directly: the answer that tells nginx of the file has no body.
 */
export function nginxAnswersAlike(request: FastifyRequest, selection: Selection): boolean {
  const { headers, method } = request
  if (method !== 'GET' || !isForwarded(request)) return false
  if (headers['x-accel-redirect'] === 'off') return false // it was told of the file, and cannot read it
  if (judgedByFile.some((name) => headers[name] !== undefined)) return false
  if (selection.status === 206) return plainRange.test(headers.range ?? '')
  return selection.status === 200 && headers.range === undefined
}

/** By a trusted proxy, that is: of others the list has their own address alone. */
function isForwarded({ ips }: FastifyRequest): boolean {
  return (ips?.length ?? 0) > 1
}
