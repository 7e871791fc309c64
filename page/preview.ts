/** One asset, large, with all that is known of it. What is no media is a link, never shown in this page. */
import type { Asset } from '../client/index.ts'
import { copyButton } from './copy.ts'
import { make, part } from './dom.ts'
import { reached } from './session.ts'
import { formatOf, shownBytes, shownName, shownPixels, shownTime } from './text.ts'

export function openPreview(asset: Asset): void {
  const dialog = part('preview', HTMLDialogElement)
  const stage = part('preview-stage', HTMLElement)
  const name = shownName(asset.name)
  const url = reached(asset.url)
  part('preview-title', HTMLElement).textContent = name
  clear(stage)
  stage.append(shown(asset, url, name, stage))
  const facts: [string, string | null][] = [
    ['Type', `${formatOf(asset)} (${asset.mime_type})`],
    ['Size', `${shownBytes(asset.size_bytes)} (${asset.size_bytes.toLocaleString()} bytes)`],
    ['Pixels', shownPixels(asset)],
    ['Uploaded', shownTime(asset.uploaded_at)],
    ['Owner', shownName(asset.owner)],
    ['ID', asset.id],
    ['URL', asset.url],
  ]
  part('preview-facts', HTMLElement).replaceChildren(
    ...facts.flatMap(([term, fact]) =>
      fact === null ? [] : [make('dt', {}, term), make('dd', { dir: 'auto' }, fact)],
    ),
  )
  part('preview-actions', HTMLElement).replaceChildren(
    copyButton('Copy ID', asset.id, name),
    copyButton('Copy URL', asset.url, name),
    make('a', { class: 'button', href: url, target: '_blank', rel: 'noopener' }, 'Open the file'),
  )
  dialog.showModal()
}

function closePreview(): void {
  part('preview', HTMLDialogElement).close()
}

export function watchPreview(): void {
  part('preview-close', HTMLButtonElement).addEventListener('click', closePreview)
  const dialog = part('preview', HTMLDialogElement)
  dialog.addEventListener('close', () => {
    // The event comes late: the next one may be open already.
    if (!dialog.open) clear(part('preview-stage', HTMLElement))
  })
}

function clear(stage: HTMLElement): void {
  // Taken out of the page alone, media would play and load on.
  for (const media of stage.querySelectorAll<HTMLMediaElement>('video, audio')) {
    media.removeAttribute('src')
    media.load()
  }
  stage.replaceChildren()
}

function shown(asset: Asset, url: string, name: string, stage: HTMLElement): HTMLElement {
  if (asset.type === 'document')
    return make('p', { class: 'muted' }, 'Not shown here: open the file to save it.')
  const media =
    asset.type === 'image'
      ? make('img', { src: url, alt: name })
      : make(asset.type, { src: url, controls: true, preload: 'metadata', 'aria-label': name })
  media.addEventListener('error', () => {
    if (media.hasAttribute('src') && stage.contains(media))
      stage.replaceChildren(make('p', { class: 'muted' }, 'The browser cannot show this file.'))
  })
  return media
}
