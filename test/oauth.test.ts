/** Bearer tokens of a real authorization server, and of the embedded issuer. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { generateKeyPairSync } from 'node:crypto'
import { after, before, describe, it } from 'node:test'
import { exportJWK, SignJWT, UnsecuredJWT } from 'jose'
import { type AuthorizationServer, audience, startAuthorizationServer } from './authorization-server.ts'
import { wav } from './media/samples.ts'
import { launcher, type RunningService, startService, withoutSettings } from './service.ts'
import { settingsOf } from './stores.ts'

type Answer = {
  status: number
  code: string | undefined
  message: string
  challenge: string | null
  requestId: string | null
}

async function uploadWith(service: RunningService, headers: Record<string, string>): Promise<Answer> {
  const form = new FormData()
  form.append('file', new Blob([new Uint8Array(wav())]))
  const response = await fetch(`${service.url}/v3/assets`, { method: 'POST', headers, body: form })
  const { error } = (await response.json()) as { error?: { code: string; message: string } }
  const challenge = response.headers.get('www-authenticate')
  const requestId = response.headers.get('x-request-id')
  return { status: response.status, code: error?.code, message: error?.message ?? '', challenge, requestId }
}

const bearer = (token: string) => ({ authorization: `Bearer ${token}` })

describe('tokens of an outside issuer', () => {
  let server: AuthorizationServer
  let service: RunningService

  before(async () => {
    server = await startAuthorizationServer()
    service = await startService({
      env: { ASSETD_OAUTH_ISSUER: server.issuer, ASSETD_OAUTH_AUDIENCE: audience },
    })
  })
  after(async () => {
    await service.stop()
    await server.stop()
  })

  it('a token with the scope uploads', async () => {
    assert.equal((await uploadWith(service, bearer(await server.token()))).status, 200)
  })

  it('a token without any scope of ours is not even told who it is', async () => {
    const headers = { authorization: `Bearer ${await server.token({ scope: 'profile' })}` }
    const answer = await fetch(`${service.url}/v3/users/me`, { headers })
    assert.equal(answer.status, 403)
    assert.match(answer.headers.get('www-authenticate') ?? '', /error="insufficient_scope"/)
  })

  it('a token without the scope is 403 with insufficient_scope', async () => {
    const answer = await uploadWith(service, bearer(await server.token({ scope: 'assets:read' })))
    assert.equal(answer.status, 403)
    assert.equal(answer.code, 'forbidden')
    assert.match(answer.challenge ?? '', /error="insufficient_scope"/)
  })

  it('a token for another audience is 401', async () => {
    const answer = await uploadWith(
      service,
      bearer(await server.token({ audience: 'https://other.example' })),
    )
    assert.equal(answer.status, 401)
    assert.match(answer.challenge ?? '', /^Bearer realm="assetd", error="invalid_token"$/)
  })

  it('an opaque token is 401 and is told why', async () => {
    const answer = await uploadWith(service, bearer('2YotnFZFEjr1zCsicMWpAA'))
    assert.equal(answer.status, 401)
    assert.match(answer.message, /opaque tokens are not taken/)
  })

  it('another scheme is 401', async () => {
    assert.equal((await uploadWith(service, { authorization: 'Basic dTpw' })).status, 401)
  })

  it('case 43: keys are cached, rotation is survived, a dead issuer is not fatal', async () => {
    const old = await server.token()
    const fetches = server.keyFetches()
    for (let at = 0; at < 5; at++) assert.equal((await uploadWith(service, bearer(old))).status, 200)
    assert.equal(server.keyFetches(), fetches, 'known keys are not fetched again')

    const fresh = await startService({
      env: { ASSETD_OAUTH_ISSUER: server.issuer, ASSETD_OAUTH_AUDIENCE: audience },
    })
    try {
      await server.stop()
      const lost = await uploadWith(fresh, bearer(old))
      assert.equal(lost.status, 503, 'keys that were never fetched: not the client’s fault')
      assert.equal((await uploadWith(fresh, { 'x-api-key': fresh.key })).status, 200)
      const ready = await fetch(`${fresh.url}/readyz`)
      assert.equal(ready.status, 200, 'uploads with keys work')
      const { data } = (await ready.json()) as { data: { status: string; checks: Record<string, string> } }
      assert.equal(data.status, 'degraded')
      assert.equal(data.checks.token_issuer, 'unreachable')
      assert.equal((await uploadWith(service, bearer(old))).status, 200, 'known keys go on working')
    } finally {
      await server.start()
      await fresh.stop()
    }
  })
})

describe('tokens that are forged or wrong (case 43)', () => {
  const issuer = 'http://127.0.0.1:9' // nobody: every key is ours
  let service: RunningService
  let keyServer: AuthorizationServer

  before(async () => {
    keyServer = await startAuthorizationServer()
    service = await startService({
      env: { ASSETD_OAUTH_ISSUER: keyServer.issuer, ASSETD_OAUTH_AUDIENCE: audience },
    })
    assert.equal((await uploadWith(service, bearer(await keyServer.token()))).status, 200)
  })
  after(async () => {
    await service.stop()
    await keyServer.stop()
  })

  const claims = () => ({ iss: keyServer.issuer, aud: audience, sub: 'mallory', scope: 'assets:write' })
  const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })

  it('alg none', async () => {
    const token = new UnsecuredJWT(claims()).setExpirationTime('1h').encode()
    assert.equal((await uploadWith(service, bearer(token))).status, 401)
  })

  it('HS256 signed with the published RSA key', async () => {
    const { keys } = (await (await fetch(`${keyServer.issuer}/jwks`)).json()) as { keys: { n: string }[] }
    const secret = new TextEncoder().encode(keys[0]?.n ?? '')
    const token = await new SignJWT(claims())
      .setProtectedHeader({ alg: 'HS256', typ: 'at+jwt' })
      .setExpirationTime('1h')
      .sign(secret)
    assert.equal((await uploadWith(service, bearer(token))).status, 401)
  })

  for (const [name, header] of Object.entries({
    'an embedded jwk': async () => ({ jwk: await exportJWK(publicKey) }),
    'a jku': async () => ({ jku: `${issuer}/jwks` }),
    'an unknown kid': async () => ({ kid: 'unknown' }),
    'a kid that is a path': async () => ({ kid: '../../../../dev/null' }),
    'a critical extension': async () => ({ crit: ['x'], x: 1 }),
  })) {
    it(`${name}, signed by a key of the sender's own`, async () => {
      const signer = new SignJWT(claims())
        .setProtectedHeader({ alg: 'RS256', typ: 'at+jwt', ...(await header()) })
        .setExpirationTime('1h')
      const token = await signer.sign(privateKey, { crit: { x: true } })
      assert.equal((await uploadWith(service, bearer(token))).status, 401)
    })
  }

  it('many unknown keys make no stampede of fetches', async () => {
    const before = keyServer.keyFetches()
    const tokens = await Promise.all(
      Array.from({ length: 20 }, (_, at) =>
        new SignJWT(claims())
          .setProtectedHeader({ alg: 'RS256', typ: 'at+jwt', kid: `unknown-${at}` })
          .setExpirationTime('1h')
          .sign(privateKey),
      ),
    )
    const answers = await Promise.all(tokens.map((token) => uploadWith(service, bearer(token))))
    assert.deepEqual(
      answers.map(({ status }) => status),
      tokens.map(() => 401),
    )
    assert.ok(keyServer.keyFetches() - before <= 3, `${keyServer.keyFetches() - before} fetches`)
  })
})

describe('a workspace claim', () => {
  it('names the workspace; missing or not a string it is 401', async () => {
    const server = await startAuthorizationServer()
    const service = await startService({
      env: {
        ASSETD_OAUTH_ISSUER: server.issuer,
        ASSETD_OAUTH_AUDIENCE: audience,
        ASSETD_OAUTH_WORKSPACE_CLAIM: 'tenant',
      },
    })
    try {
      const good = bearer(await server.token({ workspace: 'acme' }))
      const answer = await uploadWith(service, good)
      assert.equal(answer.status, 200)
      assert.equal((await service.logOf(answer.requestId)).workspace, 'acme')
      assert.equal((await uploadWith(service, bearer(await server.token()))).status, 401)
      assert.equal((await uploadWith(service, bearer(await server.token({ workspace: 7 })))).status, 401)
    } finally {
      await service.stop()
      await server.stop()
    }
  })
})

describe('rotation of keys', () => {
  it('a token signed by a new key works without a restart', async () => {
    const server = await startAuthorizationServer()
    const service = await startService({
      env: { ASSETD_OAUTH_ISSUER: server.issuer, ASSETD_OAUTH_AUDIENCE: audience },
    })
    try {
      assert.equal((await uploadWith(service, bearer(await server.token()))).status, 200)
      await server.rotate()
      assert.equal((await uploadWith(service, bearer(await server.token()))).status, 200)
    } finally {
      await service.stop()
      await server.stop()
    }
  })
})

describe('embedded tokens', () => {
  let service: RunningService
  before(async () => {
    service = await startService()
  })
  after(() => service.stop())

  const cli = (...args: string[]): string =>
    execFileSync(process.execPath, [launcher, ...args], {
      encoding: 'utf8',
      env: { ...withoutSettings(process.env), ...settingsOf(service.dataDir) },
    }).trim()

  it('a minted token uploads, and its key is published', async () => {
    const token = cli('tokens', 'create', '--workspace', 'acme', '--owner', 'ann')
    assert.equal((await uploadWith(service, bearer(token))).status, 200)
    const { keys } = (await (await fetch(`${service.url}/.well-known/jwks.json`)).json()) as {
      keys: Record<string, unknown>[]
    }
    assert.equal(keys.length, 1)
    assert.equal(keys[0]?.d, undefined, 'the private half stays inside')
    const header = JSON.parse(Buffer.from(token.split('.')[0] ?? '', 'base64url').toString())
    assert.deepEqual(header, { alg: 'ES256', typ: 'at+jwt', kid: keys[0]?.kid })
  })

  it('expired, cut and altered tokens are 401', async () => {
    const short = cli('tokens', 'create', '--expires', '1s')
    const good = cli('tokens', 'create')
    assert.equal((await uploadWith(service, bearer(good.slice(0, -3)))).status, 401)
    const [head, , signature] = good.split('.')
    const altered = Buffer.from(JSON.stringify({ sub: 'root' })).toString('base64url')
    assert.equal((await uploadWith(service, bearer(`${head}.${altered}.${signature}`))).status, 401)
    await new Promise((resolve) => setTimeout(resolve, 7_000)) // 1 s of life and 5 s of leeway
    const expired = await uploadWith(service, bearer(short))
    assert.equal(expired.status, 401)
    assert.match(expired.message, /it has expired/)
  })

  it('case 42: a key and a token together must agree, and have the scopes of both', async () => {
    const keyed = (...args: string[]) => ({ 'x-api-key': cli('keys', 'create', ...args) })
    const token = bearer(cli('tokens', 'create', '--workspace', 'acme', '--owner', 'ann'))
    const same = keyed('--workspace', 'acme', '--owner', 'ann')
    assert.equal((await uploadWith(service, { ...token, ...same })).status, 200)
    const reader = keyed('--workspace', 'acme', '--owner', 'ann', '--scopes', 'assets:read')
    assert.equal((await uploadWith(service, { ...token, ...reader })).status, 403)
    const otherOwner = keyed('--workspace', 'acme', '--owner', 'bob')
    assert.equal((await uploadWith(service, { ...token, ...otherOwner })).status, 401)
    const otherWorkspace = keyed('--workspace', 'other', '--owner', 'ann')
    assert.equal((await uploadWith(service, { ...token, ...otherWorkspace })).status, 401)
    assert.equal((await uploadWith(service, { ...token, 'x-api-key': 'wrong' })).status, 401)
  })
})
