/** `GET /files/<asset_id>.<ext>`: the public URL of an asset, made so that a browser cannot be turned against us. */
import { Readable } from 'node:stream'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { assetTypes, publicFileName } from '../asset.ts'
import type { Blob, Blobs } from '../assets/blobs.ts'
import type { Clock } from '../clock.ts'
import type { Config } from '../config.ts'
import { Fault } from '../errors.ts'
import { type Selection, select } from '../http/conditions.ts'
import { HttpFault } from '../http/framing.ts'
import { nginxAnswersAlike } from '../http/nginx.ts'
import { createSmallFiles, smallFileBytes } from '../http/small-files.ts'
import { findPublicFile, type PublicFile } from '../records/assets.ts'
import type { Database } from '../records/database.ts'

export type FileRoutesOptions = Pick<Config, 'filesMode' | 'accelRedirect'> & {
  database: Database
  blobs: Blobs
  clock: Pick<Clock, 'wallMs'>
}

/** Long enough to look at a film in pieces, short enough to be of no use to who finds it in a log. */
const redirectSeconds = 900

/** A deleted file may live on in caches for a day. */
const cacheControl = 'public, max-age=86400, immutable'

/** On every answer of this route, errors too. */
const safety = {
  'x-content-type-options': 'nosniff',
  'cross-origin-resource-policy': 'cross-origin',
  'access-control-allow-origin': '*',
  'content-security-policy': "default-src 'none'; sandbox",
}

const policies = {
  image: "default-src 'none'; img-src 'self'; style-src 'unsafe-inline'; sandbox",
  // No sandbox: Chrome's own player for a file opened by itself does not run in one.
  video: "default-src 'none'; media-src 'self'; style-src 'unsafe-inline'",
  audio: "default-src 'none'; media-src 'self'; style-src 'unsafe-inline'",
  document: "default-src 'none'; sandbox",
} as const

export function createFileRoute({ database, blobs, clock, filesMode, accelRedirect }: FileRoutesOptions) {
  const smallFiles = createSmallFiles()

  return async function file(request: FastifyRequest, reply: FastifyReply) {
    reply.headers(safety)
    const name = (request.params as { name: string }).name
    const assetId = name.slice(0, Math.max(0, name.lastIndexOf('.')))
    const found = /^asset_[0-9a-z]+$/.test(assetId) ? await findPublicFile(database, assetId) : null
    if (found === null || publicFileName(assetId, found.media_type) !== name) throw notFound()
    request.exchange.assetId = assetId
    // Nor is anybody told that what they have of it is good.
    if (found.damaged_at_ms !== null) throw new Error(`the blob ${found.blob_key} is marked as damaged`)

    if (filesMode === 'redirect' && request.method === 'GET') return sendOn(reply, name, found)

    const etag = `"${found.sha256}"`
    const about = { etag, lastModifiedMs: found.completed_at_ms, sizeBytes: found.size_bytes }
    const selection = select(request.headers, about, request.method === 'GET')
    if (selection.status === 412)
      throw new HttpFault(412, 'The file does not meet the conditions of the request.')
    if (selection.status === 416) {
      reply.header('content-range', `bytes */${found.size_bytes}`)
      throw new HttpFault(416, `The file has ${found.size_bytes} bytes, and the range lies outside of them.`)
    }
    const headers = fileHeaders(name, found, etag)
    if (selection.status === 304) return reply.code(304).headers(headers).send()
    const [start, end] =
      selection.status === 206 ? [selection.start, selection.end] : [0, found.size_bytes - 1]
    if (accelRedirect !== null && nginxAnswersAlike(request, selection)) {
      await assertThere(assetId, found)
      Object.assign(request.exchange, { handedOver: true, bytes: end - start + 1 })
      return reply.headers(headersForNginx(headers, selection, accelRedirect + pathOf(found))).send()
    }
    const bytes = await (request.method === 'GET'
      ? bytesOf(assetId, found, start, end)
      : assertThere(assetId, found))
    if (bytes !== undefined) request.exchange.bytes = end - start + 1
    // Only now: an error that comes before must not look like the file.
    reply.code(selection.status).headers({ ...headers, 'content-length': end - start + 1 })
    if (selection.status === 206) reply.header('content-range', `bytes ${start}-${end}/${found.size_bytes}`)
    if (bytes instanceof Readable) {
      bytes.once('error', () => {
        if (!reply.raw.headersSent) takeHeadersBack(reply, Object.keys(headers))
      })
    }
    return reply.send(bytes)
  }

  /** S3 lets a URL force these three alone: no sandbox, no nosniff, so nothing of it is shown by itself. */
  async function sendOn(reply: FastifyReply, name: string, found: PublicFile) {
    if (blobs.presign === undefined) throw new Error('this store has no addresses to send a reader on to')
    const url = await blobs.presign.get(found.blob_key, {
      contentType: assetTypes[found.media_type].mimeType,
      contentDisposition: `attachment; filename="${name}"`,
      cacheControl,
      signedAtMs: clock.wallMs(),
      expiresSeconds: redirectSeconds,
    })
    return reply.code(302).headers({ location: url, 'cache-control': 'no-store' }).send()
  }

  /** Below the folder of all blobs, as nginx knows it too. */
  function pathOf(found: PublicFile): string {
    if (blobs.pathOf === undefined) throw new Error('this store has no files that nginx could send')
    return blobs.pathOf(found.blob_key)
  }

  /** Few bytes go out in one piece, together with their headers, and need no stream. */
  async function bytesOf(
    assetId: string,
    found: PublicFile,
    start: number,
    end: number,
  ): Promise<Buffer | Readable> {
    const kept = smallFiles.get(found.blob_key)
    if (kept !== undefined) return kept.subarray(start, end + 1)
    const blob = await openBlob(assetId, found)
    if (end - start >= smallFileBytes) return blob.stream(start, end, 'passing')
    const bytes = await readAll(blob, start, end + 1)
    if (bytes.length === found.size_bytes) smallFiles.keep(found.blob_key, bytes)
    return bytes
  }

  async function assertThere(assetId: string, found: PublicFile): Promise<void> {
    await (await openBlob(assetId, found)).close()
  }

  /** Of the recorded size: what was cut is not served as good, whoever sends it. */
  async function openBlob(assetId: string, found: PublicFile): Promise<Blob> {
    const blob = await blobs.open(found.blob_key)
    if (blob === null || blob.sizeBytes !== found.size_bytes) {
      await blob?.close()
      // Case 58: deleted since we asked, and told so like whoever asks now.
      if ((await findPublicFile(database, assetId)) === null) throw notFound()
      throw new Error(`the blob ${found.blob_key} is missing or not of the size that was recorded`)
    }
    return blob
  }
}

async function readAll(blob: Blob, start: number, end: number): Promise<Buffer> {
  try {
    return await blob.read(start, end)
  } catch (cause) {
    throw new Error('the blob was opened, and cannot be read', { cause }) // as a stream of it would fail: 500
  } finally {
    await blob.close()
  }
}

function fileHeaders(name: string, found: PublicFile, etag: string): Record<string, string> {
  const { mimeType, kind } = assetTypes[found.media_type]
  return {
    'content-type': mimeType,
    'content-disposition': `${kind === 'document' ? 'attachment' : 'inline'}; filename="${name}"`,
    'cache-control': cacheControl,
    etag,
    'last-modified': new Date(found.completed_at_ms).toUTCString(),
    'accept-ranges': 'bytes',
    'content-security-policy': policies[kind],
  }
}

/**
 * deploy/nginx/accel.conf gives them to the client. nginx makes the status, the length and the range itself. Where it cannot
 * send the file after all, and we have to answer 404, it would still add what it keeps of ours: so the two that would
 * make that a lie go by names that say nothing to it.
 */
function headersForNginx(ofFile: Record<string, string>, { status }: Selection, path: string) {
  const { 'accept-ranges': ranges, 'cache-control': caching, ...others } = ofFile
  return {
    ...others,
    'x-file-cache-control': caching,
    // To the whole it adds one of its own, and to a range none.
    ...(status === 206 ? { 'x-file-accept-ranges': ranges } : {}),
    'x-accel-redirect': path,
  }
}

/** The first read failed: the error that is sent in place of the file must not look like it either. */
function takeHeadersBack(reply: FastifyReply, ofFile: readonly string[]): void {
  for (const name of [...ofFile, 'content-length', 'content-range']) reply.removeHeader(name)
  reply.headers(safety)
}

function notFound(): Fault {
  return new Fault('asset_not_found', 'There is no asset at this address: it is unknown, or was deleted.')
}
