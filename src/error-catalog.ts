/** What each code and reason means and what to do about it, for `/docs/errors`. Every one has an entry: the types say so. */
import type { Code, Reason } from './errors.ts'

export type Entry = { status: string; cause: string; cure: string }

export const codes = {
  invalid_parameter: {
    status: '400',
    cause:
      'Something in the request is not as it has to be. The field is named by param, the kind of fault by details.reason.',
    cure: 'Correct the request by the message; the same request again gets the same answer. The reasons are listed below.',
  },
  authentication_failed: {
    status: '401',
    cause: 'There are no credentials, or those sent are unknown, revoked, expired or sent twice.',
    cure: 'Send one API key in the x-api-key header, or one OAuth2 access token as Authorization: Bearer. An operator makes keys with: assetd keys create.',
  },
  forbidden: {
    status: '403',
    cause: 'The credentials are good, but do not carry the scope that the route needs.',
    cure: 'Use credentials with the scope that details.required_scope names.',
  },
  asset_not_found: {
    status: '404',
    cause: 'There is no such asset: the id is unknown, or the asset was deleted.',
    cure: 'Check the id or the URL. A deleted asset does not come back; upload the file again.',
  },
  batch_not_found: {
    status: '404',
    cause: 'There is no such batch.',
    cure: 'Check the id.',
  },
  resource_not_found: {
    status: '404',
    cause: 'There is no such route.',
    cure: 'Check the path against /docs; paths are case-sensitive and have no slash at their end.',
  },
  method_not_allowed: {
    status: '405',
    cause: 'The route exists, but not for this method.',
    cure: 'Use one of the methods in the Allow header.',
  },
  request_timeout: {
    status: '408',
    cause: 'The headers or the body stalled, or came more slowly than the minimum rate.',
    cure: 'Send the request again on a faster connection. The limits are ASSETD_BODY_IDLE_SECONDS and ASSETD_MIN_BYTES_PER_SECOND.',
  },
  request_in_progress: {
    status: '409',
    cause: 'Another request with the same Idempotency-Key is still running.',
    cure: 'Wait for as long as Retry-After says and send the same request again: it gets the answer of the first.',
  },
  conflict: {
    status: '409',
    cause: 'The thing is not in a state in which this can be done.',
    cure: 'Look at its state first.',
  },
  invalid_request: {
    status: '412, 413, 414, 415, 416, 417, 431, 501 or 505',
    cause: 'A fault of HTTP itself that has a status of its own, such as a range outside of the file.',
    cure: 'Correct the request by the message.',
  },
  rate_limit_exceeded: {
    status: '429',
    cause: 'These credentials, or failed attempts from this address, have used up their requests for now.',
    cure: 'Wait for as long as Retry-After says: the next request then passes. The limit is ASSETD_RATE_LIMIT.',
  },
  internal_error: {
    status: '500',
    cause: 'A fault of ours that we did not foresee. Nothing of the request was kept.',
    cure: 'Retry with the same Idempotency-Key. If it goes on, look for the X-Request-Id in the service’s log.',
  },
  service_unavailable: {
    status: '503',
    cause:
      'The storage, the database or the token issuer cannot be used, the disk is nearly full, as many uploads are under way as are taken at once, or the service is shutting down. Nothing was stored.',
    cure: 'Retry with the same Idempotency-Key after Retry-After. Operators: /readyz says which part it is.',
  },
} as const satisfies Record<Code, Entry>

export const reasons = {
  missing_file: {
    cause: 'The body has no part named "file", is empty, or is not multipart/form-data.',
    cure: 'Send multipart/form-data with one part named file; with curl: -F file=@photo.png.',
  },
  empty_file: { cause: 'The file has 0 bytes.', cure: 'Send the file with its content.' },
  file_too_large: {
    cause: 'The file is larger than details.max_bytes.',
    cure: 'Send a smaller file. The limit is ASSETD_MAX_FILE_BYTES.',
  },
  unsupported_type: {
    cause:
      'The bytes are of a type that is not taken, or of none that is known; details.detected says what they look like.',
    cure: 'Convert the file to one of details.allowed. The name and the declared type do not matter; the bytes do.',
  },
  corrupt_file: {
    cause: 'The file is of an allowed type, but cut or damaged.',
    cure: 'Check the file where it comes from, and send it whole.',
  },
  malformed_multipart: {
    cause:
      'The multipart body has no usable boundary, ends before its closing boundary, or has a broken part header.',
    cure: 'Let your HTTP client build the body and its Content-Type; do not set the header by hand.',
  },
  multiple_files: { cause: 'There are two parts named "file".', cure: 'Send one file a request.' },
  too_many_parts: { cause: 'The body has more than 100 parts.', cure: 'Send fewer fields.' },
  fields_too_large: {
    cause:
      'The headers of a part are larger than 16 KiB, or everything beside the file is larger than 1 MiB together.',
    cure: 'Send less beside the file.',
  },
  missing_value: { cause: 'A required field is missing.', cure: 'Send the field that param names.' },
  invalid_value: {
    cause: 'A field has a value that it cannot have.',
    cure: 'Correct the field that param names.',
  },
  size_mismatch: { cause: 'The bytes are not as many as was declared.', cure: 'Declare the exact size.' },
  type_mismatch: {
    cause: 'The bytes are of another type than was declared.',
    cure: 'Declare the type that they have.',
  },
  checksum_mismatch: {
    cause: 'The bytes have another SHA-256 than was declared.',
    cure: 'Send the file again.',
  },
  malformed_request: {
    cause: 'The request is not well-formed HTTP/1.1, or has a header twice that may come once.',
    cure: 'Use a well-kept HTTP client, and look at proxies in between.',
  },
} as const satisfies Record<Reason, Omit<Entry, 'status'>>
