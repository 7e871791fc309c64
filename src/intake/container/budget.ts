/**
 * A bound on how many parts a file may be cut into, so that our work follows its bytes and not its structure:
 * `free` of them, and one more for each `bytesEach` bytes already read. Files of real programs stay far below.
 */
import type { MediaType } from '../../asset.ts'
import { corrupt } from './refusal.ts'

export type Budget = { readonly of: string; readonly free: number; readonly bytesEach: number }

/** Counts one part, which is at byte `at`; throws where that is more than the budget has. */
export type Spend = (at: number) => void

/** Made once for a file: a count that begins anew in each of its parts would bound nothing. */
export function spending(type: MediaType, { of, free, bytesEach }: Budget): Spend {
  let count = 0
  return (at) => {
    count++
    if ((count - free) * bytesEach <= at) return
    throw corrupt(
      type,
      `it exceeds our budget of ${of}: more than ${free} of them, and one for each ${bytesEach} bytes, by byte ${at}`,
    )
  }
}
