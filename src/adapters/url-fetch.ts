/**
 * Fetches a file by its URL without lending ourselves to anybody: https alone, no redirects, no credentials, and only
 * from addresses that the whole internet can reach. The address that was looked at is the one that is connected to, so
 * a name cannot change its mind in between.
 */
import { lookup } from 'node:dns/promises'
import { type RequestOptions, request } from 'node:https'
import { isIP } from 'node:net'
import ipaddr from 'ipaddr.js'
import type { FetchUrl } from '../assets/resolve.ts'
import { Fault } from '../errors.ts'
import { fileTooLarge } from '../intake/measure.ts'

/** From the first byte that is sent to the last that is read. */
const totalMs = 60_000
const idleMs = 10_000

export type UrlFetchOptions = {
  /** Further certificates to trust, in PEM; not given: those of the system. */
  ca?: string
  isAllowed?(address: string): boolean
  resolveName?(host: string): Promise<string[]>
}

export function createUrlFetch({
  ca,
  isAllowed = isPublic,
  resolveName = addressesOf,
}: UrlFetchOptions = {}): FetchUrl {
  return async (text, maxBytes, onSlice) => {
    const url = parse(text)
    const address = await chooseAddress(url, isAllowed, resolveName)
    const abort = AbortSignal.timeout(totalMs)
    const response = await ask(url, address, {
      signal: abort,
      timeout: idleMs,
      ...(ca === undefined ? {} : { ca }),
    })
    try {
      const status = response.statusCode ?? 0
      if (status === 429 || status >= 500) throw passing(`its server answered ${status}`)
      if (status !== 200) throw refused(`its server answered ${status}`)
      const length = Number(response.headers['content-length'] ?? 0)
      if (length > maxBytes) throw fileTooLarge(maxBytes)
      for await (const slice of response) await onSlice(slice as Buffer)
      return response.headers['content-type'] ?? null
    } catch (error) {
      if (error instanceof Fault) throw error
      throw passing('its server broke off, or took too long', error)
    } finally {
      response.destroy()
    }
  }
}

function parse(text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : null
  if (url === null || url.protocol !== 'https:')
    throw refused('it must be a whole URL that begins with https://')
  if (url.username !== '' || url.password !== '') throw refused('it must not have a user or a password')
  return url
}

/** Every address of the name must be public: else whoever answers for it could mix one of ours in. */
async function chooseAddress(
  url: URL,
  isAllowed: (address: string) => boolean,
  resolveName: (host: string) => Promise<string[]>,
): Promise<string> {
  const host = url.hostname.replace(/^\[|\]$/g, '')
  const addresses = isIP(host) === 0 ? await resolveName(host) : [host]
  const [first] = addresses
  if (first === undefined) throw refused('its host has no address')
  if (!addresses.every(isAllowed)) throw refused('its host is not a public one')
  return first
}

async function addressesOf(host: string): Promise<string[]> {
  try {
    return (await lookup(host, { all: true })).map(({ address }) => address)
  } catch (cause) {
    throw passing('its host cannot be found', cause)
  }
}

/** True for an address that is neither private, local, reserved nor a way around that. */
export function isPublic(address: string): boolean {
  if (!ipaddr.isValid(address)) return false
  return ipaddr.process(address).range() === 'unicast'
}

function ask(
  url: URL,
  address: string,
  options: RequestOptions,
): Promise<import('node:http').IncomingMessage> {
  return new Promise((resolve, reject) => {
    const asked = request(url, {
      ...options,
      agent: false,
      headers: { accept: '*/*', 'accept-encoding': 'identity', 'user-agent': 'assetd' },
      lookup: (_host, { all }, callback) => {
        const family = isIP(address)
        if (all) callback(null, [{ address, family }])
        else callback(null, address, family)
      },
    })
    asked.once('response', resolve)
    asked.once('timeout', () => asked.destroy(new Error('no byte for too long')))
    asked.once('error', (cause) => reject(passing('its server cannot be reached over https', cause)))
    asked.end()
  })
}

/** Another try may pass. */
function passing(why: string, cause?: unknown): Fault {
  return new Fault('service_unavailable', `The URL cannot be fetched at the moment: ${why}. Try again.`, {
    param: 'url',
    retryAfterSeconds: 5,
    cause,
  })
}

function refused(why: string, cause?: unknown): Fault {
  return new Fault('invalid_parameter', `The URL cannot be fetched: ${why}.`, {
    param: 'url',
    details: { reason: 'invalid_value' },
    cause,
  })
}
