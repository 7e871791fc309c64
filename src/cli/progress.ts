/** How far long work has come, on standard error: one line that changes on a terminal, a line now and then elsewhere. */
import { shownBytes, shownName } from './shown.ts'

export interface Progress {
  update(done: number, total?: number): void
  /** Takes the line away, so that what follows stands alone. */
  end(): void
}

const terminalMs = 100
const elsewhereMs = 5_000

/** @param what is counted, such as `assets checked` */
export function startProgress(what: string, out: NodeJS.WriteStream = process.stderr): Progress {
  const everyMs = out.isTTY ? terminalMs : elsewhereMs
  let shownAtMs = out.isTTY ? Number.NEGATIVE_INFINITY : performance.now()
  let isShown = false
  return {
    update(done, total) {
      const nowMs = performance.now()
      if (nowMs - shownAtMs < everyMs) return
      shownAtMs = nowMs
      const share =
        total === undefined || total === 0 ? '' : ` of ${total} (${Math.floor((done * 100) / total)} %)`
      out.write(out.isTTY ? `\r\x1b[K${done}${share} ${what}` : `${done}${share} ${what}\n`)
      isShown = true
    },
    end() {
      if (isShown && out.isTTY) out.write('\r\x1b[K')
    },
  }
}

/** Files under way to or from a service. Results and notes are printed through it, so that no line mixes with its own. */
export interface Transfer {
  add(name: string): { update(doneBytes: number, totalBytes: number): void; end(): void }
  /** On standard output. */
  print(line: string): void
  /** On standard error. */
  note(line: string): void
  end(): void
}

export function startTransfer(files: number, out: NodeJS.WriteStream = process.stderr): Transfer {
  const everyMs = out.isTTY ? terminalMs : elsewhereMs
  const parts = new Set<{ name: string; doneBytes: number; totalBytes: number }>()
  const startedMs = performance.now()
  let [shownAtMs, isShown, isOver, filesDone] = [startedMs, false, false, 0]
  let countedBytes = 0

  const clear = (): void => {
    if (isShown && out.isTTY) out.write('\r\x1b[K')
    isShown = false
  }
  const show = (): void => {
    const nowMs = performance.now()
    if (isOver || nowMs - shownAtMs < everyMs) return
    shownAtMs = nowMs
    let [done, total] = [0, 0]
    for (const { doneBytes, totalBytes } of parts) {
      done += doneBytes
      total += totalBytes
    }
    const share = total === 0 ? 0 : done / total
    const speed = `${shownBytes((countedBytes / (nowMs - startedMs)) * 1000)}/s`
    const what = parts.size === 1 ? shownName([...parts][0]?.name ?? '') : `${parts.size} files`
    const which = files === 1 ? what : `${what} (${filesDone} of ${files} done)`
    const line = `${Math.floor(share * 100)} %  ${shownBytes(done)} of ${shownBytes(total)}  ${speed}  ${which}`
    const width = (out.columns ?? 80) - 1
    out.write(out.isTTY ? `\r\x1b[K${`${bar(share)} ${line}`.slice(0, width)}` : `${line}\n`)
    isShown = true
  }
  return {
    add(name) {
      const part = { name, doneBytes: 0, totalBytes: 0 }
      parts.add(part)
      return {
        update(doneBytes, totalBytes) {
          countedBytes += Math.max(0, doneBytes - part.doneBytes)
          Object.assign(part, { doneBytes, totalBytes })
          show()
        },
        end() {
          filesDone++
          parts.delete(part)
        },
      }
    },
    print(line) {
      clear()
      console.log(line)
    },
    note(line) {
      clear()
      out.write(`${line}\n`)
    },
    end() {
      clear()
      isOver = true
    },
  }
}

const barWidth = 24

function bar(share: number): string {
  const full = Math.round(share * barWidth)
  return `[${'#'.repeat(full)}${'-'.repeat(barWidth - full)}]`
}
