/**
 * The OpenAPI description of the routes that we serve. Tests hold it against the table of routes and against the
 * source document: operation ids, tags and component names are the document's; only statuses and `details` are ours.
 */
import { codes, reasons } from './error-catalog.ts'

const errorContent = (example: Record<string, unknown>) => ({
  'application/json': {
    schema: { type: 'object', properties: { error: { $ref: '#/components/schemas/StandardAPIError' } } },
    example: { error: example },
  },
})

const refusal = (
  description: string,
  code: keyof typeof codes,
  message: string,
  param: string | null = null,
) => ({
  description,
  headers: { 'X-Request-Id': { $ref: '#/components/headers/RequestId' } },
  content: errorContent({ code, message, param, doc_url: `/docs/errors#${code}` }),
})

const withRetryAfter = <T extends { headers: object }>(response: T, required: boolean) => ({
  ...response,
  headers: {
    ...response.headers,
    'Retry-After': { description: 'Seconds to wait before retrying', required, schema: { type: 'integer' } },
  },
})

const json = (schema: object) => ({ 'application/json': { schema } })

const health = (operationId: string, summary: string, otherwise: object = {}) => ({
  tags: ['Operation'],
  summary,
  operationId,
  security: [],
  responses: {
    '200': {
      description: 'Yes',
      content: json({ type: 'object', required: ['data'], properties: { data: { type: 'object' } } }),
    },
    ...otherwise,
  },
})

const notReady = withRetryAfter(
  refusal('Not now', 'service_unavailable', 'The service cannot take uploads at the moment.'),
  true,
)

const page = (operationId: string, summary: string, mediaType: string, status = '200') => ({
  tags: ['Documentation'],
  summary,
  operationId,
  security: [],
  responses: {
    [status]: { description: summary, ...(status === '200' ? { content: { [mediaType]: {} } } : {}) },
  },
})

const fileResponses = {
  '200': {
    description: 'The bytes of the asset',
    headers: {
      ETag: { schema: { type: 'string' }, description: 'Strong: the SHA-256 of the bytes' },
      'Cache-Control': { schema: { type: 'string' } },
    },
    content: { '*/*': { schema: { type: 'string', format: 'binary' } } },
  },
  '206': { description: 'The range that was asked for', content: { '*/*': {} } },
  '304': { description: 'The client has it already' },
  '404': refusal('No such asset', 'asset_not_found', 'There is no asset at this address.'),
  '412': refusal(
    'A condition is not met',
    'invalid_request',
    'The file does not meet the conditions of the request.',
  ),
  '416': refusal('The range lies outside', 'invalid_request', 'The range lies outside of the file.'),
}

/** @param publicUrl where clients reach this service */
export function openApiDocument(publicUrl: string, version: string) {
  return {
    openapi: '3.1.0',
    info: {
      title: 'assetd',
      version,
      description: 'A self-hosted upload service that speaks the Assets part of the HeyGen v3 API.',
      license: { name: 'MIT', identifier: 'MIT' },
    },
    servers: [{ url: publicUrl }],
    security: [{ ApiKeyAuth: [] }, { BearerAuth: [] }],
    tags: [
      { name: 'Assets', description: 'Upload files for use in video creation' },
      { name: 'Files', description: 'The public URLs of assets' },
      { name: 'Operation', description: 'For whoever runs the service' },
      { name: 'Documentation', description: 'What you read now' },
    ],
    paths: {
      '/v3/assets': { post: uploadAsset },
      '/files/{name}': {
        get: {
          tags: ['Files'],
          summary: 'Get the bytes of an asset',
          description:
            'Public, with ranges and conditional requests. HEAD answers the same without the bytes.',
          operationId: 'getFile',
          security: [],
          parameters: [
            {
              name: 'name',
              in: 'path',
              required: true,
              description: '`<asset_id>.<ext>`, as in the `url` of an upload',
              schema: { type: 'string' },
            },
          ],
          responses: fileResponses,
        },
      },
      '/healthz': { get: health('isAlive', 'Is the process alive?') },
      '/readyz': { get: health('isReady', 'Can it take uploads now?', { '503': notReady }) },
      '/.well-known/jwks.json': {
        get: page('getKeys', 'The public keys of the embedded token issuer', 'application/json'),
      },
      '/': { get: page('getHome', 'Leads to /docs', 'text/html', '302') },
      '/openapi.json': { get: page('getOpenApi', 'This description', 'application/json') },
      '/docs': { get: page('getDocs', 'A page to read and try the API', 'text/html') },
      '/docs/errors': {
        get: page('getErrorDocs', 'Each error code and reason: cause and cure', 'text/html'),
      },
      '/docs/{file}': {
        get: {
          ...page('getDocsFile', 'Scripts and styles of the page', '*/*'),
          parameters: [{ name: 'file', in: 'path', required: true, schema: { type: 'string' } }],
        },
      },
    },
    components,
  }
}

const uploadAsset = {
  tags: ['Assets'],
  summary: 'Upload Asset',
  description:
    'Uploads a file (image, video, audio, or PDF) and returns an asset_id for use in other endpoints. Max 32 MB. Supported types: png, jpeg, mp4, webm, mp3, wav, pdf.',
  operationId: 'uploadAsset',
  parameters: [{ $ref: '#/components/parameters/IdempotencyKey' }],
  requestBody: {
    required: true,
    content: {
      'multipart/form-data': {
        schema: {
          type: 'object',
          properties: {
            file: {
              type: 'string',
              format: 'binary',
              description: 'File to upload (image, video, audio, or PDF). Max 32 MB.',
            },
          },
          required: ['file'],
        },
      },
    },
  },
  responses: {
    '200': {
      description: 'Successful response',
      headers: {
        'X-Request-Id': { $ref: '#/components/headers/RequestId' },
        'Idempotent-Replayed': {
          description:
            '`true` where this is the kept answer of an earlier request with the same Idempotency-Key',
          schema: { type: 'string' },
        },
      },
      content: json({
        type: 'object',
        properties: { data: { $ref: '#/components/schemas/UploadAssetV3Response' } },
      }),
    },
    '400': refusal(
      'Invalid request parameters',
      'invalid_parameter',
      'File is required. Upload a file using multipart/form-data.',
      'file',
    ),
    '401': refusal(
      'Authentication failed',
      'authentication_failed',
      'Invalid or expired API key. Verify your x-api-key header.',
    ),
    '403': refusal(
      'Scope missing',
      'forbidden',
      'These credentials do not have the scope assets:write. Use ones that do.',
    ),
    '408': refusal('The body is too slow', 'request_timeout', 'The request body is too slow.'),
    '409': { $ref: '#/components/responses/IdempotencyInProgress' },
    '429': withRetryAfter(
      refusal(
        'Rate limit exceeded',
        'rate_limit_exceeded',
        'Too many requests. Retry after the duration specified in the Retry-After header.',
      ),
      false,
    ),
    '500': refusal('A fault of ours', 'internal_error', 'Something went wrong on our side.'),
    '503': withRetryAfter(
      refusal(
        'Not now',
        'service_unavailable',
        'The storage cannot be used at the moment. Nothing was stored.',
      ),
      false,
    ),
  },
  security: [{ ApiKeyAuth: [] }, { BearerAuth: [] }],
}

const components = {
  headers: {
    RequestId: { description: 'Names this request in our log', schema: { type: 'string' } },
  },
  parameters: {
    IdempotencyKey: {
      name: 'Idempotency-Key',
      in: 'header',
      required: false,
      description:
        'Makes a mutation safe to retry: for 24 hours, calls with the same key get the first answer again, even if the body differs (which is logged). While the first is still running they get 409 `request_in_progress`. 1 to 255 characters from `[A-Za-z0-9_:.-]`; a UUID is a safe default. A key counts for one workspace and one route.',
      schema: { type: 'string', pattern: '^[A-Za-z0-9_\\-:.]{1,255}$', maxLength: 255, minLength: 1 },
      example: '550e8400-e29b-41d4-a716-446655440000',
    },
  },
  schemas: {
    UploadAssetV3Response: {
      description: 'Response from uploading an asset via POST /v3/assets.',
      properties: {
        asset_id: { description: 'Unique asset identifier', title: 'Asset Id', type: 'string' },
        url: { description: 'Public URL of the uploaded asset', title: 'Url', type: 'string' },
        mime_type: { description: 'Detected MIME type of the file', title: 'Mime Type', type: 'string' },
        size_bytes: { description: 'File size in bytes', title: 'Size Bytes', type: 'integer' },
      },
      required: ['asset_id', 'url', 'mime_type', 'size_bytes'],
      title: 'UploadAssetV3Response',
      type: 'object',
    },
    StandardAPIError: {
      type: 'object',
      properties: {
        code: { type: 'string', description: 'Machine-readable error code', enum: Object.keys(codes) },
        message: { type: 'string', description: 'Human-readable error message' },
        param: { type: ['string', 'null'], description: 'Which request field caused the error' },
        doc_url: { type: ['string', 'null'], description: 'Link to error documentation' },
        details: {
          type: 'object',
          description: 'Machine-readable facts beside the message',
          properties: { reason: { type: 'string', enum: Object.keys(reasons) } },
          additionalProperties: true,
        },
      },
      required: ['code', 'message', 'param', 'doc_url'],
    },
  },
  responses: {
    IdempotencyInProgress: withRetryAfter(
      refusal(
        'A prior request with this Idempotency-Key is still in progress. Wait for it to complete, then retry.',
        'request_in_progress',
        'A request with this Idempotency-Key is already in progress. Retry shortly.',
      ),
      true,
    ),
  },
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
