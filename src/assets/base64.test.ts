import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createBase64Decoder } from './base64.ts'

/** @returns the bytes, or null where they are refused */
function decoded(pieces: readonly string[]): Buffer | null {
  const decoder = createBase64Decoder()
  const bytes: Buffer[] = []
  for (const piece of pieces) {
    const some = decoder.write(piece)
    if (some === null) return null
    bytes.push(some)
  }
  return decoder.end() ? Buffer.concat(bytes) : null
}

/** The text in two and in three pieces, cut at every place. */
function cutsOf(text: string): string[][] {
  const cuts: string[][] = [[text]]
  for (let one = 0; one <= text.length; one++) {
    for (let two = one; two <= text.length; two++)
      cuts.push([text.slice(0, one), text.slice(one, two), text.slice(two)])
  }
  return cuts
}

test('what it is does not hang on how the text was cut', () => {
  for (const text of ['', 'QUJD', 'QUJDAB==', 'QUJDABC=', 'QUJDQUJD'])
    for (const cut of cutsOf(text)) assert.deepEqual(decoded(cut), Buffer.from(text, 'base64'), cut.join('|'))
})

test('what is not base64 is refused however it was cut: padding in the middle, too little or too much of it', () => {
  for (const text of ['QUJDAB=CQUJD', 'QUJDAB==QUJD', 'AB=', 'A===', 'ABCDE', 'QU D', 'QU-_', '====', 'AB=C'])
    for (const cut of cutsOf(text)) assert.equal(decoded(cut), null, cut.join('|'))
})
