import assert from 'node:assert/strict'
import { test } from 'node:test'
import { InvalidArgumentError } from 'commander'
import fc from 'fast-check'
import { parseDuration } from './duration.ts'

test('a number and a unit', () => {
  assert.equal(parseDuration('1s'), 1)
  assert.equal(parseDuration('30s'), 30)
  assert.equal(parseDuration('15m'), 900)
  assert.equal(parseDuration('12h'), 43_200)
  assert.equal(parseDuration('90d'), 7_776_000)
  assert.equal(parseDuration('999999d'), 86_399_913_600)
})

const wrong = [
  '',
  '0s',
  '00s',
  '01h',
  '-1h',
  '+1h',
  '1',
  'h',
  '1 h',
  ' 1h',
  '1h ',
  '1h\n',
  '1.5h',
  '1H',
  '1w',
  '1h30m',
  '1000000s',
  '１h',
  'never',
]

for (const text of wrong) {
  test(`${JSON.stringify(text)} is refused, and the message shows how`, () => {
    assert.throws(
      () => parseDuration(text),
      (error) => error instanceof InvalidArgumentError && /90d/.test(error.message),
    )
  })
}

test('any text is a whole number of seconds, at least 1, or refused', () => {
  fc.assert(
    fc.property(fc.string({ unit: fc.constantFrom(...'0123456789smhd .-') }), (text) => {
      try {
        const seconds = parseDuration(text)
        assert.ok(Number.isSafeInteger(seconds) && seconds >= 1)
      } catch (error) {
        assert.ok(error instanceof InvalidArgumentError)
      }
    }),
  )
})
