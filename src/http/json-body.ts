/** A JSON body, read whole within a limit of its own. */
import { createHash } from 'node:crypto'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { Fault } from '../errors.ts'
import { type Pace, readBody } from './body.ts'
import { HttpFault } from './framing.ts'
import { expectationOf } from './server.ts'

const maxBytes = 1024 * 1024

export type JsonBody = {
  /** An object; empty where there is no body. */
  value: Record<string, unknown>
  /** Of the bytes as they came, hex: whether a request that comes again is the same. */
  sha256: string
}

/**
 * Reads at most 1 MiB; a larger body is refused, before it is read where its length is announced.
 * @throws {Fault} 413 where it is too large, 400 where it is not a JSON object, 408 where it stalls
 * @throws {ClientLeft}
 */
export async function readJson(request: FastifyRequest, reply: FastifyReply, pace: Pace): Promise<JsonBody> {
  if (Number(request.headers['content-length'] ?? 0) > maxBytes) throw tooLarge(maxBytes)
  if (expectationOf(request.raw) === 'continue') reply.raw.writeContinue()
  const slices: Buffer[] = []
  let bytes = 0
  await readBody(request.raw, pace, {
    onSlice(slice) {
      bytes += slice.length
      if (bytes > maxBytes) throw tooLarge(maxBytes)
      slices.push(Buffer.from(slice)) // the slice itself is freed behind us
      return undefined
    },
    isWhole: () => false,
  })
  const body = Buffer.concat(slices)
  return { value: parse(body), sha256: createHash('sha256').update(body).digest('hex') }
}

function parse(body: Buffer): Record<string, unknown> {
  if (body.length === 0) return {}
  let value: unknown
  try {
    value = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(body))
  } catch (cause) {
    throw malformed('it is not JSON in UTF-8', cause)
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw malformed('it is not a JSON object')
  }
  return value as Record<string, unknown>
}

function malformed(why: string, cause?: unknown): Fault {
  return new Fault(
    'invalid_parameter',
    `The request body cannot be read: ${why}. Send a JSON object, such as {"filename": "a.png"}.`,
    { details: { reason: 'malformed_request' }, cause },
  )
}

function tooLarge(maxBytes: number): HttpFault {
  return new HttpFault(413, `The request body is larger than ${maxBytes} bytes. Send less in one request.`)
}
