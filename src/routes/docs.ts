/** The pages that the service serves about itself. Nothing on them is loaded from elsewhere. */
import { readFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { JWK } from 'jose'
import { codes, reasons } from '../error-catalog.ts'
import { Fault } from '../errors.ts'

export type DocsOptions = { publicUrl: () => string; version: string; jwks: { keys: JWK[] } }

const contentSecurityPolicy =
  "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; object-src 'none'; frame-ancestors 'none'; base-uri 'none'"

/** The files of swagger-ui-dist that the page needs, and our own three lines that start it. */
export const vendorFiles: readonly string[] = ['swagger-ui.css', 'swagger-ui-bundle.js', 'favicon-32x32.png']
const startScript = (documentUrl: string): string =>
  `window.ui = SwaggerUIBundle({ url: ${JSON.stringify(documentUrl)}, dom_id: '#docs', deepLinking: true, persistAuthorization: false })`

const contentTypes: Record<string, string> = {
  css: 'text/css; charset=utf-8',
  js: 'text/javascript; charset=utf-8',
  png: 'image/png',
}

/**
 * The package has its own copy of those files (scripts/build.ts).
 * @returns null where there are none: the repository, installed without what developers need
 */
function findVendorDir(): string | null {
  if (!import.meta.url.endsWith('.ts')) {
    return fileURLToPath(new URL('../../vendor/swagger-ui', import.meta.url))
  }
  try {
    return dirname(createRequire(import.meta.url).resolve('swagger-ui-dist/package.json'))
  } catch {
    return null
  }
}

export function createDocsRoutes({ publicUrl, version, jwks }: DocsOptions) {
  const vendorDir = findVendorDir()
  /** Read once: a crowd that asks for them and reads nothing must not each have a copy. */
  const read = new Map<string, Promise<Buffer>>()
  const vendorFile = (path: string): Promise<Buffer> => {
    const reading = read.get(path) ?? readFile(path)
    read.set(path, reading)
    reading.catch(() => read.delete(path))
    return reading
  }
  let document: { url: string; text: string } | null = null
  const prefix = (): string => new URL(publicUrl()).pathname.replace(/\/$/, '')

  return {
    async openapi(_request: FastifyRequest, reply: FastifyReply) {
      const { openApiDocument } = await import('../openapi/document.ts') // twelve files that few ever ask for
      const url = publicUrl()
      if (document?.url !== url) document = { url, text: JSON.stringify(openApiDocument(url, version)) }
      return reply
        .header('cache-control', 'no-cache')
        .type('application/json; charset=utf-8')
        .send(document.text)
    },

    async jwks(_request: FastifyRequest, reply: FastifyReply) {
      return reply.header('cache-control', 'public, max-age=300').send(jwks)
    },

    async docs(_request: FastifyRequest, reply: FastifyReply) {
      if (vendorDir === null) {
        const why =
          'The page to read and try the API is not installed: npm ci, without --omit=dev, brings it.'
        const where = `<a href="${prefix()}/openapi.json">The OpenAPI document</a> is there all the same.`
        return html(reply, prefix(), 'assetd API', '', `<p>${why} ${where}</p>`)
      }
      return html(
        reply,
        prefix(),
        'assetd API',
        `<link rel="stylesheet" href="${prefix()}/docs/swagger-ui.css">`,
        `<div id="docs"></div>
<script src="${prefix()}/docs/swagger-ui-bundle.js"></script>
<script src="${prefix()}/docs/start.js"></script>`,
      )
    },

    async docsErrors(_request: FastifyRequest, reply: FastifyReply) {
      return html(reply, prefix(), 'assetd errors', `<style>${errorsStyle}</style>`, errorsBody())
    },

    async docsFile(request: FastifyRequest, reply: FastifyReply) {
      const { file } = request.params as { file: string }
      const type = contentTypes[file.slice(file.lastIndexOf('.') + 1)] ?? 'application/octet-stream'
      reply
        .headers({ 'cache-control': 'public, max-age=3600', 'x-content-type-options': 'nosniff' })
        .type(type)
      if (file === 'start.js') return reply.send(startScript(`${prefix()}/openapi.json`))
      if (vendorDir !== null && vendorFiles.includes(file))
        return reply.send(await vendorFile(join(vendorDir, file)))
      throw new Fault('resource_not_found', 'There is no such page. See /docs.')
    },
  }
}

function html(reply: FastifyReply, prefix: string, title: string, head: string, body: string) {
  return reply
    .headers({
      'content-security-policy': contentSecurityPolicy,
      'cache-control': 'no-cache',
      'x-content-type-options': 'nosniff',
      'referrer-policy': 'no-referrer',
    })
    .type('text/html; charset=utf-8')
    .send(`<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${title}</title>
<link rel="icon" href="${prefix}/docs/favicon-32x32.png">
${head}
<body>
${body}
`)
}

const errorsStyle = `
  body { font: 16px/1.5 system-ui, sans-serif; max-width: 46rem; margin: 2rem auto; padding: 0 1rem; color-scheme: light dark }
  h2 { margin: 2.5rem 0 .5rem } h3 { margin: 1.5rem 0 .25rem } :target { background: Mark; color: MarkText }
  dl { margin: 0 } dt { font-weight: 600 } dd { margin: 0 0 .5rem 0 }`

/** Code entries have the code as their anchor, reasons `reason-<reason>`. */
function errorsBody(): string {
  const entry = (anchor: string, title: string, { cause, cure }: { cause: string; cure: string }): string =>
    `<h3 id="${anchor}"><code>${title}</code></h3><dl><dt>Cause</dt><dd>${escapeHtml(cause)}</dd><dt>Cure</dt><dd>${escapeHtml(cure)}</dd></dl>`
  return [
    '<h1>Errors</h1>',
    '<p>Every error has the body <code>{"error": {"code", "message", "param", "doc_url"}}</code>, often with <code>details</code> for programs, and the header <code>X-Request-Id</code>.</p>',
    '<h2>Codes</h2>',
    ...Object.entries(codes).map(([code, about]) =>
      entry(code, `${code}</code> (${about.status})<code>`, about),
    ),
    '<h2>Reasons of <code>invalid_parameter</code></h2>',
    ...Object.entries(reasons).map(([reason, about]) => entry(`reason-${reason}`, reason, about)),
  ].join('\n')
}

function escapeHtml(text: string): string {
  return text.replace(/&/g, '&amp;').replace(/</g, '&lt;').replace(/>/g, '&gt;')
}
