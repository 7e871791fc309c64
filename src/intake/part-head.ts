/** The headers of one part of a multipart body (RFC 7578 section 4.2). */
import { type Fault, fileFault } from '../errors.ts'
import { parseHeaderValue, trimBlanks } from './header-value.ts'

export type PartHead = { name: string; fileName: string | null; contentType: string | null }

/**
 * @param block the header lines, without the empty line that ends them
 * @throws {Fault} `malformed_multipart`
 */
export function parsePartHead(block: Buffer): PartHead {
  let disposition: string | null = null
  let contentType: string | null = null
  for (const line of decode(block).split('\r\n')) {
    if (line === '') continue
    const colon = line.indexOf(':')
    const name = line.slice(0, Math.max(0, colon)).toLowerCase()
    if (!/^[!#$%&'*+\-.^_`|~0-9a-z]+$/.test(name) || /[\0\r\n]/.test(line)) {
      throw malformed('a part has a header line that is none')
    }
    const value = trimBlanks(line.slice(colon + 1))
    if (name === 'content-disposition') {
      if (disposition !== null) throw malformed('a part has two Content-Disposition headers')
      disposition = value
    } else if (name === 'content-type') {
      if (contentType !== null) throw malformed('a part has two Content-Type headers')
      contentType = value
    }
  }
  const parsed = disposition === null ? null : parseHeaderValue(disposition)
  const name = parsed?.parameters.get('name')
  if (parsed?.value !== 'form-data' || name === undefined) {
    throw malformed('a part has no header Content-Disposition: form-data; name="…"')
  }
  return { name, fileName: parsed.parameters.get('filename') ?? null, contentType }
}

/**
 * Header bytes are UTF-8 by RFC 7578 section 5.1.2; what is not comes from old clients, as Latin-1. A byte order mark is
 * a character like any other: were it dropped, a header would be read whose name does not begin there.
 */
function decode(block: Buffer): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(block)
  } catch {
    return block.toString('latin1')
  }
}

/** @param what completes "The multipart body cannot be read: …" */
export function malformed(what: string): Fault {
  return fileFault('malformed_multipart', `The multipart body cannot be read: ${what}.`)
}
