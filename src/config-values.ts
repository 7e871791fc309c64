/** The forms that settings have: each reads a text, or says what is wrong with it and what to give. */
import { isIP } from 'node:net'
import { type MediaType, mediaTypeNames } from './asset.ts'

/** A value was given but cannot be used; the message goes on after the variable's name. */
export class Unusable extends Error {}

export type RateLimit = { limit: number; windowSeconds: number }

const loopbackHosts = new Set(['127.0.0.1', '::1', '[::1]', 'localhost'])

/** True for an address that only this machine can reach. */
export function isLoopback(host: string): boolean {
  return loopbackHosts.has(host) || (isIP(host) === 4 && host.startsWith('127.'))
}

export function wholeNumber(text: string, least: number, most: number): number {
  const value = Number(text)
  if (!/^\d+$/.test(text) || value < least || value > most) {
    throw new Unusable(`is ${shown(text)}: give a whole number from ${least} to ${most}`)
  }
  return value
}

export function publicUrl(text: string): string {
  const url = absoluteUrl(text)
  if (url.search || url.hash || url.username || url.password) {
    throw new Unusable(`is ${shown(text)}: it may have a path, but no user, query or fragment`)
  }
  return (url.origin + url.pathname).replace(/\/+$/, '')
}

function absoluteUrl(text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : null
  if (url === null || !['http:', 'https:'].includes(url.protocol)) {
    throw new Unusable(
      `is ${shown(text)}: give a whole URL with its scheme, such as https://media.example.com`,
    )
  }
  return url
}

export function issuer(text: string): string {
  const url = absoluteUrl(text)
  if (url.protocol === 'http:' && !isLoopback(url.hostname)) {
    throw new Unusable(`is ${shown(text)}: an issuer must be https (http is taken from loopback alone)`)
  }
  return text
}

export function secret(text: string): string {
  if (text.length < 32) {
    throw new Unusable(
      `has ${text.length} characters: a key needs at least 32; one can be made with: openssl rand -hex 32`,
    )
  }
  if (!/^[\x21-\x7e]+$/.test(text)) {
    throw new Unusable('has characters that a header cannot carry: use visible ASCII without spaces')
  }
  return text
}

export function rateLimit(text: string): RateLimit | undefined {
  if (text === 'off') return undefined
  const match = /^([1-9]\d{0,8})\/(sec|min|hour)$/.exec(text)
  if (!match) throw new Unusable(`is ${shown(text)}: give N/sec, N/min, N/hour or off, such as 300/min`)
  const windowSeconds = { sec: 1, min: 60, hour: 3600 }[match[2] as 'sec' | 'min' | 'hour']
  return { limit: Number(match[1]), windowSeconds }
}

export function allowedTypes(text: string): ReadonlySet<MediaType> {
  const names = list(text)
  const unknown = names.filter((name) => !(mediaTypeNames as string[]).includes(name))
  if (unknown.length > 0 || names.length === 0) {
    throw new Unusable(
      `has ${shown(unknown.join(','))}: give some of ${mediaTypeNames.join(',')}, with commas between`,
    )
  }
  return new Set(names as MediaType[])
}

export function network(text: string): string {
  const [address = '', prefix, ...more] = text.split('/')
  const bits = { 0: -1, 4: 32, 6: 128 }[isIP(address)] ?? -1
  if (
    bits < 0 ||
    more.length > 0 ||
    (prefix !== undefined && !(/^\d+$/.test(prefix) && Number(prefix) >= 1 && Number(prefix) <= bits))
  ) {
    throw new Unusable(
      `has ${shown(text)}: give addresses or networks such as 10.0.0.0/8, with commas between (0.0.0.0/0, which would be everybody, is none)`,
    )
  }
  return text
}

export function origin(text: string): string {
  if (text === '*') return text
  if (!URL.canParse(text) || new URL(text).origin !== text) {
    throw new Unusable(`has ${shown(text)}: give origins such as https://app.example.com, or *`)
  }
  return text
}

export function oneOf<T extends string>(text: string, values: readonly T[]): T {
  if (!(values as readonly string[]).includes(text)) {
    throw new Unusable(`is ${shown(text)}: give one of ${values.join(', ')}`)
  }
  return text as T
}

export function list(text: string): string[] {
  return text
    .split(',')
    .map((item) => item.trim())
    .filter((item) => item !== '')
}

function shown(text: string): string {
  const bare = text.replace(/\/\/[^/?#]*@/, '//…@') // a URL may have a password in it
  return JSON.stringify(bare.length > 80 ? `${bare.slice(0, 80)}…` : bare)
}
