/** `POST /v3/assets/resolve`: ours, an extension of the API. Up to 20 inputs, each a verified asset or an error. */
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { KeyClaims } from '../assets/key-claims.ts'
import {
  again,
  decodeInto,
  type Intake,
  openIntake,
  type ResolveDoor,
  type Resolved,
  resolveId,
  resolveUrl,
} from '../assets/resolve.ts'
import { Fault } from '../errors.ts'
import { readIdempotencyKey } from '../gate/idempotency.ts'
import { type Pace, readBody } from '../http/body.ts'
import { HttpFault } from '../http/framing.ts'
import { errorBody } from '../http/problem.ts'
import { missingParameter } from '../http/query.ts'
import { expectationOf } from '../http/server.ts'
import type { Caller, Principal } from '../principal.ts'
import type { KeyScope } from '../records/idempotency-keys.ts'

const route = 'POST /v3/assets/resolve'
const maxInputs = 20
export const maxResolveBytes = 48 * 1024 * 1024
const longestText = 4_096
/** Others are passed over: however many there are, nothing of them is kept. */
const fields: ReadonlySet<string> = new Set(['type', 'asset_id', 'url', 'media_type', 'data'])

export type ResolveRoutesOptions = ResolveDoor & {
  claims: KeyClaims
  pace: Pace
  docsUrl: () => string
}

/** What has come of one input so far. */
type Input = {
  texts: Map<string, string>
  /** Why it cannot become an asset. */
  fault: Fault | null
  data: 'none' | { intake: Intake; end(): void } | { kept: Resolved }
}

export function createResolveRoute(options: ResolveRoutesOptions) {
  return async function resolve(request: FastifyRequest, reply: FastifyReply, { principal }: Caller) {
    const { workspace } = principal
    const text = readIdempotencyKey(request.raw)
    const key = text === null ? null : { workspace, route, key: text }
    const held = key === null ? null : await options.claims.holdKey(key)
    if (held !== null && 'answer' in held) {
      request.exchange.replayed = true
      reply.header('idempotent-replayed', 'true')
      return reply.code(held.answer.status).type(json).send(held.answer.body)
    }
    try {
      const resolved = await receiveAndResolve(options, request, reply, principal, key)
      const data = resolved.map(({ asset, error }, input_index) => ({
        input_index,
        asset,
        error: error === null ? null : errorBody(error, options.docsUrl()),
      }))
      const body = JSON.stringify({ data })
      // Some may do better the next time: the key is free for that, and those that passed are not taken in again.
      const isFinal = resolved.every(({ error }) => error === null || !isPassing(error))
      if (isFinal) await held?.keep({ status: 200, body, file_sha256: null })
      else await held?.free()
      return await reply.type(json).send(body)
    } catch (error) {
      await held?.free()
      throw error
    }
  }
}

const json = 'application/json; charset=utf-8'

async function receiveAndResolve(
  options: ResolveRoutesOptions,
  request: FastifyRequest,
  reply: FastifyReply,
  principal: Principal,
  key: KeyScope | null,
): Promise<Resolved[]> {
  const announced = request.headers['content-length']
  const length = announced === undefined ? maxResolveBytes : Number(announced)
  if (length > maxResolveBytes) throw tooLarge()
  const leave = await options.admission.enter(length)
  const inputs: Input[] = []
  try {
    await receive(options, request, reply, principal, key, inputs)
    const resolved: Resolved[] = []
    for (const [index, input] of inputs.entries()) {
      resolved.push(await resolveInput(options, principal, keyOf(key, index), input).catch(toResolved))
    }
    return resolved
  } finally {
    await Promise.all(
      inputs.map(({ data }) => (data !== 'none' && 'intake' in data ? data.intake.release() : null)),
    )
    leave()
  }
}

/** Each input has a key of its own beside the request's: one that was taken in is never taken in again. */
function keyOf(key: KeyScope | null, index: number): KeyScope | null {
  return key === null ? null : { ...key, route: `${route}#${index}` }
}

async function receive(
  options: ResolveRoutesOptions,
  request: FastifyRequest,
  reply: FastifyReply,
  principal: Principal,
  key: KeyScope | null,
  inputs: Input[],
): Promise<void> {
  const inputAt = (index: number): Input => {
    const input = inputs[index] ?? { texts: new Map(), fault: null, data: 'none' }
    inputs[index] = input
    return input
  }
  const { createInputsReader } = await import('../http/inputs-reader.ts') // and a JSON parser with it
  const reader = createInputsReader(maxInputs, {
    onNoObject(index) {
      inputAt(index).fault = badInput('It must be an object with a type.')
    },
    onOther(index, field) {
      if (!fields.has(field)) return
      inputAt(index).fault ??= badInput(`The field ${field.slice(0, 40)} must be a text.`, field.slice(0, 64))
    },
    async onText(index, field) {
      const input = inputAt(index)
      if (field === 'data') return openData(options, principal, keyOf(key, index), input)
      if (!fields.has(field)) return async () => {}
      input.texts.set(field, '')
      return async (piece) => {
        const text = (input.texts.get(field) ?? '') + piece
        if (text.length > longestText)
          input.fault ??= badInput(`It is longer than ${longestText} characters.`, field)
        else input.texts.set(field, text)
      }
    },
  })
  let bytes = 0
  let reading = Promise.resolve()
  if (expectationOf(request.raw) === 'continue') reply.raw.writeContinue()
  try {
    await readBody(request.raw, options.pace, {
      onSlice(slice) {
        bytes += slice.length
        if (bytes > maxResolveBytes) throw tooLarge()
        reading = reader.write(slice)
        return reading
      },
      isWhole: () => false,
    })
  } finally {
    // A client that leaves is told at once, while inputs of its last slice are still opened: whoever releases them has
    // to see them all.
    await reading.catch(() => {})
  }
  const count = await reader.end()
  if (count === null) throw missingParameter('inputs')
  for (let index = 0; index < count; index++) inputAt(index)
}

/** Where the pieces of `data` go: into the store, until something is wrong with them. */
async function openData(
  options: ResolveDoor,
  principal: Principal,
  key: KeyScope | null,
  input: Input,
): Promise<(piece: string) => Promise<void>> {
  const drop = async (): Promise<void> => {}
  if (input.data !== 'none') {
    input.fault ??= badInput('It has two fields of that name.', 'data')
    return drop
  }
  try {
    const intake = await openIntake(options, principal, key)
    if (!('write' in intake)) {
      input.data = { kept: again(intake) }
      return drop
    }
    const decoding = decodeInto(intake)
    input.data = { intake, end: () => decoding.end() }
    return async (piece) => {
      if (input.fault !== null) return
      await decoding.write(piece).catch((error) => {
        input.fault = toFault(error)
      })
    }
  } catch (error) {
    input.fault = toFault(error)
    return drop
  }
}

/** @throws {Fault} what is wrong with this input */
async function resolveInput(
  options: ResolveDoor,
  principal: Principal,
  key: KeyScope | null,
  input: Input,
): Promise<Resolved> {
  const { texts, fault, data } = input
  if (fault !== null) throw fault
  const type = texts.get('type')
  if (type !== 'base64' && data !== 'none' && 'intake' in data) {
    await data.intake.release() // its place, and its key, are for what the input really is
    input.data = 'none'
  }
  switch (type) {
    case 'asset_id':
      return resolveId(options, principal, required(texts, 'asset_id'))
    case 'url':
      return resolveUrl(options, principal, key, required(texts, 'url'))
    case 'base64': {
      const contentType = required(texts, 'media_type')
      if (data === 'none') throw missing('data')
      if ('kept' in data) return data.kept
      data.end()
      input.data = 'none' // nothing of it is to be released any more, whatever comes
      return data.intake.commit({ contentType, name: null, mustAgree: true })
    }
    default:
      throw badInput('It must be one of asset_id, url, base64.', 'type')
  }
}

function required(texts: Map<string, string>, field: string): string {
  const text = texts.get(field)
  if (text === undefined || text === '') throw missing(field)
  return text
}

function toResolved(error: unknown): Resolved {
  return { asset: null, error: toFault(error) }
}

/** @throws what is no fault: a client that left, and what we did not foresee */
function toFault(error: unknown): Fault {
  if (error instanceof Fault) return error
  throw error
}

/** Another try may pass. */
function isPassing({ code }: Fault): boolean {
  return code === 'service_unavailable' || code === 'request_in_progress'
}

function badInput(what: string, param: string | null = null): Fault {
  return new Fault('invalid_parameter', `This input cannot be used. ${what}`, {
    ...(param === null ? {} : { param }),
    details: { reason: 'invalid_value' },
  })
}

function missing(field: string): Fault {
  return new Fault('invalid_parameter', `This input has no ${field}. Send it.`, {
    param: field,
    details: { reason: 'missing_value' },
  })
}

function tooLarge(): HttpFault {
  return new HttpFault(
    413,
    `The request body is larger than ${maxResolveBytes} bytes. Send fewer or smaller inputs.`,
  )
}
