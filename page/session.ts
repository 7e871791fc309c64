/** Who uses the page: the API key, kept by the browser for this tab and session only, and the client that sends it. */
import { AssetdError, type Client, type ClientOptions, createClient } from '../client/index.ts'

const storedAs = 'assetd.key'
const { prefix = '', publicUrl = '' } = document.documentElement.dataset
const baseUrl = location.origin + prefix

/**
 * Where this page reaches what the service names by its public URL: the page may have been opened at another address,
 * such as `localhost`, and may load from its own alone.
 */
export function reached(url: string): string {
  if (url.startsWith(`${publicUrl}/`)) return baseUrl + url.slice(publicUrl.length)
  return /^https?:/.test(url) ? url : ''
}

export type Session = ReturnType<typeof createSession>

/** @param onRefused the key is not taken, or no longer */
export function createSession(onRefused: (message: string) => void) {
  let key = sessionStorage.getItem(storedAs)

  const client = (apiKey: string, more: Partial<ClientOptions> = {}): Client =>
    createClient({ baseUrl, apiKey, reach: reached, maxTries: 1, ...more } as ClientOptions)

  return {
    isOpen: (): boolean => key !== null,

    /** @throws AssetdError where the key is no good */
    async open(candidate: string): Promise<void> {
      await client(candidate).me()
      key = candidate
      sessionStorage.setItem(storedAs, candidate)
    },

    close(): void {
      key = null
      sessionStorage.removeItem(storedAs)
    },

    /** One that tries once; `more` may have it try again. */
    client: (more?: Partial<ClientOptions>): Client => client(key ?? '', more),

    /** What went wrong, in words; where it is the key, the page asks for it again. */
    explain(error: unknown): string {
      if (!(error instanceof AssetdError)) return `The page itself has failed: ${error}`
      if (error.status === 401) onRefused(error.message)
      return error.message
    },
  }
}
