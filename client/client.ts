/** The calls of the API, one function each. */

import type {
  Asset,
  AssetBatch,
  AssetInput,
  AssetStatus,
  CompleteAssetUploadBatchResponse,
  CreateAssetUploadBatchRequest,
  CreateAssetUploadBatchResponse,
  CurrentUser,
  DeleteAssetResponse,
  FoundAsset,
  Page,
  ResolvedInput,
} from './api-types.ts'
import type { AssetdError } from './errors.ts'
import { type Credentials, createRequest, type RetryOptions } from './request.ts'
import { chooseTransport, type Fetch } from './transport.ts'
import { createUpload, type Upload } from './upload.ts'

export type ClientOptions = Credentials &
  RetryOptions & {
    /** Where the service is, such as `https://media.example.com`; it may have a path. */
    baseUrl: string
    /** In the place of the platform's; uploads in a browser then tell no progress. */
    fetch?: Fetch
    /** Where a signed upload URL is reached from here; not given: as it is. */
    reach?: (url: string) => string
  }

/** Up to 48 MiB go up, and the service may have to fetch what URLs name. */
const resolveTimeoutMs = 600_000

type CallOptions = { signal?: AbortSignal }

export type PageOptions = CallOptions & {
  limit?: number
  /** `next_token` of the page before. */
  token?: string
}

export type ListOptions = PageOptions & { username?: string; folderId?: string }
export type SearchOptions = PageOptions & {
  query: string
  type: 'image' | 'icon'
  scope?: 'personal' | 'public'
}
export interface Client {
  /** Uploads one file, by the door that fits it. */
  upload: Upload
  get(assetId: string, options?: CallOptions): Promise<Asset>
  /** One page, newest first. */
  list(options?: ListOptions): Promise<Page<Asset>>
  /** Page after page, from the one that the options name. */
  listPages(options?: ListOptions): AsyncGenerator<Page<Asset>, void, undefined>
  search(options: SearchOptions): Promise<Page<FoundAsset>>
  searchPages(options: SearchOptions): AsyncGenerator<Page<FoundAsset>, void, undefined>
  /** Deletes an asset, or cancels an upload that is not complete. */
  remove(assetId: string, options?: CallOptions): Promise<DeleteAssetResponse>
  /** How uploads stand, at most 100 together. */
  statuses(
    ids: { assetIds?: readonly string[]; batchIds?: readonly string[] },
    options?: CallOptions,
  ): Promise<AssetStatus[]>
  batches: {
    /** Announces up to 100 direct uploads at once; their bytes go to each `upload_url`. */
    create(
      batch: CreateAssetUploadBatchRequest,
      options?: CallOptions & { idempotencyKey?: string },
    ): Promise<CreateAssetUploadBatchResponse>
    /** Has what is there verified, in the background; may be called again. */
    complete(batchId: string, options?: CallOptions): Promise<CompleteAssetUploadBatchResponse>
    get(batchId: string, options?: PageOptions): Promise<AssetBatch>
  }
  /**
   * Makes verified assets of up to 20 files, each named by its id, by a URL, or with its bytes in base64. An entry for each:
   * an asset, or what is wrong with that one.
   */
  resolve(inputs: AssetInput[], options?: CallOptions & { idempotencyKey?: string }): Promise<ResolvedInput[]>
  /** Who the credentials are. */
  me(options?: CallOptions): Promise<CurrentUser>
}

export function createClient(options: ClientOptions): Client {
  const request = createRequest({ ...options, transport: chooseTransport(options.fetch) })

  const dataOf = async <T>(call: Parameters<typeof request>[0]): Promise<T> =>
    ((await request(call)) as { data: T }).data

  const client: Client = {
    upload: createUpload(request, options.reach),

    get: (assetId, { signal } = {}) => dataOf({ method: 'GET', target: assetPath(assetId), signal }),

    async list({ limit, token, username, folderId, signal } = {}) {
      const query = { limit, token, username, folder_id: folderId }
      return (await request({ method: 'GET', target: '/v3/assets', query, signal })) as Page<Asset>
    },

    listPages: (options = {}) => pages(options, client.list),

    async search({ query: text, type, scope, limit, token, signal }) {
      const query = { query: text, type, scope, limit, token }
      const page = await request({ method: 'GET', target: '/v3/assets/search', query, signal })
      return page as Page<FoundAsset>
    },

    searchPages: (options) => pages(options, client.search),

    remove: (assetId, { signal } = {}) =>
      dataOf({
        method: 'DELETE',
        target: assetPath(assetId),
        signal,
        // The try before this one did it, and its answer was lost.
        onLateError: ({ status }: AssetdError) => (status === 404 ? { data: { id: assetId } } : undefined),
      }),

    statuses({ assetIds = [], batchIds = [] }, { signal } = {}) {
      const query = { asset_ids: assetIds.join(',') || undefined, batch_ids: batchIds.join(',') || undefined }
      return dataOf({ method: 'GET', target: '/v3/assets/statuses', query, signal })
    },

    batches: {
      create: (batch, { signal, idempotencyKey } = {}) =>
        dataOf({
          method: 'POST',
          target: '/v3/assets/direct-uploads/batches',
          json: batch,
          signal,
          ...(idempotencyKey === undefined ? {} : { idempotencyKey }),
        }),
      complete: (batchId, { signal } = {}) =>
        dataOf({
          method: 'POST',
          target: '/v3/assets/complete/batches',
          json: { batch_id: batchId },
          signal,
        }),
      get: (batchId, { limit, token, signal } = {}) =>
        dataOf({
          method: 'GET',
          target: `/v3/assets/batches/${encodeURIComponent(batchId)}`,
          query: { limit, token },
          signal,
        }),
    },

    resolve: (inputs, { signal, idempotencyKey } = {}) =>
      dataOf({
        method: 'POST',
        target: '/v3/assets/resolve',
        json: { inputs },
        signal,
        timeoutMs: resolveTimeoutMs,
        ...(idempotencyKey === undefined ? {} : { idempotencyKey }),
      }),

    me: ({ signal } = {}) => dataOf({ method: 'GET', target: '/v3/users/me', signal }),
  }
  return client
}

function assetPath(assetId: string): string {
  return `/v3/assets/${encodeURIComponent(assetId)}`
}

async function* pages<O extends PageOptions, T>(
  options: O,
  read: (options: O) => Promise<Page<T>>,
): AsyncGenerator<Page<T>, void, undefined> {
  let token = options.token
  do {
    const page = await read(token === undefined ? options : { ...options, token })
    yield page
    token = page.next_token ?? undefined
  } while (token !== undefined)
}
