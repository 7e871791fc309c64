/** Base64 (RFC 4648 section 4) as it arrives: strict, and nothing is kept but what is left of a group of four. */

export interface Base64Decoder {
  /** @returns the bytes that are whole so far; null: it is not base64 */
  write(piece: string): Buffer | null
  /** True where it ended well. */
  end(): boolean
}

export function createBase64Decoder(): Base64Decoder {
  let rest = ''
  let isOver = false
  return {
    write(piece) {
      if (piece === '') return Buffer.alloc(0)
      if (isOver || !/^[A-Za-z0-9+/]*={0,2}$/.test(piece)) return null
      const text = rest + piece
      const whole = text.length - (text.length % 4)
      rest = text.slice(whole)
      if (rest.includes('=') && rest.length > 0 && !isPaddingToCome(rest)) return null
      const group = text.slice(0, whole)
      // Padding that was still to come may turn out to have more behind it.
      if (!/^[^=]*={0,2}$/.test(group)) return null
      isOver = group.endsWith('=')
      if (isOver && rest !== '') return null
      return Buffer.from(group, 'base64')
    },
    end: () => rest === '',
  }
}

/** `AB=` waits for one more `=`; no other beginning of a group has one. */
function isPaddingToCome(rest: string): boolean {
  return rest.length === 3 && /^[A-Za-z0-9+/]{2}=$/.test(rest)
}
