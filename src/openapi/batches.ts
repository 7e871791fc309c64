/** Batches of direct uploads, and how uploads stand. */
import { announced } from './direct-uploads.ts'
import { refused, withBody, withCredentials } from './refusals.ts'
import {
  answer,
  data,
  idempotencyKey,
  inPath,
  inQuery,
  integer,
  json,
  limit,
  page,
  ref,
  text,
  textOrNull,
  token,
  whole,
} from './shared.ts'

export const createAssetUploadBatch = {
  tags: ['Assets'],
  summary: 'Create Asset Upload Batch',
  description:
    'Begins up to 100 direct uploads at once: all of them, or none where one cannot be. Put the bytes of each, then call POST /v3/assets/complete/batches.',
  operationId: 'createAssetUploadBatch',
  parameters: [idempotencyKey],
  requestBody: { required: true, content: json(ref('CreateAssetUploadBatchRequest')) },
  responses: {
    ...withBody,
    '200': answer('What to send, in the order of `files`', data(ref('CreateAssetUploadBatchResponse')), {
      isReplayed: true,
    }),
  },
}

export const completeAssetUploadBatch = {
  tags: ['Assets'],
  summary: 'Complete Asset Upload Batch',
  description:
    'Verifies the uploads of a batch in the background, each for itself; GET /v3/assets/batches/{batch_id} says how they stand. Doing so again takes in those whose bytes have come since.',
  operationId: 'completeAssetUploadBatch',
  parameters: [idempotencyKey],
  requestBody: { required: true, content: json(ref('CompleteAssetUploadBatchRequest')) },
  responses: {
    ...withBody,
    '202': answer('It is being worked on', data(ref('CompleteAssetUploadBatchResponse')), {
      isReplayed: true,
    }),
    '404': refused('BatchNotFound'),
  },
}

export const getAssetBatch = {
  tags: ['Assets'],
  summary: 'Get Asset Batch',
  description: 'How a batch stands, and a page of its items in their order.',
  operationId: 'getAssetBatch',
  parameters: [inPath('batch_id', 'The batch'), limit(100, 100), token],
  responses: {
    ...withCredentials,
    '200': answer('The batch', data(ref('AssetBatch'))),
    '404': refused('BatchNotFound'),
    '414': refused('UriTooLong'),
  },
}

export const getAssetStatuses = {
  tags: ['Assets'],
  summary: 'Bulk Asset Statuses',
  description:
    'How up to 100 uploads stand, named by their ids, by their batches, or both. Give at least one of the two parameters.',
  operationId: 'getAssetStatuses',
  parameters: [
    inQuery('asset_ids', 'Ids of assets, with commas between them', { maxLength: 20_000 }),
    inQuery('batch_ids', 'Ids of batches, with commas between them', { maxLength: 20_000 }),
  ],
  responses: {
    ...withCredentials,
    '200': answer('One entry for each', page(ref('AssetStatus'))),
  },
}

const states = ['pending_upload', 'processing', 'completed', 'failed']

const itemError = {
  anyOf: [ref('StandardAPIError'), { type: 'null' }],
  description: 'Why it failed; null where it did not',
}

const batchState = text('How the batch stands', { enum: ['processing', 'completed', 'failed'] })

export const batchSchemas = {
  CreateAssetUploadBatchRequest: {
    type: 'object',
    title: 'CreateAssetUploadBatchRequest',
    required: ['files'],
    properties: {
      files: { type: 'array', minItems: 1, maxItems: 100, items: ref('CreateAssetUploadRequest') },
      title: textOrNull('A name for the batch, to show'),
      callback_url: textOrNull('Reserved: nothing is sent to it yet'),
    },
  },
  CreateAssetUploadBatchResponse: whole(
    {
      batch_id: text('The batch'),
      items: {
        type: 'array',
        items: whole({ item_index: integer('Its place in `files`'), ...announced }),
      },
    },
    { title: 'CreateAssetUploadBatchResponse' },
  ),
  CompleteAssetUploadBatchRequest: whole(
    { batch_id: text('The batch') },
    { title: 'CompleteAssetUploadBatchRequest' },
  ),
  CompleteAssetUploadBatchResponse: whole(
    { batch_id: text('The batch'), status: batchState },
    { title: 'CompleteAssetUploadBatchResponse' },
  ),
  AssetBatch: whole(
    {
      batch_id: text('The batch'),
      title: textOrNull('Its name'),
      status: batchState,
      total_items: integer('How many items it has'),
      counts_by_status: whole(
        Object.fromEntries(states.map((state) => [state, integer(`How many are ${state}`)])),
      ),
      created_at: integer('When it was made, in unix seconds'),
      items: { type: 'array', items: ref('AssetBatchItem') },
      has_more: { type: 'boolean', description: 'Whether more items are available' },
      next_token: textOrNull('Opaque cursor for the next page of items'),
    },
    { title: 'AssetBatch' },
  ),
  AssetBatchItem: whole(
    {
      item_index: integer('Its place in the batch'),
      status: text('How it stands', { enum: states }),
      video_id: text('The id of the asset'),
      error: itemError,
    },
    { title: 'AssetBatchItem' },
  ),
  AssetStatus: whole(
    {
      video_id: textOrNull('The id of the asset; null for a batch that is not found'),
      status: text('How it stands', { enum: [...states, 'not_found'] }),
      batch_id: textOrNull('The batch that it is an item of'),
      item_index: { type: ['integer', 'null'], minimum: 0, description: 'Its place there' },
      error: itemError,
    },
    { title: 'AssetStatus' },
  ),
}
