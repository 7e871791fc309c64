/** Asks before an asset is deleted, and stays open until that is done. */
import type { Asset } from '../client/index.ts'
import { part } from './dom.ts'
import { shownName } from './text.ts'

/**
 * @param explain what went wrong, in words; the question then stays
 * @returns whether it is deleted
 */
export function confirmDeletion(
  asset: Asset,
  remove: () => Promise<void>,
  explain: (error: unknown) => string,
): Promise<boolean> {
  const dialog = part('confirm', HTMLDialogElement)
  const yes = part('confirm-yes', HTMLButtonElement)
  const trouble = part('confirm-error', HTMLElement)
  part('confirm-text', HTMLElement).textContent =
    `“\u2068${shownName(asset.name)}\u2069” is deleted for good: its URL stops working at once.`
  trouble.textContent = ''
  yes.disabled = false
  let isDone = false
  yes.onclick = async () => {
    yes.disabled = true
    try {
      await remove()
      isDone = true
      dialog.close()
    } catch (error) {
      trouble.textContent = explain(error)
      yes.disabled = false
    }
  }
  part('confirm-no', HTMLButtonElement).onclick = () => dialog.close()
  dialog.showModal()
  return new Promise((resolve) => {
    dialog.addEventListener('close', () => resolve(isDone), { once: true })
  })
}
