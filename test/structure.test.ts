/** The shape of the source, held by a test: imports point one way, and what may be done in few places is done there. */
import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, relative, resolve } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'

const src = fileURLToPath(new URL('../src', import.meta.url))

const files = readdirSync(src, { recursive: true, encoding: 'utf8' })
  .filter((path) => path.endsWith('.ts') && !path.endsWith('.test.ts'))
  .toSorted()

const textOf = (path: string): string => readFileSync(join(src, path), 'utf8')

/** What a file imports, of itself and for its types, as paths below src. */
function importsOf(path: string): string[] {
  const found = textOf(path).matchAll(
    /^(?:import|export)\b[^'"]*?['"](\.[^'"]+)['"]|\bimport\(\s*['"](\.[^'"]+)['"]/gm,
  )
  return [...found]
    .map(([, still, late]) => relative(src, resolve(join(src, dirname(path)), still ?? late ?? '')))
    .filter((target) => target.endsWith('.ts'))
}

/** From the bottom up. A file may import from lower rows, and from its own folder; in the lowest row, from any of it. */
const rows: readonly (readonly string[])[] = [
  [
    'errors.ts',
    'error-catalog.ts',
    'asset.ts',
    'principal.ts',
    'clock.ts',
    'config.ts',
    'config-names.ts',
    'config-stores.ts',
    'config-values.ts',
  ],
  ['records', 'http', 'intake'],
  ['assets', 'gate'],
  ['openapi'],
  ['adapters', 'routes'],
  ['app.ts'],
  ['chores.ts'],
  ['main.ts'],
  ['cli'],
]

const placeOf = (path: string): string => path.split('/')[0] ?? ''
const rowOf = (path: string): number => rows.findIndex((row) => row.includes(placeOf(path)))

test('the files are found, and their imports too', () => {
  assert.ok(files.length > 40)
  assert.ok(importsOf('assets/upload.ts').includes('errors.ts'))
  assert.ok(importsOf('cli/program.ts').includes('cli/serve.ts'), 'imports at run time count')
})

test('every file and folder of src has its row', () => {
  for (const path of files)
    assert.notEqual(rowOf(path), -1, `${path}: give ${placeOf(path)} a row in this test`)
})

test('imports point one way', () => {
  const wrong = files.flatMap((path) =>
    importsOf(path)
      .filter((target) => {
        const [here, there] = [rowOf(path), rowOf(target)]
        const isNeighbour = placeOf(path) === placeOf(target) || here === 0
        return there > here || (there === here && !isNeighbour)
      })
      .map((target) => `${path} imports ${target}`),
  )
  assert.deepEqual(wrong, [])
})

test('imports make no ring', () => {
  const done = new Set<string>()
  const visit = (path: string, way: readonly string[]): void => {
    assert.ok(!way.includes(path), `a ring: ${[...way, path].join(' → ')}`)
    if (done.has(path)) return
    for (const target of importsOf(path)) visit(target, [...way, path])
    done.add(path)
  }
  for (const path of files) visit(path, [])
})

test('adapters are known to the wiring and to the commands alone', () => {
  for (const path of files) {
    if (['main.ts', 'cli', 'adapters'].includes(placeOf(path))) continue
    for (const target of importsOf(path))
      assert.notEqual(placeOf(target), 'adapters', `${path} imports ${target}`)
  }
})

test('HTTP is not known below the edge: neither errors nor what is stored speak of it', () => {
  for (const path of files) {
    if (!['errors.ts', 'asset.ts', 'principal.ts', 'records', 'assets', 'intake'].includes(placeOf(path)))
      continue
    assert.doesNotMatch(textOf(path), /from '(node:https?|fastify)'/, path)
    for (const target of importsOf(path))
      assert.notEqual(placeOf(target), 'http', `${path} imports ${target}`)
  }
})

test('the environment is read by the configuration and the commands alone', () => {
  for (const path of files) {
    if (path === 'config.ts' || placeOf(path) === 'cli') continue
    const code = textOf(path).replace(/\/\*[\s\S]*?\*\/|\/\/.*$/gm, '')
    assert.doesNotMatch(
      code,
      /\bprocess\.env\b|\bprocess\[|\benv\s*}\s*=\s*process|from 'node:process'/,
      path,
    )
  }
})

test('no file of src has more than 300 lines', () => {
  const long = files
    .map((path) => ({ path, lines: textOf(path).split('\n').length - 1 }))
    .filter(({ lines }) => lines > 300)
  assert.deepEqual(long, [])
})

test('no `any`, no `!` after a value, no silenced checks', () => {
  for (const path of files)
    assert.doesNotMatch(
      textOf(path),
      /\bas any\b|: any\b|<any>|@ts-(ignore|expect-error|nocheck)|biome-ignore/,
      path,
    )
})
