import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { allTypes, inShort, inspect, verdictOf } from '../../../test/media/judge.ts'
import * as made from '../../../test/media/samples.ts'
import { type MediaType, mediaTypeNames } from '../../asset.ts'
import { Fault } from '../../errors.ts'
import { createInspector } from './inspector.ts'

const { samples } = made
const everySample = mediaTypeNames.map((type) => [type, samples[type]()] as const)
const maxBytes = 33_554_432

describe('inspector', () => {
  test('case 35: every sample is what it is, at every size around its own', () => {
    for (const [type, file] of everySample) {
      for (const more of [0, 1, 2, 3, 7, 8, 9, 1000, 65_541]) {
        const longer = samples[type]({ sizeBytes: file.length + more })
        assert.equal(longer.length, file.length + more)
        assert.equal(inShort(longer), type, `${type}, ${more} bytes more`)
      }
    }
  })

  test('case 35: the answer does not depend on where the slices are cut', () => {
    for (const [type, file] of everySample) {
      const whole = verdictOf(file)
      assert.deepEqual(verdictOf(file, { sliceBytes: 1 }), whole, `${type}, byte by byte`)
      for (let at = 1; at < file.length; at++) {
        const inspector = createInspector({ allowed: allTypes })
        inspector.write(file.subarray(0, at))
        inspector.write(Buffer.alloc(0))
        inspector.write(file.subarray(at))
        assert.deepEqual(inspector.end(), whole, `${type}, cut at ${at}`)
      }
    }
  })

  test('case 39: a file cut anywhere is refused as damaged, where its container can know', () => {
    const tagBytes = 27
    const enough: Partial<Record<MediaType, (bytes: number) => boolean>> = {
      pdf: (bytes) => bytes === samples.pdf().length - 1, // without its last line feed
      // Two frames, as far as the head of the second; or one that the file ends with.
      mp3: (bytes) => bytes >= tagBytes + 417 + 4 || bytes === tagBytes + 417,
    }
    for (const [type, file] of everySample) {
      for (let bytes = 1; bytes < file.length; bytes++) {
        const verdict = verdictOf(file.subarray(0, bytes))
        const accepted = 'type' in verdict
        assert.equal(accepted, enough[type]?.(bytes) ?? false, `${type}, ${bytes} bytes`)
        const named = bytes >= 12 && type !== 'webm'
        if ('reason' in verdict && named)
          assert.equal(verdict.reason, 'corrupt_file', `${type}, ${bytes} bytes`)
      }
    }
  })

  test('case 33: an empty file', () => {
    const verdict = verdictOf(Buffer.alloc(0))
    assert.ok('reason' in verdict)
    assert.equal(verdict.reason, 'empty_file')
  })

  test('case 33: a single byte of any value', () => {
    for (let byte = 0; byte < 256; byte++) {
      assert.match(inShort(Buffer.from([byte])), /^unsupported_type /)
    }
  })

  test('case 36: a type that is not allowed here is unsupported, and named', () => {
    for (const [type, file] of everySample) {
      const allowed = new Set(mediaTypeNames.filter((name) => name !== type))
      const inspector = createInspector({ allowed })
      assert.throws(
        () => {
          inspector.write(file)
          inspector.end()
        },
        (thrown) => {
          assert.ok(thrown instanceof Fault)
          assert.equal(thrown.details?.reason, 'unsupported_type')
          assert.equal(typeof thrown.details.detected, 'string')
          assert.equal((thrown.details.allowed as string[]).length, 6)
          assert.ok(!(thrown.details.allowed as string[]).includes(String(thrown.details.detected)))
          return true
        },
      )
      assert.equal(inShort(file, { allowed: new Set([type]) }), type)
    }
  })

  test('case 36: the allowed types are listed in the order of the table', () => {
    const inspector = createInspector({ allowed: new Set<MediaType>(['pdf', 'png']) })
    inspector.write(Buffer.from('hello'))
    assert.throws(
      () => inspector.end(),
      (thrown) => {
        assert.ok(thrown instanceof Fault)
        assert.deepEqual(thrown.details?.allowed, ['image/png', 'application/pdf'])
        assert.match(thrown.message, /image\/png, application\/pdf/)
        return true
      },
    )
  })

  test('a bad file is refused while it arrives, and stays refused', () => {
    const inspector = createInspector({ allowed: allTypes })
    let first: unknown
    assert.throws(
      () => inspector.write(Buffer.alloc(8192, 'plain text ')),
      (thrown) => {
        first = thrown
        return thrown instanceof Fault
      },
    )
    assert.throws(
      () => inspector.write(made.png()),
      (thrown) => thrown === first,
    )
    assert.throws(
      () => inspector.end(),
      (thrown) => thrown === first,
    )
  })

  test('after the verdict further bytes change nothing', () => {
    const inspector = createInspector({ allowed: allTypes })
    inspector.write(made.png({ sizeBytes: 5000 }))
    for (let slice = 0; slice < 100; slice++) inspector.write(randomBytes(1000))
    assert.deepEqual(inspector.end(), { type: 'png', width: 4, height: 3 })
    assert.deepEqual(inspector.end(), { type: 'png', width: 4, height: 3 })
  })
})

describe('look-alikes', () => {
  const utf16 = Buffer.concat([Buffer.from([0xff, 0xfe]), Buffer.from('hello', 'utf16le')])
  const utf32 = Buffer.alloc(4 * 20)
  for (const [at, letter] of [...'\ufeffhello \ufeffworld'].entries())
    utf32.writeUInt32LE(letter.charCodeAt(0), 4 * at)
  const tar = Buffer.alloc(1024)
  tar.write('a.png')
  tar.write('ustar', 257)
  const files: [string, Buffer | string, string | null][] = [
    ['SVG', '<svg xmlns="http://www.w3.org/2000/svg"/>', 'image/svg+xml'],
    ['SVG with a declaration', '\n<?xml version="1.0"?>\n<!-- x -->\n<svg/>', 'image/svg+xml'],
    ['SVG with a byte order mark', '\ufeff<SVG/>', 'image/svg+xml'],
    ['HTML', '<!DOCTYPE html><html><svg/></html>', 'text/html'],
    ['HTML behind spaces', '   <script>alert(1)</script>', 'text/html'],
    ['XML', '<?xml version="1.0"?><a/>', 'application/xml'],
    ['PHP', '<?php phpinfo();', 'text/x-php'],
    ['JSON', '{"a": 1}', 'application/json'],
    ['text', 'Free as in beer', 'text/plain'],
    ['text in UTF-8', 'żółw '.repeat(2000), 'text/plain'],
    ['text in UTF-16', utf16, 'text/plain'],
    ['text in UTF-32, joined', utf32, 'text/plain'],
    ['a script', '#!/bin/sh\nexit 0', 'text/x-shellscript'],
    ['text that begins like a bitmap', 'BMW is a maker of cars', 'text/plain'],
    ['ZIP', 'PK\x03\x04\x14\0\0\0', 'application/zip'],
    ['gzip', '\x1f\x8b\x08\0', 'application/gzip'],
    ['RAR', 'Rar!\x1a\x07\x01\0', 'application/vnd.rar'],
    ['7z', '7z\xbc\xaf\x27\x1c\0\x04', 'application/x-7z-compressed'],
    ['tar', tar, 'application/x-tar'],
    ['GIF', 'GIF89a\x01\0\x01\0', 'image/gif'],
    ['WebP', 'RIFF\x24\0\0\0WEBPVP8 \0\0', 'image/webp'],
    ['BMP', 'BM\x3a\0\0\0\0\0\0\0', 'image/bmp'],
    ['TIFF', 'II*\0\x08\0\0\0', 'image/tiff'],
    ['icon', '\0\0\x01\0\x01\0', 'image/x-icon'],
    ['JPEG 2000', '\0\0\0\x0cjP  \r\n\x87\n', 'image/jp2'],
    ['JPEG XL', '\0\0\0\x0cJXL \r\n\x87\n', 'image/jxl'],
    ['Ogg', 'OggS\0\x02', 'audio/ogg'],
    ['FLAC', 'fLaC\0\0\0\x22', 'audio/flac'],
    ['AAC', '\xff\xf1\x50\x80\x02\x1f\xfc', 'audio/aac'],
    ['MIDI', 'MThd\0\0\0\x06', 'audio/midi'],
    ['AIFF', 'FORM\0\0\0\x20AIFFCOMM', 'audio/aiff'],
    ['AVI', 'RIFF\x24\0\0\0AVI LIST', 'video/x-msvideo'],
    ['FLV', 'FLV\x01\x05\0\0\0\x09', 'video/x-flv'],
    ['Windows Media', '\x30\x26\xb2\x75\x8e\x66\xcf\x11', 'video/x-ms-asf'],
    ['MPEG-TS', Buffer.alloc(188 * 4, Buffer.concat([Buffer.from([0x47]), Buffer.alloc(187)])), 'video/mp2t'],
    ['MPEG-PS', '\0\0\x01\xba\x44', 'video/mpeg'],
    ['ELF', '\x7fELF\x02\x01', 'application/x-elf'],
    ['PE', 'MZ\x90\0\x03', 'application/vnd.microsoft.portable-executable'],
    ['Wasm', '\0asm\x01\0\0\0', 'application/wasm'],
    ['nothing known', '\x01\x02\x03\x04\x05', null],
    ['zero bytes', Buffer.alloc(5000), null],
  ]

  for (const [name, content, detected] of files) {
    test(`case 36: ${name} is refused as ${detected}`, () => {
      const encoding = name.includes('UTF-8') || name.includes('mark') ? 'utf8' : 'latin1'
      const file = typeof content === 'string' ? Buffer.from(content, encoding) : content
      assert.equal(inShort(file), `unsupported_type ${detected}`)
      assert.equal(inShort(file, { sliceBytes: 1 }), `unsupported_type ${detected}`)
    })
  }
})

describe('any bytes at all', () => {
  test('case 39: random bytes are refused', () => {
    for (let round = 0; round < 300; round++) {
      const verdict = verdictOf(randomBytes(1 + round * 29))
      assert.ok('reason' in verdict)
      assert.equal(verdict.reason, 'unsupported_type')
    }
  })

  test('case 39: whatever follows a magic, nothing but faults is thrown, the same for any slices', () => {
    const magics = everySample.map(([, file]) => file.subarray(0, 12))
    const file = fc
      .tuple(fc.constantFrom(...magics), fc.uint8Array({ maxLength: 300 }))
      .map(([magic, rest]) => Buffer.concat([magic, rest]))
    fc.assert(
      fc.property(file, fc.integer({ min: 1, max: 40 }), (bytes, sliceBytes) => {
        assert.deepEqual(verdictOf(bytes, { sliceBytes }), verdictOf(bytes))
      }),
      { numRuns: 2000 },
    )
  })

  test('case 39: damaged samples: nothing but faults, the same for any slices', () => {
    const change = fc.record({
      at: fc.nat(3400),
      byte: fc.nat(255),
      remove: fc.nat(6),
      insert: fc.uint8Array({ maxLength: 6 }),
    })
    fc.assert(
      fc.property(
        fc.constantFrom(...mediaTypeNames),
        fc.array(change, { minLength: 1, maxLength: 5 }),
        fc.integer({ min: 1, max: 5000 }),
        (type, changes, sliceBytes) => {
          let file = samples[type]()
          for (const { at, byte, remove, insert } of changes) {
            const place = at % file.length
            file = Buffer.concat([
              file.subarray(0, place),
              Buffer.from([byte, ...insert]),
              file.subarray(place + remove),
            ])
          }
          assert.deepEqual(verdictOf(file, { sliceBytes }), verdictOf(file))
        },
      ),
      { numRuns: 3000 },
    )
  })
})

// What the worst files of 32 MiB cost is measured in test/corpus.
describe('32 MiB', () => {
  for (const type of mediaTypeNames) {
    test(`case 34: ${type} of exactly 32 MiB is accepted`, () => {
      const file = samples[type]({ sizeBytes: maxBytes })
      assert.equal(file.length, maxBytes)
      assert.equal(inspect(file).type, type)
    })
  }

  test('case 38: slices of one byte cost in proportion, whatever is asked', () => {
    for (const [type] of everySample) {
      const file = samples[type]({ sizeBytes: 300_000 })
      const start = performance.now()
      assert.equal(inShort(file, { sliceBytes: 1 }), type)
      assert.ok(performance.now() - start < 2000, `${type} took ${performance.now() - start} ms`)
    }
  })
})
