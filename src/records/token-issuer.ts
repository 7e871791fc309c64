/** The embedded token issuer's one row: names and signing key, made once and kept. */
import type { Selectable } from 'kysely'
import { type Database, type Step, step } from './database.ts'
import type { TokenIssuerTable } from './schema.ts'

export type TokenIssuerRow = Omit<Selectable<TokenIssuerTable>, 'id'>

/** Changes nothing where an issuer stands already, so that two who make one at once agree on the first. */
export function insertTokenIssuer(database: Database, row: TokenIssuerRow): Step {
  return step(
    database.build
      .insertInto('token_issuer')
      .values({ id: 1, ...row })
      .onConflict((conflict) => conflict.column('id').doNothing()),
  )
}

export async function findTokenIssuer(database: Database): Promise<TokenIssuerRow | null> {
  const rows = await database.read(
    database.build
      .selectFrom('token_issuer')
      .select(['issuer', 'audience', 'key_id', 'private_jwk', 'created_at_ms'])
      .where('id', '=', 1),
  )
  return rows[0] ?? null
}
