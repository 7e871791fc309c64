/**
 * Reads the one file out of a multipart body: parts → count → look inside → hand on to be stored.
 * Everything beside the file is counted against a cap and forgotten.
 */
import { type AssetType, type Inspection, type MediaType, mimeTypesOf } from '../asset.ts'
import { Fault, fileFault } from '../errors.ts'
import { createInspector } from './container/inspector.ts'
import { createMeasure } from './measure.ts'
import { createMultipartReader, missingFile } from './multipart.ts'
import type { PartHead } from './part-head.ts'

export type ReceivedFile = Inspection & { name: string | null; sizeBytes: number }

export type ReceiveLimits = { maxFileBytes: number; allowedTypes: ReadonlySet<MediaType> }

/** Takes the file's bytes, each slice good during the call alone; a returned promise asks the sender to wait. */
export type FileSink = { write(slice: Buffer): Promise<void> | undefined }

export interface FileReceiver {
  /** @returns a promise where the sender has to wait; @throws {Fault} as soon as the upload is proven bad */
  write(slice: Buffer): Promise<void> | undefined
  /** @throws {Fault} where the body or the file is not whole */
  end(): ReceivedFile
  /** True once the closing boundary was read: from then on a dropped connection takes nothing back. */
  readonly closed: boolean
}

/** Everything in the body that is not the file: other parts, preamble and epilogue, together. */
export const maxFieldBytes = 1024 * 1024

/** @param boundary as the Content-Type header has it */
export function createFileReceiver(boundary: string, limits: ReceiveLimits, sink: FileSink): FileReceiver {
  const measure = createMeasure(limits.maxFileBytes)
  const inspector = createInspector({ allowed: limits.allowedTypes })
  let file: PartHead | null = null
  let inFile = false
  let fieldBytes = 0
  let wait: Promise<void> | undefined

  const countField = (bytes: number): void => {
    fieldBytes += bytes
    if (fieldBytes > maxFieldBytes) {
      throw fileFault(
        'fields_too_large',
        `The parts beside the file are larger than ${maxFieldBytes} bytes together. Send less beside the file.`,
        { max_bytes: maxFieldBytes },
      )
    }
  }

  const reader = createMultipartReader(boundary, {
    onPart(head) {
      inFile = head.name === 'file'
      if (!inFile) return
      if (file !== null) {
        throw fileFault(
          'multiple_files',
          'The body has more than one part named "file". Send one file a request.',
        )
      }
      file = head
    },
    onData(slice) {
      if (!inFile) return countField(slice.length)
      // What is within the limit is looked at first: which fault is told must not hang on how the bytes were cut.
      inspector.write(slice.subarray(0, measure.room))
      measure.write(slice)
      wait = sink.write(slice) ?? wait
    },
    onPartEnd() {
      inFile = false
    },
    onOutside: countField,
  })

  const declaring = <T>(work: () => T): T => {
    try {
      return work()
    } catch (error) {
      throw withBothSides(error, file?.contentType ?? null, limits.allowedTypes)
    }
  }

  return {
    get closed() {
      return reader.closed
    },
    write(slice) {
      wait = undefined
      declaring(() => reader.write(slice))
      return wait
    },
    end() {
      return declaring(() => {
        reader.end()
        if (file === null) throw missingFile('no part of that name')
        return { ...measure.end(), ...inspector.end(), name: file.fileName || null }
      })
    },
  }
}

/** Adds what the client said the file was and what we take, so that every fault of a file shows both sides. */
export function withBothSides(
  error: unknown,
  declared: string | null,
  allowed: ReadonlySet<AssetType>,
): unknown {
  if (!(error instanceof Fault) || error.param !== 'file') return error
  const sides = {
    declared,
    detected: null,
    allowed: mimeTypesOf(allowed),
  }
  const details = { ...sides, ...error.details }
  return new Fault(error.code, error.message, { param: error.param, details, cause: error.cause })
}
