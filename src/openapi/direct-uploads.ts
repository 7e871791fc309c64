/** Direct uploads: announce, put, complete. */
import { refused, withBody, withPathParameter } from './refusals.ts'
import {
  answer,
  data,
  idempotencyKey,
  inPath,
  inQuery,
  integer,
  json,
  ref,
  text,
  textOrNull,
  whole,
} from './shared.ts'

const assetId = inPath('asset_id', 'The `asset_id` of the announced upload')

export const createAssetUpload = {
  tags: ['Assets'],
  summary: 'Create Asset Upload',
  description:
    'Begins a direct upload, for files of up to 2 GiB (or as the service is set). Put the bytes to `upload_url` with every entry of `upload_headers`, then call POST /v3/assets/{asset_id}/complete.',
  operationId: 'createAssetUpload',
  parameters: [idempotencyKey],
  requestBody: { required: true, content: json(ref('CreateAssetUploadRequest')) },
  responses: {
    ...withBody,
    '200': answer('What to send, and where to', data(ref('CreateAssetUploadResponse')), { isReplayed: true }),
  },
}

export const completeAssetUpload = {
  tags: ['Assets'],
  summary: 'Complete Asset Upload',
  description:
    'Verifies the bytes of a direct upload and makes them an asset. Doing so again answers the same asset.',
  operationId: 'completeAssetUpload',
  parameters: [assetId, idempotencyKey],
  requestBody: { required: false, content: json(ref('CompleteAssetUploadRequest')) },
  responses: {
    ...withBody,
    '200': answer('The asset', data(ref('CompleteAssetUploadResponse')), { isReplayed: true }),
    '404': refused('AssetNotFound'),
    '409': refused('Conflict'),
    '414': refused('UriTooLong'),
  },
}

export const putAssetBytes = {
  tags: ['Assets'],
  summary: 'Put the bytes of a direct upload',
  description:
    'The `upload_url` of a direct upload, exactly as it was answered. It needs no credentials: size, type, checksum and expiry are bound into its signature. Until the upload is completed, other bytes may be put in place of the first.',
  operationId: 'putAssetBytes',
  security: [],
  parameters: [
    assetId,
    inQuery('expires', 'When this URL ends, in unix seconds', {}, true),
    inQuery('signature', 'Gives the right to put these bytes', {}, true),
  ],
  requestBody: {
    required: true,
    content: { '*/*': { schema: { type: 'string', format: 'binary' } } },
  },
  responses: {
    ...withPathParameter,
    '200': {
      ...answer('The bytes are stored', data(ref('PutAssetBytesResponse'))),
      headers: { 'X-Request-Id': { $ref: '#/components/headers/RequestId' } },
    },
    '400': refused('InvalidParameter'),
    '403': refused('SignatureRefused'),
    '408': refused('RequestTimeout'),
    '409': refused('Conflict'),
    '413': refused('ContentTooLarge'),
    '503': refused('ServiceUnavailable'),
  },
}

const checksum = textOrNull('SHA-256 of the file in hex; base64 is taken too')

const announcement = {
  filename: text('Its name, to show', { minLength: 1, maxLength: 1024 }),
  content_type: text('Its MIME type, such as video/mp4; the bytes have to be of it', {
    minLength: 1,
    maxLength: 255,
  }),
  size_bytes: integer('Its exact size', 1),
}

export const announced = {
  asset_id: text('The asset that it becomes once it is completed'),
  upload_url: text('Where to put the bytes'),
  upload_headers: {
    type: 'object',
    description: 'Headers to send with the bytes, as they are',
    additionalProperties: { type: 'string' },
  },
  expires_in_seconds: integer('How long the URL can be used', 1),
  max_bytes: integer('How large a direct upload may be', 1),
  status: text('How it stands', { const: 'pending_upload' }),
}

export const directUploadSchemas = {
  CreateAssetUploadRequest: {
    ...whole(announcement),
    properties: { ...announcement, checksum_sha256: checksum },
    title: 'CreateAssetUploadRequest',
  },
  CreateAssetUploadResponse: whole(announced, { title: 'CreateAssetUploadResponse' }),
  CompleteAssetUploadRequest: {
    type: 'object',
    properties: { checksum_sha256: checksum },
    title: 'CompleteAssetUploadRequest',
  },
  CompleteAssetUploadResponse: whole(
    {
      asset_id: text('The asset'),
      url: text('Its public URL'),
      mime_type: text('Its type, as the bytes have it'),
      size_bytes: integer('Its size'),
      status: text('It is verified', { const: 'completed' }),
    },
    { title: 'CompleteAssetUploadResponse' },
  ),
  PutAssetBytesResponse: whole(
    {
      asset_id: text('The upload'),
      size_bytes: integer('How many bytes are stored', 1),
      status: text('It is still to be completed', { const: 'pending_upload' }),
    },
    { title: 'PutAssetBytesResponse' },
  ),
}
