import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Fault, fileFault } from '../errors.ts'
import { HttpFault } from './framing.ts'
import { toFault, toProblem } from './problem.ts'

const docs = 'https://media.example.com/docs/errors'

const statuses = {
  invalid_parameter: 400,
  authentication_failed: 401,
  forbidden: 403,
  asset_not_found: 404,
  batch_not_found: 404,
  resource_not_found: 404,
  method_not_allowed: 405,
  request_timeout: 408,
  request_in_progress: 409,
  conflict: 409,
  rate_limit_exceeded: 429,
  internal_error: 500,
  service_unavailable: 503,
} as const

for (const [code, status] of Object.entries(statuses) as [keyof typeof statuses, number][]) {
  test(`${code} is ${status}, in the envelope with all four keys`, () => {
    const problem = toProblem(new Fault(code, 'What happened. What to do.'), docs)
    assert.equal(problem.status, status)
    assert.deepEqual(JSON.parse(problem.body), {
      error: { code, message: 'What happened. What to do.', param: null, doc_url: `${docs}#${code}` },
    })
    assert.equal(problem.headers['content-type'], 'application/json; charset=utf-8')
    assert.equal(problem.headers['cache-control'], 'no-store')
    for (const name of ['retry-after', 'www-authenticate', 'allow'])
      assert.equal(problem.headers[name], undefined)
  })
}

test('a fault of HTTP has the status that RFC 9110 gives it; 400 is invalid_parameter with a null param', () => {
  for (const status of [411, 412, 413, 414, 416, 417, 431, 501, 505]) {
    const problem = toProblem(new HttpFault(status, 'x'), docs)
    assert.equal(problem.status, status)
    assert.equal(JSON.parse(problem.body).error.code, 'invalid_request')
  }
  const { error } = JSON.parse(toProblem(new HttpFault(400, 'x'), docs).body)
  assert.equal(error.code, 'invalid_parameter')
  assert.equal(error.param, null)
  assert.deepEqual(error.details, { reason: 'malformed_request' })
})

test('param and details are in the body', () => {
  const { error } = JSON.parse(toProblem(fileFault('file_too_large', 'x', { max_bytes: 5 }), docs).body)
  assert.equal(error.param, 'file')
  assert.deepEqual(error.details, { reason: 'file_too_large', max_bytes: 5 })
})

test('Retry-After, WWW-Authenticate and Allow stand where a fault has them', () => {
  const waits = toProblem(new Fault('rate_limit_exceeded', 'x', { retryAfterSeconds: 7 }), docs)
  assert.equal(waits.headers['retry-after'], '7')
  const missing = toProblem(new Fault('authentication_failed', 'x', { challenge: '' }), docs)
  assert.equal(missing.headers['www-authenticate'], 'Bearer realm="assetd"')
  const refused = toProblem(
    new Fault('authentication_failed', 'x', { challenge: ', error="invalid_token"' }),
    docs,
  )
  assert.equal(refused.headers['www-authenticate'], 'Bearer realm="assetd", error="invalid_token"')
  const method = new Fault('method_not_allowed', 'x', { details: { allowed_methods: ['GET', 'HEAD'] } })
  assert.equal(toProblem(method, docs).headers.allow, 'GET, HEAD')
})

test('a cause is never in the answer', () => {
  const fault = new Fault('service_unavailable', 'x', { cause: new Error('ENOSPC /var/lib/secret') })
  const { headers, body } = toProblem(fault, docs)
  assert.ok(!(JSON.stringify(headers) + body).includes('ENOSPC'))
})

test('a fault stays what it is', () => {
  const fault = new Fault('conflict', 'x')
  assert.equal(toFault(fault), fault)
})

test('what the framework refuses is a fault of HTTP with its status and our words', () => {
  const framework = Object.assign(new Error('inside words'), {
    code: 'FST_ERR_CTP_BODY_TOO_LARGE',
    statusCode: 413,
  })
  const fault = toFault(framework)
  assert.ok(fault instanceof HttpFault)
  assert.equal(fault.status, 413)
  assert.ok(!fault.message.includes('inside'))
  const bare = toFault(Object.assign(new Error('x'), { code: 'FST_ERR_BAD_URL' }))
  assert.equal(toProblem(bare, docs).status, 400)
})

const unforeseen: [name: string, thrown: unknown][] = [
  ['an Error', new Error('inside /etc/passwd')],
  ['an error of the system', Object.assign(new Error('inside'), { code: 'ENOENT' })],
  ['a failure of the framework', Object.assign(new Error('inside'), { code: 'FST_ERR_X', statusCode: 500 })],
  ['an error with a status of its own', Object.assign(new Error('inside'), { statusCode: 404 })],
  ['a string', 'inside'],
  ['a number', 5],
  ['an object', { inside: true }],
  ['undefined', undefined],
  ['null', null],
]

for (const [name, thrown] of unforeseen) {
  test(`what we did not foresee (${name}) is internal_error in a fixed sentence`, () => {
    const fault = toFault(thrown)
    assert.equal(fault.code, 'internal_error')
    assert.equal(fault.cause, thrown)
    const { status, body } = toProblem(fault, docs)
    assert.equal(status, 500)
    assert.ok(!body.includes('inside'))
    assert.equal(JSON.parse(body).error.details, undefined)
  })
}
