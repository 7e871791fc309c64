import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { parseHeaderValue } from './header-value.ts'

const good: [text: string, value: string, parameters: Record<string, string>][] = [
  ['text/html', 'text/html', {}],
  [' Text/HTML ', 'text/html', {}],
  ['text/html;charset=utf-8', 'text/html', { charset: 'utf-8' }],
  ['text/html ; Charset=UTF-8', 'text/html', { charset: 'UTF-8' }],
  ['text/html; charset="utf-8"', 'text/html', { charset: 'utf-8' }],
  ['form-data; name="file"; filename="a.png"', 'form-data', { name: 'file', filename: 'a.png' }],
  ['form-data; name=file;filename=a.png', 'form-data', { name: 'file', filename: 'a.png' }],
  ['form-data;\tname="a"\t;\tb=c', 'form-data', { name: 'a', b: 'c' }],
  ['form-data; name=""', 'form-data', { name: '' }],
  ['form-data; name="a;b=c"', 'form-data', { name: 'a;b=c' }],
  // A trailing or doubled semicolon is common and harmless.
  ['form-data; name=a;', 'form-data', { name: 'a' }],
  ['form-data; name=a; ', 'form-data', { name: 'a' }],
  ['form-data;; name=a', 'form-data', { name: 'a' }],
  ['form-data;', 'form-data', {}],
  // Only a quote and a backslash are escaped: browsers send Windows paths as they are.
  ['form-data; filename="a\\"b"', 'form-data', { filename: 'a"b' }],
  ['form-data; filename="a\\\\b"', 'form-data', { filename: 'a\\b' }],
  ['form-data; filename="C:\\dir\\new.png"', 'form-data', { filename: 'C:\\dir\\new.png' }],
  ['form-data; filename="..\\..\\x"', 'form-data', { filename: '..\\..\\x' }],
  ['form-data; filename="a%22b"', 'form-data', { filename: 'a%22b' }],
  ['form-data; filename="é☃\u202e"', 'form-data', { filename: 'é☃\u202e' }],
  // RFC 5987 values are another parameter, which nobody here believes.
  ["form-data; filename=a; filename*=UTF-8''b", 'form-data', { filename: 'a', 'filename*': "UTF-8''b" }],
  // A bare value may have what tokens may not; unquoted boundaries with = and / are seen.
  ['multipart/form-data; boundary=a=b/c', 'multipart/form-data', { boundary: 'a=b/c' }],
  ['form-data; __proto__=x; constructor=y', 'form-data', { ['__proto__']: 'x', constructor: 'y' }],
]

for (const [text, value, parameters] of good) {
  test(`case 32: ${JSON.stringify(text)} is read`, () => {
    const parsed = parseHeaderValue(text)
    assert.equal(parsed?.value, value)
    assert.deepEqual([...(parsed?.parameters ?? [])], Object.entries(parameters))
  })
}

const bad = [
  '',
  '   ',
  ';',
  '; name=a',
  'a b',
  'a b; name=c',
  'form\u0000data',
  'förm-data',
  // Blanks of other kinds are no blanks of a header.
  '\u00a0form-data; name=a',
  'form-data\f; name=a',
  '\ufeffform-data',
  'form-data; name',
  'form-data; name=',
  'form-data; name=;',
  'form-data; =a',
  'form-data; name =a',
  'form-data; name= a',
  'form-data; na me=a',
  'form-data; name="a',
  'form-data; name="a\\"',
  'form-data; name="a"b',
  'form-data; name="a" b="c"',
  'form-data; name=a b',
  'form-data; name=a"b"',
  'form-data; name=a; name=a',
  'form-data; name=a; NAME=b',
]

for (const text of bad) {
  test(`case 32: ${JSON.stringify(text)} is null, never guessed`, () => {
    assert.equal(parseHeaderValue(text), null)
  })
}

test('whatever is quoted by the rules comes out as it was', () => {
  fc.assert(
    fc.property(
      fc.string({ unit: 'binary', maxLength: 40 }),
      fc.string({ unit: 'binary', maxLength: 40 }),
      (name, fileName) => {
        const quote = (text: string): string => `"${text.replace(/["\\]/g, '\\$&')}"`
        const parsed = parseHeaderValue(`form-data; name=${quote(name)}; filename=${quote(fileName)}`)
        assert.equal(parsed?.parameters.get('name'), name)
        assert.equal(parsed?.parameters.get('filename'), fileName)
      },
    ),
  )
})

test('any text is read or null, and never throws', () => {
  const pieces = fc.constantFrom(';', '=', '"', '\\', ' ', '\t', 'a', 'name', '/', '\r', 'é', '*')
  fc.assert(
    fc.property(fc.string({ unit: pieces, maxLength: 40 }), (text) => {
      const parsed = parseHeaderValue(text)
      if (parsed === null) return
      assert.match(parsed.value, /^[!-~]+$/)
      for (const name of parsed.parameters.keys()) assert.match(name, /^[!#$%&'*+\-.^_`|~0-9a-z]+$/)
    }),
    { numRuns: 2_000 },
  )
})

test('case 31: 16 KiB of parameters, or of one bracketed name, take no time', () => {
  const many = `form-data${Array.from({ length: 2_000 }, (_, index) => `; p${index}=x`).join('')}`
  const long = `form-data; name="a${'[b]'.repeat(10_000)}"`
  const before = process.cpuUsage()
  assert.equal(parseHeaderValue(many)?.parameters.size, 2_000)
  assert.equal(parseHeaderValue(long)?.parameters.get('name')?.length, 30_001)
  assert.ok(process.cpuUsage(before).user / 1000 < 300)
})
