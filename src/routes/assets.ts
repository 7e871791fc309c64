/** `POST /v3/assets`: the multipart door. */

import type { ServerResponse } from 'node:http'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { type Upload, type UploadBody, type UploadDoor, uploadAsset } from '../assets/upload.ts'
import { readIdempotencyKey } from '../gate/idempotency.ts'
import { type Pace, readBody } from '../http/body.ts'
import { expectationOf } from '../http/server.ts'
import type { Caller } from '../principal.ts'

export type AssetRoutesOptions = UploadDoor & { pace: Pace }

export function createUploadRoute(options: AssetRoutesOptions) {
  return async function upload(request: FastifyRequest, reply: FastifyReply, caller: Caller) {
    const { exchange } = request
    const key = readIdempotencyKey(request.raw)
    const { workspace } = caller.principal
    const length = request.headers['content-length']
    const asked: Upload = {
      principal: caller.principal,
      key: key === null ? null : { workspace, route: 'POST /v3/assets', key },
      contentType: request.headers['content-type'],
      contentLengthBytes: length === undefined ? null : Number(length),
      body: bodyOf(request, reply.raw, options.pace),
    }
    const answer = await uploadAsset(options, asked)
    exchange.assetId = answer.assetId
    exchange.replayed = answer.replayed
    exchange.bytes = answer.sizeBytes
    if (answer.replayed) reply.header('idempotent-replayed', 'true')
    return reply.code(answer.status).type('application/json; charset=utf-8').send(answer.body)
  }
}

function bodyOf(request: FastifyRequest, response: ServerResponse, pace: Pace): UploadBody {
  const waitsToBeAsked = expectationOf(request.raw) === 'continue'
  return {
    waitsToBeAsked,
    read(receiver) {
      if (waitsToBeAsked) response.writeContinue()
      return readBody(request.raw, pace, {
        onSlice: (slice) => receiver.write(slice),
        isWhole: () => receiver.closed,
      })
    },
  }
}
