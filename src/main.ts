/** The wiring of the service: configuration → adapters → app → listen → drain. Alone knows every adapter. */
import { randomUUID } from 'node:crypto'
import type { AddressInfo } from 'node:net'
import type { FastifyBaseLogger } from 'fastify'
import { pino } from 'pino'
import packageJson from '../package.json' with { type: 'json' }
import { openCounters } from './adapters/counters.ts'
import { openStores } from './adapters/stores.ts'
import { createUrlFetch } from './adapters/url-fetch.ts'
import { createRoutes } from './app.ts'
import { newRequestId } from './asset.ts'
import { createAdmission } from './assets/admission.ts'
import { sweepAbandonedDirectUploads } from './assets/direct-sweep.ts'
import type { DirectDoor } from './assets/direct-uploads.ts'
import { createKeyClaims } from './assets/key-claims.ts'
import { createLeases } from './assets/leases.ts'
import { createPutTarget } from './assets/put-target.ts'
import { createReservations } from './assets/reservations.ts'
import { sweepAbandoned } from './assets/sweep.ts'
import { maxBodyBytes } from './assets/upload.ts'
import { createVerifier } from './assets/verifier.ts'
import { startChores } from './chores.ts'
import type { Config } from './config.ts'
import { isLoopback } from './config-values.ts'
import { createApiKeys } from './gate/api-key.ts'
import { createAuthenticate } from './gate/authenticate.ts'
import { createBearerTokens, type Issuer } from './gate/bearer.ts'
import { createCors } from './gate/cors.ts'
import { createRateLimiter } from './gate/rate-limit.ts'
import { createSignedUrls } from './gate/signed-url.ts'
import { openTokenIssuer } from './gate/token-issuer.ts'
import { connectionShare, descriptorLimit } from './http/crowd.ts'
import { type Edge, openEdge } from './http/edge.ts'
import { createLinger } from './http/linger.ts'
import { createHttpServer, type HttpServer } from './http/server.ts'
import type { Database } from './records/database.ts'
import { createUploadRoute } from './routes/assets.ts'
import { createBatchRoutes } from './routes/batches.ts'
import { createDirectRoutes } from './routes/direct-uploads.ts'
import { createDocsRoutes } from './routes/docs.ts'
import { createFileRoute } from './routes/files.ts'
import { createHealthRoutes } from './routes/health.ts'
import { createLibraryRoutes } from './routes/library.ts'
import { createPageRoutes, originsBeside } from './routes/page.ts'
import { createResolveRoute } from './routes/resolve.ts'

export const version: string = packageJson.version

export type Service = {
  /** Where clients reach it. */
  publicUrl: string
  /** Where it listens, as `http://host:port`. */
  address: string
  /** Where its data is, in words. */
  place: string
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
 * @param joined the id of a service that runs on the data folder already: this process becomes a further one of it,
 *   and leaves the folder's lock and the sweep of what others left to its first; null for a service of its own
 * @throws {AddressUnusable | StoreRefused}
 */
export async function startService(
  config: Config,
  log: FastifyBaseLogger,
  joined: string | null = null,
): Promise<Service> {
  const opening = { publicUrl: config.publicUrl ?? '' }
  const maxConnections = connectionShare(descriptorLimit())
  const http = createHttpServer({
    newRequestId,
    docsUrl: () => `${opening.publicUrl}/docs/errors`,
    onRefused: ({ requestId, fault, status, address }) =>
      log.info(
        { request_id: requestId, status, code: fault.code, reason: fault.details?.reason, address },
        'request',
      ),
    maxConnections,
    onFull: (closed) =>
      log.warn({ closed, max: maxConnections }, 'too many connections: the longest idle ones were closed'),
  })
  const address = await listen(http, config)
  opening.publicUrl = config.publicUrl ?? address
  try {
    return await openService(config, log, http, { publicUrl: opening.publicUrl, address, joined })
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
  { publicUrl, address, joined }: { publicUrl: string; address: string; joined: string | null },
): Promise<Service> {
  const counters = await openCounters(config.stores.redisUrl, {
    onGone: (message) => log.warn(message),
    onBack: (message) => log.info(message),
  })
  const stores = await openStores(config, joined !== null)
  const { database, blobs, clock, isAlone } = stores
  const onTrouble = (message: string, err: unknown): void => log.error({ err }, message)
  const filesUrl = (): string => config.filesBaseUrl ?? `${publicUrl}/files`
  const kept = { database, blobs, clock, onTrouble, filesUrl }
  const serviceId = joined ?? randomUUID()
  const leases = createLeases({ ...kept, serviceId, leaseSeconds: config.idempotencyLeaseSeconds })
  const abandoned = isAlone ? await sweepAbandoned(database, blobs, leases) : 0
  if (abandoned > 0) log.warn({ abandoned }, 'took back uploads that an earlier run left unfinished')

  let draining = false
  const apiKeys = createApiKeys(database, config.apiKey, clock.wallMs)
  const tokenIssuer = await openTokenIssuer(database, clock)
  const outside = await outsideIssuer(config, log)
  const issuers = [tokenIssuer.trust, ...(outside === null ? [] : [outside.trust])]
  const bearerTokens = createBearerTokens(issuers, clock.wallMs)
  const claims = createKeyClaims({ ...kept, leases })
  const reservations = createReservations({ ...kept, leases, claims })
  const admission = createAdmission({ ...config, largestUploadBytes: maxBodyBytes(config) }, blobs)
  const docsUrl = (): string => `${publicUrl}/docs/errors`
  const pace = { idleSeconds: config.bodyIdleSeconds, minBytesPerSecond: config.minBytesPerSecond }
  const onDifferentReplay = (replay: object): void =>
    log.warn(replay, 'an Idempotency-Key was used again with another file or body')
  const upload = createUploadRoute({
    admission,
    reservations,
    limits: { maxFileBytes: config.maxFileBytes, allowedTypes: config.allowedTypes },
    pace,
    onDifferentReplay,
  })
  const signedUrls = createSignedUrls(tokenIssuer.secretFor('signed upload URLs'), clock.wallMs)
  const target = createPutTarget(blobs, { publicUrl: () => publicUrl, sign: signedUrls.sign })
  const direct: DirectDoor = {
    ...kept,
    leases,
    claims,
    reservations,
    admission,
    limits: {
      maxFileBytes: Math.min(config.directMaxBytes, target.maxBytes),
      allowedTypes: new Set([...config.allowedTypes, 'zip']),
    },
    expirySeconds: config.directExpirySeconds,
    target,
  }
  if (isAlone) await sweepAbandonedDirectUploads(direct)
  const verifier = createVerifier(direct)
  const directRoutes = { ...direct, pace, signedUrls, onDifferentReplay, isDraining: () => draining }
  const routes = createRoutes(
    {
      upload,
      ...createLibraryRoutes(direct),
      ...createDirectRoutes(directRoutes),
      ...createBatchRoutes({ ...directRoutes, verifier, docsUrl }),
      resolve: createResolveRoute({
        ...direct,
        limits: { maxFileBytes: config.maxFileBytes, allowedTypes: config.allowedTypes },
        fetchUrl: config.urlImport ? createUrlFetch() : null,
        pace,
        docsUrl,
      }),
      file: createFileRoute({ ...config, database, blobs, clock }),
      ...createHealthRoutes({
        database,
        blobs,
        admission,
        issuerReachable: outside?.reachable ?? null,
        countersReachable: counters.isReachable,
        isDraining: () => draining,
      }),
      ...createPageRoutes({
        publicUrl: () => publicUrl,
        otherOrigins: await originsBeside(config.filesBaseUrl, blobs),
      }),
      ...createDocsRoutes({ publicUrl: () => publicUrl, version, jwks: tokenIssuer.jwks }),
    },
    {
      authenticate: createAuthenticate({ apiKeys, bearerTokens, counters: counters.ofFailures }),
      rateLimiter: createRateLimiter(counters.ofRequests, config.rateLimit),
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
    docsUrl,
    pathPrefix: () => new URL(publicUrl).pathname.replace(/\/$/, ''),
    isDraining: () => draining,
  })
  const stopChores = startChores({
    direct,
    verifier,
    apiKeys,
    leaseSeconds: config.idempotencyLeaseSeconds,
    log,
  })

  return {
    publicUrl,
    address,
    place: stores.place,
    database,
    async stop() {
      draining = true
      await drain(http, edge, config.shutdownGraceSeconds * 1000)
      stopChores()
      await Promise.race([verifier.stop(), delay(5_000)]) // what is not done then is verified after the next start
      leases.close()
      await apiKeys.flush().catch((err) => log.error({ err }, 'the last uses of keys could not be written'))
      counters.close()
      await stores.close()
    },
  }
}

async function outsideIssuer(
  { oauth }: Config,
  log: FastifyBaseLogger,
): Promise<{ trust: Issuer; reachable: () => boolean } | null> {
  if (oauth === null) return null
  const { createRemoteIssuerKeys } = await import('./adapters/remote-issuer.ts')
  const onTrouble = (err: unknown) => log.warn({ err }, 'the keys of the token issuer cannot be fetched')
  const { keys, reachable } = createRemoteIssuerKeys({ issuer: oauth.issuer, onTrouble })
  return { trust: { ...oauth, keys }, reachable }
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

/** Lines that wait for a slow reader; above this the newest are dropped. */
const waitingLogBytes = 1024 * 1024

/**
 * JSON lines on standard error, with nothing in them that a client may call secret. Written beside the work: a disk that
 * is full, or a reader that no longer reads, costs lines and holds nothing up.
 */
export function createLog(level: Config['logLevel']): FastifyBaseLogger {
  return pino(
    {
      level,
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
    },
    pino.destination({ fd: 2, sync: false, maxLength: waitingLogBytes }).on('error', () => {}),
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
