/** `npm run client:types`: writes client/types.ts, a type for each component schema of our OpenAPI document. */
import { spawnSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { openApiDocument } from '../src/openapi/document.ts'

type Schema = {
  $ref?: string
  type?: string | readonly string[]
  enum?: readonly unknown[]
  const?: unknown
  description?: string
  properties?: Record<string, Schema>
  required?: readonly string[]
  additionalProperties?: boolean | Schema
  items?: Schema
  oneOf?: readonly Schema[]
  anyOf?: readonly Schema[]
  allOf?: readonly Schema[]
}

export const typesFile: string = fileURLToPath(new URL('../client/types.ts', import.meta.url))

/** The text of client/types.ts, formatted as the rest of the code is. */
export function clientTypes(): string {
  const schemas = openApiDocument('http://localhost', '0').components.schemas as Record<string, Schema>
  const types = Object.entries(schemas).map(
    ([name, schema]) => `${comment(schema)}export type ${name} = ${typeOf(schema)}\n`,
  )
  return formatted(
    ['/** Made by `npm run client:types` from the OpenAPI document; do not edit. */\n', ...types].join('\n'),
  )
}

/** @throws where the schema says something that this does not know: better than a type that is not true */
export function typeOf(schema: Schema): string {
  if (schema.$ref !== undefined) return String(schema.$ref.split('/').at(-1))
  if (schema.const !== undefined) return JSON.stringify(schema.const)
  if (schema.enum !== undefined) return schema.enum.map((one) => JSON.stringify(one)).join(' | ')
  const either = schema.oneOf ?? schema.anyOf
  if (either !== undefined) return either.map((one) => `(${typeOf(one)})`).join(' | ')
  if (schema.allOf !== undefined) return schema.allOf.map((one) => `(${typeOf(one)})`).join(' & ')
  const { type = schema.properties === undefined ? undefined : 'object' } = schema
  if (type === undefined) return 'unknown'
  return (typeof type === 'string' ? [type] : type).map((one) => ofType(one, schema)).join(' | ')
}

function ofType(type: string, schema: Schema): string {
  if (type === 'string' || type === 'boolean' || type === 'null') return type
  if (type === 'integer' || type === 'number') return 'number'
  if (type === 'array') return `(${typeOf(schema.items ?? {})})[]`
  if (type === 'object') return objectType(schema)
  throw new Error(`no type for ${JSON.stringify(schema)}`)
}

function objectType({ properties = {}, required = [], additionalProperties }: Schema): string {
  const known = Object.entries(properties).map(
    ([name, schema]) =>
      `${comment(schema)}${JSON.stringify(name)}${required.includes(name) ? '' : '?'}: ${typeOf(schema)}\n`,
  )
  const other = typeof additionalProperties === 'object' ? typeOf(additionalProperties) : 'unknown'
  const others = additionalProperties || known.length === 0 ? `Record<string, ${other}>` : null
  if (known.length === 0) return others ?? '{}'
  return `{\n${known.join('')}}${others === null ? '' : ` & ${others}`}`
}

function comment({ description }: Schema): string {
  return description === undefined ? '' : `/** ${description.replaceAll('*/', '* /')} */\n`
}

function formatted(text: string): string {
  const biome = fileURLToPath(new URL('../node_modules/.bin/biome', import.meta.url))
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    [biome, 'format', `--stdin-file-path=${typesFile}`],
    { input: text, encoding: 'utf8' },
  )
  if (status !== 0) throw new Error(`the types cannot be formatted: ${stderr}`)
  return stdout
}

if (import.meta.main) writeFileSync(typesFile, clientTypes())
