/** The power is cut: of the disk there is only what was synced, and here and there some more, in no order. */
import assert from 'node:assert/strict'
import {
  closeSync,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { isShort } from '../form.ts'
import { contentsOf, type RunningService, startService } from '../service.ts'
import { assertInOrder, assertNothingStray, assertOneEach, assertServed } from './survival.ts'
import { startTraceable, trace, whyNotTraceable } from './traced-service.ts'
import { mountUnsyncedDisk, whyNoUnsyncedDisk } from './unsynced-disk.ts'
import { newFile, newUpload, refusedUpload, type Sent, send } from './uploads.ts'

const skip = whyNoUnsyncedDisk()
const untraceable = await whyNotTraceable()

function sync(path: string): void {
  const file = openSync(path, 'r')
  fsyncSync(file)
  closeSync(file)
}

describe('the disk of these tests', { skip }, () => {
  it('forgets bytes that were not synced, and names whose folder was not', async () => {
    const disk = await mountUnsyncedDisk(1)
    const at = (...names: string[]): string => join(disk.folder, ...names)
    mkdirSync(at('kept'))
    writeFileSync(at('kept', 'whole'), 'synced')
    writeFileSync(at('kept', 'moved'), 'synced')
    writeFileSync(at('kept', 'empty'), 'not synced')
    sync(at('kept', 'whole'))
    sync(at('kept', 'moved'))
    sync(at('kept'))
    const whole = openSync(at('kept', 'whole'), 'a')
    writeSync(whole, ', and not')
    closeSync(whole)
    renameSync(at('kept', 'moved'), at('kept', 'by another name'))
    writeFileSync(at('kept', 'late'), 'synced')
    sync(at('kept', 'late'))
    mkdirSync(at('lost'))
    sync(at('lost'))
    const [before = ''] = await disk.cut()
    assert.deepEqual(readdirSync(before), [], 'the name of a folder is its parent’s')
    sync(disk.folder)
    const [left = ''] = await disk.cut()
    assert.deepEqual(readdirSync(left).toSorted(), ['kept', 'lost'])
    assert.deepEqual(readdirSync(join(left, 'kept')).toSorted(), ['empty', 'moved', 'whole'])
    const text = (name: string): string => readFileSync(join(left, 'kept', name), 'utf8')
    assert.deepEqual([text('whole'), text('moved'), text('empty')], ['synced', 'synced', ''])
    assert.equal(readFileSync(at('kept', 'whole'), 'utf8'), 'synced, and not', 'it goes on by itself')
    await disk.unmount()
  })
})

/** Uploads on and on, of all sizes and some refused, until so many are acknowledged; more are then under way. */
async function uploadUntil(service: RunningService, acknowledged: number): Promise<Sent[]> {
  const all: Sent[] = []
  const count = (): number => all.filter((sent) => sent.acknowledged !== null).length
  const one = async (at: number): Promise<void> => {
    while (count() < acknowledged) {
      if (all.length % 5 === 4) await send(service, refusedUpload())
      const door = all.length % 3 === 2 ? 'direct' : 'multipart'
      const sent = newUpload(newFile(3_000 + 150_000 * ((all.length + at) % 5)), door)
      all.push(sent)
      assert.notEqual(await send(service, sent), null, 'the service has gone')
    }
  }
  // Of several that upload, the others are in the middle of theirs when the first has enough.
  await Promise.race([0, 1, 2, 3].map((at) => one(at)))
  return all
}

describe('the power is cut', { skip }, () => {
  for (let round = 1; round <= (isShort ? 1 : 6); round++) {
    it(`case 66: after 30 acknowledged uploads, others under way: none is lost, none is corrupt, round ${round}`, async (context) => {
      const disk = await mountUnsyncedDisk(isShort ? 3 : 8)
      const service = await startService({ dataDir: join(disk.folder, 'data') })
      const all = await uploadUntil(service, 30)
      const known = all.map((sent) => ({ ...sent })) // as the clients know it when the power goes
      const left = await disk.cut()
      await service.stop({ keepData: true, signal: 'SIGKILL' })
      const acknowledged = known.filter((sent) => sent.acknowledged !== null)
      assert.ok(acknowledged.length >= 30)
      context.diagnostic(`${acknowledged.length} acknowledged, ${known.length - acknowledged.length} not`)
      for (const folder of left) {
        const again = await startService({
          dataDir: join(folder, 'data'),
          env: { ASSETD_API_KEY: service.key },
        })
        const tried = known.map((sent) => ({ ...sent }))
        await assertServed(again, tried)
        await assertOneEach(again, tried)
        await assertNothingStray(again.dataDir, tried)
        assertInOrder(again.dataDir)
        assert.equal(await again.stop(), 0)
      }
      await disk.unmount()
    })
  }

  it('case 66: right after the first start: it is a data folder, empty and in order', async () => {
    const disk = await mountUnsyncedDisk(4)
    const service = await startService({ dataDir: join(disk.folder, 'a', 'b', 'data') })
    const left = await disk.cut()
    await service.stop({ keepData: true, signal: 'SIGKILL' })
    for (const folder of left) {
      const dataDir = join(folder, 'a', 'b', 'data')
      assert.ok(existsSync(join(dataDir, 'assetd.sqlite')))
      const again = await startService({ dataDir })
      await assertOneEach(again, [newUpload()])
      assert.equal(await again.stop(), 0)
    }
    await disk.unmount()
  })

  it('case 62, 66: what a start has swept does not come back without a row that names it', {
    skip: untraceable,
  }, async () => {
    const disk = await mountUnsyncedDisk(4)
    const first = await startTraceable({ dataDir: join(disk.folder, 'data') })
    // It closes the file, the folder of folders, and the file's folder, once each is synced; then comes the commit.
    await trace(first, { thread: 'main', calls: 'close', what: 'signal=KILL', when: '3' })
    const sent = newUpload()
    assert.equal(await send(first, sent), null)
    await first.exited
    assert.equal(contentsOf(first.dataDir).blobs.length, 1)
    const second = await startService({ dataDir: first.dataDir })
    assert.equal(contentsOf(first.dataDir).blobs.length, 0)
    const left = await disk.cut()
    await second.stop({ keepData: true, signal: 'SIGKILL' })
    for (const folder of left) {
      const again = await startService({ dataDir: join(folder, 'data') })
      await assertNothingStray(again.dataDir, [])
      await assertOneEach(again, [{ ...sent }])
      assertInOrder(again.dataDir)
      assert.equal(await again.stop(), 0)
    }
    await disk.unmount()
  })
})
