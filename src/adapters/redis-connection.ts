/** One connection to Redis, good until its first fault: who wants to go on afterwards dials again. */
import { createClient, ErrorReply } from '@redis/client'
import type { Count, Policy } from '../gate/counters.ts'
import { runBucket } from './redis-script.ts'
import { StoreRefused, wordsOf } from './store-refused.ts'

/** One line for whoever starts the service; it names no secret. */
export class RedisRefused extends StoreRefused {
  override readonly name = 'RedisRefused'
}

/** All that we keep is below this, so that others may keep theirs beside it. */
const prefix = 'assetd:'

/**
 * How long a request may wait for an answer: with what a busy process adds, 50 ms. A Redis in the same data centre
 * answers within one.
 */
const answerMs = 40

/** What a process that was busy with something else gets on top, to read an answer that has come meanwhile. */
const busyMs = 10

const connectMs = 5_000

/** Bounded, though at the first answer that is late all that wait are let go. */
const maxWaiting = 10_000

export interface RedisLine {
  /** @throws where there is no answer in time */
  bucket(key: string, policy: Policy, wanted: 0 | 1): Promise<Count>
  /**
   * Writes as a request would: a Redis that answers questions alone is of no use.
   * @param withinMs not given: as long as a request waits
   * @throws likewise
   */
  probe(withinMs?: number): Promise<void>
  close(): void
}

/** @param onLost once, with the first fault after this has resolved; @throws {Error} with what the driver says */
export async function dialRedis(
  url: string,
  onLost: (error: unknown) => void,
  requestMs = answerMs,
): Promise<RedisLine> {
  const client = createClient({
    url,
    RESP: 2, // HELLO needs a right of its own, and nothing here needs more
    disableClientInfo: true,
    maintNotifications: 'disabled',
    disableOfflineQueue: true,
    commandsQueueMaxLength: maxWaiting,
    commandOptions: { timeout: 0 }, // `within` is cheaper, and knows of a busy process
    socket: { connectTimeout: connectMs, reconnectStrategy: false },
  })
  let isUp = false
  client.on('error', (error) => {
    if (!isUp) return
    isUp = false
    onLost(error)
  })
  let isLate = false
  const late = setTimeout(() => {
    isLate = true
    client.destroy()
  }, connectMs)
  try {
    await client.connect()
  } catch (error) {
    client.destroy()
    throw isLate ? new Error(`no answer within ${connectMs / 1000} seconds`) : error
  } finally {
    clearTimeout(late)
  }
  isUp = true
  const ask = (key: string, policy: Policy, wanted: 0 | 1, ms: number): Promise<Count> =>
    within(
      ms,
      runBucket((words) => client.sendCommand(words), prefix + key, policy, wanted),
    )
  return {
    bucket: (key, policy, wanted) => ask(key, policy, wanted, requestMs),
    async probe(withinMs = requestMs) {
      await ask('probe', { limit: 1_000, windowSeconds: 1 }, 1, withinMs)
    },
    close() {
      isUp = false
      client.destroy()
    },
  }
}

/** Does not blame Redis for what this process did not read in time. */
function within<T>(ms: number, answer: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const startMs = performance.now()
    const isLate = (): void => reject(new Error(`no answer within ${ms} ms`))
    const onTime = (): void => {
      const wasBusy = performance.now() - startMs > ms + busyMs
      timer = setTimeout(() => setImmediate(isLate), wasBusy ? busyMs : 0)
    }
    let timer = setTimeout(onTime, ms)
    answer.then(resolve, reject).finally(() => clearTimeout(timer))
  })
}

/** Where it is, for people; without the user's name and password. */
export function redisAt(url: string): string {
  return URL.canParse(url) ? `Redis at ${new URL(url).host}` : 'Redis'
}

const refusals: readonly [RegExp, string][] = [
  [/^NOAUTH/, 'asks for a password: give it in ASSETD_REDIS_URL, as redis://user:password@host'],
  [/^WRONGPASS|^ERR invalid password/, 'refuses this user name or password'],
  [/without any password configured/, 'has no password set, and ASSETD_REDIS_URL gives one'],
  [
    /^NOPERM|ACL failure|The user executing the script/,
    'does not let this user count: give it the rights ~assetd:* +evalsha +eval +time +get +set, and +select where the URL names a database',
  ],
  [/^READONLY/, 'is a replica that only reads: name the primary'],
  [/^MOVED|^ASK|^CLUSTERDOWN/, 'is part of a Redis Cluster, which is not supported: name a single Redis'],
  [/^OOM/, 'is full and may not write: raise its maxmemory, or set maxmemory-policy to volatile-ttl'],
  [/^MISCONF/, 'refuses to write since it cannot save to its disk: free its disk, or turn saving off'],
  [/^NOREPLICAS/, 'refuses to write since too few replicas are connected (min-replicas-to-write)'],
  [/^LOADING/, 'is still reading its data from disk'],
  [/unknown command/i, 'does not know a command that Redis 5 knows'],
]

/** @returns one clause about it, such as "refuses this user name or password"; no secret of the URL is in it */
export function redisReason(error: unknown, url: string): string {
  const said = wordsOf(error)
  const known = refusals.find(([pattern]) => error instanceof ErrorReply && pattern.test(said))
  if (known !== undefined) return known[1]
  const what = withoutSecrets(said.split('\n')[0]?.slice(0, 200) ?? '', url)
  if (error instanceof ErrorReply) return `answers: ${what}`
  const code = String((error as NodeJS.ErrnoException | null)?.code)
  if (/CERT|ISSUER|ALTNAME/.test(code))
    return `has a certificate that is not trusted (${code}): where its authority is one of your own, name that in NODE_EXTRA_CA_CERTS`
  return `cannot be worked with: ${what}`
}

/** Some servers repeat the words of a command that they do not know. */
function withoutSecrets(text: string, url: string): string {
  const { password } = URL.canParse(url) ? new URL(url) : { password: '' }
  const spellings = [password, decoded(password)].filter((spelling) => spelling !== '')
  return spellings.reduce((kept, spelling) => kept.replaceAll(spelling, '…'), text)
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}

/**
 * Works with it once, as the service will.
 * @param onLost see `dialRedis`
 * @throws {RedisRefused}
 */
export async function tryRedis(
  url: string,
  onLost: (error: unknown) => void,
  requestMs = answerMs,
): Promise<RedisLine> {
  let line: RedisLine | null = null
  try {
    line = await dialRedis(url, onLost, requestMs)
    await line.probe(connectMs) // a machine on which all starts at once is slow, and nobody waits yet
    return line
  } catch (error) {
    line?.close()
    throw new RedisRefused(`${redisAt(url)} ${redisReason(error, url)}`)
  }
}

/** For `assetd doctor`. @throws {RedisRefused} */
export async function probeRedis(url: string): Promise<void> {
  const line = await tryRedis(url, () => {})
  line.close()
}
