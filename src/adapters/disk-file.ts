/** The file of one blob while it is written: bytes are appended, brought to the disk meanwhile, and synced at the end. */
import { closeSync, constants } from 'node:fs'
import { blockBytes } from './blocks.ts'
import { datasyncFile, openFile, openNew, syncFile, writeSlices } from './descriptors.ts'

export interface DiskFile {
  /** One call at a time. */
  append(slices: readonly Buffer[]): Promise<void>
  /** Makes bytes, size and times durable, and closes the file, also where that fails. */
  syncAndClose(): Promise<void>
  /** What syncs at that time ends first. */
  close(): Promise<void>
}

/** What is said of a moment, and not of the disk. */
const lacksOfDescriptors = new Set(['EMFILE', 'ENFILE'])

/** Where a disk once refuses to be written to past the page cache, nobody tries again. */
export type DirectWrites = { areRefused: boolean }

/**
 * Whole blocks behind so many bytes go to the disk at once, and not by way of the page cache: to copy them there, and to
 * bring them from there to the disk, was a third of a large upload's CPU (docs/performance.md). A small file stays in
 * the cache, for it may be asked for soon.
 */
const directFromBytes = 1024 * 1024

/**
 * After so many bytes what is in the cache is brought to the disk, while more arrives: the last sync, for which the client
 * waits, then has little left to do, and uploads that run at once do not all wait for the disk at the same time.
 */
const syncEveryBytes = 4 * 1024 * 1024

/** Makes the file, which must not be there. */
export async function createDiskFile(path: string, directWrites: DirectWrites): Promise<DiskFile> {
  const file = await openNew(path)
  /** The same file once more, for what goes past the page cache; null before, and where that is not to be had. */
  let direct: number | null = null
  let takesDirect = true
  let position = 0
  let unsyncedBytes = 0
  /** Never rejects: a failure shows in the next call. */
  let syncing: Promise<void> | null = null
  let failure: unknown = null

  /**
   * The file that is open takes all of it just as well: so whatever is said to this is no fault of the upload.
   * @returns null where these go by way of the page cache
   */
  const directFor = async (slices: readonly Buffer[]): Promise<number | null> => {
    if (!takesDirect || directWrites.areRefused || !mayBeDirect(slices, position)) return null
    try {
      direct ??= await openFile(path, constants.O_WRONLY | constants.O_DIRECT)
    } catch (error) {
      takesDirect = false
      if (!lacksOfDescriptors.has(codeOf(error))) directWrites.areRefused = true
    }
    return direct
  }

  const appendDirect = async (to: number, slices: readonly Buffer[]): Promise<readonly Buffer[]> => {
    try {
      return await write(to, slices)
    } catch (error) {
      if (codeOf(error) !== 'EINVAL') throw error
      directWrites.areRefused = true
      return slices
    }
  }

  const appendCached = async (slices: readonly Buffer[]): Promise<readonly Buffer[]> => {
    const before = position
    const rest = await write(file, slices)
    unsyncedBytes += position - before
    return rest
  }

  /** @returns what was not written yet */
  const write = async (to: number, slices: readonly Buffer[]): Promise<readonly Buffer[]> => {
    const bytes = await writeSlices(to, slices, position)
    if (bytes === 0) throw new Error('the disk took no bytes')
    position += bytes
    return dropBytes(slices, bytes)
  }

  const syncSome = (): void => {
    if (syncing !== null || unsyncedBytes < syncEveryBytes) return
    unsyncedBytes = 0
    syncing = datasyncFile(file)
      .catch((error) => {
        failure = error
      })
      .finally(() => {
        syncing = null
      })
  }

  const closeBoth = (): void => {
    try {
      if (direct !== null) closeSync(direct)
    } finally {
      closeSync(file)
    }
  }

  return {
    async append(slices) {
      let rest = slices
      while (rest.length > 0) {
        if (failure !== null) throw failure
        const to = await directFor(rest)
        rest = await (to === null ? appendCached(rest) : appendDirect(to, rest))
      }
      syncSome()
    },
    async syncAndClose() {
      await syncing
      try {
        // After a failed sync the kernel may have dropped the pages: the file is given up, never synced again.
        if (failure !== null) throw failure
        await syncFile(file)
      } finally {
        closeBoth()
      }
    },
    async close() {
      await syncing
      closeBoth()
    },
  }
}

const codeOf = (error: unknown): string => (error as NodeJS.ErrnoException).code ?? ''

/** The disk takes whole sectors alone, and so may its driver of memory. */
function mayBeDirect(slices: readonly Buffer[], position: number): boolean {
  return (
    position >= directFromBytes &&
    position % blockBytes === 0 &&
    slices.every(({ length }) => length === blockBytes)
  )
}

function dropBytes(slices: readonly Buffer[], bytes: number): readonly Buffer[] {
  let left = bytes
  const rest: Buffer[] = []
  for (const slice of slices) {
    if (left < slice.length) rest.push(slice.subarray(left))
    left = Math.max(0, left - slice.length)
  }
  return rest
}
