/** The assets of the workspace: a page of them at a time, all or those that a search finds. */
import type { Asset, Client } from '../client/index.ts'
import { AssetdError } from '../client/index.ts'
import { assetRow, type RowActions } from './asset-row.ts'
import { confirmDeletion } from './confirm.ts'
import { part, say } from './dom.ts'
import { openPreview } from './preview.ts'
import type { Session } from './session.ts'
import { shownName } from './text.ts'

/** What stands behind `token`, and where to go on from there; null: there is no more. */
type Found = { assets: Asset[]; next: string | null; note: string }
type Source = (token: string | undefined, signal: AbortSignal) => Promise<Found>

const pageSize = 20
/** How many assets are looked through by name before the page asks whether to go on. */
const lookedThrough = 1_000

export type Library = ReturnType<typeof createLibrary>

export function createLibrary({ session }: { session: Session }) {
  const list = part('assets', HTMLUListElement)
  const note = part('search-note', HTMLElement)
  const trouble = part('library-error', HTMLElement)
  const more = part('more', HTMLButtonElement)
  const words = part('words', HTMLInputElement)
  const kind = part('kind', HTMLSelectElement)
  const search = part('search', HTMLFormElement)

  let source: Source = everything(session.client)
  let token: string | undefined
  let end = new AbortController()
  let looked = 0

  const isSearch = (): boolean => words.value.trim() !== '' || kind.value !== ''

  /** From the start, for what is asked now. */
  async function restart(): Promise<void> {
    end.abort()
    end = new AbortController()
    token = undefined
    looked = 0
    const text = words.value.trim()
    if (!isSearch()) source = everything(session.client)
    else if (kind.value === 'image' && text !== '') source = images(session.client, text)
    else source = byName(session.client, text, kind.value)
    await read(true)
  }

  async function read(isFirst: boolean): Promise<void> {
    const { signal } = end
    trouble.textContent = ''
    more.disabled = true
    list.setAttribute('aria-busy', 'true')
    try {
      const found = await source(token, signal)
      if (signal.aborted) return
      show(found, isFirst)
    } catch (error) {
      if (signal.aborted) return
      if (isFirst) list.replaceChildren()
      trouble.textContent = session.explain(error)
      more.hidden = false
      more.textContent = 'Try again'
    } finally {
      if (!signal.aborted) {
        more.disabled = false
        list.removeAttribute('aria-busy')
      }
    }
  }

  function show({ assets, next, note: found }: Found, isFirst: boolean): void {
    const hadFocus = document.activeElement === more || document.activeElement === document.body
    const rows = assets.map((asset) => assetRow(asset, actions))
    if (isFirst) list.replaceChildren(...rows)
    else list.append(...rows)
    token = next ?? undefined
    const isEmpty = list.children.length === 0
    if (isSearch()) note.textContent = `${isEmpty ? 'Nothing found. ' : ''}${found}`
    else note.textContent = isEmpty ? 'There is nothing here yet.' : ''
    more.hidden = next === null
    more.textContent = isSearch() && rows.length === 0 ? 'Look further' : 'More'
    if (!isFirst) say(`${rows.length} more.`)
    if (!isFirst && hadFocus) rows[0]?.querySelector<HTMLElement>('.open')?.focus()
  }

  const actions: RowActions = {
    preview: (asset) => openPreview(asset),
    async remove(asset, row) {
      const isGone = await confirmDeletion(asset, () => removed(session.client(), asset.id), session.explain)
      if (!isGone) return
      const neighbour = row.nextElementSibling ?? row.previousElementSibling
      row.remove()
      say(`${shownName(asset.name)} is deleted.`)
      if (list.children.length === 0 && !isSearch()) note.textContent = 'There is nothing here yet.'
      const target = neighbour?.querySelector<HTMLElement>('.open') ?? part('library-title', HTMLElement)
      target.focus()
    },
  }

  function byName(client: Session['client'], text: string, only: string): Source {
    const wanted = text.toLowerCase().split(/\s+/)
    const fits = ({ name, type, id, mime_type, owner }: Asset): boolean => {
      const all = `${name} ${mime_type} ${owner}`.toLowerCase()
      return (only === '' || type === only) && wanted.every((word) => word === id || all.includes(word))
    }
    return async (from, signal) => {
      const assets: Asset[] = []
      let at = from
      for (let seen = 0; seen < lookedThrough && assets.length < pageSize; ) {
        const options = { limit: 100, signal, ...(at === undefined ? {} : { token: at }) }
        const page = await client().list(options)
        assets.push(...page.data.filter(fits))
        seen += page.data.length
        looked += page.data.length
        at = page.next_token ?? undefined
        if (at === undefined) break
      }
      const where = at === undefined ? 'Looked through all of them' : `Looked through the newest ${looked}`
      return {
        assets,
        next: at ?? null,
        note: `${where}${text === '' ? '' : ' for these words, in name, type and owner'}.`,
      }
    }
  }

  let typing: ReturnType<typeof setTimeout> | undefined
  words.addEventListener('input', () => {
    clearTimeout(typing)
    typing = setTimeout(() => void restart(), 250)
  })
  kind.addEventListener('change', () => void restart())
  search.addEventListener('submit', (event) => {
    event.preventDefault()
    clearTimeout(typing)
    void restart()
  })
  more.addEventListener('click', () => void read(list.children.length === 0 && token === undefined))

  return {
    restart,
    /** Puts a new asset on top, unless the list is of what a search has found. */
    async take(id: string): Promise<void> {
      const { signal } = end
      if (isSearch()) return
      try {
        const asset = await session.client().get(id, { signal })
        const isThere = list.querySelector(`[data-id="${CSS.escape(id)}"]`) !== null
        if (signal.aborted || isThere) return
        list.prepend(assetRow(asset, actions))
        note.textContent = ''
      } catch (error) {
        if (!signal.aborted) trouble.textContent = session.explain(error)
      }
    },
    clear(): void {
      end.abort()
      words.value = ''
      kind.value = ''
      list.replaceChildren()
      for (const text of [note, trouble]) text.textContent = ''
      more.hidden = true
    },
  }
}

function everything(client: Session['client']): Source {
  return async (token, signal) => {
    const options = { limit: pageSize, signal, ...(token === undefined ? {} : { token }) }
    const { data, next_token } = await client().list(options)
    return { assets: data, next: next_token, note: '' }
  }
}

/** By the service's own search, which knows images alone; what it finds has no names, so each is asked for. */
function images(client: Session['client'], query: string): Source {
  return async (token, signal) => {
    const options = { query, type: 'image' as const, limit: pageSize, signal }
    const page = await client().search({ ...options, ...(token === undefined ? {} : { token }) })
    const assets = await Promise.all(page.data.map(({ id }) => unlessGone(client().get(id, { signal }))))
    return {
      assets: assets.filter((asset) => asset !== null),
      next: page.next_token,
      note: 'Searched all images for these words, in name, type and owner.',
    }
  }
}

/** Null where it was deleted meanwhile. */
async function unlessGone<T>(asked: Promise<T>): Promise<T | null> {
  return asked.catch((error: unknown) => {
    if (error instanceof AssetdError && error.status === 404) return null
    throw error
  })
}

/** Gone is gone, whoever has deleted it. */
async function removed(client: Client, id: string): Promise<void> {
  await unlessGone(client.remove(id))
}
