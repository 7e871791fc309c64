/** The service that the commands speak to, and its refusals in words. */
import { AssetdError, type Client, createClient } from '../../client/index.ts'
import { readClientConfig } from '../config.ts'
import { CommandFailure } from './failure.ts'
import { commandLine } from './invocation.ts'

export type Connection = {
  client: Client
  /** What to tell the person at the keyboard. */
  inWords(error: unknown): string
}

/**
 * @param onWait told each time that a request will be tried again
 * @throws {ConfigError}
 */
export function connect(tries: number, onWait: (words: string) => void): Connection {
  const { url, apiKey } = readClientConfig(process.env)
  const inWords = (error: unknown): string => {
    if (!(error instanceof AssetdError)) throw error
    if (error.code === 'not_reachable') {
      return `${url} cannot be reached (${causeOf(error)}): is the service running there? Start one with: ${commandLine('serve')}; or set ASSETD_URL`
    }
    if (error.code === 'unexpected_answer') {
      return `what answers at ${url} is not assetd: set ASSETD_URL (${error.message})`
    }
    if (error.status === 401) return `${url} does not know this key: set ASSETD_API_KEY to one of its keys`
    const request = error.requestId === null ? '' : ` (request ${error.requestId})`
    return `${error.message}${request}`
  }
  const client = createClient({
    baseUrl: url,
    apiKey,
    maxTries: tries,
    onRetry({ error, tries: tried, waitMs }) {
      const why = error.status === null ? `no answer (${causeOf(error)})` : `${error.status} ${error.code}`
      onWait(`${why}; try ${tried + 1} of ${tries} in ${Math.ceil(waitMs / 1000)} s`)
    },
  })
  return { client, inWords }
}

/** The system's name for it, such as ECONNREFUSED, from wherever it is in the chain. */
export function causeOf(error: Error): string {
  for (let at: unknown = error; at instanceof Error; at = at.cause) {
    const { code } = at as NodeJS.ErrnoException
    if (at !== error && typeof code === 'string') return code
    if (at.name === 'TimeoutError') return 'timed out'
  }
  return 'no connection'
}

/** Does what asks the service, and tells its refusals in words. @throws {CommandFailure} */
export async function withService<T>(work: (connection: Connection) => Promise<T>): Promise<T> {
  const connection = connect(3, (words) => console.error(`assetd: ${words}`))
  try {
    return await work(connection)
  } catch (error) {
    if (error instanceof AssetdError) throw new CommandFailure(connection.inWords(error))
    throw error
  }
}
