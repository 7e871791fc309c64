/** How values are shown to a person. */

/** Names come from others: nothing in them may steer a terminal. */
export function shownName(name: string): string {
  return name.replace(/\p{C}/gu, '\u{fffd}')
}

/** Such as 1.5 MB. */
export function shownBytes(bytes: number): string {
  const units = ['bytes', 'KB', 'MB', 'GB', 'TB']
  const power = bytes < 1_000 ? 0 : Math.min(units.length - 1, Math.floor(Math.log10(bytes) / 3))
  return `${power === 0 ? bytes : (bytes / 1_000 ** power).toFixed(1)} ${units[power]}`
}
