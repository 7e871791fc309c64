import assert from 'node:assert/strict'
import type { IncomingMessage } from 'node:http'
import { test } from 'node:test'
import { createAuthenticate } from './authenticate.ts'

/** What a failure from this address counts against. */
async function countedFor(address: string): Promise<string> {
  const keys: string[] = []
  const count = { allowed: true, remaining: 1, retryAfterSeconds: 0, resetSeconds: 0 }
  const counters = {
    take: async (key: string) => {
      keys.push(key)
      return count
    },
    peek: async () => count,
  }
  const refuse = async () => null
  const authenticate = createAuthenticate({
    apiKeys: { find: refuse, flush: async () => {} },
    bearerTokens: { verify: () => Promise.reject(new Error('no token was sent')) },
    counters,
  })
  const request = { rawHeaders: [], headers: { 'x-api-key': 'wrong' } } as unknown as IncomingMessage
  await assert.rejects(authenticate(request, address), { code: 'authentication_failed' })
  const [key = ''] = keys
  assert.equal(keys.length, 1)
  return key.replace(/^failures:/, '')
}

const spellings: Record<string, string[]> = {
  '192.0.2.7': [
    '192.0.2.7',
    '192.0.2.7:40001',
    '::ffff:192.0.2.7',
    '::FFFF:192.0.2.7',
    '::ffff:c000:207',
    '::ffff:c000:0207',
    '0:0:0:0:0:ffff:192.0.2.7',
    '0000:0000:0000:0000:0000:ffff:c000:0207',
    '[::ffff:192.0.2.7]:40001',
  ],
  '2001:db8:0:1::/64': [
    '2001:db8:0:1::',
    '2001:db8:0:1::1',
    '2001:DB8:0:1:ffff:ffff:ffff:ffff',
    '2001:0db8:0000:0001:0000:0000:0000:0001',
    '2001:db8::1:0:0:0:2',
    '[2001:db8:0:1::5]:443',
  ],
  '2001:db8:0:2::/64': ['2001:db8:0:2::1'],
  '0:0:0:0::/64': ['::1', '::', '0:0:0:0:0:0:0:1'],
  'fe80:0:0:0::/64': ['fe80::1', 'fe80::1%eth0', 'FE80::2%2'],
  '64:ff9b:0:0::/64': ['64:ff9b::1'],
  unknown: ['unknown'],
}

for (const [network, addresses] of Object.entries(spellings)) {
  test(`case 46: failures of every spelling of ${network} count against one network`, async () => {
    for (const address of addresses) assert.equal(await countedFor(address), network, address)
  })
}
