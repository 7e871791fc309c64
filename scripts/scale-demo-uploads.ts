/** What a careful client does: each upload under a key, sent again under the same one until there is an answer. */
import { createHash, randomFillSync } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { wav } from '../test/media/samples.ts'

export type Upload = { key: string; file: Buffer; sha256: string; answer: string | null }

/** Status null: the connection ended without an answer. */
export type Outcome = { upload: Upload; status: number | null }

type Service = { url: string; key: string }

/** No two are the same. */
export function anyWav(sizeBytes: number): Buffer {
  const file = wav({ sizeBytes })
  randomFillSync(file, 100)
  return file
}

async function send(
  service: Service,
  upload: Upload,
): Promise<{ status: number | null; text: string; wait: number }> {
  const form = new FormData()
  form.append('file', new Blob([new Uint8Array(upload.file)]), `${upload.key}.wav`)
  try {
    const response = await fetch(`${service.url}/v3/assets`, {
      method: 'POST',
      headers: { 'x-api-key': service.key, 'idempotency-key': upload.key },
      body: form,
    })
    const text = await response.text()
    return { status: response.status, text, wait: Number(response.headers.get('retry-after') ?? 1) }
  } catch {
    return { status: null, text: '', wait: 1 }
  }
}

/** @param onOutcome called for each attempt */
export async function uploadAll(
  service: Service,
  uploads: readonly Upload[],
  atOnce: number,
  onOutcome: (outcome: Outcome) => void,
): Promise<void> {
  const waiting = [...uploads]
  const worker = async (): Promise<void> => {
    for (let upload = waiting.shift(); upload !== undefined; upload = waiting.shift()) {
      for (let attempt = 1; upload.answer === null; attempt++) {
        const { status, text, wait } = await send(service, upload)
        onOutcome({ upload, status })
        if (status === 200) upload.answer = text
        else if (attempt === 20) throw new Error(`${upload.key} got ${status} twenty times: ${text}`)
        else await sleep(wait * 1_000)
      }
    }
  }
  await Promise.all(Array.from({ length: atOnce }, worker))
}

export type Findings = { whole: number; replayed: number; faults: string[] }

/** Fetches every file that was acknowledged, and sends every upload once more. */
export async function checkAll(service: Service, uploads: readonly Upload[]): Promise<Findings> {
  const findings: Findings = { whole: 0, replayed: 0, faults: [] }
  const fault = (text: string): void => {
    findings.faults.push(text)
    console.log(`         FAULT: ${text}`)
  }
  for (const upload of uploads) {
    const { data } = JSON.parse(upload.answer ?? '{}') as { data: { url: string } }
    const response = await fetch(data.url)
    const sha256 = createHash('sha256')
      .update(new Uint8Array(await response.arrayBuffer()))
      .digest('hex')
    if (response.status === 200 && sha256 === upload.sha256) findings.whole++
    else fault(`${upload.key}: ${data.url} answers ${response.status}, SHA-256 ${sha256}`)
    const again = await send(service, upload)
    if (again.status === 200 && again.text === upload.answer) findings.replayed++
    else fault(`${upload.key}: sent again it gets ${again.status} ${again.text}`)
  }
  return findings
}
