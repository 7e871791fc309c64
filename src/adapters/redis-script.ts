/** The token bucket as one script, so that no two copies of the service can take the same token. */
import { createHash } from 'node:crypto'
import { ErrorReply } from '@redis/client'
import type { Count, Policy } from '../gate/counters.ts'
import { countOf, rounding } from '../gate/token-bucket.ts'

/**
 * Kept under each key: the tokens left, and when that was by Redis' own clock, in microseconds. No copy's clock counts.
 * What is not of this form, whoever put it there, is a full bucket. Where Redis' clock went back, time starts again
 * from there: a bucket must not stay empty until the clock has caught up. A bucket vanishes when it would be full.
 */
const script = `
local limit, window, wanted = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000000 + tonumber(clock[2])
local tokens, wentBack = limit, false
local kept = redis.pcall('GET', KEYS[1])
if type(kept) == 'string' then
  local had, since = string.match(kept, '^(%d[%d.e-]*) (%d+)$')
  had, since = tonumber(had), tonumber(since)
  if had and since then
    wentBack = since > now
    tokens = math.min(limit, had + math.max(0, now - since) / 1000000 * (limit / window))
  end
end
local allowed = tokens >= 1 - ${rounding}
if wanted > 0 and (allowed or wentBack) then
  if allowed then tokens = math.max(0, tokens - 1) end
  local fullInMs = math.ceil((limit - tokens) / limit * window * 1000) + 1
  redis.call('SET', KEYS[1], string.format('%.17g %.0f', tokens, now), 'PX', string.format('%.0f', fullInMs))
end
return { allowed and 1 or 0, string.format('%.17g', tokens) }
`

const sha1 = createHash('sha1').update(script).digest('hex')

export type SendCommand = (words: string[]) => Promise<unknown>

/** @param wanted 1 to take a request out, 0 to look; @throws what Redis answers, and where it answers something else */
export async function runBucket(
  send: SendCommand,
  key: string,
  policy: Policy,
  wanted: 0 | 1,
): Promise<Count> {
  const rest = ['1', key, String(policy.limit), String(policy.windowSeconds), String(wanted)]
  const answer = await send(['EVALSHA', sha1, ...rest]).catch((error) => {
    // Redis was restarted, or told to forget its scripts.
    if (error instanceof ErrorReply && error.message.startsWith('NOSCRIPT'))
      return send(['EVAL', script, ...rest])
    throw error
  })
  const [allowed, tokens] = Array.isArray(answer) ? answer.map(Number) : []
  if (allowed === undefined || tokens === undefined || !Number.isFinite(tokens))
    throw new Error('its answer is not that of our script')
  return countOf(tokens, policy, allowed === 1)
}
