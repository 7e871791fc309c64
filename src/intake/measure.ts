/** Counts a file as it passes, and stops it at the limit. */
import { type Fault, fileFault } from '../errors.ts'

export interface Measure {
  /** How many bytes more are within the limit. */
  readonly room: number
  /** @throws {Fault} `file_too_large` with the first byte above the limit */
  write(slice: Buffer): void
  /** @throws {Fault} `empty_file` */
  end(): { sizeBytes: number }
}

/** @param maxBytes inclusive: a file of exactly this size passes */
export function createMeasure(maxBytes: number): Measure {
  let sizeBytes = 0
  return {
    get room() {
      return maxBytes - sizeBytes
    },
    write(slice) {
      sizeBytes += slice.length
      if (sizeBytes > maxBytes) throw fileTooLarge(maxBytes)
    },
    end() {
      if (sizeBytes === 0) {
        throw fileFault('empty_file', 'The file is empty: it has 0 bytes. Send the file with its content.')
      }
      return { sizeBytes }
    },
  }
}

/** @param maxBytes what we allow */
export function fileTooLarge(maxBytes: number): Fault {
  return fileFault(
    'file_too_large',
    `The file is too large: at most ${maxBytes} bytes${inMegabytes(maxBytes)} are allowed. Send a smaller file.`,
    { max_bytes: maxBytes },
  )
}

function inMegabytes(bytes: number): string {
  return bytes % (1024 * 1024) === 0 ? ` (${bytes / 1024 / 1024} MB)` : ''
}
