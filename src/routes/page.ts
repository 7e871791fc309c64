/**
 * The web page at `/`, as it stands in page/ and client/: no build step. In the repository its modules are TypeScript
 * and lose their types here; the package has them as JavaScript already. Their public names are the same in both.
 */
import { createHash } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { stripTypeScriptTypes } from 'node:module'
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Blobs } from '../assets/blobs.ts'
import { Fault } from '../errors.ts'
import { select } from '../http/conditions.ts'

export type PageOptions = {
  publicUrl: () => string
  /** Where bytes are put and got beside the service itself: a bucket, a CDN. */
  otherOrigins: readonly string[]
}

/**
 * Scripts and styles of ours alone, and none made from text; `/files` is of this origin, so previews need no more.
 * Forms are sent by scripts, never by the browser itself.
 */
const contentSecurityPolicy =
  "default-src 'self'; object-src 'none'; form-action 'none'; frame-ancestors 'none'; base-uri 'none'; require-trusted-types-for 'script'; trusted-types 'none'"

/** Where a browser puts and gets bytes, beside the service itself. */
export async function originsBeside(filesBaseUrl: string | null, { presign }: Blobs): Promise<string[]> {
  const urls = [filesBaseUrl, (await presign?.origin()) ?? null]
  return urls.flatMap((url) => (url === null ? [] : [new URL(url).origin]))
}

function policyWith(origins: readonly string[]): string {
  if (origins.length === 0) return contentSecurityPolicy
  const also = ['connect-src', 'img-src', 'media-src'].map((kind) => `; ${kind} 'self' ${origins.join(' ')}`)
  return contentSecurityPolicy + also.join('')
}

const contentTypes: Record<string, string> = {
  html: 'text/html; charset=utf-8',
  css: 'text/css; charset=utf-8',
  js: 'text/javascript; charset=utf-8',
  svg: 'image/svg+xml',
}

type Served = { type: string; body: string; etag: string }

const folders = {
  page: new URL('../../page/', import.meta.url),
  client: new URL('../../client/', import.meta.url),
} as const

/** What Node.js alone can use, and what holds no code. */
const notForBrowsers = /^node\.|\.d\.ts$|\.json$/

export function createPageRoutes({ publicUrl, otherOrigins }: PageOptions) {
  const policy = policyWith(otherOrigins)
  const startedAtMs = Date.now()
  const modules = {
    page: lazily(() => read(folders.page)),
    client: lazily(() => read(folders.client)),
  }
  const home = lazily(() => {
    const source = modules.page().get('index.html')
    if (source === undefined) throw new Error('page/index.html is missing')
    const url = new URL(publicUrl())
    const values: Record<string, string> = {
      PREFIX: url.pathname.replace(/\/$/, ''),
      PUBLIC_URL: url.href.replace(/\/$/, ''),
    }
    return served(
      'html',
      source.body.replace(/\{\{(\w+)\}\}/g, (_, name) => escaped(values[name] ?? '')),
    )
  })

  const fileOf = (folder: keyof typeof folders) => async (request: FastifyRequest, reply: FastifyReply) => {
    const { file } = request.params as { file: string }
    const found = modules[folder]().get(file)
    if (found === undefined || file === 'index.html')
      throw new Fault('resource_not_found', 'There is no such file of the page. See /.')
    return send(request, reply, found)
  }

  function send(request: FastifyRequest, reply: FastifyReply, { type, body, etag }: Served) {
    reply.headers({ 'cache-control': 'no-cache', 'x-content-type-options': 'nosniff', etag })
    const about = { etag, lastModifiedMs: startedAtMs, sizeBytes: body.length }
    if (select(request.headers, about, false).status === 304) return reply.code(304).send()
    return reply.type(type).send(body)
  }

  return {
    async home(request: FastifyRequest, reply: FastifyReply) {
      reply.headers({ 'content-security-policy': policy, 'referrer-policy': 'no-referrer' })
      return send(request, reply, home())
    },
    pageFile: fileOf('page'),
    clientFile: fileOf('client'),
  }
}

/** JavaScript from TypeScript: types become spaces, and the modules name each other as they are served. */
export function toScript(source: string): string {
  return stripTypeScriptTypes(source).replace(
    /((?:from|import)\s*\(?\s*')(\.{1,2}\/[\w./-]+)\.ts'/g,
    "$1$2.js'",
  )
}

function read(folder: URL): Map<string, Served> {
  const files = new Map<string, Served>()
  for (const name of readdirSync(folder)) {
    const extension = name.slice(name.lastIndexOf('.') + 1)
    if (notForBrowsers.test(name)) continue
    const source = readFileSync(new URL(name, folder), 'utf8')
    if (extension === 'ts') files.set(name.replace(/ts$/, 'js'), served('js', toScript(source)))
    else if (extension in contentTypes) files.set(name, served(extension, source))
  }
  return files
}

function served(extension: string, body: string): Served {
  const etag = `"${createHash('sha256').update(body).digest('hex').slice(0, 32)}"`
  return { type: contentTypes[extension] ?? 'application/octet-stream', body, etag }
}

function lazily<T>(make: () => T): () => T {
  let made: { value: T } | null = null
  return () => {
    made ??= { value: make() }
    return made.value
  }
}

function escaped(text: string): string {
  return text.replace(/&/g, '&amp;').replace(/"/g, '&quot;').replace(/</g, '&lt;')
}
