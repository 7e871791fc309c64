/**
 * The rows of idempotency keys. Every write carries its condition in the SQL: a key is claimed by an atomic
 * insert, and only the holder of the claim's token may keep an answer for it or free it.
 */
import type { ExpressionBuilder } from 'kysely'
import { type Clock, earliestMs } from '../clock.ts'
import { type Database, type Step, step, template } from './database.ts'
import type { Tables } from './schema.ts'

/** "Per-endpoint and per-resource": the route has the method and the path with its parameters filled in. */
export type KeyScope = { workspace: string; route: string; key: string }

export type KeptAnswer = { status: number; body: string; file_sha256: string | null }

/** What is known of a key: an answer to replay, or a request that is still running until its lease ends. */
export type KeyState = { answer: KeptAnswer } | { inFlightUntilMs: number } | null

export async function findKey(database: Database, scope: KeyScope, clock: Clock): Promise<KeyState> {
  const [row] = await database.read(
    database.build
      .selectFrom('idempotency_keys')
      .select(['status', 'body', 'file_sha256', 'expires_at_ms', 'lease_expires_at_ms'])
      .where('workspace', '=', scope.workspace)
      .where('route', '=', scope.route)
      .where('key', '=', scope.key),
  )
  if (row === undefined) return null
  if (row.body === null || row.status === null) {
    return row.lease_expires_at_ms > clock.steadyMs() ? { inFlightUntilMs: row.lease_expires_at_ms } : null
  }
  if ((row.expires_at_ms ?? 0) <= earliestMs(clock)) return null
  return { answer: { status: row.status, body: row.body, file_sha256: row.file_sha256 } }
}

/** Takes a key that is new, expired, or whose holder let its lease run out; must change a row. */
export function claimKey(
  database: Database,
  scope: KeyScope,
  claim: { token: string; serviceId: string; leaseExpiresAtMs: number },
  clock: Clock,
): Step {
  const values = { ...scope, ...claim, steadyMs: clock.steadyMs(), earliestMs: earliestMs(clock) }
  return step(claiming(database, values), { mustChange: true })
}

type Claiming = KeyScope & {
  token: string
  serviceId: string
  leaseExpiresAtMs: number
  steadyMs: number
  earliestMs: number
}

const claiming = template((query, values: Claiming) => {
  const held = {
    token: values.token,
    service_id: values.serviceId,
    lease_expires_at_ms: values.leaseExpiresAtMs,
    status: null,
    body: null,
    file_sha256: null,
    expires_at_ms: null,
  }
  const { workspace, route, key } = values
  return query
    .insertInto('idempotency_keys')
    .values({ workspace, route, key, ...held })
    .onConflict((conflict) =>
      conflict
        .columns(['workspace', 'route', 'key'])
        .doUpdateSet(held)
        .where((row) =>
          row.or([
            row.and([
              row('idempotency_keys.body', 'is', null),
              row('idempotency_keys.lease_expires_at_ms', '<=', values.steadyMs),
            ]),
            row('idempotency_keys.expires_at_ms', '<=', values.earliestMs),
          ]),
        ),
    )
})

/** Keeps the answer for replay; must change its row, else another request has taken the key over (fencing). */
export function keepAnswer(
  database: Database,
  scope: KeyScope,
  token: string,
  answer: KeptAnswer & { expires_at_ms: number },
): Step {
  return step(keeping(database, { ...scope, ...answer, token }), { mustChange: true })
}

type Keeping = KeyScope & KeptAnswer & { expires_at_ms: number; token: string }

const keeping = template((query, kept: Keeping) => {
  const { workspace, route, key, token, status, body, file_sha256, expires_at_ms } = kept
  return query
    .updateTable('idempotency_keys')
    .set({ status, body, file_sha256, expires_at_ms })
    .where(heldBy({ workspace, route, key }, token))
})

export function freeKey(database: Database, scope: KeyScope, token: string): Step {
  return step(database.build.deleteFrom('idempotency_keys').where(heldBy(scope, token)))
}

export function renewKey(database: Database, scope: KeyScope, token: string, leaseExpiresAtMs: number): Step {
  const renewed = { lease_expires_at_ms: leaseExpiresAtMs }
  return step(database.build.updateTable('idempotency_keys').set(renewed).where(heldBy(scope, token)))
}

/** Frees every claim of runs of the service that are over. */
export function freeAbandonedKeys(database: Database, livingServiceId: string): Step {
  return step(
    database.build
      .deleteFrom('idempotency_keys')
      .where('body', 'is', null)
      .where('service_id', '!=', livingServiceId),
  )
}

/** Frees the claims that nobody has renewed until their leases ended; their holders can keep no answer any more. */
export function freeLapsedKeys(database: Database, steadyMs: number): Step {
  return step(
    database.build
      .deleteFrom('idempotency_keys')
      .where('body', 'is', null)
      .where('lease_expires_at_ms', '<=', steadyMs),
  )
}

/** Of a copy of the records: nobody holds a claim there. */
export function deleteAllClaims(database: Database): Step {
  return step(database.build.deleteFrom('idempotency_keys').where('body', 'is', null))
}

/**
 * Some of those that have expired, not all: a statement that goes on for long holds up others, and one that the database
 * ends for it has done nothing.
 */
export function deleteExpiredKeys(database: Database, clock: Clock, atMost: number): Step {
  return step(
    database.build
      .deleteFrom('idempotency_keys')
      .where(({ eb, refTuple }) =>
        eb(
          refTuple('workspace', 'route', 'key'),
          'in',
          expired(database, clock, atMost).$asTuple('workspace', 'route', 'key'),
        ),
      ),
  )
}

export async function areKeysExpired(database: Database, clock: Clock): Promise<boolean> {
  return (await database.read(expired(database, clock, 1))).length > 0
}

function expired(database: Database, clock: Clock, atMost: number) {
  return database.build
    .selectFrom('idempotency_keys')
    .select(['workspace', 'route', 'key'])
    .where('expires_at_ms', '<=', earliestMs(clock))
    .limit(atMost)
}

/** The row of a claim that is still in flight and still ours. */
function heldBy(scope: KeyScope, token: string) {
  return (row: ExpressionBuilder<Tables, 'idempotency_keys'>) =>
    row.and([row.and({ ...scope, token }), row('body', 'is', null)])
}
