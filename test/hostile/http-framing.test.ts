/**
 * Requests that two readers could read in two ways, in bulk: each is refused alone and the same however it is cut, and
 * never is what stands behind it carried out; what looks odd and is right is taken.
 */
import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { after, before, describe, it } from 'node:test'
import { setTimeout as sleep, setImmediate as turn } from 'node:timers/promises'
import { isShort } from '../form.ts'
import { samples } from '../media/samples.ts'
import {
  assertClean,
  assertError,
  baseline,
  chunked,
  fileBody,
  latin1,
  open,
  type RawAnswer,
  requestHead,
  uploadHead,
  uploadRequest,
} from '../raw-http.ts'
import { type RunningService, startService } from '../service.ts'

let service: RunningService
const png = samples.png({ sizeBytes: 100 })
const body = fileBody(png)
const size = body.length.toString(16)
const n = body.length

before(async () => {
  service = await startService({
    env: { ASSETD_BODY_IDLE_SECONDS: '3', ASSETD_MIN_BYTES_PER_SECOND: '0' },
  })
  assert.deepEqual(await statusesOf([upload()], 'at once'), [200])
})
after(() => service.stop())

const upload = (lines: string[] = []): Buffer => uploadRequest({ key: service.key, body, lines })
const uploadWith = (lines: string[], sent: string | Uint8Array = body): (() => Buffer) => {
  return () =>
    Buffer.concat([latin1(uploadHead({ key: service.key, body, length: null, lines })), bytes(sent)])
}
const chunkedWith = (sent: string | Uint8Array): (() => Buffer) =>
  uploadWith(['Transfer-Encoding: chunked'], sent)
const get = (text: string) => (): Buffer => latin1(text)
const bytes = (sent: string | Uint8Array): Uint8Array => (typeof sent === 'string' ? latin1(sent) : sent)
const join = (...pieces: (string | Uint8Array)[]): Buffer => Buffer.concat(pieces.map(bytes))

type Vectors = Record<string, () => Buffer>

const cuts = ['at once', 'byte by byte', 'in two'] as const
type Cut = (typeof cuts)[number]

/** Sends the pieces cut so, and gives every answer until the connection ends. */
async function answersTo(pieces: Uint8Array[], cut: Cut): Promise<RawAnswer[]> {
  const [first = new Uint8Array(), ...others] = pieces
  const connection = await open(service)
  let ended = false
  const end = connection.closed(60_000).then(() => {
    ended = true
  })
  const step = cut === 'byte by byte' ? 1 : cut === 'in two' ? Math.ceil(first.length / 2) : first.length
  for (let at = 0; at < first.length && !ended; at += step) {
    void connection.send(first.subarray(at, at + step))
    await turn()
    if (cut === 'in two') await sleep(20)
  }
  void connection.send(
    ...others,
    latin1(requestHead('GET /healthz HTTP/1.1', ['Connection: close', 'X-End: 1'])),
  )
  // A server that has said its last goes on reading for seconds, so that it is heard: no need to wait for that.
  const saidLast = (): boolean => /\r\nconnection: close\r\n/i.test(connection.rest().toString('latin1'))
  for (let at = 0; at < 1_200 && !ended && !saidLast(); at++) await sleep(50)
  await Promise.race([end, sleep(300)])
  connection.finish()
  await end
  const answers: RawAnswer[] = []
  while (connection.rest().length > 0) answers.push(await connection.answer())
  connection.socket.destroy() // a reset in the middle of a half-close is none
  return answers
}

const statusesOf = async (pieces: Uint8Array[], cut: Cut): Promise<number[]> =>
  (await answersTo([...pieces], cut)).slice(0, -1).map(({ status }) => status)

/** Calls `check` for each vector and cut, some at once; gives all failures together. */
async function forEach(vectors: Vectors, check: (send: Buffer, cut: Cut) => Promise<void>): Promise<void> {
  const tasks = Object.entries(vectors).flatMap(([what, make], index) =>
    cuts
      .filter((cut) => cut !== 'byte by byte' || !isShort || index % 4 === 0)
      .map((cut) => ({ what: `${what}, ${cut}`, run: () => check(make(), cut) })),
  )
  const failures: string[] = []
  const worker = async (): Promise<void> => {
    for (let task = tasks.pop(); task !== undefined; task = tasks.pop()) {
      const { what, run } = task
      await run().catch((error: Error) => failures.push(`${what}: ${error.message}`))
    }
  }
  await Promise.all(Array.from({ length: 60 }, worker))
  assert.deepEqual(failures, [])
}

const allowed = [400, 404, 405, 413, 415, 417, 431, 501, 505]

/** One answer that refuses; the connection ends; the upload behind is not carried out. */
async function allRefused(vectors: Vectors, statuses: readonly number[] = allowed): Promise<void> {
  const before = baseline(service)
  await forEach(vectors, async (send, cut) => {
    const answers = await answersTo([send, upload([`Idempotency-Key: ${randomUUID()}`])], cut)
    assert.equal(answers.length, 1, `answers: ${answers.map(({ status }) => status)}`)
    const [answer] = answers
    assert.ok(answer !== undefined && statuses.includes(answer.status), `${answer?.status} ${answer?.body}`)
    assertError(answer, { status: answer.status })
    assert.equal(answer.headers.connection, 'close')
  })
  await assertClean(service, before)
}

/** Carried out, and so is the upload behind. */
async function allTaken(vectors: Vectors): Promise<void> {
  const before = baseline(service)
  let count = 0
  await forEach(vectors, async (send, cut) => {
    assert.deepEqual(await statusesOf([send, upload()], cut), [200, 200])
    count++
  })
  await assertClean(service, before, { assets: count * 2 })
}

describe('lengths', () => {
  it('case 1: both ways to tell a length at once, in any spelling', async () => {
    const both = [
      ['Content-Length: 4', 'Transfer-Encoding: chunked'],
      ['Transfer-Encoding: chunked', 'Content-Length: 4'],
      [`Content-Length: ${n}`, 'TRANSFER-ENCODING: CHUNKED'],
      ['content-length: 0', 'transfer-encoding: chunked'],
      ['Content-Length: 4', 'Transfer-Encoding:\tchunked'],
      ['Content-Length: 4', 'Transfer-Encoding: chunked', 'Content-Length: 4'],
      ['Content-Length: 4', 'Transfer-Encoding: identity'],
      ['Content-Length: 4', 'Transfer-Encoding: gzip'],
      ['Content-Length: 4', 'Transfer-Encoding: '],
    ]
    await allRefused(
      Object.fromEntries(both.map((lines) => [lines.join(' | '), uploadWith(lines, chunked(body))])),
      [400, 501],
    )
  })

  it('case 2: a length that is not one number', async () => {
    const values = [
      '+5',
      '-1',
      '-0',
      '5, 5',
      '5,6',
      '5 5',
      '5;',
      '5.0',
      '5e1',
      '0x5',
      '٥',
      '5\v',
      '\f5',
      '5\0',
      '"5"',
      '',
      ',',
      '5,',
      '18446744073709551616',
      '18446744073709551615',
      '99999999999999999999999999',
      '1_0',
      'NaN',
      '5\x80',
    ].map((value) => [`Content-Length: ${value}`])
    const lines = [
      ...values,
      ['Content-Length: 5', 'Content-Length: 6'],
      [`Content-Length: ${n}`, `Content-Length: ${n}`],
      [`CONTENT-LENGTH: ${n}`, `content-length: ${n}`],
      ['Content-Length : 5'],
      ['Content-Length\t: 5'],
      [' Content-Length: 5'],
      ['Content-Length: 5\r\n 6'],
      ['Content-Length:\r\n 5'],
      ['Content-Length'],
      ['Content-Length\0: 5'],
    ]
    await allRefused(Object.fromEntries(lines.map((line) => [JSON.stringify(line), uploadWith(line)])), [400])
  })

  it('case 2: a length that is one number, oddly written', async () => {
    const lines = [
      `Content-Length:${n}`,
      `Content-Length: \t ${n} \t `,
      `CoNtEnT-lEnGtH: ${n}`,
      `Content-Length: 000${n}`,
    ]
    await allTaken(Object.fromEntries(lines.map((line) => [line, uploadWith([line])])))
  })

  it('case 3: codings that are not exactly chunked', async () => {
    const values = [
      'xchunked',
      'chunkedx',
      'chunke',
      'chunked, identity',
      'identity',
      'identity, chunked',
      'gzip',
      'gzip, chunked',
      'chunked, gzip',
      'chunked, chunked',
      'chunked chunked',
      'chunked;q=1',
      'chunked; a=b',
      '"chunked"',
      "'chunked'",
      'chunked\v',
      '\fchunked',
      'chunked\0',
      'chun\tked',
      'chunked\x80',
      'cow, chunked',
      'deflate,chunked',
      '',
      ',',
    ].map((value) => [`Transfer-Encoding: ${value}`])
    const lines = [
      ...values,
      ['Transfer-Encoding : chunked'],
      ['Transfer-Encoding\t: chunked'],
      [' Transfer-Encoding: chunked'],
      ['Transfer-Encoding:\r\n chunked'],
      ['Transfer-Encoding: chunked\r\n '],
      ['X-A: b\rTransfer-Encoding: chunked'],
      ['X-A: b\nTransfer-Encoding: chunked'],
      ['Transfer-Encoding: gzip', 'Transfer-Encoding: chunked'],
      ['Transfer-Encoding: chunked', 'Transfer-Encoding: identity'],
      ['Transfer-Encoding: chunked', 'transfer-encoding: chunked'],
    ]
    await allRefused(
      Object.fromEntries(lines.map((line) => [JSON.stringify(line), uploadWith(line, chunked(body))])),
      [400, 501],
    )
  })

  it('case 3: a header that only looks like one of lengths tells none', async () => {
    const lines = [
      'Transfer_Encoding: chunked',
      'Content_Length: 3',
      'X-Transfer-Encoding: chunked',
      'TE: trailers',
    ]
    await allTaken(
      Object.fromEntries(lines.map((line) => [line, uploadWith([`Content-Length: ${n}`, line])])),
    )
  })

  it('case 7: chunks that are no chunks', async () => {
    const sizes = [
      '',
      ' ',
      ';a=b',
      'g',
      `0x${size}`,
      `+${size}`,
      `-${size}`,
      `-0`,
      ` ${size}`,
      `${size}h`,
      `${size}.0`,
      `${size}\0`,
      `${size}\r`,
      `${size}\v`,
      `${size},${size}`,
      '10000000000000000',
      'fffffffffffffffff',
      `1${'0'.repeat(16)}${size}`,
      `${size}\x80`,
    ]
    const wrongSizes = Object.fromEntries(
      sizes.map((one) => [
        `size ${JSON.stringify(one)}`,
        chunkedWith(join(one, '\r\n', body, '\r\n0\r\n\r\n')),
      ]),
    )
    const around = (open: string, close: string): (() => Buffer) =>
      chunkedWith(join(`${size}${open}`, body, close))
    await allRefused(
      {
        ...wrongSizes,
        'LF behind the size': around('\n', '\r\n0\r\n\r\n'),
        'CR behind the size': around('\r', '\r\n0\r\n\r\n'),
        'LF CR behind the size': around('\n\r', '\r\n0\r\n\r\n'),
        'LF behind an extension': around(';a=b\n', '\r\n0\r\n\r\n'),
        'CR in an extension': around(';a\rb\r\n', '\r\n0\r\n\r\n'),
        'NUL in an extension': around(';a=\0\r\n', '\r\n0\r\n\r\n'),
        'LF behind the data': around('\r\n', '\n0\r\n\r\n'),
        'CR behind the data': around('\r\n', '\r0\r\n\r\n'),
        'nothing behind the data': around('\r\n', '0\r\n\r\n'),
        'junk behind the data': around('\r\n', 'XX\r\n0\r\n\r\n'),
        'one byte too many': around('\r\n', 'X\r\n0\r\n\r\n'),
        'an end of LF alone': around('\r\n', '\r\n0\n\n'),
        'an end of half': around('\r\n', '\r\n0\r\n\n'),
        'a trailer without a colon': around('\r\n', '\r\n0\r\nX\r\n\r\n'),
        'a trailer with a blank before its colon': around('\r\n', '\r\n0\r\nX : y\r\n\r\n'),
        'a trailer that begins with a blank': around('\r\n', '\r\n0\r\n X: y\r\n\r\n'),
        'a trailer with NUL': around('\r\n', '\r\n0\r\nX: \0\r\n\r\n'),
        'a trailer of a coding': around('\r\n', '\r\n0\r\nTransfer-Encoding: identity\r\n\r\n'),
        'trailers of 20 KB': around('\r\n', `\r\n0\r\nX: ${'y'.repeat(20_000)}\r\n\r\n`),
        'an extension of 20 KB': around(`;a=${'b'.repeat(20_000)}\r\n`, '\r\n0\r\n\r\n'),
      },
      [400, 413, 431],
    )
    const endless = chunkedWith(join('ffffffffffffffff\r\n', body, '\r\n0\r\n\r\n'))
    await allRefused({ 'the largest size that there is': endless }, [408])
  })

  it('case 7, 8: chunks that are oddly written and right; trailers decide nothing', async () => {
    const around = (open: string, close: string): (() => Buffer) =>
      chunkedWith(join(`${size}${open}`, body, close))
    const single = Array.from(body, (byte) => join('1\r\n', Uint8Array.of(byte), '\r\n'))
    const plainEnd = '\r\n0\r\n\r\n'
    await allTaken({
      'leading zeros': chunkedWith(join(`0000${size}\r\n`, body, plainEnd)),
      'upper case': chunkedWith(join(`${size.toUpperCase()}\r\n`, body, plainEnd)),
      'an extension': around(';a\r\n', plainEnd),
      'an extension with a value': around(';a=b;c="d"\r\n', plainEnd),
      'an end of many zeros': around('\r\n', '\r\n000000\r\n\r\n'),
      'an end with an extension': around('\r\n', '\r\n0;a=b\r\n\r\n'),
      'one byte each': chunkedWith(join(...single, '0\r\n\r\n')),
      'a trailer of credentials': around(
        '\r\n',
        '\r\n0\r\nx-api-key: wrong\r\nAuthorization: Basic x\r\n\r\n',
      ),
      'a trailer of a second host': around('\r\n', '\r\n0\r\nHost: b.test\r\nHost: c.test\r\n\r\n'),
      'a trailer named __proto__': around('\r\n', '\r\n0\r\n__proto__: x\r\nconstructor: y\r\n\r\n'),
    })
  })
})

describe('heads', () => {
  it('case 4, 5: lines that are none, and hosts that are not one', async () => {
    const heads = [
      'GET /healthz HTTP/1.1\r\nHost : a.test\r\n\r\n',
      'GET /healthz HTTP/1.1\r\n Host: a.test\r\n\r\n',
      'GET /healthz HTTP/1.1\nHost: a.test\n\n',
      'GET /healthz HTTP/1.1\rHost: a.test\r\r',
      'GET /healthz HTTP/1.1\r\nHost: a.test\n\r\n',
      'GET /healthz HTTP/1.1\r\nHost: a.test\r\nX-A: b\n\r\n',
      'GET /healthz HTTP/1.1\r\nHost: a.test\r\nX-A: b\rX-B: c\r\n\r\n',
      'GET /healthz HTTP/1.1\r\nHost: a.test\r\n\tX-A: b\r\n\r\n',
      'GET /healthz HTTP/1.1\r\nHost: a.test\r\nX-A\r\n\r\n',
      'GET /healthz HTTP/1.1\r\nHost: a.test\r\n: b\r\n\r\n',
      'GET /healthz HTTP/1.1\r\nHost: a.test\r\nX A: b\r\n\r\n',
      'GET /healthz HTTP/1.1\r\nHost: a.test\r\nX-A\0: b\r\n\r\n',
      'GET /healthz HTTP/1.1\r\nHost: a.test\r\nX(A): b\r\n\r\n',
      'GET /healthz HTTP/1.1\r\nHost: a.test\r\nX-\xe4: b\r\n\r\n',
      'GET /healthz HTTP/1.1\r\nHost: a.test\r\nX-A: \x01\r\n\r\n',
      'GET /healthz HTTP/1.1\r\nHost: a.test\r\nX-A: \x7f\r\n\r\n',
      'GET\t/healthz\tHTTP/1.1\r\nHost: a.test\r\n\r\n',
      ' GET /healthz HTTP/1.1\r\nHost: a.test\r\n\r\n',
      'get /healthz HTTP/1.1\r\nHost: a.test\r\n\r\n',
      'GET /healthz http/1.1\r\nHost: a.test\r\n\r\n',
      'GET /healthz HTTP/1.10\r\nHost: a.test\r\n\r\n',
      'GET /healthz HTTP/01.1\r\nHost: a.test\r\n\r\n',
      'GET /healthz HTTP/1\r\nHost: a.test\r\n\r\n',
      'GET /healthz HTTP/1.2\r\nHost: a.test\r\n\r\n',
      'GET /healthz HTTP/3.0\r\nHost: a.test\r\n\r\n',
      'GET /healthz HTTPS/1.1\r\nHost: a.test\r\n\r\n',
      'GET /healthz HTTP/1.1 x\r\nHost: a.test\r\n\r\n',
      'GET /healthz ICE/1.0\r\nHost: a.test\r\n\r\n',
      'GET /hea lthz HTTP/1.1\r\nHost: a.test\r\n\r\n',
      'GET /healthz\r\nHost: a.test\r\n\r\n',
      'GET /healthz\r\n\r\n',
    ]
    await allRefused(Object.fromEntries(heads.map((head) => [JSON.stringify(head), get(head)])), [400, 505])
  })

  it('case 4: hosts that are not one: refused, and what is behind is a request of its own', async () => {
    const hosts = [[], ['a.test', 'b.test'], ['a.test', 'a.test'], ['', 'a.test'], ['a.test', '']]
    for (const names of hosts) {
      const lines = names.map((name, at) => `${at === 0 ? 'Host' : 'hOST'}: ${name}\r\n`).join('')
      for (const cut of cuts) {
        const head = latin1(`GET /healthz HTTP/1.1\r\n${lines}\r\n`)
        assert.deepEqual(await statusesOf([head, upload()], cut), [400, 200], JSON.stringify(names))
      }
    }
  })

  it('case 14: what is not HTTP/1 at all', async () => {
    await allRefused(
      {
        'HTTP/2': get('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0'),
        TLS: () => Buffer.concat([Buffer.from('16030100f8010000f40303', 'hex'), Buffer.alloc(240, 7)]),
        SSH: get('SSH-2.0-OpenSSH_9.2\r\n'),
        SMTP: get('EHLO a.test\r\n'),
        Redis: get('*1\r\n$4\r\nPING\r\n'),
        'a PROXY line': get(
          'PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\nGET /healthz HTTP/1.1\r\nHost: a.test\r\n\r\n',
        ),
        'an answer': get('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n'),
        zeros: () => Buffer.alloc(300),
      },
      [400, 505],
    )
  })

  it('case 17: what may come once and comes twice is never read as either', async () => {
    const twice = (...lines: string[]) => uploadWith([`Content-Length: ${n}`, ...lines])
    const before = baseline(service)
    const vectors: [string, () => Buffer, number][] = [
      ['the same key twice', twice(`x-api-key: ${service.key}`), 401],
      ['another key behind', twice('X-API-KEY: other'), 401],
      ['an empty key behind', twice('x-api-key:'), 401],
      ['two tokens', twice('Authorization: Bearer a.b.c', 'authorization: Bearer a.b.c'), 401],
      ['a token of another scheme', twice('Authorization: Basic a', 'Authorization: Bearer b'), 401],
      ['two types', twice('content-type: multipart/form-data; boundary=b'), 400],
      ['two expectations', twice('Expect: 100-continue', 'EXPECT: 100-continue'), 400],
      ['two keys of idempotency', twice('Idempotency-Key: a', 'idempotency-key: a'), 400],
      ['two encodings', twice('Content-Encoding: identity', 'content-encoding: identity'), 400],
    ]
    for (const [what, make, status] of vectors) {
      for (const cut of cuts) {
        const statuses = await statusesOf([make()], cut)
        // The last is of the request behind, where the connection goes on.
        assert.ok(statuses.length <= 1, what)
        const answers = await answersTo([make()], cut)
        assert.equal(answers[0]?.status, status, `${what}, ${cut}: ${answers[0]?.body}`)
      }
    }
    await assertClean(service, before)
  })

  it('case 18: headers that are named like parts of an object', async () => {
    const names = [
      '__proto__',
      'constructor',
      'prototype',
      'toString',
      'valueOf',
      'hasOwnProperty',
      '__defineGetter__',
      '__lookupSetter__',
      'toJSON',
      'then',
      'host-',
      '-',
      '!#$%&',
      'length',
    ]
    const each = Object.fromEntries(
      names.map((name) => [name, uploadWith([`Content-Length: ${n}`, `${name}: x`, `${name}: y`])]),
    )
    const all = uploadWith([`Content-Length: ${n}`, ...names.map((name) => `${name}: {"a":1}`)])
    await allTaken({ ...each, 'all at once': all })
  })

  it('case 16: targets that are no path reach no route, and what is behind them is its own request', async () => {
    const targets = [
      'http://a.test/healthz',
      'HTTP://a.test/v3/assets',
      'https://a.test/',
      '//healthz',
      '///healthz',
      '/./healthz',
      '/x/../healthz',
      '/%2e/healthz',
      '/x/%2e%2e/healthz',
      '/x%2f..%2fhealthz',
      '/healthz/',
      '/healthz/.',
      '/healthz%20',
      '/healthz%00',
      '/healthz%0d%0a',
      '/healthz;x',
      '/healthz%3f',
      '/HEALTHZ',
      '/healthz#',
      '/healthz?#x',
      '/#/healthz',
      '/\\healthz',
      '\\healthz',
      '/healthz\\',
      '/%',
      '/%zz',
      '/%c3%28',
      '/%ff',
      '/%ed%a0%80',
      '/%u0068ealthz',
      '*',
      '/files',
      '/files/',
      '/files/.',
      '/files/..',
      '/v3',
      '/v3/',
      '/v3/assets/',
      '/v3//assets',
      '/.git/config',
      '/.env',
    ]
    for (const target of targets) {
      for (const cut of cuts) {
        const answers = await answersTo([latin1(`GET ${target} HTTP/1.1\r\nHost: a.test\r\n\r\n`)], cut)
        const [answer] = answers
        assert.ok(answer !== undefined && [400, 404].includes(answer.status), `${target}: ${answer?.status}`)
        assertError(answer, { status: answer.status })
        if (answers.length > 1)
          assert.deepEqual(
            answers.slice(1).map(({ status }) => status),
            [200],
            target,
          )
      }
    }
  })
})
