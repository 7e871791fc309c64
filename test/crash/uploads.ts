/** Uploads that can be told from each other, by what the client knows of them: their key, their hash, their answer. */
import { createHash, randomBytes, randomFillSync } from 'node:crypto'
import { wav } from '../media/samples.ts'
import { type RunningService, upload } from '../service.ts'

export type Sent = {
  door: 'multipart' | 'direct'
  key: string
  file: Buffer
  sha256: string
  /** The answer of 200, byte for byte; null: there was another one, or none. */
  acknowledged: string | null
}

export type Answer = { status: number; body: string; replayed: boolean }

export const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex')

/** Several blocks of the service's writer, so that the first of them is on the disk before the last has come. */
const fewBlocks = 600_000

export function newFile(sizeBytes = fewBlocks): Buffer {
  const file = wav({ sizeBytes })
  randomFillSync(file, 100)
  return file
}

export function newUpload(file = newFile(), door: Sent['door'] = 'multipart'): Sent {
  return { door, key: randomBytes(12).toString('hex'), file, sha256: sha256(file), acknowledged: null }
}

/** One that is announced, put and completed, under one key. */
export const newDirectUpload = (): Sent => newUpload(newFile(), 'direct')

/** A file that is found to be none only at its end, when most of it is on the disk. */
export function refusedUpload(): Sent {
  return newUpload(newFile().subarray(0, -101))
}

/** Likewise: its end is found wrong when it is completed. */
export const refusedDirectUpload = (): Sent => newUpload(newFile().subarray(0, -101), 'direct')

/** Sends it under its key. @returns null where the connection dropped before the answer was whole */
export async function send(service: Pick<RunningService, 'url' | 'key'>, sent: Sent): Promise<Answer | null> {
  try {
    const response = await (sent.door === 'direct' ? sendDirectly : sendAsForm)(service, sent)
    const body = await response.text()
    if (response.status === 200) sent.acknowledged ??= body
    return {
      status: response.status,
      body,
      replayed: response.headers.get('idempotent-replayed') === 'true',
    }
  } catch {
    return null
  }
}

type Service = Pick<RunningService, 'url' | 'key'>

const sendAsForm = (service: Service, { file, key }: Sent): Promise<Response> =>
  upload(service, file, { 'idempotency-key': key, connection: 'close' })

/** All three steps, as a client that keeps its key; the answer of the first that fails, or of the last. */
async function sendDirectly(service: Service, { file, key }: Sent): Promise<Response> {
  const post = (path: string, body: object): Promise<Response> =>
    fetch(service.url + path, {
      method: 'POST',
      headers: { 'x-api-key': service.key, 'idempotency-key': key, connection: 'close' },
      body: JSON.stringify(body),
    })
  const asked = { filename: 'a.wav', content_type: 'audio/wav', size_bytes: file.length }
  const announced = await post('/v3/assets/direct-uploads', asked)
  if (announced.status !== 200) return announced
  const { data } = (await announced.json()) as { data: { asset_id: string; upload_url: string } }
  const { pathname, search } = new URL(data.upload_url) // another run of the service has another port
  const sent = await fetch(service.url + pathname + search, {
    method: 'PUT',
    headers: { 'content-type': 'audio/wav', connection: 'close' },
    body: new Uint8Array(file),
  })
  if (sent.status !== 200 && sent.status !== 409) return sent // 409: it is sealed since the try before
  for (const endMs = performance.now() + 5_000; ; ) {
    const completed = await post(`/v3/assets/${data.asset_id}/complete`, {})
    // The service may be at it by itself.
    if (completed.status !== 409 || performance.now() > endMs) return completed
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
}
