/**
 * A bound on how many parts a file may be cut into, so that our work follows its bytes and not its structure:
 * `free` of them, and one more for each `bytesEach` bytes already read. Files of real programs stay far below.
 */
import type { MediaType } from '../../asset.ts'
import { corrupt } from './refusal.ts'

export type Budget = { readonly of: string; readonly free: number; readonly bytesEach: number }

/** Throws when `count` parts up to byte `at` are more than the budget has. */
export function withinBudget(type: MediaType, budget: Budget, count: number, at: number): void {
  if (count <= budget.free || count <= budget.free + at / budget.bytesEach) return
  throw corrupt(
    type,
    `it exceeds our budget of ${budget.of}: more than ${budget.free} of them, and one for each ` +
      `${budget.bytesEach} bytes, by byte ${at}`,
  )
}
