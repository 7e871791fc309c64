/** Which other origins a browser may let read our answers (the Fetch standard, "CORS protocol"). */
import type { Cors } from '../http/edge.ts'

const allowedHeaders = 'x-api-key, authorization, content-type, idempotency-key'
const exposedHeaders = 'X-Request-Id, Retry-After, Idempotent-Replayed, RateLimit, RateLimit-Policy'

/** @param origins such as `https://app.example.com`, or `*`; none: no other origin may */
export function createCors(origins: readonly string[]): Cors {
  const allows = (origin: string): boolean => origins.includes('*') || origins.includes(origin)
  if (origins.length === 0) return { headers: () => ({}), preflight: () => null }
  return {
    headers(origin) {
      if (origin === undefined || !allows(origin)) return { vary: 'Origin' }
      return {
        vary: 'Origin',
        'access-control-allow-origin': origins.includes('*') ? '*' : origin,
        'access-control-expose-headers': exposedHeaders,
      }
    },
    preflight(origin, methods) {
      if (origin === undefined || !allows(origin)) return null
      return {
        'access-control-allow-methods': methods.join(', '),
        'access-control-allow-headers': allowedHeaders,
        'access-control-max-age': '600',
      }
    },
  }
}
