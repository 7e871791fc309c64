import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { assertCorrupt, inShort, inspect } from '../../../test/media/judge.ts'
import { pdf } from '../../../test/media/samples.ts'

function file(end: string): Buffer {
  return Buffer.from(`%PDF-1.7\n${'body '.repeat(1000)}\n${end}`)
}

describe('PDF', () => {
  test('case 35: a document', () => {
    assert.deepEqual(inspect(pdf()), { type: 'pdf', width: null, height: null })
    assert.equal(inShort(pdf({ sizeBytes: 100_000 })), 'pdf')
  })

  test('case 39: the end may be written in several ways', () => {
    for (const end of [
      'startxref\n99\n%%EOF',
      'startxref\r\n99\r\n%%EOF\r\n',
      'startxref 99 %%EOF',
      'startxref\n99\n%%EOF\n\0\0\0',
    ]) {
      assert.equal(inShort(file(end)), 'pdf', JSON.stringify(end))
    }
    assert.equal(inShort(file(`startxref\n99\n%%EOF${' '.repeat(2000)}`)), 'pdf')
  })

  test('case 39: no end, or one in the wrong order or far from the end', () => {
    assertCorrupt(file(''), 'no "%%EOF"')
    assertCorrupt(file('startxref\n99\n'), 'no "%%EOF"')
    assertCorrupt(file('%%EOF'), 'no "startxref"')
    assertCorrupt(file('%%EOF\nstartxref\n99\n'), 'no "startxref"')
    assertCorrupt(file(`startxref\n99\n%%EOF${' '.repeat(2048)}`), 'no "%%EOF"')
    assertCorrupt(Buffer.from('%PDF-'), 'no "%%EOF"')
  })

  test('case 39: startxref must point into the file', () => {
    for (const offset of ['0', '', '-1', 'x', '999999999']) {
      assertCorrupt(file(`startxref\n${offset}\n%%EOF`), 'does not point into the file')
    }
  })

  test('case 37: a script is no matter of the container; bytes before the start are', () => {
    assert.equal(inShort(file('/JS (app.alert(1))\nstartxref\n99\n%%EOF')), 'pdf')
    assertCorrupt(Buffer.concat([Buffer.from('\x01\x02 polyglot '), pdf()]), 'other bytes before its "%PDF-"')
  })
})
