/** The clients that must work unchanged: each uploads a file by its own means, as its users do. */
import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { openAsBlob } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { request } from 'node:http'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

export type Job = { url: string; key: string; path: string; how: 'length' | 'chunked' }
export type Result = { status: number; body: string }

export type Client = {
  name: string
  /** @throws where the client reports no answer, such as a reset */
  upload(job: Job): Promise<Result>
  close(): void
}

const run = promisify(execFile)
const here = fileURLToPath(new URL('.', import.meta.url))

/** Why the program cannot be used here, or false. */
async function missing(program: string, args: string[]): Promise<string | false> {
  try {
    await run(program, args)
    return false
  } catch {
    return `${program} is not installed on this machine`
  }
}

export const curlMissing = await missing('curl', ['--version'])
export const goMissing = await missing('go', ['version'])

/** A Python that has requests, else any. */
export const python = await findPython()
export const pythonMissing = python === null ? 'python3 is not installed on this machine' : false

async function findPython(): Promise<{ program: string; hasRequests: boolean } | null> {
  for (const program of ['python3', '/usr/bin/python3']) {
    if ((await missing(program, ['-c', 'import requests'])) === false) return { program, hasRequests: true }
  }
  return (await missing('python3', ['--version'])) === false
    ? { program: 'python3', hasRequests: false }
    : null
}

/** Waits for `100 Continue` before it sends a body that is large or chunked. */
export const curl = curlWith([])
/** Sends the body at once, whatever its size. */
export const eagerCurl = curlWith(['-H', 'Expect:'])

function curlWith(options: readonly string[]): Client {
  return {
    name: 'curl',
    async upload({ url, key, path, how }) {
      const chunked = how === 'chunked' ? ['-H', 'Transfer-Encoding: chunked'] : []
      const headers = ['-H', `x-api-key: ${key}`, ...chunked, ...options]
      const { stdout } = await run('curl', [
        ...['-sS', '--http1.1', '-w', '\n%{http_code}', ...headers],
        ...['-F', `file=@${path}`, url],
      ])
      const end = stdout.lastIndexOf('\n')
      return { status: Number(stdout.slice(end + 1)), body: stdout.slice(0, end) }
    },
    close() {},
  }
}

const boundary = 'node-boundary'
const before = `--${boundary}\r\nContent-Disposition: form-data; name="file"; filename="a.bin"\r\n\r\n`
const after = `\r\n--${boundary}--\r\n`
const contentType = `multipart/form-data; boundary=${boundary}`

export const fetchClient: Client = {
  name: 'fetch',
  async upload({ url, key, path, how }) {
    const blob = await openAsBlob(path)
    const answer = await fetch(url, how === 'chunked' ? streamed(key, blob) : formData(key, blob))
    return { status: answer.status, body: await answer.text() }
  },
  close() {},
}

function formData(key: string, blob: Blob): RequestInit {
  const form = new FormData()
  form.append('file', blob, 'a.bin')
  return { method: 'POST', headers: { 'x-api-key': key }, body: form }
}

function streamed(key: string, blob: Blob): RequestInit & { duplex: 'half' } {
  return {
    method: 'POST',
    headers: { 'x-api-key': key, 'content-type': contentType },
    body: new Blob([before, blob, after]).stream(),
    duplex: 'half',
  }
}

export const nodeHttp: Client = {
  name: 'node:http',
  async upload({ url, key, path, how }) {
    const body = Buffer.concat([Buffer.from(before), await readFile(path), Buffer.from(after)])
    const length: Record<string, string | number> = how === 'chunked' ? {} : { 'content-length': body.length }
    return new Promise((resolve, reject) => {
      const headers = { 'x-api-key': key, 'content-type': contentType, ...length }
      const sent = request(url, { method: 'POST', agent: false, headers }, (answer) => {
        let text = ''
        answer.setEncoding('utf8').on('data', (piece) => {
          text += piece
        })
        answer.on('end', () => resolve({ status: answer.statusCode ?? 0, body: text })).on('error', reject)
      })
      sent.on('error', reject)
      // In pieces, as a program that reads a file does.
      for (let at = 0; at < body.length; at += 256 * 1024) sent.write(body.subarray(at, at + 256 * 1024))
      sent.end()
    })
  },
  close() {},
}

/** A program that takes a line for each job and gives a line for each result. */
function jobProgram(name: string, child: ChildProcess): Client {
  const waiting: { resolve(result: Result): void; reject(error: Error): void }[] = []
  const { stdin, stdout, stderr } = child
  if (stdin === null || stdout === null || stderr === null) throw new Error(`${name} has no pipes`)
  let complaint = ''
  stderr.setEncoding('utf8').on('data', (text) => {
    complaint += text
  })
  createInterface({ input: stdout }).on('line', (line) => {
    const next = waiting.shift()
    const result = JSON.parse(line) as Partial<Result> & { error?: string }
    if (result.error !== undefined) next?.reject(new Error(`${name}: ${result.error}`))
    else next?.resolve({ status: result.status ?? 0, body: result.body ?? '' })
  })
  child.on('exit', (status) => {
    for (const one of waiting.splice(0)) one.reject(new Error(`${name} ended with ${status}: ${complaint}`))
  })
  return {
    name,
    upload: (job) =>
      new Promise((resolve, reject) => {
        waiting.push({ resolve, reject })
        stdin.write(`${JSON.stringify(job)}\n`)
      }),
    close: () => void stdin.end(),
  }
}

/** requests where this Python has it, else http.client. */
export function startPython(): Client {
  const { program, hasRequests } = python ?? { program: 'python3', hasRequests: false }
  const name = hasRequests ? 'Python requests' : 'Python http.client'
  return jobProgram(name, spawn(program, [join(here, 'upload.py')], { stdio: 'pipe' }))
}

/** The first `go run` on a machine compiles net/http, which takes a while. */
export function startGo(): Client {
  const env = { ...process.env, GOFLAGS: '-mod=mod', GOTOOLCHAIN: 'local' }
  return jobProgram('Go net/http', spawn('go', ['run', '.'], { cwd: here, env, stdio: 'pipe' }))
}
