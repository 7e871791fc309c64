/** Resolving inputs to assets: an extension of ours. */
import { withBody } from './refusals.ts'
import { answer, idempotencyKey, integer, json, ref, text, whole } from './shared.ts'

export const resolveAssets = {
  tags: ['Assets'],
  summary: 'Resolve inputs to assets',
  description:
    'An extension of assetd. Takes up to 20 files as other calls of the API take them, by `asset_id`, `url` or `base64`, and answers for each a verified asset, or an error in its place. The body has at most 48 MiB. URLs are fetched only where the service is set to (`ASSETD_URL_IMPORT`): over https, from public addresses, without redirects. Where an input failed for a passing cause (`service_unavailable`, `request_in_progress`) the Idempotency-Key is free again; the inputs that passed are not taken in a second time.',
  operationId: 'resolveAssets',
  parameters: [idempotencyKey],
  requestBody: { required: true, content: json(ref('ResolveAssetsRequest')) },
  responses: {
    ...withBody,
    '200': answer(
      'One entry for each input, in their order',
      whole({ data: { type: 'array', items: ref('ResolvedInput') } }),
      { isReplayed: true },
    ),
  },
}

const input = (type: string, properties: object) => ({
  ...whole({ type: { type: 'string', const: type }, ...properties }),
  title: type,
})

export const resolveSchemas = {
  ResolveAssetsRequest: {
    type: 'object',
    title: 'ResolveAssetsRequest',
    required: ['inputs'],
    properties: { inputs: { type: 'array', maxItems: 20, items: ref('AssetInput') } },
  },
  AssetInput: {
    title: 'AssetInput',
    oneOf: [
      input('asset_id', { asset_id: text('An asset of this workspace') }),
      input('url', { url: text('Where the file is: https, public', { maxLength: 4_096 }) }),
      input('base64', {
        media_type: text('What the file is; its bytes must agree'),
        data: text('The file, in base64 with padding', { contentEncoding: 'base64' }),
      }),
    ],
    discriminator: { propertyName: 'type' },
  },
  ResolvedInput: whole(
    {
      input_index: integer('Its place in `inputs`'),
      asset: { anyOf: [ref('UploadAssetV3Response'), { type: 'null' }] },
      error: { anyOf: [ref('StandardAPIError'), { type: 'null' }] },
    },
    { title: 'ResolvedInput', description: 'Either an asset or an error; the other one is null' },
  ),
}
