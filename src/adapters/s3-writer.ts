/**
 * Writes one object: gathered in blocks while the body arrives. What fits into one part is one PUT; what does not goes up
 * part by part while more arrives.
 */
import type { Hash } from 'node:crypto'
import { setTimeout } from 'node:timers/promises'
import type { BlobWriter } from '../assets/blobs.ts'
import type { Fault } from '../errors.ts'
import { type BlockPool, blockBytes } from './blocks.ts'
import { storageFault } from './disk-sync.ts'
import type { S3 } from './s3-connection.ts'
import { copyObject } from './s3-copy.ts'
import { assertKept, beginPart, createMultipart, type PartBody, putObject } from './s3-parts.ts'
import { abortUploads, removeObject } from './s3-removal.ts'

/**
 * The least that S3 takes for a part, because two of these are held for each upload: one that is sent and one that is
 * gathered. 10,000 of them, which is all that one object may have, are 48 GiB.
 */
export const smallestPartBytes = 5 * 1024 * 1024

/** It has waited for the store long enough already: what is left then is removed later, as its row says. */
const whileClientWaits = { attemptMs: 2_500, callMs: 3_000 }

/**
 * A part that is cut off may still land, and then what it belongs to is aborted already: S3 keeps it for good, and
 * nothing lists it. So the one that is under way is waited for, as long as a store takes that is well.
 */
const partGraceMs = 10_000

export function createS3Writer(s3: S3, key: string, blocks: BlockPool, hash: Hash | null): BlobWriter {
  const name = s3.nameOf(key)
  const ending = new AbortController()
  let gathered: PartBody = beginPart()
  let block: Buffer | null = null
  let filledBytes = 0
  /** Whole, and to be sent. */
  let ready: PartBody[] = []
  /** Sends what is ready, one at a time; null where nothing is. Never rejects. */
  let running: Promise<void> | null = null
  let waiting: { promise: Promise<void>; resolve: () => void } | null = null
  let failure: Fault | null = null
  /** What there may be to remove: an object, and uploads in parts. */
  const left = { object: false, uploads: false }
  const multipart = createMultipart(s3, name, ending.signal)

  const gather = (slice: Buffer): void => {
    for (let at = 0; at < slice.length; ) {
      // Only now, when there is more: what fills one part exactly is one PUT.
      if (gathered.sizeBytes === smallestPartBytes) {
        ready.push(gathered)
        gathered = beginPart()
      }
      block ??= blocks.take()
      const copied = slice.copy(block, filledBytes, at)
      at += copied
      filledBytes += copied
      if (filledBytes === blockBytes) endBlock() // a part is a whole number of blocks
    }
  }

  const endBlock = (): void => {
    if (block !== null) gathered.add(block.subarray(0, filledBytes))
    block = null
    filledBytes = 0
  }

  const letGoOn = (): void => {
    waiting?.resolve()
    waiting = null
  }

  const sendReady = async (): Promise<void> => {
    for (let part = ready.shift(); part !== undefined && failure === null; part = ready.shift()) {
      if (ready.length === 0) letGoOn()
      try {
        left.uploads = true
        await multipart.send(part)
        if (!part.isRetried) blocks.give(part.slices) // else a try that was given up may still hold them
      } catch (error) {
        failure ??= storageFault(error)
      }
    }
    letGoOn()
  }

  const startSending = (): void => {
    if (running !== null || ready.length === 0 || failure !== null) return
    running = sendReady().finally(() => {
      running = null
    })
  }

  const settle = async (): Promise<void> => {
    while (running !== null) await running
  }

  const storeWhole = async (): Promise<void> => {
    left.object = true
    if (multipart.parts.length === 0) {
      await putObject(s3, name, gathered, ending.signal)
      await assertKept(s3, name, [gathered], null)
    } else {
      if (gathered.sizeBytes > 0) await multipart.send(gathered)
      await multipart.complete()
      await assertKept(s3, name, multipart.parts, multipart.parts.length)
      left.uploads = false
      // A try to begin that was told to us as failed may have begun one that only costs room.
      if (multipart.isRetried) await abortUploads(s3, name).catch(() => {})
    }
    if (!gathered.isRetried) blocks.give(gathered.slices)
    gathered = beginPart()
  }

  return {
    write(slice) {
      if (failure !== null) throw failure
      hash?.update(slice)
      gather(slice)
      startSending()
      if (ready.length === 0) return undefined
      if (waiting === null) {
        let resolve = (): void => {}
        const promise = new Promise<void>((go) => {
          resolve = go
        })
        waiting = { promise, resolve }
      }
      return waiting.promise
    },
    async store() {
      endBlock()
      await settle()
      if (failure !== null) throw failure
      try {
        await storeWhole()
      } catch (error) {
        failure ??= storageFault(error)
        throw failure
      }
    },
    async sha256() {
      if (hash === null) throw new Error('no hash was asked for')
      return hash.digest('hex')
    },
    async storeCopy(from) {
      Object.assign(left, { object: true, uploads: true })
      try {
        await copyObject(s3, s3.nameOf(from), name, ending.signal)
      } catch (error) {
        throw storageFault(error)
      }
    },
    async discard() {
      failure ??= storageFault(new Error('discarded'))
      await Promise.race([settle(), setTimeout(partGraceMs, undefined, { ref: false })])
      ending.abort()
      await settle()
      endBlock()
      blocks.give(gathered.slices.splice(0))
      ready = []
      // Uploads first: one that is just being completed would else put the object back.
      if (left.uploads) await abortUploads(s3, name, whileClientWaits)
      if (left.object) await removeObject(s3, name, whileClientWaits)
    },
  }
}
