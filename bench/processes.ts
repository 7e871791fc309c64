/** What a tree of processes has used, read from Linux's /proc: its CPU time and its resident memory. */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'

/** Linux shows process times in hundredths of a second, whatever its own clock is (proc(5), USER_HZ). */
const ticksPerSecond = 100
const sampleEveryMs = 50

type Stat = { pid: number; parent: number; ticks: number }

/** Null where the process has gone. */
function readStat(pid: number): Stat | null {
  const text = readOrNull(`/proc/${pid}/stat`)
  if (text === null) return null
  // The name, in parentheses, may hold anything; the fields go on after the last one.
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ')
  const field = (index: number): number => Number(fields[index])
  // utime and stime count every thread; cutime and cstime are those of children that have ended.
  return { pid, parent: field(1), ticks: field(11) + field(12) + field(13) + field(14) }
}

function readOrNull(path: string): string | null {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return null
  }
}

/** The processes and all their descendants. */
function tree(roots: readonly number[]): Stat[] {
  const all = readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map((name) => readStat(Number(name)))
    .filter((stat) => stat !== null)
  const found = all.filter((stat) => roots.includes(stat.pid))
  for (const parent of found) found.push(...all.filter((stat) => stat.parent === parent.pid))
  return found
}

/** CPU seconds, user and system, that the processes, their threads and their descendants have used so far. */
export function cpuSecondsOf(roots: readonly number[]): number {
  return tree(roots).reduce((sum, { ticks }) => sum + ticks, 0) / ticksPerSecond
}

export type MemoryPeak = {
  /** The largest sum over the tree, of samples every 50 ms. */
  treeBytes: number
  /** The kernel's own high-water mark of the largest process: nothing falls between samples. */
  processBytes: number
}

/** Watches the memory of trees from now on; the call that comes back ends it. */
export function watchMemory(roots: readonly number[]): () => MemoryPeak {
  const pids = tree(roots).map(({ pid }) => pid)
  pids.forEach(resetHighWater)
  let treeBytes = 0
  const sample = (): void => {
    treeBytes = Math.max(
      treeBytes,
      pids.reduce((sum, pid) => sum + statusBytes(pid, 'VmRSS'), 0),
    )
  }
  sample()
  const timer = setInterval(sample, sampleEveryMs)
  return () => {
    clearInterval(timer)
    sample()
    return { treeBytes, processBytes: Math.max(...pids.map((pid) => statusBytes(pid, 'VmHWM'))) }
  }
}

/** So that each figure is of its own load, not of an earlier one (proc(5), clear_refs). */
function resetHighWater(pid: number): void {
  try {
    writeFileSync(`/proc/${pid}/clear_refs`, '5')
  } catch {
    // Not allowed here: the mark is then of the whole life of the process, which only makes it higher.
  }
}

function statusBytes(pid: number, field: 'VmRSS' | 'VmHWM'): number {
  const kib = new RegExp(`^${field}:\\s+(\\d+) kB`, 'm').exec(readOrNull(`/proc/${pid}/status`) ?? '')?.[1]
  return Number(kib ?? 0) * 1024
}
