/**
 * The table of routes, and the order of the gates. Read this and `assets/upload.ts`, and you know the service.
 */
import type { FastifyReply, FastifyRequest } from 'fastify'
import { shuttingDown } from './errors.ts'
import { requireScope } from './gate/authenticate.ts'
import type { RateLimiter } from './gate/rate-limit.ts'
import type { Route } from './http/edge.ts'
import type { Caller, Scope } from './principal.ts'

type Handler = (request: FastifyRequest, reply: FastifyReply) => Promise<unknown>
type CallerHandler = (request: FastifyRequest, reply: FastifyReply, caller: Caller) => Promise<unknown>

export type Handlers = {
  upload: CallerHandler
  announce: CallerHandler
  complete: CallerHandler
  createBatch: CallerHandler
  completeBatch: CallerHandler
  getBatch: CallerHandler
  statuses: CallerHandler
  resolve: CallerHandler
  put: Handler
  list: CallerHandler
  search: CallerHandler
  get: CallerHandler
  remove: CallerHandler
  me: CallerHandler
  file: Handler
  alive: Handler
  ready: Handler
  jwks: Handler
  home: Handler
  pageFile: Handler
  clientFile: Handler
  openapi: Handler
  docs: Handler
  docsErrors: Handler
  docsFile: Handler
}

export type Gates = {
  authenticate(request: FastifyRequest['raw'], address: string): Promise<Caller>
  rateLimiter: RateLimiter
  isDraining(): boolean
}

export function createRoutes(handlers: Handlers, gates: Gates): Route[] {
  const needs =
    (...scopes: Scope[]) =>
    (handle: CallerHandler) => ({
      admit: (request: FastifyRequest, reply: FastifyReply) => passGates(gates, scopes, request, reply),
      handle: (request: FastifyRequest, reply: FastifyReply, caller: Caller | null) =>
        handle(request, reply, caller as Caller),
    })
  const everyone = (handle: Handler) => ({ admit: async () => null, handle })

  return [
    { method: 'POST', path: '/v3/assets', ...needs('assets:write')(handlers.upload) },
    { method: 'GET', path: '/v3/assets', ...needs('assets:read')(handlers.list) },
    { method: 'GET', path: '/v3/assets/search', ...needs('assets:read')(handlers.search) },
    { method: 'GET', path: '/v3/assets/:asset_id', ...needs('assets:read')(handlers.get) },
    { method: 'DELETE', path: '/v3/assets/:asset_id', ...needs('assets:write')(handlers.remove) },
    { method: 'POST', path: '/v3/assets/direct-uploads', ...needs('assets:write')(handlers.announce) },
    { method: 'POST', path: '/v3/assets/:asset_id/complete', ...needs('assets:write')(handlers.complete) },
    {
      method: 'POST',
      path: '/v3/assets/direct-uploads/batches',
      ...needs('assets:write')(handlers.createBatch),
    },
    { method: 'POST', path: '/v3/assets/complete/batches', ...needs('assets:write')(handlers.completeBatch) },
    { method: 'GET', path: '/v3/assets/batches/:batch_id', ...needs('assets:read')(handlers.getBatch) },
    { method: 'GET', path: '/v3/assets/statuses', ...needs('assets:read')(handlers.statuses) },
    { method: 'POST', path: '/v3/assets/resolve', ...needs('assets:write')(handlers.resolve) },
    { method: 'PUT', path: '/uploads/:asset_id', ...everyone(handlers.put) },
    { method: 'GET', path: '/v3/users/me', ...needs('assets:read', 'assets:write')(handlers.me) },
    { method: 'GET', path: '/files/:name', ...everyone(handlers.file) },
    { method: 'GET', path: '/healthz', ...everyone(handlers.alive) },
    { method: 'GET', path: '/readyz', ...everyone(handlers.ready) },
    { method: 'GET', path: '/.well-known/jwks.json', ...everyone(handlers.jwks) },
    { method: 'GET', path: '/', ...everyone(handlers.home) },
    { method: 'GET', path: '/page/:file', ...everyone(handlers.pageFile) },
    { method: 'GET', path: '/client/:file', ...everyone(handlers.clientFile) },
    { method: 'GET', path: '/openapi.json', ...everyone(handlers.openapi) },
    { method: 'GET', path: '/docs', ...everyone(handlers.docs) },
    { method: 'GET', path: '/docs/errors', ...everyone(handlers.docsErrors) },
    { method: 'GET', path: '/docs/:file', ...everyone(handlers.docsFile) },
  ]
}

/**
 * What a request passes before its handler, in the order that a client can see: (framing, route and method: the
 * edge) → shutting down → credentials → scope → rate limit → (the key's syntax and all that follows: the handler).
 */
async function passGates(
  gates: Gates,
  scopes: readonly Scope[],
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<Caller> {
  if (gates.isDraining() && request.method !== 'GET') throw shuttingDown()
  const caller = await gates.authenticate(request.raw, request.ip)
  request.exchange.caller = caller
  try {
    requireScope(caller, scopes)
  } catch (error) {
    reply.headers(await gates.rateLimiter.peek(caller))
    throw error
  }
  const { headers, fault } = await gates.rateLimiter.take(caller)
  reply.headers(headers)
  if (fault !== null) throw fault
  return caller
}
