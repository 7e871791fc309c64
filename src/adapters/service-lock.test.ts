import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { FolderInUse, lockFolder } from './service-lock.ts'

const root = mkdtempSync(join(tmpdir(), 'assetd-lock-'))
after(() => rmSync(root, { recursive: true }))
const freshFolder = (): string => mkdtempSync(join(root, 'data-'))

const isInUseBy =
  (pid: number | undefined, dir: string) =>
  (error: unknown): boolean =>
    error instanceof FolderInUse && error.message.includes(`process ${pid}`) && error.message.includes(dir)

test('case 99: a folder that is locked is not locked again, and the message names who has it', () => {
  const dir = freshFolder()
  const unlock = lockFolder(dir)
  assert.throws(() => lockFolder(dir), isInUseBy(process.pid, dir))
  assert.throws(() => lockFolder(dir), isInUseBy(process.pid, dir), 'the failed attempt took the lock away')
  unlock()
  lockFolder(dir)()
})

test('two folders have two locks', () => {
  const unlock = lockFolder(freshFolder())
  lockFolder(freshFolder())()
  unlock()
})

test('the file that names the holder is for its owner alone', () => {
  const dir = freshFolder()
  const unlock = lockFolder(dir)
  assert.equal(readFileSync(join(dir, 'service.pid'), 'utf8'), `${process.pid}\n`)
  assert.equal(statSync(join(dir, 'service.pid')).mode & 0o777, 0o600)
  unlock()
})

test('a folder that is not there is another fault', () => {
  assert.throws(
    () => lockFolder(join(root, 'none')),
    (error) => !(error instanceof FolderInUse),
  )
})

test('case 99: the lock of another process holds, and is gone once that one is killed', async () => {
  const dir = freshFolder()
  const lockModule = new URL('./service-lock.ts', import.meta.url).href
  const program = `
    const { lockFolder } = await import(${JSON.stringify(lockModule)})
    globalThis.unlock = lockFolder(${JSON.stringify(dir)})
    console.log('locked')
    setInterval(() => {}, 1000)
  `
  const child = spawn(process.execPath, ['--input-type=module', '--eval', program], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const exited = new Promise((resolve) => child.once('exit', resolve))
  await new Promise((resolve) => child.stdout.once('data', resolve))
  assert.throws(() => lockFolder(dir), isInUseBy(child.pid, dir))
  child.kill('SIGKILL')
  await exited
  lockFolder(dir)()
})
