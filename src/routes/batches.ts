/** Batches of direct uploads, and how uploads stand. */
import type { FastifyReply, FastifyRequest } from 'fastify'
import { batchNotFound, batchStatus, completeBatch, createBatch, maxItems } from '../assets/batches.ts'
import type { KeptError } from '../assets/completion.ts'
import type { Verifier } from '../assets/verifier.ts'
import type { Fault } from '../errors.ts'
import { fieldsOf } from '../http/fields.ts'
import { fromPageToken, toPageToken } from '../http/page-token.ts'
import { errorBody } from '../http/problem.ts'
import { invalidParameter, missingParameter, readQuery } from '../http/query.ts'
import type { Caller } from '../principal.ts'
import { countItemsByState, findBatch, listItems } from '../records/batches.ts'
import { type DirectUpload, findDirectUploads } from '../records/direct-uploads.ts'
import { findCompletedIds } from '../records/library.ts'
import { type DirectRoutesOptions, readAnnouncement } from './direct-uploads.ts'
import { once } from './once.ts'

export type BatchRoutesOptions = DirectRoutesOptions & { verifier: Verifier; docsUrl: () => string }

export function createBatchRoutes(options: BatchRoutesOptions) {
  const { database, docsUrl } = options

  return {
    async createBatch(request: FastifyRequest, reply: FastifyReply, { principal }: Caller) {
      return once(options, request, reply, 'POST /v3/assets/direct-uploads/batches', (body, key) => {
        const fields = fieldsOf(body.value)
        fields.optionalText('callback_url', 2_048) // reserved: there are no webhooks yet
        const title = fields.optionalText('title', 1_024)
        const files = fields
          .list('files', { min: 1, max: maxItems })
          .map((file) => readAnnouncement(file, options.limits))
        return createBatch(options, principal, key, { title, files }, body.sha256)
      })
    },

    async completeBatch(request: FastifyRequest, reply: FastifyReply, { principal }: Caller) {
      return once(options, request, reply, 'POST /v3/assets/complete/batches', async (body, key) => {
        const batchId = fieldsOf(body.value).text('batch_id', 255)
        const done = await completeBatch(options, principal, key, batchId, body.sha256)
        options.verifier.wake()
        return done
      })
    },

    async getBatch(request: FastifyRequest, reply: FastifyReply, { principal }: Caller) {
      const query = readQuery(request)
      const limit = query.integer('limit', { min: 1, max: maxItems, otherwise: maxItems })
      const from = fromPageToken(query.text('token'), [0])?.[0] ?? 0
      const { batch_id } = request.params as { batch_id: string }
      const batch = await findBatch(database, principal.workspace, batch_id)
      if (batch === null) throw batchNotFound()
      const counts = await countItemsByState(database, batch_id)
      const found = await listItems(database, batch_id, from, limit + 1)
      const next = found.length > limit ? found[limit]?.item_index : null
      return reply.send({
        data: {
          batch_id,
          title: batch.title,
          status: batchStatus(counts),
          total_items: batch.total_items,
          counts_by_status: counts,
          created_at: Math.floor(batch.created_at_ms / 1000),
          items: found.slice(0, limit).map((item) => toItem(item, docsUrl())),
          has_more: next !== null,
          next_token: typeof next === 'number' ? toPageToken([next]) : null,
        },
      })
    },

    async statuses(request: FastifyRequest, reply: FastifyReply, { principal }: Caller) {
      const query = readQuery(request)
      const assetIds = idsIn(query.text('asset_ids', 20_000))
      const batchIds = idsIn(query.text('batch_ids', 20_000))
      if (assetIds.length + batchIds.length === 0) throw missingParameter('asset_ids')
      const count = assetIds.length + batchIds.length
      if (count > maxItems) throw tooManyAssets(assetIds.length > 0, count)
      const batches = await Promise.all(batchIds.map((id) => findBatch(database, principal.workspace, id)))
      const total = batches.reduce((sum, batch) => sum + (batch?.total_items ?? 1), assetIds.length)
      if (total > maxItems) throw tooManyAssets(assetIds.length > 0, total)
      const known = await findDirectUploads(database, principal.workspace, assetIds)
      const items = await Promise.all(
        batchIds.map(async (id, at) =>
          batches[at] ? listItems(database, id, 0, maxItems) : { unknownBatch: id },
        ),
      )
      const ofBatches = items.flatMap((found) => ('unknownBatch' in found ? [] : found))
      const completed = await findCompletedIds(database, principal.workspace, [
        ...assetIds,
        ...ofBatches.map(({ asset_id }) => asset_id),
      ])
      const statusOf = (id: string, upload: DirectUpload | undefined): Status => {
        if (upload !== undefined && upload.state !== 'completed') return toStatus(upload, docsUrl())
        const status = completed.has(id) ? 'completed' : 'not_found' // or deleted meanwhile
        return { ...(upload === undefined ? noBatch : toStatus(upload, docsUrl())), video_id: id, status }
      }
      const data = [
        ...assetIds.map((id) =>
          statusOf(
            id,
            known.find((one) => one.asset_id === id),
          ),
        ),
        ...items.flatMap((found): Status[] =>
          'unknownBatch' in found
            ? [{ ...noBatch, video_id: null, status: 'not_found', batch_id: found.unknownBatch }]
            : found.map((item) => statusOf(item.asset_id, item)),
        ),
      ]
      return reply.send({ data, has_more: false, next_token: null })
    },
  }
}

type Status = Omit<ReturnType<typeof toStatus>, 'status' | 'video_id'> & {
  status: string
  video_id: string | null
}

const noBatch = { batch_id: null, item_index: null, error: null }

function toItem(upload: DirectUpload, docsUrl: string) {
  const { item_index, state, asset_id, error } = upload
  return {
    item_index,
    status: state,
    video_id: asset_id,
    error: error === null ? null : errorBody(JSON.parse(error) as KeptError, docsUrl),
  }
}

function toStatus(upload: DirectUpload, docsUrl: string) {
  return { ...toItem(upload, docsUrl), batch_id: upload.batch_id }
}

function tooManyAssets(byIds: boolean, count: number): Fault {
  return invalidParameter(
    byIds ? 'asset_ids' : 'batch_ids',
    `These are ${count} assets together, and at most ${maxItems} can be asked for at once.`,
  )
}

function idsIn(list: string | null): string[] {
  const ids = (list ?? '').split(',').map((id) => id.trim())
  return [...new Set(ids.filter((id) => id !== ''))]
}
