/**
 * Every answer that a test gets of a service, held against the description that the service serves of itself: the
 * status has to be declared, the headers and the JSON body have to be as it says, and nothing may be there that it does
 * not name. What is wrong is gathered; `assertDescribed` tells it.
 */
import { Ajv2020, type ValidateFunction } from 'ajv/dist/2020.js'
import { codes } from '../src/error-catalog.ts'
import { openApiDocument } from '../src/openapi/document.ts'

export type Answered = {
  /** The first line of the request, as far as one is known: a fault may come before there is one. */
  request: { method: string; target: string } | null
  status: number
  /** By lower-case name. */
  headers: Record<string, string>
  /** Null where it is not looked at. */
  body: string | null
}

type Header = { required?: boolean; schema: Record<string, unknown> }
type Described = { description: string; headers?: Record<string, Header>; content?: Record<string, unknown> }
type Operation = { operationId: string; responses: Record<string, Described> }

const document = closed(JSON.parse(JSON.stringify(openApiDocument('http://a.test', '0')))) as {
  paths: Record<string, Record<string, Operation>>
}
const ajv = new Ajv2020({ strict: false, validateFormats: false, coerceTypes: false, allErrors: true })
ajv.addSchema(document, 'document')

const routes = Object.entries(document.paths)
  .map(([template, operations]) => ({
    template,
    operations,
    pattern: new RegExp(`^${template.replace(/[.]/g, '\\.').replace(/\{\w+\}/g, '[^/]*')}$`),
  }))
  .toSorted((a, b) => Number(a.template.includes('{')) - Number(b.template.includes('{')))

/** Of HTTP itself, of caches and of browsers: no part of the description. */
const commonHeaders =
  /^(date|connection|keep-alive|content-length|content-type|transfer-encoding|vary|access-control-.+|x-content-type-options|content-security-policy|cross-origin-resource-policy|referrer-policy)$/

/** What may be answered where no route is known: by the parser of HTTP, or because there is none. */
const withoutRoute = [400, 404, 405, 408, 413, 414, 415, 417, 431, 501, 505]
/** What the parser of HTTP may answer before it has told anybody of the request. */
const ofParser = [400, 408, 413, 431]

const wrong = new Map<string, string>()
const met = new Map<string, number>()

/** The operations that were answered, each with its status, as `uploadAsset 200`. */
export const answersMet = (): ReadonlySet<string> => new Set(met.keys())

/** Every answer that is described, in the same words. */
export function answersDescribed(): string[] {
  return Object.values(document.paths).flatMap((operations) =>
    Object.values(operations).flatMap(({ operationId, responses }) =>
      Object.keys(responses).map((status) => `${operationId} ${status}`),
    ),
  )
}

/** @throws where an answer was not as it is described */
export function assertDescribed(): void {
  if (wrong.size === 0) return
  throw new Error(`not as /openapi.json describes it:\n${[...wrong.values()].join('\n')}`)
}

export function hold(answered: Answered): void {
  const { request, status } = answered
  if (status < 200) return
  const name = `${request?.method ?? '?'} ${request?.target.slice(0, 100) ?? '?'} ${status}`
  for (const what of faultsOf(answered)) {
    const kind = `${request?.method} ${status} ${what}`
    if (!wrong.has(kind) && wrong.size < 20)
      wrong.set(kind, `${name}: ${what} (${answered.body?.slice(0, 300)})`)
  }
}

/** What is not as described; nothing where all is. */
export function faultsOf(answered: Answered): string[] {
  const { request, status, headers } = answered
  const route = request === null ? undefined : routeOf(request.target)
  if (request === null || route === undefined) {
    // Nothing is known but that it is one of ours.
    if (status < 400) return request === null ? [] : ['there is no such path']
    return [
      ...(request !== null && !withoutRoute.includes(status) ? ['undeclared'] : []),
      ...envelope(answered),
    ]
  }
  const operation = route.operations[request.method === 'HEAD' ? 'get' : request.method.toLowerCase()]
  if (operation === undefined) {
    if (status === 204 && request.method === 'OPTIONS') return []
    const allowed = Object.keys(route.operations).flatMap((name) =>
      name === 'get' ? ['GET', 'HEAD'] : name.toUpperCase(),
    )
    const isAllow = status !== 405 || sorted(headers.allow?.split(', ') ?? []) === sorted(allowed)
    return [
      ...(isAllow ? [] : [`Allow is ${headers.allow}, and described are ${allowed}`]),
      ...(withoutRoute.includes(status) ? [] : ['undeclared']),
      ...envelope(answered),
    ]
  }
  const place = `${operation.operationId} ${status}`
  met.set(place, (met.get(place) ?? 0) + 1)
  const described = operation.responses[status]
  if (described === undefined) {
    const isFault = status >= 400
    return [...(ofParser.includes(status) ? [] : ['undeclared']), ...(isFault ? envelope(answered) : [])]
  }
  return asDescribed(resolve(described), answered)
}

function asDescribed(described: Described, answered: Answered): string[] {
  const { status, headers, body } = answered
  const faults: string[] = []
  const declared = Object.entries(described.headers ?? {}).map(
    ([name, header]) => [name.toLowerCase(), resolve(header)] as const,
  )
  for (const [name, { required, schema }] of declared) {
    const value = headers[name]
    if (value === undefined) {
      if (required === true) faults.push(`the header ${name} is missing`)
      continue
    }
    const check = compiled(schema)
    const typed = schema.type === 'integer' && /^\d+$/.test(value) ? Number(value) : value
    if (!check(typed)) faults.push(`the header ${name}: ${ajv.errorsText(check.errors)}`)
  }
  const names = declared.map(([name]) => name)
  for (const name of Object.keys(headers)) {
    if (!commonHeaders.test(name) && !names.includes(name)) faults.push(`the header ${name} is not described`)
  }
  const type = (headers['content-type'] ?? '').split(';')[0] ?? ''
  const content = described.content ?? {}
  const media = content[type] ?? content['*/*']
  if (body !== null && body !== '' && media === undefined) faults.push(`${type} is not described`)
  if (status >= 400) faults.push(...envelope(answered))
  else if (body !== null && media !== undefined && type === 'application/json' && media !== content['*/*']) {
    faults.push(...bodyFaults(compiled((media as { schema: object }).schema), body))
  }
  return faults
}

/** The one form of errors, with a code that goes with the status. */
function envelope({ status, headers, body }: Answered): string[] {
  const faults = ['x-request-id', 'cache-control'].filter((name) => headers[name] === undefined)
  if (body === null) return faults
  const error = compiled({
    type: 'object',
    required: ['error'],
    additionalProperties: false,
    properties: { error: { $ref: 'document#/components/schemas/StandardAPIError' } },
  })
  const ofBody = bodyFaults(error, body)
  if (ofBody.length > 0) return [...faults, ...ofBody]
  const { code } = (JSON.parse(body) as { error: { code: keyof typeof codes } }).error
  if (!codes[code].status.includes(String(status))) faults.push(`the code ${code} is not of this status`)
  return faults
}

function bodyFaults(check: ValidateFunction, body: string): string[] {
  try {
    return check(JSON.parse(body)) ? [] : [ajv.errorsText(check.errors, { dataVar: 'body' })]
  } catch {
    return ['the body is not JSON']
  }
}

const functions = new Map<string, ValidateFunction>()
function compiled(schema: object): ValidateFunction {
  const text = JSON.stringify(schema).replaceAll('"#/', '"document#/')
  let check = functions.get(text)
  if (check === undefined) {
    check = ajv.compile(JSON.parse(text) as object)
    functions.set(text, check)
  }
  return check
}

function routeOf(target: string) {
  const path = decoded(target.split('?')[0] ?? '')
  const known = routes.find(({ pattern }) => pattern.test(path))
  // A service whose public URL has a path takes it away.
  return (
    known ??
    routes.find(({ pattern }) => pattern.test(path.replace(/^\/media$/, '/').replace(/^\/media\b(?=.)/, '')))
  )
}

function decoded(path: string): string {
  try {
    return decodeURIComponent(path)
  } catch {
    return path
  }
}

/** What a reference points to; the thing itself where it is none. */
function resolve<T extends object>(thing: T): T {
  if (!('$ref' in thing)) return thing
  const names = String(thing.$ref).slice(2).split('/')
  return names.reduce<unknown>((found, name) => Object(found)[name], document) as T
}

/** No key may be there that is not described. */
function closed(thing: unknown): unknown {
  if (Array.isArray(thing)) return thing.map(closed)
  if (typeof thing !== 'object' || thing === null) return thing
  const whole = Object.fromEntries(Object.entries(thing).map(([name, value]) => [name, closed(value)]))
  return whole.type === 'object' && 'properties' in whole && !('additionalProperties' in whole)
    ? { ...whole, additionalProperties: false }
    : whole
}

const sorted = (words: readonly string[]): string => words.toSorted().join(' ')

// Answers of `fetch`

const origins = new Set<string>()
const waiting = new Set<Promise<void>>()

/** From now on the answers of this service are held, whoever asks by `fetch`. */
export function holdAnswersOf(url: string): void {
  origins.add(new URL(url).origin)
}

export const isHeld = ({ host, port }: { host: string; port: number }): boolean =>
  origins.has(`http://${host.includes(':') ? `[${host}]` : host}:${port}`)

/** Resolves once the bodies of all answers so far were looked at. */
export async function allHeld(): Promise<void> {
  await Promise.all(waiting)
}

const plainFetch = globalThis.fetch
globalThis.fetch = async (input, init) => {
  const response = await plainFetch(input, init)
  const url = new URL(response.url)
  if (!origins.has(url.origin)) return response
  const method = (init?.method ?? (input instanceof Request ? input.method : 'GET')).toUpperCase()
  const answered = {
    request: { method, target: url.pathname },
    status: response.status,
    headers: Object.fromEntries(response.headers),
  }
  const isJson =
    method !== 'HEAD' && response.headers.get('content-type')?.startsWith('application/json') === true
  const look = async (): Promise<void> => {
    // A test may leave before the body has come.
    const body = isJson
      ? await response
          .clone()
          .text()
          .catch(() => null)
      : null
    hold({ ...answered, body })
  }
  const looked = look().finally(() => waiting.delete(looked))
  waiting.add(looked)
  return response
}
