/** Requests that were valid, and are damaged by dice that always fall the same for the same seed. */
import { mediaTypeNames } from '../../src/asset.ts'
import { samples } from '../media/samples.ts'
import { boundary, latin1, multipart, requestHead, uploadRequest } from '../raw-http.ts'

export type Dice = {
  /** A whole number from 0 to below `sides`. */
  below(sides: number): number
  oneOf<T>(choices: readonly T[]): T
  /** True once in `times`. */
  once(times: number): boolean
}

/** A small generator of our own: a counter whose bits are mixed by multiplying and shifting. */
export function throwDice(seed: number): Dice {
  let state = seed >>> 0
  const next = (): number => {
    state = (state + 0x9e37_79b9) >>> 0
    let mixed = state
    for (const factor of [0x85eb_ca6b, 0xc2b2_ae35]) {
      mixed = Math.imul(mixed ^ (mixed >>> 16), factor)
      mixed ^= mixed >>> 13
    }
    return (mixed ^ (mixed >>> 16)) >>> 0
  }
  const below = (sides: number): number => next() % sides
  return {
    below,
    oneOf: <T>(choices: readonly T[]): T => choices[below(choices.length)] as T,
    once: (times) => below(times) === 0,
  }
}

/** A valid request of some kind: uploads of each type in several shapes, and everything that is read. */
export function validRequest(dice: Dice, key: string, fileUrls: readonly string[]): Buffer {
  if (dice.once(4)) return readRequest(dice, fileUrls)
  const type = dice.oneOf(mediaTypeNames)
  const bytes = samples[type](dice.once(10) ? { sizeBytes: 4_000 + dice.below(120_000) } : {})
  const file = { name: 'file', fileName: `a.${type}`, type: 'application/octet-stream', body: bytes }
  const field = { name: dice.oneOf(['a', 'folder_id', '__proto__']), body: 'v'.repeat(dice.below(300)) }
  const parts = dice.oneOf([[file], [file], [field, file], [file, field], [field, file, field]])
  const lines = dice.once(3) ? [`Idempotency-Key: soak-${dice.below(50)}`] : []
  const body = multipart(parts)
  return uploadRequest({ key, body, lines, length: dice.once(3) ? 'chunked' : body.length })
}

function readRequest(dice: Dice, fileUrls: readonly string[]): Buffer {
  const paths = [
    '/healthz',
    '/readyz',
    '/',
    '/docs',
    '/openapi.json',
    '/docs/errors',
    '/.well-known/jwks.json',
    '/nowhere',
  ]
  const path = dice.once(2) ? dice.oneOf(paths) : (fileUrls[dice.below(fileUrls.length)] ?? '/healthz')
  const lines = [
    `Range: bytes=${dice.below(50)}-${dice.below(4_000)}`,
    'If-None-Match: "x", W/"y"',
    'If-Modified-Since: Wed, 15 Jan 2025 12:30:45 GMT',
    'Accept-Encoding: gzip',
    'Origin: https://a.test',
  ].filter(() => dice.once(2))
  return latin1(requestHead(`${dice.oneOf(['GET', 'GET', 'HEAD', 'OPTIONS'])} ${path} HTTP/1.1`, lines))
}

/** What does harm where it is put: words of HTTP, of multipart and of the containers. */
const words: readonly Buffer[] = [
  ...[
    '\r\n',
    '\r\n\r\n',
    '\n',
    '\r',
    '\0',
    ' ',
    '\t',
    ':',
    ';',
    '"',
    `--${boundary}`,
    `\r\n--${boundary}\r\n`,
    `\r\n--${boundary}--\r\n`,
    'Content-Length: 0\r\n',
    'Content-Length: 99999999999999999999\r\n',
    'Transfer-Encoding: chunked\r\n',
    'Expect: 100-continue\r\n',
    'Connection: close\r\n',
    'Connection: upgrade\r\nUpgrade: h2c\r\n',
    'Idempotency-Key: \r\n',
    '0\r\n\r\n',
    'ffffffff\r\n',
    'ffffffffffffffffff\r\n',
    'Content-Disposition: form-data; name="file"\r\n',
    "filename*=utf-8''%",
    'HTTP/1.0',
    'HTTP/9.9',
    'GET / HTTP/1.1\r\nHost: a.test\r\n\r\n',
    '%00',
    '../',
    '\xff\xff\xff\xff',
    '\0\0\0\0\0\0\0\0',
    '\x7f\xff\xff\xff',
    'IEND',
    'moov',
    'mdat',
    'ID3\x04\0\0\x7f\x7f\x7f\x7f',
    '%%EOF',
    '\x1a\x45\xdf\xa3',
  ].map(latin1),
  Buffer.alloc(20_000, 'a'),
  Buffer.alloc(5_000, 'X: y\r\n'),
]

type Mutation = (request: Buffer, dice: Dice, other: () => Buffer) => Buffer

/** Where to: anywhere, or, as often, in the head of the request or of a part, where a byte counts most. */
function placeIn(request: Buffer, dice: Dice): number {
  const near = dice.oneOf([request.length, 300, 500])
  return dice.below(Math.min(near, request.length) + 1)
}

const mutations: readonly Mutation[] = [
  function flip(request, dice) {
    const changed = Buffer.from(request)
    for (let times = 1 + dice.below(8); times > 0 && changed.length > 0; times--) {
      const at = Math.min(placeIn(request, dice), changed.length - 1)
      changed[at] = (changed[at] ?? 0) ^ (1 << dice.below(8))
    }
    return changed
  },
  function cut(request, dice) {
    return request.subarray(0, placeIn(request, dice))
  },
  function remove(request, dice) {
    const at = placeIn(request, dice)
    return Buffer.concat([
      request.subarray(0, at),
      request.subarray(at + 1 + dice.below(dice.oneOf([4, 40, 400]))),
    ])
  },
  function repeat(request, dice) {
    const at = placeIn(request, dice)
    const some = request.subarray(at, at + 1 + dice.below(dice.oneOf([4, 40, 4_000])))
    const times = 1 + dice.below(dice.oneOf([1, 3, 40]))
    return Buffer.concat([
      request.subarray(0, at),
      ...Array.from({ length: times }, () => some),
      request.subarray(at),
    ])
  },
  function insert(request, dice) {
    const at = placeIn(request, dice)
    return Buffer.concat([request.subarray(0, at), dice.oneOf(words), request.subarray(at)])
  },
  function overwrite(request, dice) {
    const changed = Buffer.from(request)
    dice.oneOf(words).copy(changed, Math.min(placeIn(request, dice), changed.length))
    return changed
  },
  function splice(request, dice, other) {
    const second = other()
    return Buffer.concat([
      request.subarray(0, placeIn(request, dice)),
      second.subarray(placeIn(second, dice)),
    ])
  },
  function changeNumber(request, dice) {
    // Lengths, ranges and sizes of chunks, wherever they stand.
    const numbers = [...request.toString('latin1').matchAll(/\d+/g)]
    if (numbers.length === 0) return request
    const { 0: text, index } = dice.oneOf(numbers)
    const changed = dice.oneOf([
      '0',
      '-1',
      '1',
      '4294967296',
      '9007199254740993',
      '1e3',
      `${text}0`,
      `${Number(text) + 1}`,
    ])
    return Buffer.concat([request.subarray(0, index), latin1(changed), request.subarray(index + text.length)])
  },
]

/** A valid request with some damage. */
export function mutatedRequest(dice: Dice, key: string, fileUrls: readonly string[]): Buffer {
  const fresh = (): Buffer => validRequest(dice, key, fileUrls)
  let request = fresh()
  for (let times = 1 + dice.below(4); times > 0; times--)
    request = dice.oneOf(mutations)(request, dice, fresh)
  return request
}
