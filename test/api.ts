/** The JSON calls of the API by fetch, and a direct upload step by step. */
import assert from 'node:assert/strict'
import type { CreateAssetUploadResponse } from '../client/types.ts'
import type { RunningService } from './service.ts'

type Caller = Pick<RunningService, 'url' | 'key'>

export type ApiAnswer = {
  status: number
  headers: Record<string, string>
  /** The body as it came. */
  body: string
  // biome-ignore lint/suspicious/noExplicitAny: what comes is looked at field by field
  json: any
}

/** @param body an object is sent as JSON, a text as it is */
export async function call(
  service: Caller,
  method: string,
  path: string,
  body?: object | string,
  headers: Record<string, string> = {},
): Promise<ApiAnswer> {
  const response = await fetch(service.url + path, {
    method,
    headers: { 'x-api-key': service.key, 'content-type': 'application/json', ...headers },
    ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
  })
  const text = await response.text()
  return {
    status: response.status,
    headers: Object.fromEntries(response.headers),
    body: text,
    json: text === '' ? null : JSON.parse(text),
  }
}

export type Announced = CreateAssetUploadResponse

export async function announce(
  service: Caller,
  file: { filename?: string; content_type: string; size_bytes: number; checksum_sha256?: string },
  headers: Record<string, string> = {},
): Promise<Announced> {
  const asked = { filename: 'a-file', ...file }
  const answer = await call(service, 'POST', '/v3/assets/direct-uploads', asked, headers)
  assert.equal(answer.status, 200, answer.body)
  return answer.json.data
}

/** Puts bytes to a signed URL, as its answer said. */
export async function put(
  announced: Pick<Announced, 'upload_url' | 'upload_headers'>,
  bytes: Uint8Array,
  headers: Record<string, string> = announced.upload_headers,
): Promise<ApiAnswer> {
  const response = await fetch(announced.upload_url, { method: 'PUT', headers, body: new Uint8Array(bytes) })
  const text = await response.text()
  return {
    status: response.status,
    headers: Object.fromEntries(response.headers),
    body: text,
    // A bucket answers with nothing, or in XML.
    json: text.startsWith('{') ? JSON.parse(text) : null,
  }
}

export const complete = (
  service: Caller,
  assetId: string,
  body: object | string = '',
  headers: Record<string, string> = {},
): Promise<ApiAnswer> => call(service, 'POST', `/v3/assets/${assetId}/complete`, body, headers)

/** All three steps. @returns what `complete` answered */
export async function uploadDirectly(
  service: Caller,
  contentType: string,
  bytes: Uint8Array,
  filename = 'a-file',
): Promise<{ asset_id: string; url: string; mime_type: string; size_bytes: number; status: string }> {
  const announced = await announce(service, {
    filename,
    content_type: contentType,
    size_bytes: bytes.length,
  })
  const sent = await put(announced, bytes)
  assert.equal(sent.status, 200, sent.body)
  const done = await complete(service, announced.asset_id)
  assert.equal(done.status, 200, done.body)
  return done.json.data
}
