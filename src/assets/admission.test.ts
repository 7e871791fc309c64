import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Fault } from '../errors.ts'
import { type AdmissionLimits, createAdmission } from './admission.ts'

const MiB = 1024 ** 2

function admissionWith(limits: Partial<AdmissionLimits>, disk: { freeBytes: number } = { freeBytes: 1e12 }) {
  let nowMs = 0
  let asked = 0
  const admission = createAdmission(
    {
      maxUploads: 256,
      maxUploadBytes: 4096 * MiB,
      largestUploadBytes: 1,
      minFreeBytes: 256 * MiB,
      ...limits,
    },
    {
      freeBytes: async () => {
        asked++
        return disk.freeBytes
      },
    },
    () => nowMs,
  )
  return {
    admission,
    askedTimes: () => asked,
    pass(ms: number) {
      nowMs += ms
    },
  }
}

const isRefused =
  (words: RegExp) =>
  (error: unknown): boolean =>
    error instanceof Fault &&
    error.code === 'service_unavailable' &&
    (error.retryAfterSeconds ?? 0) >= 1 &&
    words.test(error.message)

test('case 56: so many uploads at once and not one more; who leaves makes room', async () => {
  const { admission } = admissionWith({ maxUploads: 2 })
  const leave = await admission.enter(1)
  await admission.enter(1)
  assert.equal(admission.isFull(), true)
  await assert.rejects(admission.enter(1), isRefused(/2 uploads are under way/))
  leave()
  assert.equal(admission.isFull(), false)
  await admission.enter(1)
})

test('case 56: so many bytes at once and not one more', async () => {
  const { admission } = admissionWith({ maxUploadBytes: 10, largestUploadBytes: 10 })
  const leave = await admission.enter(6)
  await assert.rejects(admission.enter(5), isRefused(/have 6 bytes together.* 10 /))
  await admission.enter(4)
  leave()
  await admission.enter(6)
})

test('case 56: of many that come in one moment, no more than the cap are let in', async () => {
  const { admission } = admissionWith({ maxUploads: 10 })
  const settled = await Promise.allSettled(Array.from({ length: 50 }, () => admission.enter(1)))
  assert.equal(settled.filter(({ status }) => status === 'fulfilled').length, 10)
})

test('case 72: what would leave too little free is refused, and holds no place', async () => {
  const disk = { freeBytes: 300 * MiB }
  const { admission, pass } = admissionWith({ maxUploads: 1 }, disk)
  await assert.rejects(admission.enter(45 * MiB), isRefused(/too little room/))
  const leave = await admission.enter(44 * MiB)
  leave()
  disk.freeBytes = 256 * MiB
  pass(1_000)
  await assert.rejects(admission.enter(1), isRefused(/too little room/))
  disk.freeBytes = 400 * MiB
  pass(1_000)
  await admission.enter(44 * MiB)
})

test('case 72: room is low where uploads are refused, and filling where they soon will be', async () => {
  const disk = { freeBytes: 256 * MiB - 1 }
  const { admission, pass } = admissionWith({}, disk)
  for (const [freeBytes, room] of [
    [256 * MiB - 1, 'low'],
    [256 * MiB, 'filling'],
    [512 * MiB, 'ok'],
  ] as const) {
    disk.freeBytes = freeBytes
    pass(1_000)
    assert.equal(await admission.room(), room)
  }
})

test('the disk is asked now and then, not for every upload', async () => {
  const { admission, askedTimes, pass } = admissionWith({})
  await Promise.all([admission.enter(1), admission.enter(1), admission.room()])
  assert.equal(askedTimes(), 1)
  pass(251)
  await admission.room()
  assert.equal(askedTimes(), 2)
})

test('a disk that cannot be asked takes no upload, and is asked again', async () => {
  let broken = true
  const fault = new Fault('service_unavailable', 'x', { retryAfterSeconds: 1 })
  const admission = createAdmission(
    { maxUploads: 1, maxUploadBytes: 10, largestUploadBytes: 1, minFreeBytes: 1 },
    { freeBytes: async () => (broken ? Promise.reject(fault) : 100) },
  )
  await assert.rejects(admission.enter(1), fault)
  await assert.rejects(admission.room(), fault)
  broken = false
  await admission.enter(1)
})

test('case 56: it is full where one of the largest would no longer fit in bytes', async () => {
  const { admission } = admissionWith({ maxUploads: 9, maxUploadBytes: 100, largestUploadBytes: 40 })
  await admission.enter(30)
  assert.equal(admission.isFull(), false)
  const leave = await admission.enter(400) // counts as one of the largest, whatever it has
  assert.equal(admission.isFull(), true)
  leave()
  assert.equal(admission.isFull(), false)
})

test('case 72: a disk without a free byte is low, whatever the guard', async () => {
  const { admission } = admissionWith({ minFreeBytes: 0 }, { freeBytes: 0 })
  assert.equal(await admission.room(), 'low')
})
