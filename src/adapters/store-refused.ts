/** A store cannot be worked with as it is; the message is one line for whoever starts us, and names no secret. */
export class StoreRefused extends Error {
  override readonly name: string = 'StoreRefused'
}

/** Node.js gives no message of its own where several addresses were tried. */
export function wordsOf(error: unknown): string {
  if (error instanceof AggregateError) return error.errors.map(wordsOf).join('; ')
  return error instanceof Error ? error.message || error.name : String(error)
}
