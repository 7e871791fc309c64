/** Idempotency-Keys: each is held by one request at a time, and then gives that request's answer for a day. */
import { randomName } from '../asset.ts'
import { type Clock, latestMs } from '../clock.ts'
import { Fault } from '../errors.ts'
import type { Database, Step } from '../records/database.ts'
import {
  claimKey,
  findKey,
  freeKey,
  type KeptAnswer,
  type KeyScope,
  keepAnswer,
  renewKey,
} from '../records/idempotency-keys.ts'
import type { Leases } from './leases.ts'

/** The key has an answer already. */
export type Answered = { answer: KeptAnswer }

/** `answer`: another request has given one; null: it is the other steps that do not apply. */
export type Claimed = { written: true } | { written: false; answer: KeptAnswer | null }

export interface KeyClaims {
  /** @throws {Fault} `request_in_progress` */
  findAnswer(key: KeyScope): Promise<KeptAnswer | null>
  /**
   * Claims the key and carries out the steps, all or nothing. The caller sees to the lease.
   * @param key null: the request has none
   * @throws {Fault} `request_in_progress` where another request holds the key, `service_unavailable`
   */
  claim(key: KeyScope | null, token: string, steps: Step[]): Promise<Claimed>
  /** The step that keeps an answer; none without a key. */
  keeping(key: KeyScope | null, token: string, answer: KeptAnswer): Step[]
  /**
   * Holds a key for work that needs no reservation of its own, until its answer is kept or it is freed.
   * @throws {Fault} `request_in_progress` where another request holds it, `service_unavailable`
   */
  holdKey(key: KeyScope): Promise<HeldKey | Answered>
  /**
   * Writes what needs no blob, and keeps its answer for the key, both or neither.
   * @returns null where the steps do not apply; nothing was written then
   * @throws {Fault} `request_in_progress` where another request holds the key, `service_unavailable`
   */
  writeOnce(
    key: KeyScope | null,
    steps: Step[],
    answer: KeptAnswer,
  ): Promise<{ replayed: boolean; answer: KeptAnswer } | null>
}

export interface HeldKey {
  /** @throws {Fault} `service_unavailable`: not kept, or not known to be */
  keep(answer: KeptAnswer): Promise<void>
  /** Never throws: what cannot be freed now is freed when its lease ends. */
  free(): Promise<void>
}

export type KeyClaimOptions = {
  database: Database
  clock: Clock
  leases: Leases
  onTrouble: (message: string, error: unknown) => void
}

/** "Subsequent calls within 24 hours that share this key replay the original response". */
const keepAnswersMs = 24 * 60 * 60 * 1000

export function createKeyClaims({ database, clock, leases, onTrouble }: KeyClaimOptions): KeyClaims {
  const findAnswer = async (key: KeyScope): Promise<KeptAnswer | null> => {
    const state = await findKey(database, key, clock)
    if (state === null) return null
    if ('answer' in state) return state.answer
    throw inProgress()
  }

  const claim: KeyClaims['claim'] = async (key, token, steps) => {
    const lease = { token, serviceId: leases.serviceId, leaseExpiresAtMs: leases.untilMs() }
    const claims = key === null ? [] : [claimKey(database, key, lease, clock)]
    const outcome = await database.write([...claims, ...steps])
    if (outcome.written) return { written: true }
    if (outcome.failedStep >= claims.length) return { written: false, answer: null }
    const answer = key === null ? null : await findAnswer(key)
    if (answer === null) throw inProgress() // freed between the two: the client's retry will pass
    return { written: false, answer }
  }

  const keeping: KeyClaims['keeping'] = (key, token, answer) =>
    key === null
      ? []
      : [keepAnswer(database, key, token, { ...answer, expires_at_ms: latestMs(clock) + keepAnswersMs })]

  const openHeld = (key: KeyScope, token: string, letGo: () => void): HeldKey => ({
    async keep(answer) {
      const outcome = await database.write(keeping(key, token, answer))
      letGo()
      if (!outcome.written) throw takenOver()
    },
    async free() {
      letGo()
      await database
        .write([freeKey(database, key, token)])
        .catch((error) => onTrouble('an Idempotency-Key could not be freed yet', error))
    },
  })

  return {
    findAnswer,
    claim,
    keeping,
    async holdKey(key) {
      const token = randomName()
      const letGo = leases.hold((untilMs) => [renewKey(database, key, token, untilMs)])
      try {
        const claimed = await claim(key, token, [])
        if (claimed.written) return openHeld(key, token, letGo)
        letGo()
        if (claimed.answer === null) throw inProgress()
        return { answer: claimed.answer }
      } catch (error) {
        letGo()
        throw error
      }
    },
    async writeOnce(key, steps, answer) {
      const token = randomName()
      const claimed = await claim(key, token, [...steps, ...keeping(key, token, answer)])
      if (claimed.written) return { replayed: false, answer }
      return claimed.answer === null ? null : { replayed: true, answer: claimed.answer }
    },
  }
}

export function inProgress(): Fault {
  return new Fault(
    'request_in_progress',
    'A request with this Idempotency-Key is already in progress. Retry shortly.',
    { retryAfterSeconds: 1 },
  )
}

/** Fencing: this upload was away for longer than its lease, and its place was given to another. */
export function takenOver(): Fault {
  return new Fault(
    'service_unavailable',
    'The upload was interrupted for longer than its lease, so it was not stored. Retry with the same Idempotency-Key.',
    { retryAfterSeconds: 1 },
  )
}
