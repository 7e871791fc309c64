/** A disk whose power can be cut: a small file system of ours, in `unsynced/`, that forgets what was not synced. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { after } from 'node:test'
import { fileURLToPath } from 'node:url'

export type UnsyncedDisk = {
  /** Where it is mounted. */
  folder: string
  /**
   * Cuts the power, for those who look at what is left: here it goes on. The first folder given has only what was
   * synced; in the others some of the rest had reached the disk too, in no order.
   */
  cut(): Promise<string[]>
  unmount(): Promise<void>
}

const source = fileURLToPath(new URL('unsynced', import.meta.url))
const built = mkdtempSync(join(tmpdir(), 'assetd-unsynced-'))
const program = join(built, 'unsynced')
/** By their file system, the folders that have the disk and what is left of it. */
const mounted = new Map<ChildProcess, string>()
after(() => {
  for (const [child, base] of mounted) {
    child.kill('SIGKILL')
    spawnSync('umount', ['-l', join(base, 'disk')])
    rmSync(base, { recursive: true, force: true })
  }
  rmSync(built, { recursive: true, force: true })
})

/** Why there can be no such disk here, in words for a skipped test; false where there can be one. */
export function whyNoUnsyncedDisk(): string | false {
  if (process.platform !== 'linux' || process.getuid?.() !== 0 || !existsSync('/dev/fuse')) {
    return 'mounting a file system of our own needs root and /dev/fuse on Linux'
  }
  if (spawnSync('go', ['version']).status !== 0) return 'go is not installed'
  const { status, stderr } = spawnSync('go', ['build', '-o', program, '.'], { cwd: source, encoding: 'utf8' })
  if (status === 0) return false
  if (/dial tcp|proxy|lookup/.test(stderr)) return 'the Go modules of the file system cannot be fetched'
  throw new Error(`the file system cannot be built: ${stderr}`)
}

/** @param states how many outcomes of a cut there are to look at */
export async function mountUnsyncedDisk(states: number): Promise<UnsyncedDisk> {
  const base = mkdtempSync(join(tmpdir(), 'assetd-power-'))
  const [folder, left] = [join(base, 'disk'), join(base, 'left')]
  mkdirSync(folder)
  const child = spawn(program, [folder, left, String(states)], { stdio: ['pipe', 'pipe', 'inherit'] })
  mounted.set(child, base)
  const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()))
  const lines = createInterface(child.stdout)[Symbol.asyncIterator]()
  const heard = async (expected: string): Promise<void> => {
    const { value } = await lines.next()
    if (value !== expected) throw new Error(`the file system said ${value} in place of ${expected}`)
  }
  await heard('mounted')
  let cuts = 0
  return {
    folder,
    async cut() {
      const name = String(cuts++)
      child.stdin.write(`${name}\n`)
      await heard(name)
      return Array.from({ length: states }, (_, state) => join(left, name, String(state)))
    },
    async unmount() {
      child.stdin.end()
      await ended
      mounted.delete(child)
      rmSync(base, { recursive: true })
    },
  }
}
