/**
 * URLs that carry their own right: whoever has one may put exactly the bytes that were announced, until it ends. What
 * was announced is bound into the signature, so no part of it can be exchanged for another.
 */
import { createHmac, timingSafeEqual } from 'node:crypto'
import { Fault } from '../errors.ts'

export type Announced = {
  asset_id: string
  content_type: string
  size_bytes: number
  sha256: string | null
  expires_at_ms: number
}

export interface SignedUrls {
  /** The query of the URL, with its question mark. */
  sign(announced: Announced): string
  /**
   * @param announced null where there is nothing of that id: refused in the same words as a wrong signature
   * @throws {Fault} `forbidden`
   */
  verify(announced: Announced | null, query: { expires: string | null; signature: string | null }): void
}

/** @param secret shared by all who sign and verify */
export function createSignedUrls(secret: Buffer, now: () => number = Date.now): SignedUrls {
  const signature = ({ asset_id, content_type, size_bytes, sha256 }: Announced, expires: string): string =>
    createHmac('sha256', secret)
      .update(JSON.stringify(['PUT', asset_id, expires, content_type, size_bytes, sha256]))
      .digest('base64url')
  return {
    sign(announced) {
      const expires = String(Math.floor(announced.expires_at_ms / 1000))
      return `?expires=${expires}&signature=${signature(announced, expires)}`
    },
    verify(announced, { expires, signature: given }) {
      const expected = announced === null ? '' : signature(announced, expires ?? '')
      if (expires === null || given === null || expected === '' || !isSame(given, expected)) {
        throw new Fault(
          'forbidden',
          'The signature of this URL is not valid. Use the upload_url exactly as it was answered.',
        )
      }
      if (now() >= Number(expires) * 1000) {
        throw new Fault('forbidden', 'This URL has expired. Ask for a new direct upload, and use its URL.')
      }
    },
  }
}

function isSame(a: string, b: string): boolean {
  const [left, right] = [Buffer.from(a), Buffer.from(b)]
  return left.length === right.length && timingSafeEqual(left, right)
}
