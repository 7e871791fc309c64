/**
 * Fastify, as we run it: it finds the route; everything a client can see beside a handler's own answer is done
 * here, once for all routes: request ids, framing, the error envelope, refusals that are heard, and the log.
 */
import { Readable } from 'node:stream'
import Fastify, {
  type FastifyBaseLogger,
  type FastifyInstance,
  type FastifyReply,
  type FastifyRequest,
  type HTTPMethods,
  LogController,
} from 'fastify'
import { ClientLeft, Fault } from '../errors.ts'
import type { Caller } from '../principal.ts'
import { type Exchange, logExchange, newExchange } from './exchange.ts'
import { checkFraming } from './framing.ts'
import { hasUnreadBody, type Linger } from './linger.ts'
import { closeAfterAnswer, isLast } from './pipeline.ts'
import { type Problem, toFault, toProblem } from './problem.ts'
import { expectationOf, type Handler, type HttpServer, METHODS } from './server.ts'

declare module 'fastify' {
  interface FastifyRequest {
    exchange: Exchange
  }
}

export type Route = {
  method: 'GET' | 'POST' | 'PUT' | 'DELETE'
  path: string
  /** The gates, in their order; gives the caller, or null where the route is public. */
  admit(request: FastifyRequest, reply: FastifyReply): Promise<Caller | null>
  handle(request: FastifyRequest, reply: FastifyReply, caller: Caller | null): Promise<unknown>
}

/** Which other origins may read our answers; `gate/cors.ts` decides. */
export interface Cors {
  /** For every answer. `Vary` stands there whether or not this origin is allowed: a cache must tell them apart. */
  headers(origin: string | undefined): Record<string, string>
  /** For a preflight; null where it is to be answered like any other OPTIONS. */
  preflight(origin: string | undefined, methods: readonly string[]): Record<string, string> | null
}

export type EdgeOptions = {
  http: HttpServer
  routes: readonly Route[]
  log: FastifyBaseLogger
  cors: Cors
  linger: Linger
  /** CIDRs whose X-Forwarded-For is believed. */
  trustedProxies: readonly string[]
  newRequestId(): string
  docsUrl(): string
  /** The path of the public URL, such as `/media`: requests come with it or without it. */
  pathPrefix(): string
  isDraining(): boolean
}

export interface Edge {
  /** Resolves when no request is under way, and no work for one. */
  idle(): Promise<void>
}

/** Makes the routes answer on the server. */
export async function openEdge(options: EdgeOptions): Promise<Edge> {
  const active = trackActive()
  let handleRequest: Handler | null = null
  const app = Fastify({
    loggerInstance: options.log,
    logController: new LogController({ disableRequestLogging: true }), // one line a request: logExchange
    trustProxy: options.trustedProxies.length > 0 ? [...options.trustedProxies] : false,
    routerOptions: { maxParamLength: 200 },
    // No route has a schema for Fastify; what it would load to compile one costs a tenth of the start.
    schemaController: { compilersFactory: { buildValidator: noSchemas, buildSerializer: noSchemas } },
    exposeHeadRoutes: false,
    rewriteUrl: (request) => withoutPrefix(request.url ?? '/', options.pathPrefix()),
    clientErrorHandler: () => {}, // done in server.ts, for requests that never get here
    frameworkErrors: (error, request, reply) => {
      begin(options, request, reply, active)
      const problem = noteFault(options, toFault(error), request, reply)
      ;(reply as FastifyReply).send(beHeard(options, request, reply, problem.body)) // no hook runs for these
    },
    serverFactory: (handler) => {
      handleRequest = handler
      return options.http.server
    },
  }) as unknown as FastifyInstance
  app.decorateRequest('exchange', null as unknown as Exchange)
  // Bodies are read by the doors themselves, as streams; Fastify is to leave them alone.
  // Added again as methods without a body, none of them is looked at; and each is 405 where its path exists.
  for (const method of METHODS) app.addHttpMethod(method, { overrideExisting: true })

  app.addHook('onRequest', async (request, reply) => {
    begin(options, request, reply, active)
    checkFraming(request.raw, expectationOf(request.raw))
    // `/v3/assets/` is none of `/v3/assets/:asset_id`.
    if (Object.values(request.params as object).includes('')) throw nothingHere()
  })
  app.addHook('onSend', async (request, reply, payload) => beHeard(options, request, reply, payload))
  app.setErrorHandler((error, request, reply) => fail(options, error, request, reply))
  addRoutes(app, options, active)
  await app.ready()
  if (handleRequest === null) throw new Error('Fastify has asked for no server')
  options.http.serve(handleRequest) // only now: requests that came early are carried out at once
  return { idle: active.idle }
}

function addRoutes(app: FastifyInstance, { routes, cors }: EdgeOptions, active: Active): void {
  const used = new Set(routes.flatMap(methodsOf))
  // A name before a parameter, as the router has it: `/v3/assets/direct-uploads` is no asset.
  const paths = new Set(
    routes.map((route) => route.path).toSorted((a, b) => a.split(':').length - b.split(':').length),
  )
  for (const path of paths) {
    const here = routes.filter((route) => route.path === path)
    for (const route of here) {
      app.route({
        method: methodsOf(route),
        url: path,
        onRequest: async (request, reply) => {
          request.exchange.caller = await route.admit(request, reply)
        },
        handler: async (request, reply) => {
          // An upload that is cut off goes on, without its connection, until it has taken itself back.
          const ended = active.start()
          return route.handle(request, reply, request.exchange.caller).finally(ended)
        },
      })
    }
    const allowed = here.flatMap(methodsOf)
    app.route({
      method: [...used, 'OPTIONS'].filter((method) => !allowed.includes(method)) as HTTPMethods[],
      url: path,
      handler: async (request, reply) => {
        const preflight =
          request.method === 'OPTIONS' ? cors.preflight(request.headers.origin, allowed) : null
        if (preflight !== null) return reply.code(204).headers(preflight).send()
        throw notOffered(request.method, allowed)
      },
    })
  }
  // The thirty methods that no route has: to add each to each path took a twentieth of the start.
  const places = [...paths].map((path) => ({
    pattern: new RegExp(`^${path.replaceAll('.', '\\.').replaceAll(/:\w+/g, '[^/]{1,200}')}$`),
    allowed: routes.filter((route) => route.path === path).flatMap(methodsOf),
  }))
  app.setNotFoundHandler(async (request) => {
    const path = request.url.replace(/[?#].*/s, '')
    const place = places.find(({ pattern }) => pattern.test(path))
    throw place === undefined || used.has(request.method) || request.method === 'OPTIONS'
      ? nothingHere()
      : notOffered(request.method, place.allowed)
  })
}

function notOffered(method: string, allowed: readonly string[]): Fault {
  return new Fault('method_not_allowed', `${method} is not offered here. Use ${allowed.join(' or ')}.`, {
    details: { allowed_methods: [...allowed] },
  })
}

function noSchemas(): never {
  throw new Error('a route was given a schema, and nothing compiles it')
}

function nothingHere(): Fault {
  return new Fault('resource_not_found', 'There is nothing at this address. See /docs for what there is.')
}

function methodsOf(route: Route): string[] {
  return route.method === 'GET' ? ['GET', 'HEAD'] : [route.method]
}

type Active = ReturnType<typeof trackActive>

function begin(options: EdgeOptions, request: FastifyRequest, reply: FastifyReply, active: Active): void {
  const exchange = newExchange(options.newRequestId())
  request.exchange = exchange
  reply.header('x-request-id', exchange.id)
  reply.headers(options.cors.headers(request.headers.origin))
  if (request.url.startsWith('/v3/')) reply.header('cache-control', 'no-store')
  const ended = active.start()
  const address = request.ip // a connection that is gone no longer tells
  reply.raw.once('close', () => {
    ended()
    const route = request.routeOptions.url ?? null
    logExchange(options.log, exchange, request.raw, reply.raw, { route, address })
  })
}

function fail(options: EdgeOptions, error: unknown, request: FastifyRequest, reply: FastifyReply): void {
  if (error instanceof ClientLeft) {
    reply.hijack()
    request.raw.destroy()
    return
  }
  reply.send(noteFault(options, toFault(error), request, reply).body)
}

function noteFault(
  options: EdgeOptions,
  fault: Fault,
  request: FastifyRequest,
  reply: FastifyReply,
): Problem {
  request.exchange.fault = fault
  const problem = toProblem(fault, options.docsUrl())
  reply.code(problem.status).headers(problem.headers)
  return problem
}

/**
 * Node closes a connection once its system has taken nothing more of the answer for this long, or for twice as long. The
 * system says so only when a third of what it buffers, 4 MB at most, has gone out: readers that stop are gone within
 * four minutes, and so are those below about 8 kB/s; at 12 kB/s they stay.
 */
const unreadMs = 120_000

/** Closes after an answer that comes before the request is whole, but only once the client can have read it. */
function beHeard(
  options: EdgeOptions,
  request: FastifyRequest,
  reply: FastifyReply,
  payload: unknown,
): unknown {
  reply.raw.setTimeout(unreadMs)
  const isUnread = hasUnreadBody(request.raw)
  if (isUnread || options.isDraining() || isLast(request.raw)) {
    closeAfterAnswer(request.raw.socket)
    reply.header('connection', 'close')
  }
  if (!isUnread) return payload
  const bodiless = request.method === 'HEAD' || reply.statusCode === 204 || reply.statusCode === 304
  if (payload instanceof Readable || bodiless) {
    // A file, or headers alone: what the client still sends is dropped for as long as the answer takes.
    request.raw.resume()
    return payload
  }
  const bytes = Buffer.from(typeof payload === 'string' || Buffer.isBuffer(payload) ? payload : '')
  reply.header('content-length', bytes.length)
  return options.linger.answer(request.raw, bytes)
}

function trackActive() {
  let count = 0
  let onIdle: (() => void)[] = []
  return {
    start(): () => void {
      count++
      return () => {
        count--
        if (count > 0) return
        for (const resolve of onIdle) resolve()
        onIdle = []
      }
    },
    idle(): Promise<void> {
      return count === 0 ? Promise.resolve() : new Promise((resolve) => onIdle.push(resolve))
    },
  }
}

/** A reverse proxy may pass the prefix of the public URL on, or take it away: both reach the same route. */
function withoutPrefix(url: string, prefix: string): string {
  if (prefix === '' || !url.startsWith(prefix)) return url
  const rest = url.slice(prefix.length)
  if (rest === '' || rest.startsWith('?')) return `/${rest}`
  return rest.startsWith('/') ? rest : url
}
