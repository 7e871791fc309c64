/** assetd itself, started as a user does, by its launcher, with a rate limit that is checked but never met. */
import { randomBytes } from 'node:crypto'
import { openAsBlob } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { type Peer, type Place, type Server, startProgram } from '../server.ts'

const launcher = fileURLToPath(new URL('../../bin/assetd.mjs', import.meta.url))

export const assetd: Peer = { name: 'assetd', start: (place) => startAssetd(place) }

/**
 * @param before what comes before the command line, such as a tracer and its options
 * @param more settings beside those that every run has
 */
export async function startAssetd(
  place: Place,
  before: readonly string[] = [],
  more: Record<string, string> = {},
): Promise<Server> {
  const key = `bench-${randomBytes(24).toString('hex')}`
  const dataDir = join(place.dir, 'data')
  const settings = {
    ASSETD_PORT: String(place.port),
    ASSETD_DATA_DIR: dataDir,
    ASSETD_API_KEY: key,
    ASSETD_RATE_LIMIT: '1000000/sec',
    ASSETD_LOG_LEVEL: 'info',
    ...more,
  }
  // Its log goes to a file, as a service's does.
  const words = ['-c', 'exec "$@" 2>>log', 'sh', ...before, process.execPath, launcher, 'serve']
  const { pid, stop } = await startProgram('/bin/sh', words, place, settings)
  const url = `http://127.0.0.1:${place.port}/v3/assets`
  return {
    name: 'assetd',
    pids: [pid],
    upload: { mode: 'multipart', url, expect: '200', key },
    publish: (file) => publish(url, key, file),
    files: join(dataDir, 'blobs'),
    stop,
  }
}

async function publish(url: string, key: string, file: string): Promise<string> {
  const form = new FormData()
  form.append('file', await openAsBlob(file), 'sample.wav')
  const answer = await fetch(url, { method: 'POST', headers: { 'x-api-key': key }, body: form })
  const { data } = (await answer.json()) as { data: { url: string } }
  return data.url
}
