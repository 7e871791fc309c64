/** A POST with a JSON body, carried out once under its Idempotency-Key: the same for every such route. */
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Once } from '../assets/direct-uploads.ts'
import type { KeyClaims } from '../assets/key-claims.ts'
import { Fault } from '../errors.ts'
import { readIdempotencyKey } from '../gate/idempotency.ts'
import type { Pace } from '../http/body.ts'
import { type JsonBody, readJson } from '../http/json-body.ts'
import { expectationOf } from '../http/server.ts'
import type { KeyScope } from '../records/idempotency-keys.ts'

export type OnceOptions = {
  claims: KeyClaims
  pace: Pace
  /** A replay came with another body than the original. */
  onDifferentReplay(replay: { workspace: string; route: string }): void
}

/**
 * @param route with its method, and its parameters filled in: keys are told apart by it
 * @param work is handed the body and the key, and keeps its answer under that key
 * @throws {Fault} `invalid_parameter`, `request_in_progress`; what `work` throws
 */
export async function once(
  options: OnceOptions,
  request: FastifyRequest,
  reply: FastifyReply,
  route: string,
  work: (body: JsonBody, key: KeyScope | null) => Promise<Once>,
) {
  const { workspace } = request.exchange.caller?.principal ?? { workspace: '' }
  const text = readIdempotencyKey(request.raw)
  const key = text === null ? null : { workspace, route, key: text }
  const kept = key === null ? null : await options.claims.findAnswer(key)
  // A finished key replays whatever the body is; it is read to see whether it is the same, if it comes by itself.
  const body = kept === null ? await readJson(request, reply, options.pace) : null
  const done = body === null ? { replayed: true, answer: kept as Once['answer'] } : await work(body, key)
  const sha256 = body?.sha256 ?? (await sha256OfUnread(options.pace, request, reply))
  if (done.replayed && sha256 !== null && done.answer.file_sha256 !== sha256) {
    options.onDifferentReplay({ workspace, route })
  }
  request.exchange.replayed = done.replayed
  if (done.replayed) reply.header('idempotent-replayed', 'true')
  return reply.code(done.answer.status).type('application/json; charset=utf-8').send(done.answer.body)
}

/** Null where it was never sent. */
async function sha256OfUnread(
  pace: Pace,
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<string | null> {
  if (expectationOf(request.raw) === 'continue') return null
  try {
    return (await readJson(request, reply, pace)).sha256
  } catch (error) {
    if (error instanceof Fault) return ''
    throw error
  }
}
