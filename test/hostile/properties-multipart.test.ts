/**
 * Cases 21–32: the multipart machine against a naive reader that has the whole body in memory and looks through it with
 * regular expressions. Whatever the body and however it is cut, both tell the same parts or the same fault.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { Fault } from '../../src/errors.ts'
import { parseHeaderValue } from '../../src/intake/header-value.ts'
import { createMultipartReader, maxPartHeaderBytes, maxParts } from '../../src/intake/multipart.ts'
import type { PartHead } from '../../src/intake/part-head.ts'
import { isShort } from '../form.ts'
import { latin1 } from '../raw-http.ts'

const numRuns = isShort ? 3_000 : 60_000

type Part = PartHead & { data: string }
type Told = {
  /** The parts that were read to their end. */
  parts: Part[]
  /** The head of a part that was begun and did not end. */
  begun: PartHead | null
  end: string
  /** Bytes of preamble and epilogue; null where the body was refused, for then some may not have been looked at. */
  outside: number | null
}

// The naive reader

class Refused extends Error {}

const token = "[!#$%&'*+\\-.^_`|~0-9A-Za-z]+"
const quoted = '"(?:\\\\["\\\\]|\\\\(?!["\\\\])|[^"\\\\])*"'
const parameter = new RegExp(`;[ \\t]*(?:(${token})=(${quoted}|[^;\\s"]+)[ \\t]*(?=;|$))?`, 'y')

/** The parameters in lower case; null where the text is not of the form. */
function naiveValue(text: string): { value: string; parameters: Map<string, string> } | null {
  const [, value = ''] = /^[ \t]*([!-:<-~]+)[ \t]*(?=;|$)/.exec(text) ?? []
  if (value === '') return null
  const parameters = new Map<string, string>()
  parameter.lastIndex = text.indexOf(';') < 0 ? text.length : text.indexOf(';')
  while (parameter.lastIndex < text.length) {
    const at = parameter.lastIndex
    const found = parameter.exec(text)
    if (found === null || parameter.lastIndex === at) return null
    const [, name, given] = found
    if (name === undefined || given === undefined) continue
    if (parameters.has(name.toLowerCase())) return null
    const bare = given.startsWith('"') ? given.slice(1, -1).replace(/\\(["\\])/g, '$1') : given
    parameters.set(name.toLowerCase(), bare)
  }
  return { value: value.toLowerCase(), parameters }
}

function naiveHead(block: string): PartHead {
  const utf8 = Buffer.from(block, 'latin1').toString('utf8')
  const text = Buffer.from(utf8, 'utf8').equals(latin1(block)) ? utf8 : block
  const found = new Map<string, string>()
  for (const line of text.split('\r\n')) {
    if (line === '') continue
    const [, name = '', value = ''] = new RegExp(`^(${token}):([^\\0\\r\\n]*)$`).exec(line) ?? []
    const key = name.toLowerCase()
    if (key === '' || (/^content-(disposition|type)$/.test(key) && found.has(key)))
      throw new Refused('malformed_multipart')
    found.set(key, value.replace(/^[ \t]+|[ \t]+$/g, ''))
  }
  const disposition = naiveValue(found.get('content-disposition') ?? '')
  const name = disposition?.parameters.get('name')
  if (disposition?.value !== 'form-data' || name === undefined) throw new Refused('malformed_multipart')
  return {
    name,
    fileName: disposition.parameters.get('filename') ?? null,
    contentType: found.get('content-type') ?? null,
  }
}

/** @param body as Latin-1: one character for each byte */
function naive(body: string, boundary: string): Told {
  const told: Told = { parts: [], begun: null, end: 'whole', outside: null }
  // The longest padding is 256 bytes with its CR; one more of either is no accident.
  const delimiter = new RegExp(
    `\\r\\n--${boundary.replace(/[^0-9A-Za-z]/g, '\\$&')}(?:(--)|[ \\t]{0,255}\\r\\n|([ \\t]{256}[ \\t\\r]))`,
  )
  /** What stands before the next delimiter, and what behind; a line break that was read already may begin it. */
  const split = (text: string): { before: string; behind: string; closes: boolean } => {
    const found = delimiter.exec(`\r\n${text}`)
    if (found === null || found[2] !== undefined) throw new Refused('malformed_multipart')
    return {
      before: text.slice(0, Math.max(0, found.index - 2)),
      behind: text.slice(found.index + found[0].length - 2),
      closes: found[1] !== undefined,
    }
  }
  try {
    if (body === '') throw new Refused('missing_file')
    let { before, behind, closes } = split(body)
    const preamble = before.length
    while (!closes) {
      if (told.parts.length === maxParts) throw new Refused('too_many_parts')
      const block = `\r\n${behind}`
      const headEnd = block.indexOf('\r\n\r\n')
      if (headEnd > maxPartHeaderBytes || (headEnd < 0 && block.length >= maxPartHeaderBytes + 4))
        throw new Refused('fields_too_large')
      if (headEnd < 0) throw new Refused('malformed_multipart')
      told.begun = naiveHead(block.slice(2, Math.max(2, headEnd)))
      ;({ before, behind, closes } = split(block.slice(headEnd + 4)))
      told.parts.push({ ...told.begun, data: before })
      told.begun = null
    }
    told.outside = preamble + behind.length
  } catch (error) {
    if (!(error instanceof Refused)) throw error
    told.end = error.message
  }
  return told
}

// The machine

function read(slices: Iterable<Buffer>, boundary: string): Told {
  const told: Told = { parts: [], begun: null, end: 'whole', outside: null }
  let outside = 0
  let data = ''
  const reader = createMultipartReader(boundary, {
    onPart(head) {
      assert.equal(told.begun, null, 'a part began within another')
      told.begun = head
      data = ''
    },
    onData(slice) {
      assert.notEqual(told.begun, null, 'data outside of a part')
      data += slice.toString('latin1')
    },
    onPartEnd() {
      assert.ok(told.begun !== null, 'a part ended that never began')
      told.parts.push({ ...told.begun, data })
      told.begun = null
    },
    onOutside(bytes) {
      outside += bytes
    },
  })
  try {
    for (const slice of slices) {
      const own = Buffer.from(slice)
      reader.write(own)
      own.fill(0x2d) // the memory of a slice is used again
    }
    reader.end()
    told.outside = outside
  } catch (error) {
    assert.ok(error instanceof Fault, `not a Fault: ${error}`)
    told.end = String(error.details?.reason)
  }
  assert.equal(reader.closed, told.end === 'whole')
  return told
}

function cutAt(body: Buffer, places: readonly number[]): Buffer[] {
  const cuts = [0, ...places.map((place) => place % (body.length + 1)).toSorted((a, b) => a - b), body.length]
  return cuts.slice(1).map((cut, index) => body.subarray(cuts[index], cut))
}

// Bodies

const boundaries = fc.constantFrom('B', '-', '--', 'a-boundary', "x'()+_,-./:=? y", 'A'.repeat(70))

/** What stands in bodies: all that means something to a reader, and any bytes. */
const crumbs = (boundary: string): fc.Arbitrary<string> =>
  fc.oneof(
    {
      weight: 3,
      arbitrary: fc.constantFrom('\r', '\n', '\r\n', '\r\n\r\n', '-', '--', ' ', '\t', ':', ';', '"', '\\'),
    },
    {
      weight: 3,
      arbitrary: fc.constantFrom(
        `--${boundary}`,
        `\r\n--${boundary}`,
        `\r\n--${boundary}\r\n`,
        `\r\n--${boundary}--`,
        `\r\n--${boundary.slice(0, -1)}`,
        `\r\n--${boundary}${' '.repeat(255)}\r\n`,
        `\r\n--${boundary}${' \t'.repeat(128)}\r\n`,
        `\r\n--${boundary}${'\t'.repeat(256)}x`,
      ),
    },
    {
      weight: 2,
      arbitrary: fc.constantFrom(
        'Content-Disposition: form-data; name="a"',
        'content-disposition:form-data;filename="\\"\\\\";name=b',
        'Content-Type: image/png',
        'X-Other: 1',
        '\xef\xbb\xbf',
        '\xa0',
        '\0',
        'é',
      ),
    },
    {
      weight: 2,
      arbitrary: fc.uint8Array({ maxLength: 12 }).map((some) => Buffer.from(some).toString('latin1')),
    },
  )

const textOf = (piece: fc.Arbitrary<string>, maxLength: number): fc.Arbitrary<string> =>
  fc.array(piece, { maxLength }).map((pieces) => pieces.join(''))

const headLines = fc.oneof(
  { weight: 6, arbitrary: fc.constant('Content-Disposition: form-data; name="a"; filename="b"') },
  { weight: 1, arbitrary: fc.constant('Content-Disposition: form-data; name=a; x="\\"') },
  { weight: 1, arbitrary: fc.constant('content-disposition:\tFORM-DATA ;; NAME="\xc3\xa9" ; ') },
  { weight: 1, arbitrary: fc.constant('content-disposition: form-data; name="\xe9"') },
  { weight: 1, arbitrary: fc.constant('Content-Type: text/plain') },
  {
    weight: 1,
    arbitrary: fc
      .tuple(fc.constantFrom('\xef\xbb\xbf', '\xa0', '\x0c', '\xe2\x80\x83', ' '), fc.nat(40))
      .map(([blank, at]) => {
        const line = 'Content-Disposition: form-data; name="a"'
        return line.slice(0, at) + blank + line.slice(at)
      }),
  },
  {
    weight: 1,
    arbitrary: fc.integer({ min: 16_250, max: 16_400 }).map((bytes) => `X: ${'x'.repeat(bytes)}`),
  },
)

type Damage = { at: number; remove: number; insert: string }

/** A body that is nearly right, and then damaged in a few places. */
const bodies = boundaries.chain((boundary) => {
  const piece = crumbs(boundary)
  const part = fc
    .tuple(fc.array(headLines, { minLength: 1, maxLength: 3 }), textOf(piece, 6))
    .map(([lines, data]) => `${lines.join('\r\n')}\r\n\r\n${data}`)
  const damage = fc.record<Damage>({ at: fc.nat(), remove: fc.nat(20), insert: textOf(piece, 2) })
  return fc
    .tuple(
      textOf(piece, 3),
      fc.array(part, { maxLength: 4 }),
      textOf(piece, 3),
      fc.array(damage, { maxLength: 3 }),
      fc.integer({ min: 0, max: 20 }),
    )
    .map(([preamble, parts, epilogue, damages, whole]) => {
      const opening = preamble === '' ? '' : `${preamble}\r\n`
      const inner = parts.map((one) => `--${boundary}\r\n${one}\r\n`).join('')
      let body = `${opening}${inner}--${boundary}--${epilogue}`
      // Most bodies of a kind must stay whole, or nothing but refusals would be compared.
      for (const { at, remove, insert } of whole > 8 ? [] : damages) {
        const place = at % (body.length + 1)
        body = body.slice(0, place) + insert + body.slice(place + remove)
      }
      return { boundary, body }
    })
})

const places = fc.array(fc.nat(), { maxLength: 12 })

test('cases 21–32: any body, however it is cut, is read as the naive reader reads it', (context) => {
  const ends = new Map<string, number>()
  fc.assert(
    fc.property(bodies, places, ({ boundary, body }, cuts) => {
      const expected = naive(body, boundary)
      ends.set(expected.end, (ends.get(expected.end) ?? 0) + 1)
      const bytes = latin1(body)
      assert.deepEqual(read([bytes], boundary), expected)
      assert.deepEqual(read(cutAt(bytes, cuts), boundary), expected)
      if (body.length < 2_000) assert.deepEqual(read(cutAt(bytes, [...bytes.keys()]), boundary), expected)
    }),
    { numRuns },
  )
  context.diagnostic(JSON.stringify(Object.fromEntries(ends)))
  for (const end of ['whole', 'malformed_multipart', 'fields_too_large'])
    assert.ok((ends.get(end) ?? 0) > numRuns / 100, `only ${ends.get(end)} bodies ended ${end}`)
})

test('case 25: bodies around the limit of parts', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: maxParts - 2, max: maxParts + 2 }),
      fc.nat(3),
      places,
      (count, size, cuts) => {
        const part = `--B\r\nContent-Disposition: form-data; name="a"\r\n\r\n${'x'.repeat(size)}\r\n`
        const body = `${part.repeat(count)}--B--`
        const expected = naive(body, 'B')
        assert.equal(expected.end, count > maxParts ? 'too_many_parts' : 'whole')
        assert.deepEqual(read(cutAt(latin1(body), cuts), 'B'), expected)
      },
    ),
    { numRuns: isShort ? 100 : 1_000 },
  )
})

test('case 32: any value of a header is read as the naive reader reads it', () => {
  const piece = fc.oneof(
    fc.constantFrom('form-data', 'name', 'filename', '=', ';', '"', '\\', ' ', '\t', 'a', '*', '/', ',', '='),
    fc.constantFrom(
      '; name=',
      '; name="',
      '"; filename="',
      '\\"',
      '\\\\',
      '%22',
      '\x0b',
      '\x0c',
      '\xa0',
      '\ufeff',
      '\u2003',
    ),
    fc.string({ maxLength: 3 }),
  )
  fc.assert(
    fc.property(textOf(piece, 12), (text) => {
      for (const value of [text, `form-data; ${text}`, `form-data; name="${text}"`, `form-data; a=b${text}`])
        assert.deepEqual(parseHeaderValue(value), naiveValue(value), JSON.stringify(value))
    }),
    { numRuns },
  )
})
