/** `/healthz`: the process is alive. `/readyz`: it can do its work now. */
import { setTimeout } from 'node:timers/promises'
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Admission } from '../assets/admission.ts'
import type { Blobs } from '../assets/blobs.ts'
import { Fault } from '../errors.ts'
import type { Database } from '../records/database.ts'

export type HealthOptions = {
  database: Database
  blobs: Blobs
  admission: Admission
  /** Null where no outside issuer of tokens is set. */
  issuerReachable: (() => boolean) | null
  /** Null where counters are in memory. */
  countersReachable: (() => boolean) | null
  isDraining: () => boolean
}

/** What a check may say beside `ok`, and whether uploads can work all the same. */
const words = {
  failed: 'stops uploads',
  low_space: 'stops uploads',
  shutting_down: 'stops uploads',
  filling: 'degrades',
  full: 'degrades',
  unreachable: 'degrades',
} as const

const probeMs = 2_000

type Word = 'ok' | keyof typeof words
type Checks = Record<string, Word>

export function createHealthRoutes(options: HealthOptions) {
  return {
    async alive(_request: FastifyRequest, reply: FastifyReply) {
      return reply.header('cache-control', 'no-store').send({ data: { status: 'alive' } })
    },

    async ready(_request: FastifyRequest, reply: FastifyReply) {
      const checks = await check(options)
      const found = Object.values(checks)
      if (found.some((word) => word !== 'ok' && words[word] === 'stops uploads')) {
        throw new Fault('service_unavailable', 'The service cannot take uploads at the moment.', {
          details: { checks },
          retryAfterSeconds: 5,
        })
      }
      const status = found.every((word) => word === 'ok') ? 'ready' : 'degraded'
      return reply.header('cache-control', 'no-store').send({ data: { status, checks } })
    },
  }
}

/** Names and words alone: whoever asks may be anybody. */
async function check(options: HealthOptions): Promise<Checks> {
  const { database, blobs, admission, issuerReachable, countersReachable, isDraining } = options
  const [ofDatabase, ofStorage] = await Promise.all([
    outcome(async () => {
      await database.assertUsable()
      return 'ok'
    }),
    outcome(async () => {
      await blobs.assertUsable()
      const room = await admission.room()
      return room === 'low' ? 'low_space' : room
    }),
  ])
  return {
    database: ofDatabase,
    storage: ofStorage,
    uploads: admission.isFull() ? 'full' : 'ok',
    ...(issuerReachable === null ? {} : { token_issuer: issuerReachable() ? 'ok' : 'unreachable' }),
    ...(countersReachable === null ? {} : { counters: countersReachable() ? 'ok' : 'unreachable' }),
    service: isDraining() ? 'shutting_down' : 'ok',
  }
}

/** Who asks wants to know now: what gives no answer has failed. */
async function outcome(work: () => Promise<Word>): Promise<Word> {
  try {
    return await Promise.race([work(), setTimeout(probeMs, 'failed' as const, { ref: false })])
  } catch {
    return 'failed'
  }
}
