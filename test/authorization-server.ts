/**
 * A real OAuth2 authorization server (oidc-provider) on loopback, whose signing keys can be changed and which can
 * be stopped and started again on the same port.
 */
import { generateKeyPairSync, randomUUID } from 'node:crypto'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import Provider from 'oidc-provider'

export const audience = 'https://assets.example.com'

export type AuthorizationServer = {
  issuer: string
  /** An access token by the client credentials grant. */
  token(options?: { scope?: string; audience?: string; workspace?: unknown }): Promise<string>
  /** Signs with new keys from now on; the old ones are published no more. */
  rotate(): Promise<void>
  stop(): Promise<void>
  start(): Promise<void>
  /** How often the keys were fetched. */
  keyFetches(): number
}

export async function startAuthorizationServer(): Promise<AuthorizationServer> {
  let server: Server | null = null
  let port = 0
  let fetches = 0
  let workspace: unknown
  let handle: ReturnType<Provider['callback']>

  const listen = (): Promise<void> =>
    new Promise((resolve) => {
      const opened = createServer((request, response) => {
        if (request.url === '/jwks') fetches++
        handle(request, response)
      })
      server = opened
      opened.listen(port, '127.0.0.1', () => {
        port = (opened.address() as AddressInfo).port
        resolve()
      })
    })
  const close = (): Promise<void> =>
    new Promise((resolve) => {
      server?.close(() => resolve())
      server?.closeAllConnections()
    })
  const makeProvider = (): void => {
    handle = newProvider(`http://127.0.0.1:${port}`, () => workspace).callback()
  }

  await listen()
  makeProvider()
  const issuer = `http://127.0.0.1:${port}`
  return {
    issuer,
    async token({
      scope = 'assets:read assets:write',
      audience: resource = audience,
      workspace: claim,
    } = {}) {
      workspace = claim
      const response = await fetch(`${issuer}/token`, {
        method: 'POST',
        headers: { authorization: `Basic ${btoa('uploader:uploader-secret')}` },
        body: new URLSearchParams({ grant_type: 'client_credentials', scope, resource }),
      })
      const answer = (await response.json()) as { access_token?: string }
      if (answer.access_token === undefined) throw new Error(JSON.stringify(answer))
      return answer.access_token
    },
    async rotate() {
      makeProvider()
    },
    stop: close,
    start: listen,
    keyFetches: () => fetches,
  }
}

function newProvider(issuer: string, workspace: () => unknown): Provider {
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
  const jwk = { ...privateKey.export({ format: 'jwk' }), use: 'sig', alg: 'RS256', kid: randomUUID() }
  const provider = new Provider(issuer, {
    clients: [
      {
        client_id: 'uploader',
        client_secret: 'uploader-secret',
        grant_types: ['client_credentials'],
        redirect_uris: [],
        response_types: [],
      },
    ],
    jwks: { keys: [jwk] },
    scopes: ['assets:read', 'assets:write'],
    extraTokenClaims: () => (workspace() === undefined ? {} : { tenant: workspace() }),
    features: {
      devInteractions: { enabled: false },
      clientCredentials: { enabled: true },
      resourceIndicators: {
        enabled: true,
        getResourceServerInfo: (_context: unknown, resource: string) => ({
          scope: 'assets:read assets:write',
          audience: resource,
          accessTokenFormat: 'jwt',
          accessTokenTTL: 300,
          jwt: { sign: { alg: 'RS256' } },
        }),
      },
    },
  })
  return provider
}
