/** A Redis that cannot be worked with stops the start. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { probeRedis, RedisRefused } from '../../src/adapters/redis-connection.ts'
import { openRedisCounters } from '../../src/adapters/redis-counters.ts'
import { findProgram, freePort } from './programs.ts'
import { noRedis, type RedisServer, startRedis } from './redis.ts'

describe('a Redis that cannot be worked with stops the start, in one line without a password', {
  skip: noRedis,
}, () => {
  let open: RedisServer
  let closed: RedisServer
  before(async () => {
    open = await startRedis()
    closed = await startRedis({ requirepass: 'only%40me' })
    await closed.command('ACL', 'SETUSER', 'reader', 'on', '>canary-r', '~*', '+get', '+eval', '+evalsha')
    await closed.command('ACL', 'SETUSER', 'elsewhere', 'on', '>canary-e', '~other:*', '+@all')
    await closed.command(
      ...['ACL', 'SETUSER', 'enough', 'on', '>canary-x', '~assetd:*'],
      ...['+evalsha', '+eval', '+time', '+get', '+set', '+select'],
    )
  })
  after(async () => {
    await open.remove()
    await closed.remove()
  })

  async function refusal(url: string, { twice = true } = {}): Promise<string> {
    const startMs = performance.now()
    const error = await probeRedis(url).then(
      () => assert.fail(`${url} was taken`),
      (error) => error,
    )
    assert.ok(performance.now() - startMs < 10_000, 'in bounded time')
    assert.ok(error instanceof RedisRefused, String(error))
    assert.match(error.message, /^Redis at [\w.-]+(:\d+)? [^\n]+$/)
    assert.doesNotMatch(error.message, /canary|only[%@]/)
    if (twice)
      await assert.rejects(openRedisCounters({ url, onGone: assert.fail, onBack: assert.fail }), RedisRefused)
    return error.message
  }
  const at = (server: RedisServer, who: string, path = ''): string =>
    `redis://${who}127.0.0.1:${server.port}${path}`

  it('no such host, nobody there', async () => {
    assert.match(await refusal('redis://:canary@nowhere.invalid'), /nowhere\.invalid .*(ENOTFOUND|EAI_AGAIN)/)
    assert.match(await refusal('redis://:canary@127.0.0.1:1'), /ECONNREFUSED/)
  })
  it('a password that is missing, wrong, or not wanted', async () => {
    assert.match(await refusal(at(closed, '')), /asks for a password: give it in ASSETD_REDIS_URL/)
    assert.match(await refusal(at(closed, ':canary@')), /refuses this user name or password/)
    assert.match(await refusal(at(closed, 'nobody:canary@')), /refuses this user name or password/)
    assert.match(await refusal(at(open, ':canary@')), /has no password set/)
  })
  it('a right that is missing', async () => {
    assert.match(await refusal(at(closed, 'reader:canary-r@')), /rights ~assetd:\*/)
    assert.match(await refusal(at(closed, 'elsewhere:canary-e@')), /rights ~assetd:\*/)
  })
  it('a database that is not there', async () => {
    assert.match(await refusal(at(open, '', '/99')), /answers: ERR DB index is out of range/)
  })
  it('a replica', async () => {
    await open.command('REPLICAOF', '127.0.0.1', '1')
    try {
      assert.match(await refusal(open.url), /is a replica that only reads/)
    } finally {
      await open.command('REPLICAOF', 'NO', 'ONE')
    }
  })
  it('a cluster of which it is a part', async () => {
    const cluster = await startRedis({ 'cluster-enabled': 'yes' })
    try {
      assert.match(await refusal(cluster.url), /is part of a Redis Cluster/)
    } finally {
      await cluster.remove()
    }
  })
  it('one that is stopped, before and after it asked for a password', async () => {
    process.kill(closed.pid(), 'SIGSTOP')
    try {
      assert.match(await refusal(at(closed, ''), { twice: false }), /no answer within 5000 ms/)
      assert.match(await refusal(at(closed, ':canary@'), { twice: false }), /no answer within 5 seconds/)
    } finally {
      process.kill(closed.pid(), 'SIGCONT')
    }
  })
  it('something that is no Redis: one that speaks HTTP, one that hangs up, one that says nothing', async () => {
    const greets = (greeting: string | null): Promise<{ url: string; close(): void }> =>
      new Promise((resolve) => {
        const server = createServer((socket) => {
          socket.on('error', () => {})
          if (greeting === null) socket.destroy()
          else socket.on('data', () => socket.write(greeting))
        })
        server.listen(0, '127.0.0.1', () => {
          const { port } = server.address() as { port: number }
          resolve({ url: `redis://:canary@127.0.0.1:${port}`, close: () => server.close() })
        })
      })
    for (const greeting of [
      'HTTP/1.1 400 Bad Request\r\n\r\n',
      null,
      '',
      '-ERR canary? what is canary\r\n',
      '+OK\r\n',
    ]) {
      const other = await greets(greeting)
      try {
        const told = await refusal(other.url, { twice: false })
        assert.match(told, /cannot be worked with|answers/, String(greeting))
      } finally {
        other.close()
      }
    }
  })
  it('the rights that the line asks for are enough, in a database of its own', async () => {
    await probeRedis(at(closed, 'enough:canary-x@', '/3'))
    await probeRedis(at(closed, ':only%2540me@'))
  })
})

describe('Redis over TLS', {
  skip: noRedis || (findProgram('openssl') ? false : 'openssl is not installed'),
}, () => {
  const folder = mkdtempSync(join(tmpdir(), 'assetd-tls-'))
  const [key, certificate] = [join(folder, 'key.pem'), join(folder, 'certificate.pem')]
  let server: RedisServer
  let url: string
  before(async () => {
    const subject = ['-subj', '/CN=127.0.0.1', '-addext', 'subjectAltName=IP:127.0.0.1']
    const kind = ['-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2']
    execFileSync('openssl', ['req', ...kind, ...subject, '-keyout', key, '-out', certificate], {
      stdio: 'ignore',
    })
    const port = await freePort()
    url = `rediss://:canary-t@127.0.0.1:${port}`
    server = await startRedis({
      requirepass: 'canary-t',
      'tls-port': String(port),
      'tls-cert-file': certificate,
      'tls-key-file': key,
      'tls-auth-clients': 'no',
    })
  })
  after(async () => {
    await server.remove()
    rmSync(folder, { recursive: true })
  })

  /** In a process of its own: which authorities are trusted is settled when it starts. */
  const probed = (url: string, trusted: string): string => {
    const module = new URL('../../src/adapters/redis-connection.ts', import.meta.url).href
    const code = `const { probeRedis } = await import(${JSON.stringify(module)})
      await probeRedis(${JSON.stringify(url)}).then(() => console.log('works'), (error) => console.log(error.message))`
    const env = { ...process.env, NODE_EXTRA_CA_CERTS: trusted }
    return execFileSync(process.execPath, ['--input-type=module', '-e', code], {
      env,
      encoding: 'utf8',
    }).trim()
  }

  it('works where the certificate is trusted; where it is not, or one side has no TLS, the start says so', () => {
    assert.equal(probed(url, certificate), 'works')
    assert.equal(
      probed(url, ''),
      `Redis at ${new URL(url).host} has a certificate that is not trusted (DEPTH_ZERO_SELF_SIGNED_CERT): where its authority is one of your own, name that in NODE_EXTRA_CA_CERTS`,
    )
    assert.match(
      probed(url.replace('rediss:', 'redis:'), certificate),
      /^Redis at \S+ cannot be worked with: [^\n]+$/,
    )
    const plain = `rediss://:canary-t@127.0.0.1:${server.port}`
    assert.match(probed(plain, certificate), /^Redis at \S+ cannot be worked with: [^\n]+$/)
  })
})
