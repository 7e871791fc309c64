/** The multipart door, as the source document has it. */
import { authenticationFailed, rateLimitExceeded, refusal, withBody } from './refusals.ts'
import { answer, data, idempotencyKey, ref } from './shared.ts'

export const uploadAsset = {
  tags: ['Assets'],
  summary: 'Upload Asset',
  description:
    'Uploads a file (image, video, audio, or PDF) and returns an asset_id for use in other endpoints. Max 32 MB. Supported types: png, jpeg, mp4, webm, mp3, wav, pdf.',
  operationId: 'uploadAsset',
  parameters: [idempotencyKey],
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
    ...withBody,
    '200': answer('Successful response', data(ref('UploadAssetV3Response')), { isReplayed: true }),
    '400': refusal(
      'Invalid request parameters',
      'invalid_parameter',
      'File is required. Upload a file using multipart/form-data.',
      { param: 'file' },
    ),
    '401': authenticationFailed,
    '429': rateLimitExceeded,
  },
  security: [{ ApiKeyAuth: [] }, { BearerAuth: [] }],
}

export const assetSchemas = {
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
}
