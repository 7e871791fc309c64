/** U+0000 in texts: PostgreSQL cannot keep it, so nobody may. Wherever it comes, it is refused or found nowhere. */
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { call } from './api.ts'
import { type RunningService, startService } from './service.ts'

let service: RunningService
before(async () => {
  service = await startService()
})
after(() => service.stop())

const announcing = (more: object) => ({
  filename: 'a.png',
  content_type: 'image/png',
  size_bytes: 5,
  ...more,
})
const token = Buffer.from(JSON.stringify([1, 'a\0'])).toString('base64url')

for (const [method, path, status, body] of [
  ['GET', '/v3/assets/a%00b', 404],
  ['DELETE', '/v3/assets/a%00b', 404],
  ['POST', '/v3/assets/a%00b/complete', 404],
  ['GET', '/v3/assets/batches/a%00b', 404],
  ['GET', '/files/asset_a%00.png', 404],
  ['GET', '/v3/assets?username=a%00b', 400],
  ['GET', '/v3/assets?folder_id=a%00b', 400],
  ['GET', `/v3/assets?token=${token}`, 400],
  ['GET', '/v3/assets/search?type=image&query=a%00b', 400],
  ['GET', '/v3/assets/statuses?asset_ids=a%00b', 400],
  ['POST', '/v3/assets/direct-uploads', 400, announcing({ filename: 'a\0.png' })],
  ['POST', '/v3/assets/direct-uploads', 400, announcing({ content_type: 'image/png\0' })],
  ['POST', '/v3/assets/direct-uploads/batches', 400, { title: 'a\0', files: [announcing({})] }],
] as const) {
  test(`${method} ${path} ${JSON.stringify(body ?? '')}: ${status}`, async () => {
    const answer = await call(service, method, path, body)
    assert.equal(answer.status, status, answer.body)
    assert.equal(typeof answer.json.error.message, 'string')
  })
}

test('an input of resolve that has it is found nowhere', async () => {
  const inputs = [{ type: 'asset_id', asset_id: 'asset_a\0' }]
  const answer = await call(service, 'POST', '/v3/assets/resolve', { inputs })
  assert.equal(answer.status, 200, answer.body)
  assert.equal(answer.json.data[0].error.code, 'asset_not_found')
})
