/** Reading, searching and deleting assets; and who asks. */
import { refused, withCredentials } from './refusals.ts'
import {
  answer,
  data,
  inPath,
  inQuery,
  integer,
  limit,
  page,
  ref,
  text,
  textOrNull,
  token,
  whole,
} from './shared.ts'

const byId = {
  parameters: [inPath('asset_id', 'The asset')],
  notFound: { '404': refused('AssetNotFound'), '414': refused('UriTooLong') },
}

export const getAsset = {
  tags: ['Assets'],
  summary: 'Get Asset',
  description: 'What is known of an asset of the workspace. An upload that is not completed is none.',
  operationId: 'getAsset',
  parameters: byId.parameters,
  responses: { ...withCredentials, ...byId.notFound, '200': answer('The asset', data(ref('Asset'))) },
}

export const deleteAsset = {
  tags: ['Assets'],
  summary: 'Delete Asset',
  description:
    'Deletes an asset for good: its URL stops working at once. An upload that is not completed is cancelled.',
  operationId: 'deleteAsset',
  parameters: byId.parameters,
  responses: {
    ...withCredentials,
    ...byId.notFound,
    '409': refused('Conflict'),
    '200': answer('It is deleted', data(ref('DeleteAssetResponse'))),
  },
}

export const listAssets = {
  tags: ['Assets'],
  summary: 'List Assets',
  description: 'The assets of the workspace, newest first. Pages do not shift where assets come or go.',
  operationId: 'listAssets',
  parameters: [
    inQuery('username', 'Only those of this owner'),
    limit(100, 20),
    token,
    inQuery('folder_id', 'Only those in this folder; empty: in the root, which all are in'),
  ],
  responses: { ...withCredentials, '200': answer('A page of assets', page(ref('Asset'))) },
}

export const searchAssets = {
  tags: ['Assets'],
  summary: 'Search assets (images and icons)',
  description: 'The images of the workspace whose name, type or owner has every word of the query.',
  operationId: 'searchAssets',
  parameters: [
    inQuery('query', 'Words to look for', { minLength: 1, maxLength: 200 }, true),
    inQuery('type', 'What to look for; there are no icons here', { enum: ['image', 'icon'] }, true),
    limit(50, 20),
    token,
    inQuery('scope', 'Where to look; nothing is public here', {
      enum: ['personal', 'public'],
      default: 'personal',
    }),
  ],
  responses: { ...withCredentials, '200': answer('A page of images', page(ref('FoundAsset'))) },
}

export const getCurrentUser = {
  tags: ['User'],
  summary: 'Get Current User',
  description: 'Whose credentials these are.',
  operationId: 'getCurrentUser',
  responses: { ...withCredentials, '200': answer('The owner', data(ref('CurrentUser'))) },
}

const pixels = (description: string) => ({ type: ['integer', 'null'], minimum: 0, description })

export const librarySchemas = {
  Asset: whole(
    {
      id: text('The asset'),
      name: text('Its name, as it was uploaded'),
      type: text('What it is', { enum: ['image', 'video', 'audio', 'document'] }),
      owner: text('Who uploaded it'),
      space_id: text('The workspace that it is in'),
      uploaded_at: integer('When it was uploaded, in unix seconds'),
      folder_id: textOrNull('The folder that it is in; null: the root'),
      url: text('Its public URL'),
      mime_type: text('Its type, as the bytes have it'),
      size_bytes: integer('Its size'),
      width: pixels('In pixels, where its header tells'),
      height: pixels('In pixels, where its header tells'),
    },
    { title: 'Asset' },
  ),
  FoundAsset: whole(
    {
      type: text('What it is', { const: 'image' }),
      id: text('The asset'),
      url: text('Its public URL'),
      width: pixels('In pixels, where its header tells'),
      height: pixels('In pixels, where its header tells'),
      orientation: {
        enum: ['landscape', 'portrait', 'square', null],
        description: 'Null where it is not known',
      },
      is_transparent: { type: ['boolean', 'null'], description: 'Null where it is not known' },
    },
    { title: 'FoundAsset' },
  ),
  DeleteAssetResponse: whole({ id: text('What was deleted') }, { title: 'DeleteAssetResponse' }),
  CurrentUser: whole(
    {
      username: text('The owner, as assets name it'),
      email: textOrNull('Not known here'),
      first_name: textOrNull('Not known here'),
      last_name: textOrNull('Not known here'),
    },
    { title: 'CurrentUser' },
  ),
}
