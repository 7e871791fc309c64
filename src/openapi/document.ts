/**
 * The OpenAPI description of the routes that we serve. Tests hold it against the table of routes, against the source
 * document (operation ids, tags and component names are that document's; only statuses and `details` are ours), and
 * against every answer that they get.
 */
import { assetSchemas, uploadAsset } from './assets.ts'
import {
  batchSchemas,
  completeAssetUploadBatch,
  createAssetUploadBatch,
  getAssetBatch,
  getAssetStatuses,
} from './batches.ts'
import {
  completeAssetUpload,
  createAssetUpload,
  directUploadSchemas,
  putAssetBytes,
} from './direct-uploads.ts'
import { deleteAsset, getAsset, getCurrentUser, librarySchemas, listAssets, searchAssets } from './library.ts'
import { errorSchema, responses } from './refusals.ts'
import { resolveAssets, resolveSchemas } from './resolve.ts'
import {
  getClientFile,
  getDocs,
  getDocsFile,
  getErrorDocs,
  getFile,
  getHome,
  getKeys,
  getOpenApi,
  getPageFile,
  isAlive,
  isReady,
} from './service.ts'
import { headers } from './shared.ts'

/** @param publicUrl where clients reach this service */
export function openApiDocument(publicUrl: string, version: string) {
  return {
    openapi: '3.1.0',
    info: {
      title: 'assetd',
      version,
      description:
        'A self-hosted upload service that speaks the Assets part of the HeyGen v3 API. Every error of every path is a `StandardAPIError`: 404 `resource_not_found` where there is no such path, 405 `method_not_allowed` with `Allow` where it has other methods. Where there is GET, there is HEAD.',
      license: { name: 'MIT', identifier: 'MIT' },
    },
    servers: [{ url: publicUrl }],
    security: [{ ApiKeyAuth: [] }, { BearerAuth: [] }],
    tags: [
      { name: 'Assets', description: 'Upload files for use in video creation' },
      { name: 'User', description: 'Account information and billing' },
      { name: 'Files', description: 'The public URLs of assets' },
      { name: 'Operation', description: 'For whoever runs the service' },
      { name: 'Page', description: 'Uploads in a browser' },
      { name: 'Documentation', description: 'What you read now' },
    ],
    paths: {
      '/v3/assets': { post: uploadAsset, get: listAssets },
      '/v3/assets/search': { get: searchAssets },
      '/v3/assets/statuses': { get: getAssetStatuses },
      '/v3/assets/direct-uploads': { post: createAssetUpload },
      '/v3/assets/direct-uploads/batches': { post: createAssetUploadBatch },
      '/v3/assets/complete/batches': { post: completeAssetUploadBatch },
      '/v3/assets/batches/{batch_id}': { get: getAssetBatch },
      '/v3/assets/{asset_id}': { get: getAsset, delete: deleteAsset },
      '/v3/assets/{asset_id}/complete': { post: completeAssetUpload },
      '/v3/assets/resolve': { post: resolveAssets },
      '/uploads/{asset_id}': { put: putAssetBytes },
      '/v3/users/me': { get: getCurrentUser },
      '/files/{name}': { get: getFile },
      '/healthz': { get: isAlive },
      '/readyz': { get: isReady },
      '/.well-known/jwks.json': { get: getKeys },
      '/': { get: getHome },
      '/page/{file}': { get: getPageFile },
      '/client/{file}': { get: getClientFile },
      '/openapi.json': { get: getOpenApi },
      '/docs': { get: getDocs },
      '/docs/errors': { get: getErrorDocs },
      '/docs/{file}': { get: getDocsFile },
    },
    components,
  }
}

const components = {
  headers,
  parameters: {
    IdempotencyKey: {
      name: 'Idempotency-Key',
      in: 'header',
      required: false,
      description:
        'Makes a mutation safe to retry: for 24 hours, calls with the same key get the first answer again, even if the body differs (which is logged). While the first is still running they get 409 `request_in_progress`. 1 to 255 characters from `[A-Za-z0-9_:.-]`; a UUID is a safe default. A key counts for one workspace, one route and the parameters of its path.',
      schema: { type: 'string', pattern: '^[A-Za-z0-9_\\-:.]{1,255}$', maxLength: 255, minLength: 1 },
      example: '550e8400-e29b-41d4-a716-446655440000',
    },
  },
  schemas: {
    ...assetSchemas,
    ...directUploadSchemas,
    ...batchSchemas,
    ...librarySchemas,
    ...resolveSchemas,
    StandardAPIError: errorSchema,
  },
  responses,
  securitySchemes: {
    ApiKeyAuth: {
      type: 'apiKey',
      in: 'header',
      name: 'x-api-key',
      description: 'Made by `assetd keys create`, or given to the service as `ASSETD_API_KEY`.',
    },
    BearerAuth: {
      type: 'http',
      scheme: 'bearer',
      bearerFormat: 'JWT',
      description: 'OAuth2 access token (RFC 9068), or one made by `assetd tokens create`.',
    },
  },
}
