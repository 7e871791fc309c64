/** The wiring of the service: configuration → adapters → app → listen → drain. Alone knows every adapter. */
import { randomUUID } from 'node:crypto'
import type { AddressInfo } from 'node:net'
import type { FastifyBaseLogger } from 'fastify'
import { pino } from 'pino'
import packageJson from '../package.json' with { type: 'json' }
import { makeFolder, openRecords, unusable } from './adapters/data-folder.ts'
import { createDiskBlobs } from './adapters/disk-blobs.ts'
import { createMemoryCounters } from './adapters/memory-counters.ts'
import { createRemoteIssuerKeys } from './adapters/remote-issuer.ts'
import { lockFolder } from './adapters/service-lock.ts'
import { createRoutes } from './app.ts'
import { newRequestId } from './asset.ts'
import { createReservations } from './assets/reservations.ts'
import { sweepAbandoned, sweepExpiredKeys } from './assets/sweep.ts'
import { type Config, isLoopback } from './config.ts'
import { type ApiKeys, createApiKeys } from './gate/api-key.ts'
import { createAuthenticate } from './gate/authenticate.ts'
import { createBearerTokens, type Issuer } from './gate/bearer.ts'
import { createCors } from './gate/cors.ts'
import { createRateLimiter } from './gate/rate-limit.ts'
import { openTokenIssuer } from './gate/token-issuer.ts'
import { type Edge, openEdge } from './http/edge.ts'
import { createLinger } from './http/linger.ts'
import { createHttpServer, type HttpServer } from './http/server.ts'
import type { Database } from './records/database.ts'
import { createUploadRoute } from './routes/assets.ts'
import { createDocsRoutes } from './routes/docs.ts'
import { createFileRoute } from './routes/files.ts'
import { createHealthRoutes } from './routes/health.ts'

export const version: string = packageJson.version

export type Service = {
  /** Where clients reach it. */
  publicUrl: string
  /** Where it listens, as `http://host:port`. */
  address: string
  database: Database
  /** Takes no more uploads, lets running ones finish within the grace period, and closes everything. */
  stop(): Promise<void>
}

/** The address we were to listen on cannot be had; the message is one line that names it. */
export class AddressUnusable extends Error {
  override readonly name = 'AddressUnusable'
}

/**
 * Starts the service. The port is taken before anything is made.
 * @throws {AddressUnusable | FolderUnusable | FolderInUse}
 */
export async function startService(config: Config, log: FastifyBaseLogger): Promise<Service> {
  const opening = { publicUrl: config.publicUrl ?? '' }
  const http = createHttpServer({
    newRequestId,
    docsUrl: () => `${opening.publicUrl}/docs/errors`,
    onRefused: ({ requestId, fault, status, address }) =>
      log.info(
        { request_id: requestId, status, code: fault.code, reason: fault.details?.reason, address },
        'request',
      ),
  })
  const address = await listen(http, config)
  opening.publicUrl = config.publicUrl ?? address
  try {
    return await openService(config, log, http, { publicUrl: opening.publicUrl, address })
  } catch (error) {
    http.server.close()
    http.server.closeAllConnections()
    throw error
  }
}

async function openService(
  config: Config,
  log: FastifyBaseLogger,
  http: HttpServer,
  { publicUrl, address }: { publicUrl: string; address: string },
): Promise<Service> {
  makeFolder(config.dataDir)
  const unlock = lockOrExplain(config.dataDir)
  const database = await openRecords(config.dataDir)
  const blobs = await createDiskBlobs(config.dataDir).catch((error) => {
    throw unusable(config.dataDir, error)
  })
  const serviceId = randomUUID()
  const abandoned = await sweepAbandoned(database, blobs, serviceId)
  if (abandoned > 0) log.warn({ abandoned }, 'took back uploads that an earlier run left unfinished')

  let draining = false
  const apiKeys = createApiKeys(database, config.apiKey)
  const tokenIssuer = await openTokenIssuer(database)
  const bearerTokens = createBearerTokens([tokenIssuer.trust, ...outsideIssuers(config, log)])
  const reservations = createReservations({
    database,
    blobs,
    serviceId,
    leaseSeconds: config.idempotencyLeaseSeconds,
    publicUrl: () => publicUrl,
    onTrouble: (message, err) => log.error({ err }, message),
  })
  const upload = createUploadRoute({
    reservations,
    limits: { maxFileBytes: config.maxFileBytes, allowedTypes: config.allowedTypes },
    pace: { idleSeconds: config.bodyIdleSeconds, minBytesPerSecond: config.minBytesPerSecond },
    onDifferentReplay: (replay) => log.warn(replay, 'an Idempotency-Key was used again with another file'),
  })
  const routes = createRoutes(
    {
      upload,
      file: createFileRoute({ database, blobs }),
      ...createHealthRoutes({ database, blobs, isDraining: () => draining }),
      ...createDocsRoutes({ publicUrl: () => publicUrl, version, jwks: tokenIssuer.jwks }),
    },
    {
      // Two tables: a flood of addresses that guess must not push the buckets of good credentials out.
      authenticate: createAuthenticate({ apiKeys, bearerTokens, counters: createMemoryCounters() }),
      rateLimiter: createRateLimiter(createMemoryCounters(), config.rateLimit),
      isDraining: () => draining,
    },
  )
  const edge = await openEdge({
    http,
    routes,
    log,
    cors: createCors(config.corsOrigins),
    linger: createLinger(),
    trustedProxies: config.trustedProxies,
    newRequestId,
    docsUrl: () => `${publicUrl}/docs/errors`,
    pathPrefix: () => new URL(publicUrl).pathname.replace(/\/$/, ''),
    isDraining: () => draining,
  })
  const stopChores = startChores(database, apiKeys, log)

  return {
    publicUrl,
    address,
    database,
    async stop() {
      draining = true
      await drain(http, edge, config.shutdownGraceSeconds * 1000)
      stopChores()
      reservations.close()
      await apiKeys.flush().catch((err) => log.error({ err }, 'the last uses of keys could not be written'))
      await database.close()
      unlock()
    },
  }
}

function lockOrExplain(dataDir: string): () => void {
  try {
    return lockFolder(dataDir)
  } catch (error) {
    if ((error as Error).name === 'FolderInUse') throw error
    throw unusable(dataDir, error)
  }
}

function outsideIssuers({ oauth }: Config, log: FastifyBaseLogger): Issuer[] {
  if (oauth === null) return []
  const onTrouble = (err: unknown) => log.warn({ err }, 'the keys of the token issuer cannot be fetched')
  return [{ ...oauth, keys: createRemoteIssuerKeys({ issuer: oauth.issuer, onTrouble }) }]
}

/** Work that is nobody's request. */
function startChores(database: Database, apiKeys: ApiKeys, log: FastifyBaseLogger): () => void {
  const every = (ms: number, what: string, work: () => Promise<void>): NodeJS.Timeout =>
    setInterval(() => work().catch((err) => log.error({ err }, `${what} failed`)), ms).unref()
  const timers = [
    every(10_000, 'writing down the last uses of keys', () => apiKeys.flush()),
    every(600_000, 'forgetting old answers', () => sweepExpiredKeys(database)),
  ]
  return () => timers.forEach(clearInterval)
}

/** The listener stays open while uploads run, so that `/readyz` and refusals are answered; then all is closed. */
async function drain({ server }: HttpServer, edge: Edge, graceMs: number): Promise<void> {
  await Promise.race([edge.idle(), delay(graceMs)])
  server.close()
  server.closeAllConnections()
  // Uploads that were cut off take themselves back.
  await Promise.race([edge.idle(), delay(5_000)])
}

function delay(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms).unref())
}

function listen({ server }: HttpServer, { host, port }: Config): Promise<string> {
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      const why =
        error.code === 'EADDRINUSE'
          ? 'is already in use: stop what listens there, or set ASSETD_PORT to another port'
          : `cannot be listened on (${error.code}): set ASSETD_HOST to an address of this machine, and ASSETD_PORT to a port that this user may take`
      reject(new AddressUnusable(`${host}:${port} ${why}`))
    })
    server.listen({ host, port }, () => {
      const bound = server.address() as AddressInfo
      resolve(`http://${host.includes(':') ? `[${host}]` : host}:${bound.port}`)
    })
  })
}

/** JSON lines on standard error, with nothing in them that a client may call secret. */
export function createLog(level: Config['logLevel']): FastifyBaseLogger {
  return pino(
    {
      level,
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
    },
    pino.destination({ fd: 2, sync: true }),
  ) as FastifyBaseLogger
}

/** What an operator should know about the settings, though they do not stop the start. */
export function warnings(config: Config): string[] {
  const isPlain = !(config.publicUrl ?? '').startsWith('https://')
  if (isLoopback(config.host) || !isPlain) return []
  return [
    `listening on ${config.host} without an https ASSETD_PUBLIC_URL: API keys and files cross the network in the clear`,
  ]
}
