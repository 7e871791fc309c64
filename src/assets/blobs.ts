/** The port to where bytes are kept. Keys are ours, random, and used for one attempt to store only. */
import type { Readable } from 'node:stream'

export interface Blobs {
  /** Begins a blob that nobody can see until `store` has made it durable. */
  create(key: string): BlobWriter
  /** Null where there is no such blob. */
  open(key: string): Promise<Blob | null>
  /** Removes the blob and whatever an unfinished `create` left of it; silent where there is nothing. */
  remove(key: string): Promise<void>
  /** Removes whatever blobs were begun and never stored. Only for a start, while nobody writes. */
  removeUnfinished(): Promise<void>
  /** @throws {Fault} `service_unavailable` where a blob could not be stored now */
  assertUsable(): Promise<void>
}

export interface BlobWriter {
  /**
   * The slice is good during the call alone: what is kept of it is a copy.
   * @returns a promise where the caller has to wait before it writes more
   * @throws {Fault} `service_unavailable` (disk full, I/O error), here or from `store`
   */
  write(slice: Buffer): Promise<void> | undefined
  /** Resolves when the bytes, and the name they are found by, survive a power cut. */
  store(): Promise<void>
  /** Removes every trace. Never throws: what cannot be removed now is swept later. */
  discard(): Promise<void>
}

export interface Blob {
  sizeBytes: number
  /** Streams the bytes from `start` to `end`, both included. Closes the blob when it ends or is destroyed. */
  stream(start: number, end: number): Readable
  close(): Promise<void>
}
