/** What is installed with Go: tusd, and PocketBase with the program that its own repository gives as an example. */
import { execFile, execFileSync } from 'node:child_process'
import { mkdirSync, openAsBlob, readFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { promisify } from 'node:util'
import { findProgram } from '../programs.ts'
import { type Missing, type Peer, type Place, startProgram } from '../server.ts'

const run = promisify(execFile)

/** Its path, from PATH or where Go puts what it installs; `go install` where that is allowed. */
async function goProgram(module: string, { mayInstall }: Place): Promise<string | Missing> {
  const name = basename(module.replace(/@.*/, ''))
  const go = findProgram('go')
  const bin =
    go === null ? [] : [join(execFileSync(go, ['env', 'GOPATH'], { encoding: 'utf8' }).trim(), 'bin')]
  const found = findProgram(name, bin)
  if (found !== null) return found
  const command = `go install ${module}`
  if (go === null || !mayInstall) return { missing: `it is not installed: ${command}` }
  try {
    await run(go, ['install', module], { env: { ...process.env, GOFLAGS: '' } })
  } catch (error) {
    return { missing: `${command} failed: ${(error as Error).message.trim()}` }
  }
  return findProgram(name, bin) ?? { missing: `${command} has left no ${name}` }
}

export const tusd: Peer = {
  name: 'tusd',
  async start(place) {
    const program = await goProgram('github.com/tus/tusd/v2/cmd/tusd@v2.9.1', place)
    if (typeof program !== 'string') return program
    const files = join(place.dir, 'files')
    const words = ['-host=127.0.0.1', `-port=${place.port}`, `-upload-dir=${files}`, '-show-greeting=false']
    const started = await startProgram(
      '/bin/sh',
      ['-c', 'exec "$0" "$@" >>log 2>&1', program, ...words],
      place,
    )
    const url = `http://127.0.0.1:${place.port}/files/`
    return {
      name: 'tusd',
      pids: [started.pid],
      upload: { mode: 'tus', url, expect: '201' },
      async publish(file) {
        const body = readFileSync(file)
        const headers = {
          'tus-resumable': '1.0.0',
          'upload-length': String(body.length),
          'content-type': 'application/offset+octet-stream',
        }
        const answer = await fetch(url, { method: 'POST', headers, body })
        return answer.headers.get('location') ?? ''
      },
      files,
      stop: started.stop,
    }
  },
}

const superuser = { identity: 'bench@example.com', password: 'measured-on-loopback' }

export const pocketbase: Peer = {
  name: 'PocketBase',
  async start(place) {
    const program = await goProgram('github.com/pocketbase/pocketbase/examples/base@v0.36.9', place)
    if (typeof program !== 'string') return program
    const data = join(place.dir, 'data')
    const at = [`--dir=${data}`]
    await run(program, ['superuser', 'upsert', superuser.identity, superuser.password, ...at], {
      cwd: place.dir,
    })
    const words = ['serve', `--http=127.0.0.1:${place.port}`, ...at]
    const started = await startProgram(program, words, place)
    const api = `http://127.0.0.1:${place.port}/api`
    await makeCollection(api)
    const url = `${api}/collections/uploads/records`
    const storage = join(data, 'storage')
    mkdirSync(storage, { recursive: true })
    return {
      name: 'PocketBase',
      pids: [started.pid],
      upload: { mode: 'multipart', url, expect: '200' },
      async publish(file) {
        const form = new FormData()
        form.append('file', await openAsBlob(file), 'sample.wav')
        const made = (await (await fetch(url, { method: 'POST', body: form })).json()) as Record<
          string,
          string
        >
        return `${api}/files/uploads/${made.id}/${made.file}`
      },
      files: storage,
      stop: started.stop,
    }
  },
}

/** One collection with one file field, in which everybody may make records. */
async function makeCollection(api: string): Promise<void> {
  const post = async (path: string, body: object, token = ''): Promise<Record<string, string>> => {
    const headers = { 'content-type': 'application/json', authorization: token }
    const answer = await fetch(`${api}${path}`, { method: 'POST', headers, body: JSON.stringify(body) })
    if (!answer.ok) throw new Error(`PocketBase answers ${answer.status}: ${await answer.text()}`)
    return (await answer.json()) as Record<string, string>
  }
  const { token } = await post('/collections/_superusers/auth-with-password', superuser)
  const fields = [{ name: 'file', type: 'file', maxSelect: 1, maxSize: 64 * 1024 * 1024 }]
  await post('/collections', { name: 'uploads', type: 'base', createRule: '', viewRule: '', fields }, token)
}
