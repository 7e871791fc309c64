/**
 * A service whose system calls are watched, and made to fail or to be its last, by strace.
 *
 * strace counts the calls of each thread and of each kind by themselves, so `when=3` of a process is no single point in
 * time. Here it is: the service gets one thread for files, strace is attached to that one thread (or the database's, or
 * the main one) once the service is ready, and so the third fsync is the third of what comes after.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after } from 'node:test'
import { serverPid } from '../raw-http.ts'
import { eventually, type RunningService, type StartOptions, startService } from '../service.ts'

/** Who makes the calls: the event loop (the socket, the log), the one thread for files, or the database's writer. */
export type Thread = 'main' | 'files' | 'database'

export type Injection = {
  thread: Thread
  /** Names of system calls, with commas between. */
  calls: string
  /** As strace takes it, such as `signal=KILL` or `error=EIO`; not given: the calls are only watched. */
  what?: string
  /** Which of the calls of each kind, counted from here: `3`, or `3+` for it and all after. Not given: all. */
  when?: string
}

export type Trace = {
  /** The calls so far, one a line, with the paths of the files they are about. */
  calls(): string[]
  /** Lets go of the service. @returns whether it was killed */
  detach(): Promise<boolean>
}

/** The settings without which the calls of the thread for files cannot be counted. */
const oneThreadForFiles = { UV_THREADPOOL_SIZE: '1' }

export function startTraceable(options: StartOptions = {}): Promise<RunningService> {
  return startService({ ...options, env: { ...oneThreadForFiles, ...options.env } })
}

const tracers = new Set<ChildProcess>()
const logs = mkdtempSync(join(tmpdir(), 'assetd-traces-'))
after(() => {
  for (const tracer of tracers) tracer.kill('SIGKILL')
  rmSync(logs, { recursive: true, force: true })
})
let traces = 0

/** Watches one thread of a service from now on, and does to its calls what is asked. */
export async function trace(
  service: RunningService,
  { thread, calls, what, when }: Injection,
): Promise<Trace> {
  const log = join(logs, `${++traces}`)
  const inject = what === undefined ? [] : ['-e', `inject=${calls}:${what}${when ? `:when=${when}` : ''}`]
  const pid = String(threadId(serverPid(service), thread))
  const tracer = spawn(
    'strace',
    ['-yy', '-s', '8', '-o', log, '-e', `trace=${calls}`, ...inject, '-p', pid],
    {
      stdio: ['ignore', 'ignore', 'pipe'],
    },
  )
  tracers.add(tracer)
  const ended = new Promise<void>((resolve) => tracer.once('exit', () => resolve()))
  ended.then(() => tracers.delete(tracer))
  await new Promise<void>((resolve, reject) => {
    let said = ''
    tracer.stderr.setEncoding('utf8').on('data', (piece) => {
      said += piece
      if (/attached/.test(said)) resolve()
    })
    ended.then(() => reject(new Error(`strace did not attach: ${said}`)))
  })
  return {
    calls: () =>
      readFileSync(log, 'utf8')
        .split('\n')
        .filter((line) => /^\w+\(/.test(line)),
    async detach() {
      tracer.kill('SIGTERM')
      await ended
      // The launcher, which is our own child, may end a good while later on a busy machine.
      const isKilled = /^\+\+\+ killed by SIGKILL/m.test(readFileSync(log, 'utf8'))
      if (isKilled) await service.exited
      return isKilled
    },
  }
}

const namesOfThreads = { files: 'libuv-worker', database: 'WorkerThread' }

function threadId(pid: number, thread: Thread): number {
  if (thread === 'main') return pid
  const named = readdirSync(`/proc/${pid}/task`).filter(
    (id) => readFileSync(`/proc/${pid}/task/${id}/comm`, 'utf8').trim() === namesOfThreads[thread],
  )
  const [only] = named
  if (only === undefined || named.length > 1) throw new Error(`${named.length} threads of ${thread}`)
  return Number(only)
}

/** The calls that something makes, in their order, each named as `when` would name it. */
export async function callsDuring(
  service: RunningService,
  watched: Pick<Injection, 'thread' | 'calls'>,
  work: () => Promise<unknown>,
): Promise<{ name: string; nth: number }[]> {
  const tracing = await trace(service, watched)
  await work()
  await tracing.detach()
  const seen = new Map<string, number>()
  return tracing.calls().map((line) => {
    const name = line.slice(0, line.indexOf('('))
    const nth = (seen.get(name) ?? 0) + 1
    seen.set(name, nth)
    return { name, nth }
  })
}

/** Why there can be no traced service here, in words for a skipped test; false where there can be one. */
export async function whyNotTraceable(): Promise<string | false> {
  if (process.platform !== 'linux') return 'strace is of Linux alone'
  if (spawnSync('strace', ['-V']).status !== 0) return 'strace is not installed'
  const child = spawn('sleep', ['30'])
  const tracer = spawn('strace', ['-o', '/dev/null', '-p', String(child.pid)], {
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  let said = ''
  tracer.stderr.setEncoding('utf8').on('data', (piece) => {
    said += piece
  })
  try {
    return await eventually(() => {
      if (/attached/.test(said)) return false
      if (tracer.exitCode !== null) return `strace may not attach to a running process: ${said.trim()}`
      throw new Error('strace has said nothing')
    })
  } finally {
    tracer.kill('SIGKILL')
    child.kill('SIGKILL')
  }
}
