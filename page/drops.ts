/** Files that are dropped anywhere on the page. */
export type DropOptions = {
  /** What shows that they may be dropped. */
  zone: HTMLElement
  isOpen(): boolean
  onDrop(files: File[], folders: string[]): void
}

export function watchDrops({ zone, isOpen, onDrop }: DropOptions): void {
  let depth = 0
  const hasFiles = ({ dataTransfer }: DragEvent): boolean => dataTransfer?.types.includes('Files') === true
  const mark = (by: number | null): void => {
    depth = by === null ? 0 : Math.max(0, depth + by)
    zone.classList.toggle('over', depth > 0)
  }
  window.addEventListener('dragenter', (event) => {
    if (hasFiles(event) && isOpen()) mark(1)
  })
  window.addEventListener('dragleave', (event) => {
    if (hasFiles(event)) mark(-1)
  })
  window.addEventListener('dragover', (event) => {
    if (!hasFiles(event)) return
    event.preventDefault() // else the browser would open it in the place of this page
    if (event.dataTransfer !== null) event.dataTransfer.dropEffect = isOpen() ? 'copy' : 'none'
  })
  window.addEventListener('drop', (event) => {
    if (!hasFiles(event)) return
    event.preventDefault()
    mark(null)
    if (!isOpen()) return
    const folders = foldersIn(event.dataTransfer)
    const files = [...(event.dataTransfer?.files ?? [])].filter(({ name }) => !folders.includes(name))
    onDrop(files, folders)
  })
}

/** A folder is among the files too, as one that cannot be read. */
function foldersIn(transfer: DataTransfer | null): string[] {
  const entries = [...(transfer?.items ?? [])].map((item) => item.webkitGetAsEntry())
  return entries.filter((entry) => entry?.isDirectory).map((entry) => entry?.name ?? '')
}
