/**
 * How much may be under way at once: uploads in number and in bytes, and never so much that the disk fills up. Who
 * comes above that is told to come back, before a byte of the body is read.
 */
import { Fault } from '../errors.ts'
import type { Blobs } from './blobs.ts'

export type AdmissionLimits = {
  maxUploads: number
  /** All uploads under way together, by what they announced. */
  maxUploadBytes: number
  /** What one upload may announce, or may have where it announces nothing. */
  largestUploadBytes: number
  /** What is to stay free where blobs are kept, when all that was admitted has arrived. */
  minFreeBytes: number
}

export type Room = 'ok' | 'filling' | 'low'

export interface Admission {
  /**
   * @param bytes what the upload announces, or the most that it may have
   * @returns ends the stay; call it once
   * @throws {Fault} `service_unavailable` with `Retry-After`
   */
  enter(bytes: number): Promise<() => void>
  /**
   * For what takes no bytes now and leads to some.
   * @throws {Fault} `service_unavailable` where there is too little room for the least of them
   */
  assertRoom(): Promise<void>
  /** True where the next upload would be one too many, or could be too large beside the others. */
  isFull(): boolean
  /**
   * `low`: uploads are refused; `filling`: soon they will be.
   * @throws {Fault} `service_unavailable` where it cannot be found out
   */
  room(): Promise<Room>
}

/** Free space is asked for this often: a disk that fills faster than the guard is wide has its own error. */
const freeBytesAgeMs = 250

export function createAdmission(
  limits: AdmissionLimits,
  blobs: Pick<Blobs, 'freeBytes'>,
  now: () => number = () => performance.now(),
): Admission {
  let uploads = 0
  let announcedBytes = 0
  let countedBytes = 0
  let asked: { atMs: number; free: Promise<number> } | null = null

  const freeBytes = (): Promise<number> => {
    if (asked === null || now() - asked.atMs > freeBytesAgeMs) {
      const free = blobs.freeBytes()
      asked = { atMs: now(), free }
      free.catch(() => {
        asked = null
      })
    }
    return asked.free
  }

  const enter = (bytes: number): (() => void) => {
    if (uploads >= limits.maxUploads) {
      throw tooMany(`${limits.maxUploads} uploads are under way, and no more are taken at once`)
    }
    // A direct upload may be larger than all the others together: it counts as the largest of those, or two slow ones
    // would take every place. Its room on the disk counts whole.
    const counted = Math.min(bytes, limits.largestUploadBytes)
    if (countedBytes + counted > limits.maxUploadBytes) {
      throw tooMany(
        `the uploads under way have ${countedBytes} bytes together, and with this one they would have more than the ${limits.maxUploadBytes} that are taken at once`,
      )
    }
    uploads++
    announcedBytes += bytes
    countedBytes += counted
    return () => {
      uploads--
      announcedBytes -= bytes
      countedBytes -= counted
    }
  }

  return {
    async enter(bytes) {
      const leave = enter(bytes)
      try {
        // What is admitted and still to come needs its room too, this upload's own bytes among it.
        if ((await freeBytes()) - announcedBytes < limits.minFreeBytes) throw lowSpace()
        return leave
      } catch (error) {
        leave()
        throw error
      }
    },
    async assertRoom() {
      if ((await freeBytes()) - announcedBytes < limits.minFreeBytes) throw lowSpace()
    },
    isFull: () =>
      uploads >= limits.maxUploads || countedBytes + limits.largestUploadBytes > limits.maxUploadBytes,
    async room() {
      const free = (await freeBytes()) - announcedBytes
      if (free < limits.minFreeBytes || free <= 0) return 'low'
      return free < 2 * limits.minFreeBytes ? 'filling' : 'ok'
    },
  }
}

function tooMany(why: string): Fault {
  return new Fault('service_unavailable', `The service is busy: ${why}. Nothing was read. Retry shortly.`, {
    retryAfterSeconds: 2,
  })
}

/** How much is free is the operator's to know: the log and `/readyz` lead there. */
function lowSpace(): Fault {
  return new Fault(
    'service_unavailable',
    'There is too little room left to store files. Nothing was read. Files that are stored can still be fetched; retry later.',
    { retryAfterSeconds: 30, cause: new Error('free space is below ASSETD_MIN_FREE_BYTES') },
  )
}
