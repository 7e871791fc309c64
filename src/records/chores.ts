/** Work that is done every so often by one copy of the service for all of them. */
import type { ExpressionBuilder } from 'kysely'
import { type Database, type Step, step } from './database.ts'
import type { Tables } from './schema.ts'

export type Due = { nowMs: number; periodMs: number }

/** Due, or said to be due later than it can be: whoever said so went by a clock that was wrong. */
function due({ nowMs, periodMs }: Due) {
  return (row: ExpressionBuilder<Tables, 'chores'>) =>
    row.or([row('chores.due_at_ms', '<=', nowMs), row('chores.due_at_ms', '>', nowMs + periodMs)])
}

export async function isChoreDue(database: Database, name: string, when: Due): Promise<boolean> {
  const rows = await database.read(
    database.build
      .selectFrom('chores')
      .select((row) => row.case().when(due(when)(row)).then(1).else(0).end().as('due'))
      .where('name', '=', name),
  )
  return rows[0] === undefined || Number(rows[0].due) === 1
}

/** Takes a chore that is due: it is due again at `untilMs`, should who took it die. Must change a row. */
export function claimChore(
  database: Database,
  name: string,
  token: string,
  when: Due,
  untilMs: number,
): Step {
  const query = database.build
    .insertInto('chores')
    .values({ name, token, due_at_ms: untilMs })
    .onConflict((conflict) =>
      conflict.column('name').doUpdateSet({ token, due_at_ms: untilMs }).where(due(when)),
    )
  return step(query, { mustChange: true })
}

/** While it is still ours: prolongs it, or says when it is to be done next. */
export function setChoreDue(database: Database, name: string, token: string, dueAtMs: number): Step {
  return step(
    database.build
      .updateTable('chores')
      .set({ due_at_ms: dueAtMs })
      .where('name', '=', name)
      .where('token', '=', token),
  )
}
