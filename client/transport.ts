/**
 * How requests get out. Uploads in a browser go by XMLHttpRequest, as fetch there cannot tell how far they have come;
 * in Node.js and its like they are streamed, so that a file of any size needs little memory.
 */

import { fileUnreadable } from './errors.ts'

export type FilePart = { field: string; file: Blob; name: string }

export type Outgoing = {
  method: string
  url: string
  headers: Record<string, string>
  body: string | Blob | FilePart | null
  signal: AbortSignal | null
  /** Bytes of the file that were handed to the network. */
  onSent: ((bytes: number) => void) | null
}

export type Answer = { status: number; header(name: string): string | null; text: string }

/** Throws where no answer comes; the reason of the signal where that has ended it. */
export type Transport = (request: Outgoing) => Promise<Answer>

export type Fetch = typeof globalThis.fetch

/** @param ownFetch in the place of the platform's; then every request goes by it */
export function chooseTransport(ownFetch?: Fetch): Transport {
  const byFetch = fetchTransport(ownFetch ?? ((input, init) => globalThis.fetch(input, init)), canStream())
  const Xhr = (globalThis as { XMLHttpRequest?: new () => Xhr }).XMLHttpRequest
  if (ownFetch !== undefined || Xhr === undefined) return byFetch
  const byXhr = xhrTransport(Xhr)
  return (request) => (isFile(request.body) ? byXhr(request) : byFetch(request))
}

/** Node.js, Bun and Deno take a stream as the body; browsers do over HTTP/2 only, or not at all. */
function canStream(): boolean {
  const { process } = globalThis as { process?: { versions?: { node?: string } } }
  return process?.versions?.node !== undefined
}

function isFile(body: Outgoing['body']): body is Blob | FilePart {
  return body !== null && typeof body !== 'string'
}

function fetchTransport(fetch: Fetch, streams: boolean): Transport {
  return async ({ method, url, headers, body, signal, onSent }) => {
    const sent =
      isFile(body) && streams ? streamed(body, onSent) : { headers: {}, body: whole(body), fault: () => null }
    const init = {
      method,
      headers: { ...headers, ...sent.headers },
      body: sent.body,
      signal,
      duplex: 'half',
      // The service never redirects a call, and a key must not follow to another host.
      redirect: 'manual',
    }
    try {
      // `duplex` is not in every version of the type.
      const response = await fetch(url, init as RequestInit)
      return {
        status: response.status,
        header: (name) => response.headers.get(name),
        text: await response.text(),
      }
    } catch (error) {
      throw sent.fault() ?? error
    }
  }
}

function whole(body: Outgoing['body']): string | Blob | FormData | null {
  if (!isFile(body) || body instanceof Blob) return body
  const form = new FormData()
  form.append(body.field, body.file, body.name)
  return form
}

function streamed(body: Blob | FilePart, onSent: Outgoing['onSent']) {
  const { file, head, tail, contentType } = body instanceof Blob ? bare(body) : framed(body)
  return {
    headers: {
      'content-length': String(head.length + file.size + tail.length),
      ...(contentType === null ? {} : { 'content-type': contentType }),
    },
    ...streamOf(file, head, tail, onSent),
  }
}

function bare(file: Blob) {
  const nothing = new Uint8Array(0)
  return { file, head: nothing, tail: nothing, contentType: null }
}

/** The one part of a multipart body, as a browser writes it (RFC 7578, and its escapes in the HTML standard). */
function framed({ field, file, name }: FilePart) {
  const boundary = `assetd-${randomKey()}`
  const filename = name.replaceAll('\r', '%0D').replaceAll('\n', '%0A').replaceAll('"', '%22')
  const head = `--${boundary}\r\ncontent-disposition: form-data; name="${field}"; filename="${filename}"\r\ncontent-type: ${file.type || 'application/octet-stream'}\r\n\r\n`
  const text = new TextEncoder()
  return {
    file,
    head: text.encode(head),
    tail: text.encode(`\r\n--${boundary}--\r\n`),
    contentType: `multipart/form-data; boundary=${boundary}`,
  }
}

/** Reads on only as the network takes what was read. `fault` tells whether it was the file that failed. */
function streamOf(file: Blob, head: Uint8Array, tail: Uint8Array, onSent: Outgoing['onSent']) {
  const reader = file.stream().getReader()
  let sentBytes = 0
  let fault: Error | null = null
  const body = new ReadableStream<Uint8Array>(
    {
      start(controller) {
        if (head.length > 0) controller.enqueue(head)
      },
      async pull(controller) {
        const { done, value } = await reader.read().catch((error) => {
          fault = fileUnreadable(error)
          throw fault
        })
        if (!done) {
          controller.enqueue(value)
          sentBytes += value.length
          onSent?.(sentBytes)
          return
        }
        if (tail.length > 0) controller.enqueue(tail)
        controller.close()
      },
      cancel: (reason) => reader.cancel(reason),
    },
    { highWaterMark: 0 },
  )
  return { body, fault: () => fault }
}

/** 128 random bits. Not `randomUUID`, which browsers have on secure pages alone. */
export function randomKey(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16))
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('')
}

/** What we use of XMLHttpRequest; Node.js has no type for it. */
interface Xhr {
  readonly status: number
  readonly responseText: string
  readonly upload: { onprogress: ((event: { loaded: number }) => void) | null }
  onload: (() => void) | null
  onerror: (() => void) | null
  onabort: (() => void) | null
  open(method: string, url: string): void
  setRequestHeader(name: string, value: string): void
  getResponseHeader(name: string): string | null
  send(body: string | Blob | FormData | null): void
  abort(): void
}

function xhrTransport(Xhr: new () => Xhr): Transport {
  return ({ method, url, headers, body, signal, onSent }) =>
    new Promise((resolve, reject) => {
      signal?.throwIfAborted()
      const xhr = new Xhr()
      const abort = (): void => xhr.abort()
      const end = (settle: () => void) => (): void => {
        signal?.removeEventListener('abort', abort)
        settle()
      }
      const largest = isFile(body) ? (body instanceof Blob ? body : body.file).size : 0
      xhr.upload.onprogress = ({ loaded }) => onSent?.(Math.min(loaded, largest))
      xhr.onload = end(() =>
        resolve({
          status: xhr.status,
          header: (name) => xhr.getResponseHeader(name),
          text: xhr.responseText,
        }),
      )
      xhr.onerror = end(() => reject(new TypeError('the network failed')))
      xhr.onabort = end(() => reject(signal?.reason ?? new TypeError('the request was ended')))
      xhr.open(method, url)
      for (const [name, value] of Object.entries(headers)) xhr.setRequestHeader(name, value)
      signal?.addEventListener('abort', abort)
      xhr.send(whole(body))
    })
}
