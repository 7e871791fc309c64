/** A client of assetd for browsers and Node.js, without dependencies. `assetd/client/node` adds files on disk. */

export type * from './api-types.ts'
export {
  type Client,
  type ClientOptions,
  createClient,
  type ListOptions,
  type PageOptions,
  type SearchOptions,
} from './client.ts'
export { AssetdError, type ErrorCode } from './errors.ts'
export { multipartMaxBytes, type Progress, type UploadOptions } from './upload.ts'
