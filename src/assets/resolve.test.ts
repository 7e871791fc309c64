import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Fault } from '../errors.ts'
import { type ResolveDoor, resolveUrl } from './resolve.ts'

test('case 72: where there is too little room, nothing is fetched from a URL', async () => {
  const low = new Fault('service_unavailable', 'There is too little room.')
  const door = {
    admission: { assertRoom: () => Promise.reject(low) },
    fetchUrl: () => assert.fail('it was fetched'),
    reservations: { reserve: () => assert.fail('it was reserved') },
  }
  const principal = { workspace: 'w', owner: 'o', scopes: new Set<never>() }
  await assert.rejects(
    resolveUrl(door as unknown as ResolveDoor, principal, null, 'https://a.example/b.png'),
    low,
  )
})
