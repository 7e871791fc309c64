/** Whether a browser may put bytes to the bucket: asked as a browser asks, since a right to read the rule may be missing. */
import { connectS3, type S3Options } from './s3-connection.ts'
import { createPresign } from './s3-presign.ts'
import { type S3Finding, s3PlaceOf } from './s3-probe.ts'

const answerMs = 5_000

/** What a direct upload sends beside what every request may. */
const sentHeaders = ['content-type', 'x-amz-checksum-sha256']

/**
 * @param origins of pages that upload, such as `https://app.example.com`
 * @returns a line for each
 */
export async function probeS3Cors(options: S3Options, origins: readonly string[]): Promise<S3Finding[]> {
  const s3 = connectS3(options)
  try {
    const any = { contentType: 'image/png', contentDisposition: 'attachment', cacheControl: 'no-store' }
    const signed = await createPresign(s3).get('any', { ...any, signedAtMs: Date.now(), expiresSeconds: 1 })
    const url = signed.split('?')[0] as string
    return await Promise.all(origins.map((origin) => probeOrigin(s3PlaceOf(options), url, origin)))
  } finally {
    s3.close()
  }
}

async function probeOrigin(place: string, url: string, origin: string): Promise<S3Finding> {
  const tried = `a browser at ${origin}`
  const lacks = (why: string): S3Finding => ({
    tried,
    isFine: false,
    line: `${place} does not let pages of ${origin} put files to it (${why}): give it the CORS rule of docs/s3.md, or direct uploads from there fail`,
  })
  try {
    const answer = await fetch(url, {
      method: 'OPTIONS',
      headers: {
        origin,
        'access-control-request-method': 'PUT',
        'access-control-request-headers': sentHeaders.join(','),
      },
      redirect: 'manual',
      signal: AbortSignal.timeout(answerMs),
    })
    await answer.arrayBuffer()
    const wrong = wrongIn(answer, origin)
    return wrong === null
      ? { tried, isFine: true, line: `${place}: ${tried} may put files to it` }
      : lacks(wrong)
  } catch (error) {
    return lacks((error as Error).message)
  }
}

/** As the Fetch standard reads the answer to a preflight. */
function wrongIn({ ok, status, headers }: Response, origin: string): string | null {
  const listed = (name: string): string[] =>
    (headers.get(name) ?? '').split(',').map((one) => one.trim().toLowerCase())
  if (!ok) return `the preflight is answered ${status}`
  const allowed = headers.get('access-control-allow-origin')
  if (allowed !== '*' && allowed !== origin) return 'its rule does not name the origin'
  if (!listed('access-control-allow-methods').some((one) => one === 'put' || one === '*'))
    return 'its rule does not allow PUT'
  const allowedHeaders = listed('access-control-allow-headers')
  const missing = sentHeaders.find((one) => !allowedHeaders.includes(one) && !allowedHeaders.includes('*'))
  return missing === undefined ? null : `its rule does not allow the header ${missing}`
}
