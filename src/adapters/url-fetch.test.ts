import assert from 'node:assert/strict'
import { execFileSync, spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it, test } from 'node:test'
import { Fault } from '../errors.ts'
import { createUrlFetch, isPublic } from './url-fetch.ts'

test('what is private, local, reserved or a way around that is not public', () => {
  for (const address of ['8.8.8.8', '1.1.1.1', '2606:4700:4700::1111', '93.184.216.34'])
    assert.equal(isPublic(address), true, address)
  for (const address of [
    '127.0.0.1',
    '127.255.255.255',
    '0.0.0.0',
    '10.0.0.1',
    '172.16.0.1',
    '172.31.255.255',
    '192.168.1.1',
    '169.254.169.254',
    '100.64.0.1',
    '192.0.0.1',
    '192.0.2.1',
    '198.18.0.1',
    '224.0.0.1',
    '240.0.0.1',
    '255.255.255.255',
    '::',
    '::1',
    '::ffff:127.0.0.1',
    '::ffff:10.0.0.1',
    '64:ff9b::7f00:1',
    '2002:7f00:1::',
    '2001::1',
    'fc00::1',
    'fd12:3456::1',
    'fe80::1',
    'ff02::1',
    '2001:db8::1',
    'nonsense',
    '',
  ])
    assert.equal(isPublic(address), false, address)
})

const skip = spawnSync('openssl', ['version']).status === 0 ? false : 'openssl is not installed'

describe('a server that answers', { skip }, () => {
  const folder = mkdtempSync(join(tmpdir(), 'assetd-https-'))
  let handler: (request: IncomingMessage, response: ServerResponse) => void = () => {}
  let base = ''
  let ca = ''
  let seen: IncomingMessage[] = []
  const closing: (() => void)[] = []
  before(async () => {
    const [key, cert] = [join(folder, 'key.pem'), join(folder, 'cert.pem')]
    const subject = ['-subj', '/CN=files.example', '-addext', 'subjectAltName=DNS:files.example']
    const made = ['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '1', '-keyout', key, '-out', cert]
    execFileSync('openssl', [...made, ...subject], { stdio: 'ignore' })
    ca = readFileSync(cert, 'utf8')
    const server = createServer({ key: readFileSync(key), cert: ca }, (request, response) => {
      seen.push(request)
      handler(request, response)
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    base = `https://files.example:${(server.address() as AddressInfo).port}`
    closing.push(() => {
      server.close()
      server.closeAllConnections()
    })
  })
  after(() => {
    for (const close of closing) close()
    rmSync(folder, { recursive: true })
  })

  async function get(options: { maxBytes?: number; names?: string[]; trusts?: boolean; path?: string } = {}) {
    seen = []
    const fetchUrl = createUrlFetch({
      isAllowed: (address) => address === '127.0.0.1',
      resolveName: async () => options.names ?? ['127.0.0.1'],
      ...(options.trusts === false ? {} : { ca }),
    })
    const slices: Buffer[] = []
    try {
      const type = await fetchUrl(
        `${base}${options.path ?? '/a.png'}`,
        options.maxBytes ?? 1_000,
        (slice) => {
          slices.push(slice)
          return undefined
        },
      )
      return { type, bytes: Buffer.concat(slices).toString(), fault: null }
    } catch (error) {
      assert.ok(error instanceof Fault, String(error))
      assert.ok(['invalid_parameter', 'service_unavailable'].includes(error.code))
      return { type: null, bytes: Buffer.concat(slices).toString(), fault: error }
    }
  }

  it('is asked by its name, without anything of ours, and its bytes are handed on', async () => {
    handler = (_request, response) =>
      void response.writeHead(200, { 'content-type': 'image/png' }).end('bytes')
    assert.deepEqual(await get(), { type: 'image/png', bytes: 'bytes', fault: null })
    const [request] = seen
    assert.equal(request?.headers.host, new URL(base).host)
    assert.deepEqual(Object.keys(request?.headers ?? {}).sort(), [
      'accept',
      'accept-encoding',
      'connection',
      'host',
      'user-agent',
    ])
  })

  it('is not asked where one of its addresses is not public, or it has none', async () => {
    for (const names of [['127.0.0.1', '10.0.0.1'], ['10.0.0.1'], []]) {
      const { fault } = await get({ names })
      assert.match(fault?.message ?? '', /host/)
    }
    assert.equal(seen.length, 0)
  })

  it('is not believed without a certificate of its name', async () => {
    assert.match((await get({ trusts: false })).fault?.message ?? '', /cannot be reached over https/)
  })

  it('is not followed elsewhere, and has to say 200', async () => {
    for (const status of [301, 302, 307, 204, 206, 404, 500]) {
      handler = (_request, response) =>
        void response.writeHead(status, { location: 'https://files.example/b' }).end()
      const { fault } = await get()
      assert.match(fault?.message ?? '', new RegExp(`answered ${status}`))
      assert.equal(fault?.code, status === 500 ? 'service_unavailable' : 'invalid_parameter')
      assert.equal(seen.length, 1)
    }
  })

  it('announces too much: nothing is read; breaks off: that is told', async () => {
    handler = (_request, response) => void response.writeHead(200, { 'content-length': 2_000 }).write('x')
    const large = await get()
    assert.equal(large.fault?.details?.reason, 'file_too_large')
    assert.equal(large.bytes, '')
    handler = (_request, response) => {
      response.writeHead(200, { 'content-length': 900 }).write('x')
      setTimeout(() => response.destroy(), 20)
    }
    assert.match((await get()).fault?.message ?? '', /broke off/)
  })
})
