/** Direct uploads: announce, put, complete. */
import type { FastifyReply, FastifyRequest } from 'fastify'
import { type AssetType, mimeTypesOf } from '../asset.ts'
import { type Announcement, announce } from '../assets/announcement.ts'
import { complete } from '../assets/completion.ts'
import { declaredType } from '../assets/declared-type.ts'
import { type DirectDoor, takeBytes } from '../assets/direct-uploads.ts'
import { fileFault, shuttingDown } from '../errors.ts'
import type { SignedUrls } from '../gate/signed-url.ts'
import { readBody } from '../http/body.ts'
import { type Fields, fieldFault, fieldsOf } from '../http/fields.ts'
import { HttpFault } from '../http/framing.ts'
import { readQuery } from '../http/query.ts'
import { expectationOf } from '../http/server.ts'
import type { Caller } from '../principal.ts'
import { findDirectUpload } from '../records/direct-uploads.ts'
import { type OnceOptions, once } from './once.ts'

export type DirectRoutesOptions = DirectDoor & OnceOptions & { signedUrls: SignedUrls; isDraining(): boolean }

export function createDirectRoutes(options: DirectRoutesOptions) {
  return {
    async announce(request: FastifyRequest, reply: FastifyReply, { principal }: Caller) {
      return once(options, request, reply, 'POST /v3/assets/direct-uploads', (body, key) =>
        announce(
          options,
          principal,
          key,
          readAnnouncement(fieldsOf(body.value), options.limits),
          body.sha256,
        ),
      )
    },

    async put(request: FastifyRequest, reply: FastifyReply) {
      if (options.isDraining()) throw shuttingDown()
      const { asset_id } = request.params as { asset_id: string }
      const query = readQuery(request)
      const announced = await findDirectUpload(options.database, asset_id)
      options.signedUrls.verify(announced, {
        expires: query.text('expires'),
        signature: query.text('signature'),
      })
      if (announced === null) throw new Error('a signature for nothing was taken for good')
      request.exchange.assetId = asset_id
      checkHeaders(request, announced)
      await takeBytes(options, announced, {
        read(receiver) {
          if (expectationOf(request.raw) === 'continue') reply.raw.writeContinue()
          return readBody(request.raw, options.pace, {
            onSlice: (slice) => receiver.write(slice),
            isWhole: () => receiver.closed,
          })
        },
      })
      request.exchange.bytes = announced.size_bytes
      const { size_bytes } = announced
      return reply.send({ data: { asset_id, size_bytes, status: 'pending_upload' } })
    },

    async complete(request: FastifyRequest, reply: FastifyReply, { principal }: Caller) {
      const { asset_id } = request.params as { asset_id: string }
      request.exchange.assetId = asset_id
      return once(options, request, reply, `POST /v3/assets/${asset_id}/complete`, (body, key) =>
        complete(options, principal, key, asset_id, {
          sha256: readChecksum(fieldsOf(body.value)),
          requestSha256: body.sha256,
        }),
      )
    },
  }
}

const longestName = 1_024
const mediaTypeForm = /^[\w!#$&^.+-]+\/[\w!#$&^.+-]+[ \t]*(;[\x20-\x2b\x2d-\x7e]*)?$/

/** @throws {Fault} that names the field */
export function readAnnouncement(
  fields: Fields,
  { maxFileBytes, allowedTypes }: DirectDoor['limits'],
): Announcement {
  const name = fields.text('filename', longestName)
  const contentType = fields.text('content_type', 255)
  const sizeBytes = fields.integer('size_bytes', 1)
  checkType(fields.path('content_type'), contentType, allowedTypes)
  if (sizeBytes > maxFileBytes) {
    throw fieldFault(
      fields.path('size_bytes'),
      'file_too_large',
      `The file is too large: it has ${sizeBytes} bytes, and at most ${maxFileBytes} are allowed.`,
      { max_bytes: maxFileBytes },
    )
  }
  return { name, contentType, sizeBytes, sha256: readChecksum(fields) }
}

function checkType(path: string, contentType: string, allowed: ReadonlySet<AssetType>): void {
  const type = mediaTypeForm.test(contentType) ? declaredType(contentType) : null
  if (type !== null && allowed.has(type)) return
  const accepted = mimeTypesOf(allowed)
  throw fieldFault(
    path,
    'unsupported_type',
    `It is ${JSON.stringify(contentType)}, and accepted are ${accepted.join(', ')}.`,
    { declared: contentType, detected: null, allowed: accepted },
  )
}

/** In hex, or in base64 as some documentation of the API shows it. @returns hex; null: none was given */
function readChecksum(fields: Fields): string | null {
  const given = fields.optionalText('checksum_sha256', 64)
  if (given === null) return null
  if (/^[0-9a-f]{64}$/i.test(given)) return given.toLowerCase()
  if (/^[A-Za-z0-9+/]{43}=$/.test(given)) return Buffer.from(given, 'base64').toString('hex')
  throw fieldFault(
    fields.path('checksum_sha256'),
    'invalid_value',
    'It must be a SHA-256 in hex (64 characters) or in base64 (44 characters).',
  )
}

/** What the signed URL was made for has to be what comes. */
function checkHeaders(
  request: FastifyRequest,
  announced: { content_type: string; size_bytes: number },
): void {
  if (request.headers['content-range'] !== undefined) {
    // RFC 9110 section 14.5: who does not put parts must not take one for the whole.
    throw new HttpFault(400, 'The whole file has to come in one body: send no Content-Range.')
  }
  const sent = request.headers['content-type']
  // One client adds the header a second time, in another case: then it comes as `a/b, a/b`.
  const types = new Set((sent ?? '').split(',').map(essence))
  if (types.size !== 1 || !types.has(essence(announced.content_type))) {
    throw fileFault(
      'type_mismatch',
      `The Content-Type is ${JSON.stringify(sent ?? null)}, and this URL is for ${announced.content_type}. Send every entry of upload_headers as it is.`,
      { declared: announced.content_type, detected: sent ?? null },
      'content-type',
    )
  }
  const length = request.headers['content-length']
  if (length !== undefined && Number(length) !== announced.size_bytes) {
    throw fileFault(
      'size_mismatch',
      `The body has ${length} bytes, and this URL is for exactly ${announced.size_bytes}.`,
      { declared: announced.size_bytes, detected: Number(length) },
    )
  }
}

function essence(contentType: string): string {
  return (contentType.split(';')[0] ?? '').trim().toLowerCase()
}
