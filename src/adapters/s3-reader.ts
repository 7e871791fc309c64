/** Reads one object, or a part of it: what comes is what was asked for, or the read fails. */
import { Readable } from 'node:stream'
import { GetObjectCommand, HeadObjectCommand } from '@aws-sdk/client-s3'
import type { Blob } from '../assets/blobs.ts'
import { Fault } from '../errors.ts'
import { storageFault } from './disk-sync.ts'
import { isNotFound, type S3 } from './s3-connection.ts'

export type Found = { sizeBytes: number; etag: string | null; modifiedAtMs: number }

/** Null where there is no such object. */
export async function headObject(s3: S3, name: string, isAgain = false): Promise<Found | null> {
  const input = { Bucket: s3.bucket, Key: name }
  const head = await s3.find((client, options) => client.send(new HeadObjectCommand(input), options))
  if (head === null) {
    if (await isReallyMissing(s3, name)) return null
    if (isAgain)
      throw storageFault(new Error('the store gives an object of which it says that there is none'))
    return headObject(s3, name, true)
  }
  return {
    sizeBytes: head.ContentLength ?? 0,
    etag: head.ETag ?? null,
    modifiedAtMs: head.LastModified?.getTime() ?? 0,
  }
}

/**
 * An answer to HEAD has no words: a bucket that is gone, for a moment or by a wrong setting, looks like an object that
 * is. That must not be told of every asset.
 * @returns false: it is there by now
 * @throws {Fault} `service_unavailable` where it is the bucket
 */
async function isReallyMissing(s3: S3, name: string): Promise<boolean> {
  return s3.run(async (client, options) => {
    try {
      const input = { Bucket: s3.bucket, Key: name, Range: 'bytes=0-0' }
      const { Body } = await client.send(new GetObjectCommand(input), options)
      if (Body instanceof Readable) Body.destroy()
      return false
    } catch (error) {
      if ((error as Error).name === 'NoSuchKey') return true
      throw error
    }
  })
}

export async function openObject(s3: S3, name: string): Promise<Blob | null> {
  const found = await headObject(s3, name)
  if (found === null) return null
  const streams = new Set<Readable>()
  return {
    sizeBytes: found.sizeBytes,
    stream(start, end) {
      const stream = new ObjectStream(s3, { name, etag: found.etag, start, end })
      streams.add(stream)
      return stream.once('close', () => streams.delete(stream))
    },
    async read(start, end) {
      const read: Buffer[] = []
      try {
        const range = { name, etag: found.etag, start, end: end - 1 }
        for await (const slice of new ObjectStream(s3, range)) read.push(slice)
      } catch (error) {
        throw storageFault(error)
      }
      return Buffer.concat(read)
    },
    async close() {
      for (const stream of streams) stream.destroy()
    },
  }
}

/** It was there a moment ago, and bytes go for good: its asset was deleted meanwhile (case 58). */
function deleted(cause: unknown): Fault {
  return new Fault('asset_not_found', 'This file was deleted while it was asked for.', { cause })
}

type Part = { name: string; etag: string | null; start: number; end: number }

/** A line that breaks is taken up again at the byte where it broke, this often for one read. */
const resumptionsAtMost = 5

/** Asks for nothing before it is read, and lets go of the line as soon as it is destroyed. */
export class ObjectStream extends Readable {
  readonly #s3: S3
  readonly #part: Part
  readonly #ending = new AbortController()
  #at: number
  #resumptions = 0
  /** What the store sends now; null where nothing is under way. */
  #source: Readable | null = null
  #isAsking = false
  #isWanted = false
  #idle: NodeJS.Timeout | undefined

  constructor(s3: S3, part: Part) {
    super({ highWaterMark: 256 * 1024 })
    this.#s3 = s3
    this.#part = part
    this.#at = part.start
  }

  override _read(): void {
    this.#isWanted = true
    if (this.#source !== null) {
      this.#watch()
      this.#source.resume()
    } else if (!this.#isAsking) {
      this.#isAsking = true
      this.#ask()
        .catch((error) => this.destroy(isNotFound(error) ? deleted(error) : storageFault(error)))
        .finally(() => {
          this.#isAsking = false
        })
    }
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    clearTimeout(this.#idle)
    this.#ending.abort()
    this.#source?.destroy()
    this.#source = null
    done(error)
  }

  async #ask(): Promise<void> {
    const { name, etag, end } = this.#part
    const input = {
      Bucket: this.#s3.bucket,
      Key: name,
      Range: `bytes=${this.#at}-${end}`,
      ...(etag === null ? {} : { IfMatch: etag }),
    }
    const { Body, ContentRange } = await this.#s3.run(
      (client, options) => client.send(new GetObjectCommand(input), options),
      { signal: this.#ending.signal },
    )
    if (!(Body instanceof Readable)) throw new Error('the store sent no body')
    if (this.destroyed) return void Body.on('error', () => {}).destroy()
    if (!ContentRange?.startsWith(`bytes ${this.#at}-${end}/`)) {
      Body.on('error', () => {}).destroy()
      throw new Error(`the store sent ${ContentRange ?? 'everything'} for ${input.Range}`)
    }
    this.#take(Body)
  }

  #take(source: Readable): void {
    this.#source = source
    const broken = (why: Error): void => {
      if (this.#source !== source) return
      this.#source = null
      clearTimeout(this.#idle)
      source.destroy()
      if (this.destroyed) return
      if (++this.#resumptions > resumptionsAtMost) return void this.destroy(storageFault(why))
      if (this.#isWanted) this._read() // otherwise once somebody reads on
    }
    source.on('data', (slice: Buffer) => {
      if (this.#source !== source) return
      this.#at += slice.length
      if (this.#at > this.#part.end + 1) return broken(new Error('the store sent more than was asked for'))
      this.#watch()
      this.#isWanted = this.push(slice)
      if (!this.#isWanted) {
        clearTimeout(this.#idle) // it is the reader who is slow
        source.pause()
      }
      if (this.#at === this.#part.end + 1) {
        clearTimeout(this.#idle)
        this.push(null)
      }
    })
    source.on('end', () => {
      if (this.#at <= this.#part.end) broken(new Error('the store sent less than was asked for'))
    })
    source.on('error', (error) => {
      if (this.#at <= this.#part.end) broken(error)
    })
    source.on('close', () => {
      if (this.#at <= this.#part.end) broken(new Error('the line to the store was cut'))
    })
    this.#watch()
  }

  #watch(): void {
    clearTimeout(this.#idle)
    const { idleMs } = this.#s3
    this.#idle = setTimeout(() => this.#source?.destroy(new Error(`nothing came for ${idleMs} ms`)), idleMs)
  }
}
