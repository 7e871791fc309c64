/** Files on their way to the service: a row for each, with how far it is, what went wrong, and what can be done. */
import type { Client } from '../client/index.ts'
import { AssetdError } from '../client/index.ts'
import { button, make, part, say } from './dom.ts'
import type { Session } from './session.ts'
import { shownBytes, shownName } from './text.ts'

/** More would only share one line, and a browser has six connections to a host. */
const atOnce = 3
const turn = 'Waiting for its turn'
const tooLate = 'Cancelled, after all was sent: if the service has kept it, it is in the list'

type State = 'waiting' | 'running' | 'done' | 'failed' | 'cancelled'

type Row = {
  file: File
  name: string
  state: State
  isSent: boolean
  end: AbortController
  /** Kept from one try to the next: it knows the Idempotency-Key of an upload whose end is not known. */
  client: Client | null
  element: HTMLLIElement
  progress: HTMLProgressElement
  status: HTMLElement
  actions: HTMLElement
}

export type Uploads = ReturnType<typeof createUploads>

export function createUploads({ session, onStored }: { session: Session; onStored(id: string): void }) {
  const section = part('uploads', HTMLElement)
  const list = part('upload-rows', HTMLUListElement)
  const clear = part('clear-uploads', HTMLButtonElement)
  const rows = new Set<Row>()

  clear.addEventListener('click', () => {
    for (const row of rows) if (isOver(row)) drop(row)
    part('files', HTMLInputElement).focus()
  })
  window.addEventListener('beforeunload', (event) => {
    if ([...rows].some((row) => !isOver(row))) event.preventDefault()
  })

  function rowOf(file: File): Row {
    const name = shownName(file.name)
    const progress = make('progress', {
      max: Math.max(1, file.size),
      value: 0,
      'aria-label': `Upload of ${name}`,
    })
    const status = make('p', { class: 'status' })
    const actions = make('p', { class: 'actions' })
    const title = make('p', { class: 'name' }, make('bdi', {}, name))
    const about = make('div', { class: 'about' }, title, progress, status)
    const element = make('li', { class: 'row upload' }, about, actions)
    const row: Row = {
      file,
      name,
      state: 'waiting',
      isSent: false,
      end: new AbortController(),
      client: null,
      element,
      progress,
      status,
      actions,
    }
    return row
  }

  function again(row: Row): void {
    row.end = new AbortController()
    row.isSent = false
    row.progress.value = 0
    show(row, 'waiting', turn)
    next()
  }

  function next(): void {
    if (!session.isOpen()) return
    const running = [...rows].filter(({ state }) => state === 'running').length
    const waiting = [...rows].filter(({ state }) => state === 'waiting').slice(0, atOnce - running)
    for (const row of waiting) void run(row)
  }

  async function run(row: Row): Promise<void> {
    const { file, end } = row
    show(row, 'running', 'Starting')
    row.client ??= session.client({
      maxTries: 6,
      onRetry: ({ error, waitMs }) =>
        tell(row, `${error.message} Next try in ${Math.ceil(waitMs / 1_000)} s.`),
    })
    const progress = progressOf(row)
    try {
      const { asset_id } = await row.client.upload(file, { signal: end.signal, onProgress: progress })
      show(row, 'done', `Stored, ${shownBytes(file.size)}`)
      say(`${row.name} is stored.`)
      onStored(asset_id)
    } catch (error) {
      if (end.signal.aborted)
        show(row, 'cancelled', row.isSent ? tooLate : 'Cancelled: nothing of it is kept')
      else fail(row, error)
    }
    next()
  }

  function fail(row: Row, error: unknown): void {
    const message = session.explain(error)
    // What the service says of the file itself holds, however often it is sent.
    const mayPass = !(error instanceof AssetdError && error.status === 400)
    show(row, 'failed', message, mayPass)
    say(`${row.name} is not stored. ${message}`)
  }

  function progressOf(row: Row) {
    let quarters = 0
    return ({ sentBytes, totalBytes }: { sentBytes: number; totalBytes: number }): void => {
      if (row.state !== 'running') return
      row.isSent = sentBytes >= totalBytes
      if (row.isSent) {
        row.progress.removeAttribute('value')
        tell(row, 'All sent: the service looks at it')
        return
      }
      row.progress.value = sentBytes
      tell(row, `${shownBytes(sentBytes)} of ${shownBytes(totalBytes)}`)
      const now = Math.floor((sentBytes / totalBytes) * 4)
      if (now > quarters) say(`${row.name}: ${now * 25} percent sent.`)
      quarters = now
    }
  }

  function tell(row: Row, text: string): void {
    row.status.textContent = text
  }

  function show(row: Row, state: State, text: string, mayRetry = true): void {
    const hadFocus = row.actions.contains(document.activeElement)
    row.state = state
    row.element.dataset.state = state
    tell(row, text)
    const labelled = (verb: string) => ({ 'aria-label': `${verb}: ${row.name}` })
    const retry = button('Retry', () => again(row), labelled('Retry'))
    const remove = button('Remove', () => drop(row), { class: 'quiet', ...labelled('Remove') })
    const cancel = button('Cancel', () => stop(row), { class: 'quiet', ...labelled('Cancel') })
    const isRetryable = state === 'cancelled' || (state === 'failed' && mayRetry)
    row.actions.replaceChildren(...(isOver(row) ? [...(isRetryable ? [retry] : []), remove] : [cancel]))
    if (hadFocus) row.actions.querySelector('button')?.focus()
    refresh()
  }

  function stop(row: Row): void {
    row.end.abort()
    if (row.state === 'waiting') show(row, 'cancelled', 'Cancelled: nothing of it was sent')
    else tell(row, 'Cancelling')
    say(`${row.name} is cancelled.`)
  }

  function drop(row: Row): void {
    const hadFocus = row.element.contains(document.activeElement)
    rows.delete(row)
    row.element.remove()
    if (hadFocus) part('files', HTMLInputElement).focus()
    refresh()
  }

  function refresh(): void {
    section.hidden = rows.size === 0
    clear.hidden = ![...rows].some(isOver)
  }

  return {
    add(files: readonly File[]): void {
      const added = files.map(rowOf)
      list.prepend(...added.map(({ element }) => element))
      for (const row of added) {
        rows.add(row)
        show(row, 'waiting', turn)
      }
      next()
    },
    /** Goes on with those that wait: there is a new key. */
    resume(): void {
      for (const row of rows) if (row.state !== 'running') row.client = null
      next()
    },
    /** Ends and forgets them all. */
    clear(): void {
      for (const row of rows) row.end.abort()
      for (const row of rows) drop(row)
    },
  }
}

function isOver({ state }: Row): boolean {
  return state === 'done' || state === 'failed' || state === 'cancelled'
}
