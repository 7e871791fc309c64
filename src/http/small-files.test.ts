import assert from 'node:assert/strict'
import { it } from 'node:test'
import { createSmallFiles } from './small-files.ts'

const MiB = 1024 * 1024

it('a file is there for a minute from when it was read, however often it is asked for', (context) => {
  context.mock.timers.enable({ apis: ['setTimeout'] })
  const files = createSmallFiles()
  const bytes = Buffer.from('bytes')
  assert.equal(files.get('a'), undefined)
  files.keep('a', bytes)
  context.mock.timers.tick(59_999)
  assert.equal(files.get('a'), bytes)
  context.mock.timers.tick(1)
  assert.equal(files.get('a'), undefined)
})

it('one that is read again while it is there lasts from then on', (context) => {
  context.mock.timers.enable({ apis: ['setTimeout'] })
  const files = createSmallFiles()
  files.keep('a', Buffer.alloc(1))
  context.mock.timers.tick(40_000)
  files.keep('a', Buffer.alloc(1))
  context.mock.timers.tick(40_000)
  assert.ok(files.get('a'))
  context.mock.timers.tick(20_000)
  assert.equal(files.get('a'), undefined)
})

it('16 MiB of them at most: the oldest go first', () => {
  const files = createSmallFiles()
  for (let at = 0; at < 16; at++) files.keep(`file ${at}`, Buffer.alloc(MiB - 1024)) // and 1 KiB for each
  assert.ok(files.get('file 0'))
  files.keep('one more', Buffer.alloc(MiB + 1))
  assert.deepEqual(
    ['file 0', 'file 1', 'file 2', 'one more'].map((key) => files.get(key) !== undefined),
    [false, false, true, true],
  )
  for (let times = 0; times < 30; times++) files.keep('one more', Buffer.alloc(MiB))
  assert.ok(files.get('file 2'), 'one that is replaced counts once')
})

it('tiny ones count as what they cost', () => {
  const files = createSmallFiles()
  for (let at = 0; at <= 16 * 1024; at++) files.keep(`file ${at}`, Buffer.alloc(1))
  assert.equal(files.get('file 0'), undefined)
  assert.ok(files.get('file 1000'))
})
