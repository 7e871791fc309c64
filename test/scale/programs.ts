/** What the servers of these tests have in common: where their programs are, and where they may listen. */
import { existsSync } from 'node:fs'
import { createServer } from 'node:net'
import { homedir } from 'node:os'
import { join } from 'node:path'

/** Some are where the PATH of a plain user does not look. */
const folders = [
  ...(process.env.PATH ?? '').split(':').filter(Boolean),
  ...['/usr/local/sbin', '/usr/sbin', '/sbin', '/usr/local/go/bin', join(homedir(), 'go/bin')],
]

/** @returns its path, or undefined */
export function findProgram(name: string): string | undefined {
  return folders.map((folder) => join(folder, name)).find((path) => existsSync(path))
}

export async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  await new Promise((resolve) => server.close(resolve))
  if (address === null || typeof address === 'string') throw new Error('no port')
  return address.port
}
