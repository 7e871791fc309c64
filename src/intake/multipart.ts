/**
 * A multipart/form-data reader (RFC 2046 section 5.1, RFC 7578) that is fed slices of any size and calls back as
 * it goes. It keeps no file data: part bodies are handed on as views of the slices they came in.
 *
 * It ends in exactly one of two ways: `end()` returns because the closing boundary was read, or a fault is
 * thrown. The same bytes give the same outcome however they are cut into slices.
 */
import { type Fault, fileFault } from '../errors.ts'
import { parseHeaderValue } from './header-value.ts'
import { malformed, type PartHead, parsePartHead } from './part-head.ts'

export type PartHandlers = {
  onPart(head: PartHead): void
  /** A piece of the body of the part last announced; a view that is good during the call alone. */
  onData(slice: Buffer): void
  onPartEnd(): void
  /** Bytes outside all parts: preamble and epilogue. */
  onOutside(bytes: number): void
}

export interface MultipartReader {
  /** @throws {Fault} `malformed_multipart`, `too_many_parts`, `fields_too_large`, or what a handler throws */
  write(slice: Buffer): void
  /** @throws {Fault} `missing_file` after no byte at all, `malformed_multipart` where no closing boundary came */
  end(): void
  /** True once the closing boundary has been read: the upload is whole, whatever becomes of the connection. */
  readonly closed: boolean
}

export const maxParts = 100
export const maxPartHeaderBytes = 16 * 1024
/** Blanks after a boundary are legal (RFC 2046, transport padding); more of them than this are not an accident. */
const maxPaddingBytes = 256

const CR = 13
const LF = 10
const DASH = 45
const SPACE = 32
const TAB = 9
const headEnd = Buffer.from('\r\n\r\n')

/**
 * The boundary of a Content-Type header.
 * @throws {Fault} `missing_file` where it is not multipart/form-data, `malformed_multipart` without a good boundary
 */
export function multipartBoundary(contentType: string | undefined): string {
  if (!/^[ \t]*multipart\/form-data[ \t]*(;|$)/i.test(contentType ?? '')) {
    const saw = contentType === undefined ? 'no Content-Type' : `Content-Type ${shorten(contentType)}`
    throw missingFile(saw)
  }
  const boundary = parseHeaderValue(contentType ?? '')?.parameters.get('boundary')
  // RFC 2046 section 5.1.1: 1 to 70 characters of a fixed set, and no space at the end.
  if (boundary === undefined || !/^[0-9A-Za-z'()+_,\-./:=? ]{0,69}[0-9A-Za-z'()+_,\-./:=?]$/.test(boundary)) {
    throw malformed(
      'the Content-Type header has no usable boundary. Give exactly one, of 1 to 70 characters; a good client makes it by itself',
    )
  }
  return boundary
}

type State = 'preamble' | 'delimiter' | 'head' | 'body' | 'epilogue'

export function createMultipartReader(boundary: string, handlers: PartHandlers): MultipartReader {
  const pattern = Buffer.from(`\r\n--${boundary}`, 'latin1')
  let state: State = 'preamble'
  let parts = 0
  let empty = true
  /** How much of `pattern` the bytes seen last match: they are held back until it is known what they are. */
  let matched = 2
  /** How many of those were never sent: a boundary may stand at the very start, with no line break before it. */
  let virtual = 2
  /** The state that a delimiter which turns out to be none goes back to. */
  let resume: State = 'preamble'
  /** What followed a matched pattern while it is not yet known to be a delimiter: `-`, or padding with CR. */
  const after = Buffer.allocUnsafe(maxPaddingBytes)
  let afterBytes = 0
  const head = Buffer.allocUnsafe(maxPartHeaderBytes + headEnd.length)
  let headBytes = 0

  const emit = (slice: Buffer): void => {
    if (slice.length === 0) return
    if (state === 'body') handlers.onData(slice)
    else handlers.onOutside(slice.length)
  }

  /** Gives back, as data, pattern bytes that turned out to be none. */
  const emitHeld = (bytes: number): void => {
    const skipped = Math.min(virtual, bytes)
    virtual -= skipped
    emit(pattern.subarray(skipped, bytes))
  }

  /** Looks for the pattern; returns where in `slice` the rest is to be read in a new state. */
  const search = (slice: Buffer, from: number): number => {
    let at = from
    // A match that began in an earlier slice. The pattern begins with the only CR in it, so where a match
    // breaks off, no other can have begun inside of it.
    while (matched > 0 && matched < pattern.length && at < slice.length) {
      if (slice[at] === pattern[matched]) {
        matched++
        at++
      } else {
        const held = matched
        matched = 0
        emitHeld(held)
        virtual = 0
      }
    }
    if (matched === 0 && at < slice.length) {
      const found = findDelimiter(slice, at, pattern)
      if (found >= 0) {
        emit(slice.subarray(at, found))
        matched = pattern.length
        at = found + pattern.length
      } else {
        matched = matchAtEnd(slice, at, pattern)
        emit(slice.subarray(at, slice.length - matched))
        at = slice.length
      }
    }
    if (matched === pattern.length) {
      afterBytes = 0
      resume = state
      state = 'delimiter'
    }
    return at
  }

  /** Decides, byte by byte, whether the matched pattern is a boundary, the closing one, or just data. */
  const delimiter = (slice: Buffer, from: number): number => {
    for (let at = from; at < slice.length; at++) {
      const byte = slice[at] as number
      const last = afterBytes === 0 ? 0 : after[afterBytes - 1]
      if (byte === DASH && last === DASH) {
        finishDelimiter()
        state = 'epilogue'
        return at + 1
      }
      if (byte === LF && last === CR) {
        finishDelimiter()
        startHead()
        return at + 1
      }
      const isPadding = (byte === SPACE || byte === TAB || byte === CR) && last !== CR && last !== DASH
      if (!isPadding && !(byte === DASH && afterBytes === 0)) {
        notADelimiter()
        return at
      }
      if (afterBytes === maxPaddingBytes) throw malformed('a boundary is followed by too many blanks')
      after[afterBytes++] = byte
    }
    return slice.length
  }

  const notADelimiter = (): void => {
    state = resume
    matched = 0
    emitHeld(pattern.length)
    virtual = 0
    // A CR held in `after` may be the first byte of the real boundary: it goes back into the search.
    const endsInCr = afterBytes > 0 && after[afterBytes - 1] === CR
    emit(after.subarray(0, endsInCr ? afterBytes - 1 : afterBytes))
    if (endsInCr) matched = 1
  }

  const finishDelimiter = (): void => {
    virtual = 0
    matched = 0
    if (resume === 'body') handlers.onPartEnd()
  }

  const startHead = (): void => {
    if (++parts > maxParts) {
      throw fileFault('too_many_parts', `The body has more than ${maxParts} parts. Send fewer.`, {
        max_parts: maxParts,
      })
    }
    state = 'head'
    // A part without headers begins with an empty line; the line break of the delimiter is its first half.
    headBytes = head.write('\r\n', 'latin1')
  }

  const readHead = (slice: Buffer, from: number): number => {
    const before = headBytes
    const copied = slice.copy(head, headBytes, from)
    headBytes += copied
    const end = head.subarray(0, headBytes).indexOf(headEnd, Math.max(0, before - 3))
    if (end < 0) {
      if (headBytes < head.length) return from + copied
      throw fileFault(
        'fields_too_large',
        `The headers of a part are larger than ${maxPartHeaderBytes} bytes. Send shorter ones.`,
        { max_bytes: maxPartHeaderBytes },
      )
    }
    const consumed = end + headEnd.length - before
    handlers.onPart(parsePartHead(head.subarray(2, Math.max(2, end))))
    state = 'body'
    // The line break that ends the headers may be the one that a boundary begins with: an empty body.
    matched = 2
    virtual = 2
    return from + consumed
  }

  return {
    get closed() {
      return state === 'epilogue'
    },
    write(slice) {
      if (slice.length > 0) empty = false
      let at = 0
      while (at < slice.length) {
        if (state === 'epilogue') {
          handlers.onOutside(slice.length - at)
          return
        }
        if (state === 'delimiter') at = delimiter(slice, at)
        else if (state === 'head') at = readHead(slice, at)
        else at = search(slice, at)
      }
    },
    end() {
      if (state === 'epilogue') return
      if (empty) throw missingFile('an empty body')
      throw malformed(
        parts === 0
          ? 'the body does not begin with the boundary that the Content-Type header names'
          : 'the body ends before its closing boundary. It was cut, or its Content-Length is wrong',
      )
    },
  }
}

const nativeHits = 16

/**
 * Where in `slice` the first pattern begins that is a delimiter, or is cut off too early to tell; -1 where none does.
 * A line that only begins like a boundary is passed over here: in pieces of their own, 30 MB of them cost 5 s where
 * plain data costs 30 ms. The native search is the fastest where the pattern is rare and the slowest where a hostile
 * file is full of it (measured: 720 ms for 32 MiB, against 90 ms), so it gets a number of hits, and a loop the rest.
 */
function findDelimiter(slice: Buffer, from: number, pattern: Buffer): number {
  let found = slice.indexOf(pattern, from)
  for (let hits = 0; found >= 0 && isData(slice, found + pattern.length); hits++) {
    if (hits === nativeHits) return findByLoop(slice, found + pattern.length, pattern)
    found = slice.indexOf(pattern, found + pattern.length)
  }
  return found
}

function findByLoop(slice: Buffer, from: number, pattern: Buffer): number {
  const end = slice.length - pattern.length
  const length = pattern.length
  for (let at = from; at <= end; at++) {
    if (slice[at] !== CR) continue
    let same = 1
    while (same < length && slice[at + same] === pattern[same]) same++
    if (same === length && !isData(slice, at + same)) return at
    at += same - 1 // the pattern's only CR is its first byte: no other match begins inside of this one
  }
  return -1
}

/** True where the bytes behind a pattern, in the same slice, show that it is no delimiter. */
function isData(slice: Buffer, behind: number): boolean {
  const { length } = slice
  if (behind >= length) return false
  if (slice[behind] === DASH) return behind + 1 < length && slice[behind + 1] !== DASH
  const end = Math.min(length, behind + maxPaddingBytes)
  let at = behind
  for (let byte = slice[at]; byte === SPACE || byte === TAB; byte = slice[at]) if (++at === end) break
  // Cut off here, or too much padding: decided byte by byte.
  if (at === end || at + 1 >= length) return false
  return slice[at] !== CR || slice[at + 1] !== LF
}

/** How many of the last bytes of `slice` (from `from` on) are the first bytes of `pattern`. */
function matchAtEnd(slice: Buffer, from: number, pattern: Buffer): number {
  // The pattern's only CR is its first byte, so just the last CR of the slice can begin it.
  const ending = slice.subarray(Math.max(from, slice.length - pattern.length + 1))
  const cr = ending.lastIndexOf(CR)
  if (cr < 0) return 0
  const bytes = ending.length - cr
  return ending.subarray(cr).equals(pattern.subarray(0, bytes)) ? bytes : 0
}

/** @param saw what came instead of a part named `file` */
export function missingFile(saw: string): Fault {
  return fileFault(
    'missing_file',
    `File is required. Upload a file using multipart/form-data. We saw ${saw}; send one part named "file".`,
  )
}

function shorten(text: string): string {
  return JSON.stringify(text.length > 80 ? `${text.slice(0, 80)}…` : text)
}
