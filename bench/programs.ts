/** Finds the programs that the benchmark needs beside Node.js. */
import { accessSync, constants } from 'node:fs'
import { delimiter, join } from 'node:path'

/** The benchmark cannot run here, and the message says why. */
export class Unable extends Error {}

/** Where they are often installed although the PATH of a plain user does not say so. */
const otherFolders = ['/usr/local/go/bin', '/usr/local/sbin', '/usr/sbin', '/sbin']

/**
 * The absolute path of a program, or null.
 * @param further folders to look in beside those of PATH
 */
export function findProgram(name: string, further: readonly string[] = []): string | null {
  const path = (process.env.PATH ?? '').split(delimiter).filter((dir) => dir !== '')
  const folders = [...path, ...otherFolders, ...further]
  return folders.map((dir) => join(dir, name)).find(isExecutable) ?? null
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK)
    return true
  } catch {
    return false
  }
}
