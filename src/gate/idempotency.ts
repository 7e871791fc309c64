/** The Idempotency-Key header: how a request says that it is the same one again. */
import type { IncomingMessage } from 'node:http'
import { Fault } from '../errors.ts'
import { countFields } from '../http/framing.ts'

/** @throws {Fault} `invalid_parameter` for `Idempotency-Key`, before a byte of the body is read */
export function readIdempotencyKey(request: IncomingMessage): string | null {
  const count = countFields(request.rawHeaders)['idempotency-key'] ?? 0
  if (count === 0) return null
  if (count > 1) throw badKey(`it came ${count} times. Send it once`)
  const key = String(request.headers['idempotency-key'])
  if (key.length < 1 || key.length > 255) throw badKey(`it has ${key.length} characters`)
  if (!/^[A-Za-z0-9_:.-]+$/.test(key)) throw badKey('it has other characters')
  return key
}

function badKey(saw: string): Fault {
  return new Fault(
    'invalid_parameter',
    `The Idempotency-Key header must be 1 to 255 characters from [A-Za-z0-9_:.-]; ${saw}. A UUID is a safe default.`,
    { param: 'Idempotency-Key', details: { reason: 'invalid_value' } },
  )
}
