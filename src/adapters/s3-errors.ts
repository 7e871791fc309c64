/** What the SDK throws, told apart in one place. */

type Told = {
  name?: unknown
  message?: unknown
  code?: unknown
  Code?: unknown
  errors?: unknown
  $metadata?: { httpStatusCode?: unknown }
  $clockSkewCorrected?: unknown
}

const told = (error: unknown): Told => (typeof error === 'object' && error !== null ? (error as Told) : {})

/** Of the store's answer; null where there was none. */
export function statusOf(error: unknown): number | null {
  const status = told(error).$metadata?.httpStatusCode
  return typeof status === 'number' ? status : null
}

/** The store's own word, such as `NoSuchBucket`, or the system's, such as `ECONNREFUSED`. */
export function codeOf(error: unknown): string {
  const { name, code, Code, errors } = told(error)
  const first = Array.isArray(errors) ? told(errors[0]).code : undefined
  const own = statusOf(error) === null ? [code, first, name] : [Code, name, code]
  return String(own.find((one) => typeof one === 'string' && one !== 'Error') ?? 'Error')
}

/** One line for people: no headers, no query, no credentials. */
export function reasonOf(error: unknown): string {
  const { message, errors } = told(error)
  const status = statusOf(error)
  const first = Array.isArray(errors) && errors.length > 0 ? told(errors[0]).message : undefined
  const words = String(message || first || '')
    .split('\n')[0]
    ?.replace(/^UnknownError$/, '') // the SDK's, for none
  const code = codeOf(error)
  const said = words === '' || words === code ? code : `${code}: ${words}`
  return status === null ? said : `${said} (${status})`
}

/** These the next try may not meet. */
const passingCodes = new Set([
  'SlowDown',
  'RequestTimeout',
  'OperationAborted',
  'InternalError',
  'ServiceUnavailable',
  'ThrottlingException',
  'TooManyRequests',
  // The bytes changed on their way to the store.
  'BadDigest',
  'XAmzContentSHA256Mismatch',
  'IncompleteBody',
])

/** These no try will change, though there was no answer. */
const settledCodes = new Set(['CredentialsProviderError', 'TypeError', 'ERR_INVALID_URL'])

export function isPassing(error: unknown): boolean {
  const status = statusOf(error)
  const code = codeOf(error)
  if (passingCodes.has(code)) return true
  if (status === null) return !settledCodes.has(code) && told(error).message !== 'Region is missing'
  // An answer of 2xx that is an error could not be understood: it was cut off, or is not the store's.
  return status >= 500 || status === 429 || status === 408 || status < 300
}

/** Our clock is wrong by more than the store bears; the SDK has noted by how much, and the next try is right. */
export function isSkewed(error: unknown): boolean {
  return codeOf(error) === 'RequestTimeTooSkewed' || told(error).$clockSkewCorrected === true
}
