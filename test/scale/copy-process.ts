/** One copy of the service as a process of its own, for what is no test: a demonstration, a benchmark. */
import { type ChildProcess, spawn } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

const launcher = fileURLToPath(new URL('../../bin/assetd.mjs', import.meta.url))

export type CopyProcess = {
  /** Of the launcher; the process that serves is its child, or has taken its place. */
  pid: number
  port: number
  url: string
  /** Lines of its log so far. */
  log(): Record<string, unknown>[]
  /** SIGKILL to both, so that neither can tidy up. */
  kill(): Promise<void>
  /** SIGTERM, and until it has ended in good order. */
  stop(): Promise<void>
}

/** @param env settings; nothing of a developer's own gets in beside them */
export async function startCopy(env: Record<string, string>): Promise<CopyProcess> {
  const own = Object.entries(process.env).filter(([name]) => !/^(ASSETD|AWS|PG)/.test(name))
  const child = spawn(process.execPath, [launcher, 'serve'], {
    env: { ...Object.fromEntries(own), ASSETD_PORT: '0', ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let [output, errors] = ['', '']
  child.stdout.setEncoding('utf8').on('data', (piece) => {
    output += piece
  })
  child.stderr.setEncoding('utf8').on('data', (piece) => {
    errors += piece
  })
  const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()))
  const url = await new Promise<string>((resolve, reject) => {
    child.stdout.on('data', () => {
      const found = /listens on (http:\/\/\S+),/.exec(output)?.[1]
      if (found !== undefined) resolve(found)
    })
    child.once('exit', () => reject(new Error(`a copy did not start: ${output}${errors}`)))
  })
  return {
    pid: child.pid ?? 0,
    port: Number(new URL(url).port),
    url,
    log: () =>
      errors
        .split('\n')
        .filter((line) => line.startsWith('{'))
        .map((line) => JSON.parse(line)),
    async kill() {
      for (const pid of childrenOf(child)) process.kill(pid, 'SIGKILL')
      child.kill('SIGKILL')
      await ended
    },
    async stop() {
      child.kill('SIGTERM')
      await ended
    },
  }
}

function childrenOf({ pid }: ChildProcess): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .filter((name) => {
      try {
        const stat = readFileSync(`/proc/${name}/stat`, 'latin1')
        return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]) === pid
      } catch {
        return false // it has just ended
      }
    })
    .map(Number)
}
