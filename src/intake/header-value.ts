/**
 * Header values of the form `value; name=token; name="quoted"`, as in Content-Type (RFC 9110 section 8.3.1) and
 * Content-Disposition (RFC 6266, RFC 7578 section 4.2). Strict: what is not of that form is null, never guessed.
 */

export type HeaderValue = {
  /** The part before the first `;`, in lower case. */
  value: string
  parameters: Map<string, string>
}

/** The first character that no token has (RFC 9110 section 5.6.2), or the end. */
const tokenEnd = /[^!#$%&'*+\-.^_`|~0-9A-Za-z]|$/

/** @returns null where the text is malformed or gives one parameter twice */
export function parseHeaderValue(text: string): HeaderValue | null {
  const semicolon = text.indexOf(';')
  const value = trimBlanks(semicolon < 0 ? text : text.slice(0, semicolon)).toLowerCase()
  if (value === '' || /[^!-~]/.test(value)) return null
  const parameters = new Map<string, string>()
  let at = semicolon < 0 ? text.length : semicolon
  while (at < text.length) {
    at = skipBlanks(text, at + 1) // past the `;`
    if (at === text.length) break // a trailing `;` is common and harmless
    if (text[at] === ';') continue
    const equals = at + text.slice(at).search(tokenEnd)
    const name = text.slice(at, equals).toLowerCase()
    if (name === '' || text[equals] !== '=' || parameters.has(name)) return null
    const parsed = text[equals + 1] === '"' ? quoted(text, equals + 2) : bare(text, equals + 1)
    if (parsed === null) return null
    parameters.set(name, parsed.value)
    at = skipBlanks(text, parsed.end)
    if (at < text.length && text[at] !== ';') return null
  }
  return { value, parameters }
}

function bare(text: string, start: number): { value: string; end: number } | null {
  const end = start + text.slice(start).search(/[;\s"]|$/)
  return end === start ? null : { value: text.slice(start, end), end }
}

/**
 * A quoted string. A backslash escapes only a quote or a backslash: browsers send Windows paths unescaped
 * (HTML, "multipart/form-data encoding algorithm"), curl escapes just those two.
 */
function quoted(text: string, start: number): { value: string; end: number } | null {
  let value = ''
  for (let at = start; at < text.length; at++) {
    const char = text[at] as string
    if (char === '"') return { value, end: at + 1 }
    const next = text[at + 1]
    if (char === '\\' && (next === '"' || next === '\\')) {
      value += next
      at++
    } else {
      value += char
    }
  }
  return null
}

/** Blank and tab are the only blanks that a header knows (RFC 9110 section 5.6.3); `trim` takes many more. */
export function trimBlanks(text: string): string {
  let end = text.length
  while (text[end - 1] === ' ' || text[end - 1] === '\t') end--
  return text.slice(Math.min(skipBlanks(text, 0), end), end)
}

function skipBlanks(text: string, start: number): number {
  let at = start
  while (text[at] === ' ' || text[at] === '\t') at++
  return at
}
