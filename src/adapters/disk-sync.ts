/** What everything that writes to the disk shares. */
import { open } from 'node:fs/promises'
import { Fault } from '../errors.ts'

/** Makes the names in a folder durable: without it a power cut can lose a file whose bytes are safe. */
export async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, 'r')
  try {
    await folder.sync()
  } finally {
    await folder.close()
  }
}

/** Whatever the disk says, to a client it is one thing; the cause is for the log. */
export function storageFault(cause: unknown): Fault {
  if (cause instanceof Fault) return cause
  return new Fault(
    'service_unavailable',
    'The storage cannot be used at the moment. Nothing was stored. Retry shortly.',
    { retryAfterSeconds: 10, cause },
  )
}
