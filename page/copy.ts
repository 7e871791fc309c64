/** Texts to the clipboard. */
import { button, make, say } from './dom.ts'

export function copyButton(label: string, text: string, name: string): HTMLButtonElement {
  let showing: ReturnType<typeof setTimeout> | undefined
  const element = button(
    label,
    async () => {
      const isCopied = await copy(text)
      element.textContent = isCopied ? 'Copied' : 'Not copied'
      say(isCopied ? `${label}: copied.` : `The browser does not let the page copy. It is: ${text}`)
      clearTimeout(showing)
      showing = setTimeout(() => {
        element.textContent = label
      }, 1_500)
    },
    { class: 'copy', 'aria-label': `${label}: ${name}` },
  )
  return element
}

async function copy(text: string): Promise<boolean> {
  // Browsers have it on secure pages alone.
  const clipboard = navigator.clipboard as Clipboard | undefined
  if (clipboard === undefined) return copySelected(text)
  return clipboard.writeText(text).then(
    () => true,
    () => copySelected(text),
  )
}

function copySelected(text: string): boolean {
  const focused = document.activeElement
  const area = make('textarea', { class: 'unseen', readonly: true, 'aria-hidden': 'true' })
  area.value = text
  // In an open dialog nothing outside of it can have the focus.
  const place = focused?.closest('dialog') ?? document.body
  place.append(area)
  area.select()
  const isCopied = document.execCommand('copy')
  area.remove()
  if (focused instanceof HTMLElement) focused.focus()
  return isCopied
}
