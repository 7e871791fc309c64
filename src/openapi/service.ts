/** What is no part of the API proper: public files, health, and the pages about the service. */
import { anyRoute, refused, withPathParameter } from './refusals.ts'
import { data, inPath, json, publicAnswer, text, whole } from './shared.ts'

const ofFile = {
  ETag: { description: 'Strong: the SHA-256 of the bytes', required: true, schema: { type: 'string' } },
  'Last-Modified': { description: 'When it was completed', required: true, schema: { type: 'string' } },
  'Accept-Ranges': { description: 'What ranges are in', schema: { type: 'string', const: 'bytes' } },
  'Content-Disposition': { description: 'A generated name', required: true, schema: { type: 'string' } },
}

const contentRange = {
  'Content-Range': {
    description: 'Which bytes of how many, as `bytes 0-9/100`',
    required: true,
    schema: { type: 'string' },
  },
}

const forNginx = 'Beside X-Accel-Redirect: what the client gets without the `X-File-`, from nginx'

const toNginx = {
  'X-Accel-Redirect': {
    description:
      'Never to a client: tells an nginx in front of the service, which takes it away, of the file to send in place of the empty body (ASSETD_ACCEL_REDIRECT)',
    schema: { type: 'string' },
  },
  'X-File-Cache-Control': { description: forNginx, schema: { type: 'string' } },
  'X-File-Accept-Ranges': { description: forNginx, schema: { type: 'string' } },
}

const anyBytes = { '*/*': { schema: { type: 'string', format: 'binary' } } }

export const getFile = {
  tags: ['Files'],
  summary: 'Get the bytes of an asset',
  description: 'Public, with ranges and conditional requests. HEAD answers the same without the bytes.',
  operationId: 'getFile',
  security: [],
  parameters: [inPath('name', '`<asset_id>.<ext>`, as in the `url` of an upload')],
  responses: {
    ...withPathParameter,
    '200': publicAnswer('The bytes of the asset', anyBytes, { ...ofFile, ...toNginx }),
    '206': publicAnswer('The range that was asked for', anyBytes, { ...ofFile, ...contentRange }),
    '302': publicAnswer(
      'The bytes are got at the store itself, at an address that ends soon (ASSETD_FILES_MODE=redirect)',
      {},
      {
        Location: {
          description: 'Where they are',
          required: true,
          schema: { type: 'string', format: 'uri' },
        },
      },
    ),
    '304': publicAnswer('The client has it already', {}, ofFile),
    '404': refused('AssetNotFound'),
    '412': refused('ConditionNotMet'),
    '416': refused('RangeOutside'),
    '503': refused('ServiceUnavailable'),
  },
}

const checks = {
  type: 'object',
  description: 'What was looked at, and how it is',
  additionalProperties: { type: 'string', enum: ['ok', 'filling', 'full', 'unreachable'] },
}

const operation = { tags: ['Operation'], security: [] }

export const isAlive = {
  ...operation,
  summary: 'Is the process alive?',
  operationId: 'isAlive',
  responses: {
    ...anyRoute,
    '200': publicAnswer('Yes', json(data(whole({ status: text('It is', { const: 'alive' }) })))),
  },
}

export const isReady = {
  ...operation,
  summary: 'Can it take uploads now?',
  operationId: 'isReady',
  responses: {
    ...anyRoute,
    '200': publicAnswer(
      'Yes',
      json(data(whole({ status: text('How well', { enum: ['ready', 'degraded'] }), checks }))),
    ),
    '503': refused('ServiceUnavailable'),
  },
}

const documentation = (operationId: string, summary: string, content: object) => ({
  tags: ['Documentation'],
  summary,
  operationId,
  security: [],
  responses: { ...anyRoute, '200': publicAnswer(summary, content) },
})

const html = { 'text/html': { schema: { type: 'string' } } }

const keySet = whole({
  keys: {
    type: 'array',
    items: {
      type: 'object',
      required: ['kty'],
      properties: { kty: text('The family of its algorithm') },
      additionalProperties: true,
    },
  },
})

export const getKeys = documentation('getKeys', 'The public keys of the embedded token issuer', json(keySet))
export const getOpenApi = documentation(
  'getOpenApi',
  'This description',
  json({ type: 'object', required: ['openapi', 'info', 'paths'], additionalProperties: true }),
)
export const getDocs = documentation('getDocs', 'A page to read and try the API', html)
export const getErrorDocs = documentation('getErrorDocs', 'Each error code and reason: cause and cure', html)

const docsFile = documentation('getDocsFile', 'Scripts and styles of the page', anyBytes)
export const getDocsFile = {
  ...docsFile,
  parameters: [inPath('file', 'Its name')],
  responses: { ...withPathParameter, ...docsFile.responses, '404': refused('ResourceNotFound') },
}

const etag = {
  ETag: { description: 'Strong: of its text', required: true, schema: { type: 'string' } },
}

const ofPage = (operationId: string, summary: string, content: object) => ({
  tags: ['Page'],
  summary,
  operationId,
  security: [],
  responses: {
    ...anyRoute,
    '200': publicAnswer(summary, content, etag),
    '304': publicAnswer('The client has it already', {}, etag),
  },
})

const fileOfPage = (operationId: string, summary: string) => {
  const operation = ofPage(operationId, summary, anyBytes)
  return {
    ...operation,
    parameters: [inPath('file', 'Its name')],
    responses: { ...withPathParameter, ...operation.responses, '404': refused('ResourceNotFound') },
  }
}

export const getHome = ofPage('getHome', 'A page to upload files and to see what is there', html)
export const getPageFile = fileOfPage('getPageFile', 'Scripts and styles of that page')
export const getClientFile = fileOfPage('getClientFile', 'The client that it speaks to the API with')
