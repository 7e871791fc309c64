/** `/healthz`: the process is alive. `/readyz`: it can do its work now. */
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Blobs } from '../assets/blobs.ts'
import { Fault } from '../errors.ts'
import type { Database } from '../records/database.ts'

export type HealthOptions = { database: Database; blobs: Blobs; isDraining: () => boolean }

export function createHealthRoutes({ database, blobs, isDraining }: HealthOptions) {
  return {
    async alive(_request: FastifyRequest, reply: FastifyReply) {
      return reply.header('cache-control', 'no-store').send({ data: { status: 'alive' } })
    },

    async ready(_request: FastifyRequest, reply: FastifyReply) {
      const probe = database.build.selectFrom('token_issuer').select('id')
      const checks = {
        database: await outcome(() => database.read(probe)),
        storage: await outcome(() => blobs.assertUsable()),
        service: isDraining() ? 'shutting_down' : 'ok',
      }
      if (Object.values(checks).some((check) => check !== 'ok')) {
        throw new Fault('service_unavailable', 'The service cannot take uploads at the moment.', {
          details: { checks },
          retryAfterSeconds: 5,
        })
      }
      return reply.header('cache-control', 'no-store').send({ data: { status: 'ready', checks } })
    },
  }
}

async function outcome(check: () => Promise<unknown>): Promise<'ok' | 'failed'> {
  try {
    await check()
    return 'ok'
  } catch {
    return 'failed'
  }
}
