import assert from 'node:assert/strict'
import { test } from 'node:test'
import { readConfig } from './config.ts'
import { warnings } from './main.ts'

const warningsFor = (env: Record<string, string>): string[] => warnings(readConfig(env))

test('listening beyond loopback without an https public URL is warned of', () => {
  const beyond = { ASSETD_HOST: '0.0.0.0', ASSETD_PUBLIC_URL: 'http://media.example.com' }
  assert.match(warningsFor(beyond).join(), /0\.0\.0\.0 without an https ASSETD_PUBLIC_URL/)
  assert.match(warningsFor({ ASSETD_HOST: '192.0.2.1' }).join(), /192\.0\.2\.1 without an https/)
})

test('loopback, or https in front, is not', () => {
  assert.deepEqual(warningsFor({}), [])
  assert.deepEqual(warningsFor({ ASSETD_HOST: '::1' }), [])
  assert.deepEqual(warningsFor({ ASSETD_HOST: '::', ASSETD_PUBLIC_URL: 'https://media.example.com' }), [])
})
