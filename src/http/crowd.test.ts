import assert from 'node:assert/strict'
import { EventEmitter } from 'node:events'
import type { Socket } from 'node:net'
import { type TestContext, test } from 'node:test'
import { connectionShare, createCrowd, descriptorLimit } from './crowd.ts'

function fakeSocket() {
  const socket = Object.assign(new EventEmitter(), {
    destroyed: false,
    destroy() {
      socket.destroyed = true
    },
  })
  return socket as unknown as Socket
}

function crowdOf(context: TestContext, maxConnections: number) {
  context.mock.timers.enable({ apis: ['setTimeout'] })
  const told: number[] = []
  const crowd = createCrowd({ maxConnections, onFull: (closed) => told.push(closed) })
  const enter = (): Socket => {
    const socket = fakeSocket()
    crowd.enter(socket)
    return socket
  }
  return { crowd, enter, told }
}

test('case 83: the one that is idle for longest makes room, and none that is busy', (context) => {
  const { crowd, enter } = crowdOf(context, 3)
  const [first, second, third] = [enter(), enter(), enter()]
  crowd.busy(first)
  enter()
  assert.deepEqual([first.destroyed, second.destroyed, third.destroyed], [false, true, false])
  crowd.idle(first)
  enter()
  assert.deepEqual([first.destroyed, third.destroyed], [false, true], 'what was answered last stays longer')
})

test('case 83: where all are busy, the new one goes; where one has left, none has to', (context) => {
  const { crowd, enter } = crowdOf(context, 2)
  const both = [enter(), enter()]
  for (const socket of both) crowd.busy(socket)
  assert.equal(enter().destroyed, true)
  both[0]?.emit('close')
  assert.equal(enter().destroyed, false)
  assert.equal(both[1]?.destroyed, false)
})

test('case 83: an answer that ends after its connection brings nothing back', (context) => {
  const { crowd, enter } = crowdOf(context, 1)
  const gone = enter()
  crowd.busy(gone)
  gone.emit('close')
  crowd.idle(gone)
  const next = enter()
  assert.deepEqual([gone.destroyed, next.destroyed], [false, false])
})

test('case 83: it is told at once, then once a minute while it lasts', (context) => {
  const { enter, told } = crowdOf(context, 1)
  for (let at = 0; at < 11; at++) enter()
  assert.deepEqual(told, [1])
  context.mock.timers.tick(60_000)
  assert.deepEqual(told, [1, 9])
  context.mock.timers.tick(60_000)
  enter()
  assert.deepEqual(told, [1, 9, 1])
})

test('case 83: connections leave descriptors for the files of each and for the process', () => {
  assert.deepEqual([256, 1024, 20_000, 1_048_576, 10].map(connectionShare), [96, 480, 9_968, 10_000, 8])
  assert.equal(connectionShare(Number.POSITIVE_INFINITY), 10_000)
  assert.ok(descriptorLimit() >= 64)
})
