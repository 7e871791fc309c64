/** What comes from npm: a few lines each around Express and Fastify, in the folder `npm`, run by the same Node.js. */
import { execFile } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, openAsBlob } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { type Missing, type Peer, type Place, startProgram } from '../server.ts'

const source = fileURLToPath(new URL('./npm', import.meta.url))

export const expressMulter = npmPeer('multer', 'express-multer.mjs', true)
export const fastifyMultipart = npmPeer('@fastify/multipart', 'fastify-multipart.mjs', false)

function npmPeer(name: string, script: string, givesFiles: boolean): Peer {
  return {
    name,
    async start(place) {
      const installed = await install(place)
      if (typeof installed !== 'string') return installed
      const files = join(place.dir, 'files')
      mkdirSync(files)
      const words = [join(installed, script), files, String(place.port)]
      const { pid, stop } = await startProgram(process.execPath, words, place, { NODE_ENV: 'production' })
      const origin = `http://127.0.0.1:${place.port}`
      return {
        name,
        pids: [pid],
        upload: { mode: 'multipart', url: `${origin}/upload`, expect: '200' },
        ...(givesFiles && { publish: (file: string) => publish(origin, file) }),
        files,
        stop,
      }
    },
  }
}

async function publish(origin: string, file: string): Promise<string> {
  const form = new FormData()
  form.append('file', await openAsBlob(file), 'sample.wav')
  const answer = await fetch(`${origin}/upload`, { method: 'POST', body: form })
  return origin + ((await answer.json()) as { path: string }).path
}

/** In a folder beside those of the servers, once for all: the project's own node_modules has none of it. */
async function install({ dir }: Place): Promise<string | Missing> {
  const folder = join(dir, '..', 'npm-peers')
  if (existsSync(join(folder, 'node_modules', 'express'))) return folder
  cpSync(source, folder, { recursive: true })
  try {
    await promisify(execFile)('npm', ['ci', '--ignore-scripts', '--no-audit', '--no-fund'], { cwd: folder })
    return folder
  } catch (error) {
    return { missing: `npm ci failed: ${(error as Error).message.trim().split('\n')[0]}` }
  }
}
