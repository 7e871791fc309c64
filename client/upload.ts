/** Uploads: in one request by the multipart door, or directly to a signed URL where the file is large or a zip. */

import type {
  CompleteAssetUploadResponse,
  CreateAssetUploadResponse,
  UploadAssetV3Response,
} from './api-types.ts'
import { AssetdError } from './errors.ts'
import { mediaTypeOf } from './media-type.ts'
import { type Request, wait } from './request.ts'
import { randomKey } from './transport.ts'

export type Progress = { sentBytes: number; totalBytes: number }

export type UploadOptions = {
  /** Shown in lists. Not given: the name of a File, or `file`. */
  name?: string
  /** Not given: found from the first bytes, the name, or the type of the Blob. */
  type?: string
  /** Goes back to nothing where the upload has to be tried again. */
  onProgress?: (progress: Progress) => void
  /**
   * Ends the upload: the call throws the signal's reason, and what was sent is dropped, unless the service had all of it
   * already.
   */
  signal?: AbortSignal
  /**
   * Names this upload: with the same key nothing is stored twice, for a day. Not given: one is made, and kept for this
   * Blob until it is known how the upload has ended.
   */
  idempotencyKey?: string
  /** Not given: `multipart` up to 32 MiB, `direct` above and for a zip. */
  door?: 'multipart' | 'direct'
  /** In hex. Direct uploads only: other bytes are refused. */
  checksumSha256?: string
}

/** As the contract has it: 32 MB on the multipart door. */
export const multipartMaxBytes = 33_554_432

/** Verifying and copying a large file takes its time. */
const completeTimeoutMs = 600_000

export type Upload = (file: Blob, options?: UploadOptions) => Promise<UploadAssetV3Response>

export function createUpload(request: Request, reach = (url: string): string => url): Upload {
  const openKeys = new WeakMap<Blob, string>()

  return async (file, options = {}) => {
    const key = options.idempotencyKey ?? openKeys.get(file) ?? randomKey()
    openKeys.set(file, key)
    try {
      const uploaded = await send(file, options, key)
      openKeys.delete(file)
      return uploaded
    } catch (error) {
      if (!isOpen(error)) openKeys.delete(file)
      throw error
    }
  }

  async function send(file: Blob, options: UploadOptions, key: string): Promise<UploadAssetV3Response> {
    options.signal?.throwIfAborted()
    const name = options.name ?? ((file as Partial<File>).name || 'file')
    const type = options.type ?? (await mediaTypeOf(file, name))
    const isDirect = file.size > multipartMaxBytes || type === 'application/zip'
    const door = options.door ?? (isDirect ? 'direct' : 'multipart')
    const onSent = (sentBytes: number): void => options.onProgress?.({ sentBytes, totalBytes: file.size })
    const item: Item = { file, name, type, key, onSent, options }
    return door === 'direct' ? sendDirectly(item) : sendByForm(item)
  }

  async function sendByForm({ file, name, key, onSent, options }: Item): Promise<UploadAssetV3Response> {
    const { data } = (await request({
      method: 'POST',
      target: '/v3/assets',
      body: { field: 'file', file, name },
      idempotencyKey: key,
      signal: options.signal,
      onSent,
      timeoutMs: Number.POSITIVE_INFINITY,
    })) as { data: UploadAssetV3Response }
    return data
  }

  async function sendDirectly(item: Item): Promise<CompleteAssetUploadResponse> {
    const { file, name, type, key, options } = item
    const { signal, checksumSha256 } = options
    const { data: ticket } = (await request({
      method: 'POST',
      target: '/v3/assets/direct-uploads',
      json: {
        filename: name,
        content_type: type,
        size_bytes: file.size,
        ...(checksumSha256 === undefined ? {} : { checksum_sha256: checksumSha256 }),
      },
      idempotencyKey: key,
      signal,
    })) as { data: CreateAssetUploadResponse }
    let isSent = false
    try {
      const refusal = await putBytes(item, ticket).then(() => null, unlessTooLate)
      isSent = refusal === null
      const { data } = (await request({
        method: 'POST',
        target: `/v3/assets/${ticket.asset_id}/complete`,
        json: {},
        idempotencyKey: key,
        signal,
        timeoutMs: completeTimeoutMs,
      }).catch((error) => {
        throw refusal !== null && isWithoutBytes(error) ? refusal : error
      })) as { data: CompleteAssetUploadResponse }
      return data
    } catch (error) {
      const isOver = signal?.aborted || !(isSent || isOpen(error))
      // Under a key that was given, the caller may go on with the same upload.
      if (isOver && options.idempotencyKey === undefined) await cancel(ticket.asset_id)
      throw error
    }
  }

  async function putBytes({ file, onSent, options }: Item, ticket: CreateAssetUploadResponse): Promise<void> {
    await request({
      method: 'PUT',
      target: reach(ticket.upload_url),
      headers: ticket.upload_headers,
      body: file,
      signal: options.signal,
      onSent,
      timeoutMs: Number.POSITIVE_INFINITY,
    })
  }

  /** The upload would end by itself at its expiry; this frees its bytes now. */
  async function cancel(assetId: string): Promise<void> {
    // 409 while the service is still at it: once that is over, whatever it has become can be deleted.
    for (const ms of [0, 100, 300, 600, 1_000, 2_000, 4_000, 8_000, 15_000]) {
      try {
        await wait(ms)
        await request({
          method: 'DELETE',
          target: `/v3/assets/${assetId}`,
          signal: AbortSignal.timeout(2_000),
        })
        return
      } catch (error) {
        if (!(error instanceof AssetdError) || error.status !== 409) return
      }
    }
  }
}

type Item = {
  file: Blob
  name: string
  type: string
  key: string
  onSent: (bytes: number) => void
  options: UploadOptions
}

/**
 * Under the key of an earlier try the bytes may be there already, sealed (409), or their URL may have ended since (403): then
 * it is the completion that knows how the upload stands.
 *
 * @throws what is wrong otherwise
 */
function unlessTooLate(error: unknown): AssetdError {
  if (error instanceof AssetdError && (error.status === 409 || error.status === 403)) return error
  throw error
}

function isWithoutBytes(error: unknown): boolean {
  return error instanceof AssetdError && (error.status === 404 || error.status === 409)
}

/** It may have been stored all the same. */
function isOpen(error: unknown): boolean {
  return (
    error instanceof AssetdError && (error.status === null || error.status >= 500 || error.status === 409)
  )
}
