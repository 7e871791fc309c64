/** How values are shown to a person. */
import type { Asset } from '../client/index.ts'

const longestName = 200

/** Names come from others: none may turn the text beside it around, or hide what it is. */
export function shownName(name: string): string {
  const plain = name
    .slice(0, longestName + 1)
    .replace(/[\p{Cc}\p{Cs}\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff]/gu, '\u{fffd}')
  return plain.length > longestName ? `${plain.slice(0, longestName)}…` : plain
}

/** Such as 1.5 MB. */
export function shownBytes(bytes: number): string {
  const units = ['bytes', 'KB', 'MB', 'GB', 'TB']
  const power = bytes < 1_000 ? 0 : Math.min(units.length - 1, Math.floor(Math.log10(bytes) / 3))
  return `${power === 0 ? bytes : (bytes / 1_000 ** power).toFixed(1)} ${units[power]}`
}

const dates = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeStyle: 'short' })

export function shownTime(unixSeconds: number): string {
  return dates.format(unixSeconds * 1_000)
}

export const formatOf = ({ url }: Pick<Asset, 'url'>): string =>
  url.slice(url.lastIndexOf('.') + 1).toUpperCase()

export function shownPixels({ width, height }: Pick<Asset, 'width' | 'height'>): string | null {
  return width === null || height === null ? null : `${width} × ${height}`
}
