/** The port to where bytes are kept. Keys are ours, random, and used for one attempt to store only. */
import type { Readable } from 'node:stream'

export interface Blobs {
  /** A key that nothing has had, for one attempt. */
  newKey(): string
  /**
   * Begins a blob that nobody can see until `store` has made it durable.
   * @param hashed the hash of its bytes is wanted
   */
  create(key: string, hashed?: 'hashed'): BlobWriter
  /** Null where there is no such blob. */
  open(key: string): Promise<Blob | null>
  /**
   * Removes the blob and whatever an unfinished `create` left of it; silent where there is nothing.
   * @throws {Fault} `service_unavailable` where there is still something
   */
  remove(key: string): Promise<void>
  /** All keys that there are, of blobs begun and stored; what comes or goes meanwhile may be among them or not. */
  list(): AsyncIterable<string[]>
  /** Null where there is neither a blob nor the beginning of one. */
  stat(key: string): Promise<{ sizeBytes: number; modifiedAtMs: number } | null>
  /** Removes what it can of blobs that were begun and never stored. Only for a start, while nobody writes. */
  removeUnfinished(): Promise<void>
  /** @throws {Fault} `service_unavailable` where a blob could not be stored now */
  assertUsable(): Promise<void>
  /**
   * How much more can be kept; infinite where the store has no end.
   * @throws {Fault} `service_unavailable`
   */
  freeBytes(): Promise<number>
  /**
   * The id of the store, by which records know that it is theirs; null where it has none yet.
   * @throws {Fault} `service_unavailable`
   */
  identity(): Promise<string | null>
  /**
   * Gives the store its id, durable when it resolves; one that is there already stays.
   * @throws {Fault} `service_unavailable`
   */
  identify(id: string): Promise<void>
  /** Only where each blob is a file of its own: its path below the folder of all of them, with slashes. */
  pathOf?(key: string): string
  /** Only where others than we can put and get the bytes. */
  presign?: Presign
}

/** URLs by which the bytes of one blob are put or got, past us, until they end. */
export interface Presign {
  /**
   * For exactly these bytes: the store itself refuses others.
   * @param bound `sha256` is hex
   * @returns the headers that have to be sent, their names in lower case
   */
  put(
    key: string,
    bound: {
      sizeBytes: number
      contentType: string
      sha256: string | null
      signedAtMs: number
      expiresSeconds: number
    },
  ): Promise<{ url: string; headers: Record<string, string> }>
  get(
    key: string,
    forced: {
      contentType: string
      contentDisposition: string
      cacheControl: string
      signedAtMs: number
      expiresSeconds: number
    },
  ): Promise<string>
  /** Of all these URLs, for the rules of browsers. */
  origin(): Promise<string>
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
  /**
   * Of all bytes that were written, in hex; asked for once, after `store` has resolved, and of a blob that is `hashed`.
   * @throws {Fault} `service_unavailable`
   */
  sha256(): Promise<string>
  /**
   * Instead of `write` and `store`. Takes the bytes of another blob, as durable as others when it resolves. What becomes of the
   * other one changes nothing about them.
   */
  storeCopy(key: string): Promise<void>
  /**
   * Ends the blob and removes every trace; may be called again.
   * @throws {Fault} `service_unavailable` where something is still there
   */
  discard(): Promise<void>
}

export interface Blob {
  sizeBytes: number
  /**
   * Streams the bytes from `start` to `end`, both included. Closes the blob when it ends or is destroyed.
   * @param passing the reader has done with each piece once it takes the next but one: its memory is then used again
   */
  stream(start: number, end: number, passing?: 'passing'): Readable
  /**
   * The bytes from `start` up to `end`, which is not among them. Before `stream` alone.
   * @throws {Fault} `service_unavailable` where they cannot all be read
   */
  read(start: number, end: number): Promise<Buffer>
  close(): Promise<void>
}
