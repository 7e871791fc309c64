/** The documentation, held against the code: what is missing on a page, or is there and is not true, fails here. */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { after, before, describe, it } from 'node:test'
import { Validator } from '@seriousme/openapi-schema-validator'
import { createRoutes, type Gates, type Handlers } from '../src/app.ts'
import { settingNames } from '../src/config.ts'
import { codes, reasons } from '../src/error-catalog.ts'
import { openApiDocument } from '../src/openapi/document.ts'
import { type RunningService, startService } from './service.ts'

const page = (name: string): string => readFileSync(new URL(`../${name}`, import.meta.url), 'utf8')

/** The numbers of the cases that a test names, as in "case 41" or "cases 59, 60 and 61". */
function casesOf(text: string): Set<number> {
  const named = [...text.matchAll(/\bcases? (\d+(?:(?:, | and )\d+)*)/gi)]
  return new Set(named.flatMap(([, numbers]) => String(numbers).match(/\d+/g) ?? []).map(Number))
}

const routes = createRoutes({} as Handlers, {} as Gates)

describe('the OpenAPI document', () => {
  const document = openApiDocument('https://media.example.com', '1.2.3')

  it('is valid OpenAPI 3.1', async () => {
    const { valid, errors } = await new Validator().validate(structuredClone(document))
    assert.equal(valid, true, JSON.stringify(errors))
  })

  it('has every route that there is, and no other', () => {
    const described = Object.entries(document.paths).flatMap(([path, operations]) =>
      Object.keys(operations).map((method) => `${method.toUpperCase()} ${path.replace(/\{(\w+)\}/g, ':$1')}`),
    )
    assert.deepEqual(described.sort(), routes.map(({ method, path }) => `${method} ${path}`).sort())
  })

  it('keeps the names of the contract', () => {
    const { post } = document.paths['/v3/assets']
    assert.equal(post.operationId, 'uploadAsset')
    assert.deepEqual(post.tags, ['Assets'])
    assert.deepEqual(Object.keys(post.requestBody.content), ['multipart/form-data'])
    for (const status of ['200', '400', '401', '409', '429']) assert.ok(status in post.responses, status)
    const { parameters, schemas, responses, securitySchemes } = document.components
    assert.deepEqual(Object.keys(parameters), ['IdempotencyKey'])
    for (const name of ['UploadAssetV3Response', 'StandardAPIError']) assert.ok(name in schemas, name)
    assert.ok('IdempotencyInProgress' in responses)
    assert.deepEqual(Object.keys(securitySchemes), ['ApiKeyAuth', 'BearerAuth'])
    assert.deepEqual(schemas.UploadAssetV3Response.required, ['asset_id', 'url', 'mime_type', 'size_bytes'])
    assert.equal(parameters.IdempotencyKey.schema.pattern, '^[A-Za-z0-9_\\-:.]{1,255}$')
  })
})

describe('the pages', () => {
  it('docs/configuration.md has a row for every setting, and no other', () => {
    const rows = [...page('docs/configuration.md').matchAll(/^\| `(ASSETD_\w+)` \|/gm)].map(
      (match) => match[1],
    )
    assert.deepEqual(rows.sort(), [...settingNames].sort())
  })

  it('name no file of the repository that is not there', () => {
    for (const name of [
      'README.md',
      'docs/architecture.md',
      'docs/file-types.md',
      'docs/operations.md',
      'docs/performance.md',
    ]) {
      for (const [, path] of page(name).matchAll(
        /(?:\]\(|`)((?:docs|src|bench|test|examples)\/[\w./-]+\.\w+)[`)]/g,
      )) {
        assert.doesNotThrow(() => page(String(path)), `${name} names ${path}`)
      }
    }
  })

  it('docs/operations.md has a row for each of the 104 cases: the tests that name it, or why there is none', () => {
    const rows = [...page('docs/operations.md').matchAll(/^\| (\d+) \| (.+?) \|(.*)\|$/gm)]
    assert.deepEqual(
      rows.map(([, number]) => Number(number)),
      Array.from({ length: 104 }, (_, at) => at + 1),
    )
    for (const [, number, words, proof] of rows) {
      const files = [...String(proof).matchAll(/`([^`]+)`/g)].map((match) => String(match[1]))
      assert.equal(files.length === 0, /^not covered: ./.test(String(words)), `case ${number}: ${words}`)
      for (const file of files) assert.ok(casesOf(page(file)).has(Number(number)), `${file} on ${number}`)
    }
  })

  it('CHANGELOG.md names the version of package.json, or has it as unreleased', () => {
    const { version } = JSON.parse(page('package.json')) as { version: string }
    assert.match(page('CHANGELOG.md'), new RegExp(`^## (Unreleased|${version.replaceAll('.', '\\.')})`, 'm'))
  })
})

describe('what the service says of itself', () => {
  let service: RunningService
  before(async () => {
    service = await startService({ env: { ASSETD_PUBLIC_URL: 'https://media.example.com/media' } })
  })
  after(() => service.stop())

  it('/docs/errors has every code and every reason, with cause and cure', async () => {
    const html = await (await fetch(`${service.url}/docs/errors`)).text()
    for (const code of Object.keys(codes)) assert.match(html, new RegExp(`<h3 id="${code}">`))
    for (const reason of Object.keys(reasons)) assert.match(html, new RegExp(`<h3 id="reason-${reason}">`))
    const entries = Object.keys(codes).length + Object.keys(reasons).length
    assert.equal(html.split('<dt>Cure</dt>').length - 1, entries)
  })

  it('uses the public URL with its path, and answers with that path and without it', async () => {
    for (const path of ['/openapi.json', '/media/openapi.json']) {
      const document = (await (await fetch(service.url + path)).json()) as { servers: { url: string }[] }
      assert.equal(document.servers[0]?.url, 'https://media.example.com/media', path)
    }
    for (const path of ['/', '/media', '/media/']) {
      const home = await (await fetch(service.url + path)).text()
      assert.match(home, /src="\/media\/page\/main\.js"/, path)
      assert.match(home, /href="\/media\/docs"/, path)
      assert.match(home, /data-public-url="https:\/\/media\.example\.com\/media"/, path)
    }
    const { error } = (await (await fetch(`${service.url}/media/nothing`)).json()) as {
      error: { doc_url: string }
    }
    assert.equal(error.doc_url, 'https://media.example.com/media/docs/errors#resource_not_found')
    assert.match(await (await fetch(`${service.url}/docs`)).text(), /src="\/media\/docs\/start\.js"/)
  })
})
