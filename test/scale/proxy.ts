/** A line between a client and a server that is slow, or on which the answers get lost. */
import { createServer, connect as dial, type Socket } from 'node:net'

export type Proxy = {
  port: number
  /** Made to it so far. */
  connections: number
  /** Of every piece of data, in each direction. */
  delayMs: number
  /** Tells of each piece that the client sends; once it returns true the server's answers are lost, and then the line. */
  onSent: ((data: Buffer) => boolean) | undefined
  close(): Promise<void>
}

export async function startProxy(targetPort: number): Promise<Proxy> {
  const sockets = new Set<Socket>()
  const server = createServer((client) => {
    const target = dial(targetPort, '127.0.0.1')
    let isDeaf = false
    proxy.connections++
    const later = (work: () => void): void => {
      if (proxy.delayMs === 0) work()
      else setTimeout(work, proxy.delayMs)
    }
    const end = (): void => {
      client.destroy()
      target.destroy()
    }
    for (const socket of [client, target]) {
      sockets.add(socket)
      socket.setNoDelay(true)
      socket.on('error', end)
      socket.on('close', () => {
        sockets.delete(socket)
        later(end)
      })
    }
    client.on('data', (data: Buffer) => {
      if (proxy.onSent?.(data)) {
        isDeaf = true
        setTimeout(end, 2_000) // time enough for the server to do what it was asked
      }
      later(() => target.write(data))
    })
    target.on('data', (data) => {
      if (!isDeaf) later(() => client.write(data))
    })
  })
  const proxy: Proxy = {
    port: 0,
    connections: 0,
    delayMs: 0,
    onSent: undefined,
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
