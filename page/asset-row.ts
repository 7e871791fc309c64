/** One asset in the list. */
import type { Asset } from '../client/index.ts'
import { copyButton } from './copy.ts'
import { button, make } from './dom.ts'
import { reached } from './session.ts'
import { formatOf, shownBytes, shownName, shownPixels, shownTime } from './text.ts'

export type RowActions = { preview(asset: Asset): void; remove(asset: Asset, row: HTMLElement): void }

/** Larger ones are not loaded for a small picture. */
const thumbnailMaxBytes = 4_000_000

export function assetRow(asset: Asset, { preview, remove }: RowActions): HTMLLIElement {
  const name = shownName(asset.name)
  const row = make('li', { class: 'row asset', 'data-id': asset.id })
  const facts = [formatOf(asset), shownBytes(asset.size_bytes), shownPixels(asset)].filter(
    (fact) => fact !== null,
  )
  const uploadedAt = new Date(asset.uploaded_at * 1_000).toISOString()
  const time = make('time', { datetime: uploadedAt }, shownTime(asset.uploaded_at))
  const open = make(
    'button',
    { type: 'button', class: 'open', press: () => preview(asset) },
    make('bdi', {}, name),
  )
  row.append(
    make('div', { class: 'tile', 'aria-hidden': 'true', press: () => preview(asset) }, tileOf(asset)),
    make(
      'div',
      { class: 'about' },
      make('p', { class: 'name' }, open),
      make('p', { class: 'facts' }, ...facts.map((fact) => make('span', {}, fact)), time),
      make('code', { class: 'id' }, asset.id),
    ),
    make(
      'p',
      { class: 'actions' },
      copyButton('Copy ID', asset.id, name),
      copyButton('Copy URL', asset.url, name),
      button('Delete', () => remove(asset, row), { class: 'danger quiet', 'aria-label': `Delete: ${name}` }),
    ),
  )
  return row
}

function tileOf(asset: Asset): HTMLElement {
  const label = make('span', { class: `format ${asset.type}` }, formatOf(asset))
  if (asset.type !== 'image' || asset.size_bytes > thumbnailMaxBytes) return label
  const image = make('img', { src: reached(asset.url), alt: '', loading: 'lazy', decoding: 'async' })
  image.addEventListener('error', () => image.replaceWith(label))
  return image
}
