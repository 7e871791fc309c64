/** A wall clock of its own for a process: Debian's libfaketime. */
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** The library, wherever this machine's architecture has it. */
function findLibrary(): string | null {
  for (const folder of existsSync('/usr/lib') ? readdirSync('/usr/lib') : []) {
    const path = join('/usr/lib', folder, 'faketime', 'libfaketimeMT.so.1')
    if (existsSync(path)) return path
  }
  return null
}

const library = findLibrary()

/** Why there is none here, or false. */
export const noFaketime: string | false = library === null ? 'libfaketime is not installed' : false

export type FakedClock = { env: Record<string, string>; set(offset: string): void; remove(): void }

/** @param offset such as `+3d`; the steady clock goes on as it is */
export function fakedClock(offset = '+0'): FakedClock {
  const folder = mkdtempSync(join(tmpdir(), 'assetd-clock-'))
  const clockFile = join(folder, 'clock')
  const set = (to: string): void => writeFileSync(clockFile, `${to}\n`)
  set(offset)
  return {
    env: {
      LD_PRELOAD: library ?? '',
      FAKETIME_TIMESTAMP_FILE: clockFile,
      FAKETIME_NO_CACHE: '1',
      FAKETIME_DONT_FAKE_MONOTONIC: '1',
      DONT_FAKE_MONOTONIC: '1',
    },
    set,
    remove: () => rmSync(folder, { recursive: true, force: true }),
  }
}
