/** A line to a server that counts how often somebody waits on it: a turn is what is sent after the last answer. */
import { createServer, connect as dial, type Socket } from 'node:net'

export type Turns = {
  port: number
  count(): number
  /** The first line of what was sent in each turn, as far as it is text. */
  firstLines(): string[]
  close(): Promise<void>
}

/** What comes within this time of each other, in one direction, is of one turn. */
const delayMs = 3

export async function countTurns(targetPort: number): Promise<Turns> {
  const sockets = new Set<Socket>()
  const lines: string[] = []
  const server = createServer((client) => {
    const target = dial(targetPort, '127.0.0.1')
    let isAnswered = true
    const end = (): void => {
      client.destroy()
      target.destroy()
    }
    for (const socket of [client, target]) {
      sockets.add(socket)
      socket.setNoDelay(true).on('error', end)
      socket.on('close', () => {
        sockets.delete(socket)
        setTimeout(end, delayMs)
      })
    }
    client.on('data', (data: Buffer) => {
      if (isAnswered) lines.push(data.toString('latin1').split('\r\n')[0]?.slice(0, 60) ?? '')
      isAnswered = false
      setTimeout(() => target.write(data), delayMs)
    })
    target.on('data', (data) => {
      isAnswered = true
      setTimeout(() => client.write(data), delayMs)
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    port: (server.address() as { port: number }).port,
    count: () => lines.length,
    firstLines: () => [...lines],
    async close() {
      for (const socket of sockets) socket.destroy()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}
