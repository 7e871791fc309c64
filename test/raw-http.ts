/**
 * HTTP by hand: bare sockets for requests that no well-behaved client makes, answers read byte by byte, bodies of
 * multipart built by hand, and what the service's process holds (descriptors, memory) while it answers.
 */
import assert from 'node:assert/strict'
import { readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { hold, isHeld } from './described.ts'
import { contentsOf, eventually, type RunningService, workingPid } from './service.ts'
import { idleConnections, storeSockets } from './stores.ts'

export type RawAnswer = {
  status: number
  /** By lower-case name; lines of one name are joined by a comma. */
  headers: Record<string, string>
  /** Every header line's name in lower case, in order. */
  names: string[]
  body: Buffer
}

export type RawConnection = {
  socket: Socket
  /** Sends at once; resolves when the system has taken the bytes, or the connection is gone. */
  send(...pieces: (string | Uint8Array)[]): Promise<void>
  /** Closes our side only (FIN). */
  finish(): void
  /** Drops the connection without a word (RST). */
  reset(): void
  /** The next answer, interim ones (1xx) included. @throws where the connection ends before it is whole */
  answer(options?: { head?: boolean; withinMs?: number }): Promise<RawAnswer>
  /** Resolves once the other side has closed: by FIN (`end`) or RST (`reset`). */
  closed(withinMs?: number): Promise<'end' | 'reset'>
  /** Received and not yet read as an answer. */
  rest(): Buffer
}

type Reachable = { host: string; port: number }

/** Opens a connection. Bytes come and go as they are; nothing is sent by itself. */
export async function open({ host, port }: Reachable): Promise<RawConnection> {
  const socket = connect({ host, port, allowHalfOpen: true, noDelay: true })
  await new Promise<void>((resolve, reject) => socket.once('connect', resolve).once('error', reject))
  let received: Buffer = Buffer.alloc(0)
  let pieces: Buffer[] = []
  let how: 'end' | 'reset' | null = null
  let sent = '' // since the last answer, as much as a request line may need
  let wake: (() => void)[] = []
  const changed = (): void => {
    for (const one of wake) one()
    wake = []
  }
  socket.on('data', (piece) => {
    pieces.push(Buffer.from(piece))
    changed()
  })
  socket.on('end', () => {
    how ??= 'end'
    changed()
  })
  socket.on('error', () => {
    how ??= 'reset'
    changed()
  })
  socket.on('close', () => {
    how ??= 'reset'
    changed()
  })
  const until = async <T>(look: () => T | undefined, what: string, withinMs: number): Promise<T> => {
    const end = performance.now() + withinMs
    for (;;) {
      const found = look()
      if (found !== undefined) return found
      const left = end - performance.now()
      if (left <= 0) throw new Error(`${what} did not come within ${withinMs} ms`)
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, left)
        wake.push(() => {
          clearTimeout(timer)
          resolve()
        })
      })
    }
  }
  const gather = (): Buffer => {
    if (pieces.length > 0) received = Buffer.concat([received, ...pieces])
    pieces = []
    return received
  }
  return {
    socket,
    send: (...parts) =>
      new Promise((resolve) => {
        const bytes = Buffer.concat(parts.map((part) => (typeof part === 'string' ? latin1(part) : part)))
        const gone = (): void => resolve()
        if (sent.length < longestLine) sent += bytes.toString('latin1', 0, longestLine)
        socket.once('close', gone)
        socket.write(bytes, () => {
          socket.off('close', gone)
          resolve()
        })
      }),
    finish: () => void socket.end(),
    reset: () => void socket.resetAndDestroy(),
    answer: ({ head = false, withinMs = 10_000 } = {}) =>
      until(
        () => {
          const parsed = parseAnswer(gather(), how !== null, head)
          if (parsed === null && how !== null) {
            throw new Error(
              `the connection ended (${how}) before the answer was whole: ${received.toString('latin1')}`,
            )
          }
          if (parsed === null) return undefined
          received = received.subarray(parsed.bytes)
          if (isHeld({ host, port })) holdRaw(parsed.answer, sent, head)
          if (parsed.answer.status >= 200) sent = ''
          return parsed.answer
        },
        'an answer',
        withinMs,
      ),
    closed: (withinMs = 10_000) => until(() => how ?? undefined, 'the end of the connection', withinMs),
    rest: gather,
  }
}

const longestLine = 4_096

function holdRaw({ status, headers, body }: RawAnswer, sent: string, head: boolean): void {
  const [, method = '', target = ''] = /^(?:\r\n)*([A-Z]+) (\/[!-~]*) HTTP\/\d\.\d\r\n/.exec(sent) ?? []
  const request = method === '' ? null : { method, target }
  const isJson = !head && headers['content-type']?.startsWith('application/json') === true
  hold({ request, status, headers, body: isJson ? body.toString() : null })
}

function parseAnswer(
  bytes: Buffer,
  ended: boolean,
  head: boolean,
): { answer: RawAnswer; bytes: number } | null {
  const headEnd = bytes.indexOf('\r\n\r\n')
  if (headEnd < 0) return null
  const [statusLine = '', ...lines] = bytes.subarray(0, headEnd).toString('latin1').split('\r\n')
  const status = Number(/^HTTP\/1\.1 (\d{3}) /.exec(statusLine)?.[1] ?? Number.NaN)
  assert.ok(status >= 100, `not the status line of an answer: ${JSON.stringify(statusLine)}`)
  const headers: Record<string, string> = {}
  const names: string[] = []
  for (const line of lines) {
    const [, name = '', value = ''] = /^([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*(.*)$/.exec(line) ?? []
    assert.notEqual(name, '', `not a header line: ${JSON.stringify(line)}`)
    const key = name.toLowerCase()
    headers[key] = key in headers ? `${headers[key]}, ${value}` : value
    names.push(key)
  }
  const start = headEnd + 4
  const whole = (body: Buffer, end: number) => ({ answer: { status, headers, names, body }, bytes: end })
  if (head || status < 200 || status === 204 || status === 304) return whole(Buffer.alloc(0), start)
  if (headers['transfer-encoding'] === 'chunked') {
    const chunks = parseChunks(bytes, start)
    return chunks === null ? null : whole(chunks.body, chunks.end)
  }
  const length = headers['content-length']
  if (length === undefined) return ended ? whole(bytes.subarray(start), bytes.length) : null
  const end = start + Number(length)
  return bytes.length < end ? null : whole(bytes.subarray(start, end), end)
}

function parseChunks(bytes: Buffer, start: number): { body: Buffer; end: number } | null {
  const body: Buffer[] = []
  for (let at = start; ; ) {
    const lineEnd = bytes.indexOf('\r\n', at)
    if (lineEnd < 0) return null
    const size = Number.parseInt(bytes.subarray(at, lineEnd).toString('latin1'), 16)
    const next = lineEnd + 2 + size + 2
    if (bytes.length < next) return null
    if (size === 0) return { body: Buffer.concat(body), end: next }
    body.push(bytes.subarray(lineEnd + 2, lineEnd + 2 + size))
    at = next
  }
}

/** Opens a connection, sends the pieces, gives the first answer, and drops the connection. */
export async function exchange(
  service: Reachable,
  pieces: (string | Uint8Array)[],
  options: { head?: boolean; withinMs?: number } = {},
): Promise<RawAnswer> {
  const connection = await open(service)
  try {
    void connection.send(...pieces)
    return await connection.answer(options)
  } finally {
    connection.reset()
  }
}

export const latin1 = (text: string): Buffer => Buffer.from(text, 'latin1')

/** The head of a request with the header lines as they are; the host is added unless a line names it. */
export function requestHead(requestLine: string, lines: readonly string[] = []): string {
  const host = lines.some((line) => /^host\s*:/i.test(line)) ? [] : ['Host: a.test']
  return [requestLine, ...host, ...lines, '', ''].join('\r\n')
}

// Multipart

export const boundary = 'a-boundary'

export type Part = {
  name?: string
  fileName?: string
  type?: string
  body: string | Uint8Array
  /** The header block as it is, in place of one made from the name. */
  head?: string | Uint8Array
}

/** A body of multipart/form-data, built by hand. */
export function multipart(parts: readonly Part[], limit = boundary): Buffer {
  const pieces = parts.flatMap((part) => [
    latin1(`--${limit}\r\n`),
    bytesOf(part.head ?? partHead(part)),
    latin1('\r\n\r\n'),
    bytesOf(part.body),
    latin1('\r\n'),
  ])
  return Buffer.concat([...pieces, latin1(`--${limit}--\r\n`)])
}

function partHead({ name = 'file', fileName, type }: Part): string {
  const named = fileName === undefined ? '' : `; filename="${fileName}"`
  const typed = type === undefined ? '' : `\r\nContent-Type: ${type}`
  return `Content-Disposition: form-data; name="${name}"${named}${typed}`
}

function bytesOf(piece: string | Uint8Array): Buffer {
  return typeof piece === 'string' ? Buffer.from(piece, 'utf8') : Buffer.from(piece)
}

/** The one file of an ordinary upload. */
export function fileBody(bytes: Uint8Array): Buffer {
  return multipart([{ fileName: 'a.bin', type: 'application/octet-stream', body: bytes }])
}

export function chunked(...pieces: (string | Uint8Array)[]): Buffer {
  const chunks = pieces.flatMap((piece) => {
    const bytes = bytesOf(piece)
    return [latin1(`${bytes.length.toString(16)}\r\n`), bytes, latin1('\r\n')]
  })
  return Buffer.concat([...chunks, latin1('0\r\n\r\n')])
}

export type UploadRequest = {
  key: string
  body: Uint8Array
  /** More header lines. */
  lines?: readonly string[]
  contentType?: string | null
  /** How the body's length is told; null: not at all. */
  length?: number | 'chunked' | null
}

/** The head of an upload whose body is `body`, with the credentials and lengths that belong to it. */
export function uploadHead({ key, body, lines = [], contentType, length }: UploadRequest): string {
  const type = contentType === undefined ? `multipart/form-data; boundary=${boundary}` : contentType
  return requestHead('POST /v3/assets HTTP/1.1', [
    `x-api-key: ${key}`,
    ...(type === null ? [] : [`Content-Type: ${type}`]),
    ...(length === 'chunked' ? ['Transfer-Encoding: chunked'] : []),
    ...(length === null || length === 'chunked' ? [] : [`Content-Length: ${length ?? body.length}`]),
    ...lines,
  ])
}

/** A whole upload as it goes over the wire. */
export function uploadRequest(upload: UploadRequest): Buffer {
  const body = upload.length === 'chunked' ? chunked(upload.body) : upload.body
  return Buffer.concat([latin1(uploadHead(upload)), body])
}

// The error envelope

export type Expected = {
  status: number
  code?: string
  param?: string | null
  reason?: string
}

export type ErrorBody = {
  code: string
  message: string
  param: string | null
  doc_url: string
  details?: Record<string, unknown>
}

type AnyAnswer = { status: number; headers: Record<string, string>; body: string | Uint8Array }

/** The answer is an error in the one envelope, with everything that belongs to one. */
export function assertError(answer: AnyAnswer, expected: Expected): ErrorBody {
  const text = typeof answer.body === 'string' ? answer.body : Buffer.from(answer.body).toString('utf8')
  const shown = `${answer.status} ${text}`
  assert.equal(answer.status, expected.status, shown)
  assert.equal(answer.headers['content-type'], 'application/json; charset=utf-8', shown)
  assert.match(answer.headers['x-request-id'] ?? '', /^req_[0-9a-z]{26}$/)
  assert.equal(answer.headers['cache-control'], 'no-store')
  const parsed: unknown = JSON.parse(text)
  assert.deepEqual(Object.keys(parsed as object), ['error'], shown)
  const { error } = parsed as { error: ErrorBody }
  const keys = Object.keys(error).filter((name) => name !== 'details')
  assert.deepEqual(keys.sort(), ['code', 'doc_url', 'message', 'param'], shown)
  assert.ok(error.message.length > 10, shown)
  assert.ok(error.doc_url.endsWith(`/docs/errors#${error.code}`), shown)
  if (expected.code !== undefined) assert.equal(error.code, expected.code, shown)
  if (expected.param !== undefined) assert.equal(error.param, expected.param, shown)
  if (expected.reason !== undefined) assert.equal(error.details?.reason, expected.reason, shown)
  if (error.code === 'invalid_parameter') assert.equal(typeof error.details?.reason, 'string', shown)
  return error
}

/** An answer of `fetch` in the form that `assertError` reads. */
export async function plain(response: Response): Promise<AnyAnswer> {
  return {
    status: response.status,
    headers: Object.fromEntries(response.headers),
    body: await response.text(),
  }
}

// What the service holds

/** The process that serves. */
export function serverPid(service: Pick<RunningService, 'child'>): number {
  const pid = workingPid(service.child)
  if (pid === null) throw new Error('the service has no process')
  return pid
}

/** Open sockets and files of a process; pipes, event descriptors and its stores are its own affair. */
export function descriptors(pid: number): string[] {
  const own = storeSockets(pid)
  return readdirSync(`/proc/${pid}/fd`).flatMap((fd) => {
    try {
      const target = readlinkSync(`/proc/${pid}/fd/${fd}`)
      const inode = /^socket:\[(\d+)\]$/.exec(target)?.[1]
      const counts = inode === undefined ? target.startsWith('/') : !own.has(inode)
      return counts ? [target] : []
    } catch {
      return []
    }
  })
}

/** Resident memory in bytes. */
export const residentBytes = (pid: number): number => statusBytes(pid, 'VmRSS')

/** The most that was ever resident. */
export const peakResidentBytes = (pid: number): number => statusBytes(pid, 'VmHWM')

function statusBytes(pid: number, name: string): number {
  const status = readFileSync(`/proc/${pid}/status`, 'latin1')
  return Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(status)?.[1] ?? 0) * 1024
}

export type Baseline = { assets: number; blobs: number; keys: number; descriptors: number }

/** What there is now, once nothing is under way. */
export function baseline(service: RunningService): Baseline {
  const { assets, blobs, keys } = contentsOf(service.dataDir)
  return {
    assets: assets.length,
    blobs: blobs.length,
    keys: keys.length,
    // Connections to its stores stay open for the next request.
    descriptors: descriptors(serverPid(service)).length + idleConnections,
  }
}

/** *Clean* of `cases.md`: within 5 s there is no more than before, but for what was taken in with a 200. */
export async function assertClean(
  service: RunningService,
  before: Baseline,
  added: { assets?: number; keys?: number } = {},
): Promise<void> {
  await eventually(() => {
    const { assets, blobs, keys, incoming } = contentsOf(service.dataDir)
    const rows = before.assets + (added.assets ?? 0)
    assert.deepEqual(incoming, [], 'unfinished files')
    assert.equal(assets.length, rows, 'rows of assets')
    assert.equal(blobs.length, before.blobs + (added.assets ?? 0), 'blobs')
    assert.equal(keys.length, before.keys + (added.keys ?? 0), 'rows of keys')
    assert.ok(
      assets.every((asset) => asset.state === 'completed'),
      'all assets are completed',
    )
    const held = descriptors(serverPid(service))
    assert.ok(held.length <= before.descriptors, `descriptors: ${held.length} > ${before.descriptors}`)
  })
}
