/** A line to an S3 server that does to single requests what lines and stores do at their worst. */
import {
  type ClientRequest,
  createServer,
  type IncomingMessage,
  request,
  type ServerResponse,
} from 'node:http'
import type { Socket } from 'node:net'

/** What becomes of one request. */
export type Fate =
  | 'pass'
  /** The store never sees it, and the line is cut once some of the body was read. */
  | 'reset'
  /** The store does it, and its answer is lost with the line. */
  | 'lose'
  /** Nothing comes back, and the store has not seen it. */
  | 'ignore'
  /** The store answers this in its place. */
  | { status: number; code: string }
  /** The answer's body is cut off, or stops to come, after so many bytes. */
  | { cutAfter: number }
  | { stallAfter: number }
  /** The store does it once this has resolved, whether anybody still waits or not. */
  | { after: Promise<unknown> }
  /** The body is read at so many bytes a second. */
  | { bytesPerSecond: number }
  /** It is all done here. */
  | { answer(request: IncomingMessage, body: Buffer, response: ServerResponse): Promise<void> | void }

export type S3Proxy = {
  port: number
  fate: (request: IncomingMessage) => Fate
  /** Of requests, as `PUT /bucket/key`. */
  seen: string[]
  /** How many requests to the store are under way. */
  underWay(): number
  close(): Promise<void>
}

export async function startS3Proxy(targetPort: number): Promise<S3Proxy> {
  const sockets = new Set<Socket>()
  const upstream = new Set<ClientRequest>()
  const server = createServer((client, response) => {
    proxy.seen.push(`${client.method} ${client.url}`)
    client.on('error', () => {})
    response.on('error', () => {})
    carry(client, response, proxy.fate(client)).catch(() => client.socket.destroy())
  })
  server.on('connection', (socket) => {
    sockets.add(socket)
    socket.once('close', () => sockets.delete(socket))
  })

  const pass = (client: IncomingMessage, response: ServerResponse, fate: Fate, body?: Buffer): void => {
    const { method, url, rawHeaders } = client
    // The name that the client signed, and each header as it was.
    const target = request({ host: '127.0.0.1', port: targetPort, method, path: url, setHost: false })
    for (let at = 0; at < rawHeaders.length; at += 2)
      target.setHeader(String(rawHeaders[at]), String(rawHeaders[at + 1]))
    upstream.add(target)
    target.once('close', () => upstream.delete(target))
    target.on('error', () => client.socket.destroy())
    target.on('response', (answer) => {
      if (fate === 'lose') {
        answer.resume()
        return void answer.once('end', () => client.socket.destroy())
      }
      response.writeHead(Number(answer.statusCode), answer.rawHeaders)
      let sent = 0
      answer.on('error', () => client.socket.destroy())
      answer.on('data', (slice: Buffer) => {
        const most =
          typeof fate !== 'object'
            ? Infinity
            : 'cutAfter' in fate
              ? fate.cutAfter
              : 'stallAfter' in fate
                ? fate.stallAfter
                : Infinity
        const kept = slice.subarray(0, Math.max(0, most - sent))
        sent += slice.length
        if (!response.write(kept)) {
          answer.pause()
          response.once('drain', () => answer.resume())
        }
        if (sent <= most) return
        answer.destroy()
        if (typeof fate === 'object' && 'cutAfter' in fate) setTimeout(() => client.socket.destroy(), 20)
      })
      answer.on('end', () => response.end())
    })
    client.socket.once('close', () => {
      if (typeof fate !== 'object' || !('after' in fate)) target.destroy()
    })
    if (body !== undefined) target.end(body)
    else client.pipe(target)
  }

  const carry = async (client: IncomingMessage, response: ServerResponse, fate: Fate): Promise<void> => {
    if (fate === 'pass' || fate === 'lose') return pass(client, response, fate)
    if (fate === 'ignore') return void client.resume()
    if (fate === 'reset') {
      client.once('data', () => client.socket.destroy())
      client.once('end', () => client.socket.destroy())
      return
    }
    if ('status' in fate) {
      await bodyOf(client)
      response.writeHead(fate.status, { 'content-type': 'application/xml' })
      return void response.end(
        `<?xml version="1.0"?><Error><Code>${fate.code}</Code><Message>no</Message></Error>`,
      )
    }
    if ('after' in fate) {
      const body = await bodyOf(client)
      await fate.after
      return pass(client, response, fate, body)
    }
    if ('bytesPerSecond' in fate) {
      const slices: Buffer[] = []
      for await (const slice of client) {
        slices.push(slice)
        await new Promise((resolve) => setTimeout(resolve, (slice.length / fate.bytesPerSecond) * 1_000))
      }
      return pass(client, response, fate, Buffer.concat(slices))
    }
    if ('answer' in fate) return void (await fate.answer(client, await bodyOf(client), response))
    pass(client, response, fate)
  }

  const proxy: S3Proxy = {
    port: 0,
    fate: () => 'pass',
    seen: [],
    underWay: () => upstream.size,
    async close() {
      for (const socket of sockets) socket.destroy()
      await new Promise((resolve) => server.close(resolve))
    },
  }
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('no port')
  proxy.port = address.port
  return proxy
}

async function bodyOf(client: IncomingMessage): Promise<Buffer> {
  const slices: Buffer[] = []
  for await (const slice of client) slices.push(slice)
  return Buffer.concat(slices)
}
