/** The assets of a workspace: get, list, search, delete; and who asks. */
import type { FastifyReply, FastifyRequest } from 'fastify'
import { assetTypes, publicFileName, publicFileUrl } from '../asset.ts'
import { removeAsset } from '../assets/direct-sweep.ts'
import type { DirectDoor } from '../assets/direct-uploads.ts'
import { assetNotFound } from '../assets/library.ts'
import { fromPageToken, toPageToken } from '../http/page-token.ts'
import { missingParameter, readQuery } from '../http/query.ts'
import type { Caller } from '../principal.ts'
import { findAsset, type LibraryAsset, listAssets, searchAssets } from '../records/library.ts'

export function createLibraryRoutes(options: DirectDoor) {
  const { database, filesUrl } = options

  return {
    async get(request: FastifyRequest, reply: FastifyReply, { principal }: Caller) {
      const asset = await findAsset(database, principal.workspace, assetIdOf(request))
      if (asset === null) throw assetNotFound()
      request.exchange.assetId = asset.asset_id
      return reply.send({ data: toItem(asset, filesUrl()) })
    },

    async list(request: FastifyRequest, reply: FastifyReply, { principal }: Caller) {
      const query = readQuery(request)
      const limit = query.integer('limit', { min: 1, max: 100, otherwise: 20 })
      const end = fromPageToken(query.text('token'), [0, ''])
      const inFolder = (query.text('folder_id') ?? '') !== ''
      const found = inFolder
        ? [] // there are no folders but the root
        : await listAssets(database, {
            workspace: principal.workspace,
            owner: query.text('username') || null,
            after: end === null ? null : { completedAtMs: end[0], assetId: end[1] },
            limit: limit + 1,
          })
      const last = found.length > limit ? found[limit - 1] : undefined
      return reply.send({
        data: found.slice(0, limit).map((asset) => toItem(asset, filesUrl())),
        has_more: last !== undefined,
        next_token: last === undefined ? null : toPageToken([last.completed_at_ms, last.asset_id]),
      })
    },

    async search(request: FastifyRequest, reply: FastifyReply, { principal }: Caller) {
      const query = readQuery(request)
      const text = query.text('query', 200)
      const type = query.oneOf('type', ['image', 'icon'])
      if (text === null || text.trim() === '') throw missingParameter('query')
      if (type === null) throw missingParameter('type')
      const limit = query.integer('limit', { min: 1, max: 50, otherwise: 20 })
      const scope = query.oneOf('scope', ['personal', 'public']) ?? 'personal'
      const end = fromPageToken(query.text('token'), [0])
      // Composed: an accent that stands for itself, as names from macOS have them, would cut the word.
      const words = text.normalize('NFC').match(/[\p{L}\p{N}]+/gu) ?? []
      const isEmpty = scope === 'public' || type === 'icon' || words.length === 0
      const found = isEmpty
        ? []
        : await searchAssets(database, {
            workspace: principal.workspace,
            words,
            kind: type,
            before: end?.[0] ?? null,
            limit: limit + 1,
          })
      const last = found.length > limit ? found[limit - 1] : undefined
      return reply.send({
        data: found.slice(0, limit).map((asset) => toFound(asset, filesUrl())),
        has_more: last !== undefined,
        next_token: last === undefined ? null : toPageToken([last.completed_order]),
      })
    },

    async remove(request: FastifyRequest, reply: FastifyReply, { principal }: Caller) {
      const assetId = assetIdOf(request)
      await removeAsset(options, principal.workspace, assetId)
      request.exchange.assetId = assetId
      return reply.send({ data: { id: assetId } })
    },

    async me(_request: FastifyRequest, reply: FastifyReply, { principal }: Caller) {
      return reply.send({
        data: { username: principal.owner, email: null, first_name: null, last_name: null },
      })
    },
  }
}

function assetIdOf(request: FastifyRequest): string {
  return (request.params as { asset_id: string }).asset_id
}

function toItem(asset: LibraryAsset, filesUrl: string) {
  const { mimeType, kind } = assetTypes[asset.media_type]
  return {
    id: asset.asset_id,
    name: asset.name ?? publicFileName(asset.asset_id, asset.media_type),
    type: kind,
    owner: asset.owner,
    space_id: asset.workspace,
    uploaded_at: Math.floor(asset.completed_at_ms / 1000),
    folder_id: null,
    url: publicFileUrl(filesUrl, asset.asset_id, asset.media_type),
    mime_type: mimeType,
    size_bytes: asset.size_bytes,
    width: asset.width,
    height: asset.height,
  }
}

function toFound(asset: LibraryAsset, filesUrl: string) {
  return {
    type: assetTypes[asset.media_type].kind,
    id: asset.asset_id,
    url: publicFileUrl(filesUrl, asset.asset_id, asset.media_type),
    width: asset.width,
    height: asset.height,
    orientation: orientation(asset),
    is_transparent: null,
  }
}

function orientation({ width, height }: LibraryAsset): 'landscape' | 'portrait' | 'square' | null {
  if (width === null || height === null) return null
  if (width === height) return 'square'
  return width > height ? 'landscape' : 'portrait'
}
