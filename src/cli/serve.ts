/** `assetd serve`: starts the service, tells a new user what to do first, and ends as its signals say. */
import { fileURLToPath } from 'node:url'
import type { FastifyBaseLogger } from 'fastify'
import { StoreRefused } from '../adapters/store-refused.ts'
import { type Config, ConfigError, readConfig } from '../config.ts'
import { newApiKey } from '../gate/api-key.ts'
import { AddressUnusable, createLog, type Service, startService, version, warnings } from '../main.ts'
import { insertApiKey, listApiKeys } from '../records/api-keys.ts'
import { claimChore } from '../records/chores.ts'
import { exitCodes } from './exit-codes.ts'
import { commandLine } from './invocation.ts'

export async function serve(env: NodeJS.ProcessEnv): Promise<void> {
  const config = configOrExit(env)
  const log = createLog(config.logLevel)
  const service = await startOrExit(config, log)
  endOnSignals(service, log)
  for (const warning of warnings(config)) log.warn(warning)
  await greet(config, service, env)
}

function configOrExit(env: NodeJS.ProcessEnv): Config {
  try {
    return readConfig(env)
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error
    for (const line of error.lines) console.error(`assetd: ${line}`)
    process.exit(exitCodes.usage)
  }
}

async function startOrExit(config: Config, log: FastifyBaseLogger): Promise<Service> {
  try {
    return await startService(config, log)
  } catch (error) {
    if (!(error instanceof AddressUnusable || error instanceof StoreRefused)) throw error
    console.error(`assetd: ${error.message}`)
    process.exit(exitCodes.failure)
  }
}

/** On standard output, and never through the logger: a key must not end up where logs are kept. */
async function greet(
  config: Config,
  { address, publicUrl, place, database }: Service,
  env: NodeJS.ProcessEnv,
): Promise<void> {
  console.log(`assetd ${version} listens on ${address}, ${place}. Read and try the API: ${publicUrl}/docs`)
  const isNew = (await listApiKeys(database)).length === 0
  if (config.apiKey !== null) {
    const key = env.ASSETD_API_KEY_FILE ? `$(cat ${shellQuoted(env.ASSETD_API_KEY_FILE)})` : '$ASSETD_API_KEY'
    if (isNew) console.log(`\nUpload a first file:\n  ${curlLine(`"x-api-key: ${key}"`, publicUrl)}`)
    return
  }
  if (!isNew) {
    console.log(`Make a new API key with: ${commandLine('keys create')}`)
    return
  }
  const { key, keyId, secretHash } = newApiKey()
  const made = await database.write([
    claimChore(database, 'the first API key', keyId, { nowMs: 0, periodMs: 1 }, 1),
    insertApiKey(database, {
      key_id: keyId,
      secret_hash: secretHash,
      workspace: 'default',
      owner: 'default',
      scopes: 'assets:read assets:write',
      created_at_ms: Date.now(),
      expires_at_ms: null,
      last_used_at_ms: null,
      revoked_at_ms: null,
    }),
  ])
  if (!made.written) return // another copy that starts just now has made it, and shows it
  console.log(`\nYour first API key; it is shown this once:\n  ${key}`)
  console.log(`\nUpload a first file:\n  ${curlLine(`'x-api-key: ${key}'`, publicUrl)}\n`)
}

function curlLine(header: string, publicUrl: string): string {
  const example = fileURLToPath(new URL('../../examples/first-upload.png', import.meta.url))
  return `curl -H ${header} -F ${shellQuoted(`file=@${example}`)} ${publicUrl}/v3/assets`
}

function shellQuoted(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`
}

/** The last lines may still be on their way; a reader that does not read is not waited for. */
function exitOnceLogged(log: FastifyBaseLogger, status: number): void {
  const { flush } = log as FastifyBaseLogger & { flush?(done: () => void): void }
  setTimeout(() => process.exit(status), 1_000)
  flush?.call(log, () => process.exit(status))
}

/**
 * One Ctrl-C reaches us several times, from the terminal and from each process between: signals within a second
 * are one. A later one means now.
 */
function endOnSignals(service: Service, log: FastifyBaseLogger): void {
  let firstAt: number | null = null
  const onSignal = (signal: string): void => {
    const now = performance.now()
    if (firstAt !== null) {
      if (now - firstAt > 1_000) process.exit(exitCodes.failure)
      return
    }
    firstAt = now
    log.info({ signal }, 'shutting down')
    service.stop().then(
      () => exitOnceLogged(log, 0),
      (err) => {
        log.fatal({ err }, 'the shutdown failed')
        exitOnceLogged(log, exitCodes.failure)
      },
    )
  }
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, onSignal)
  // The launcher was killed, now or while we started: nobody would forward a signal any more.
  process.on('disconnect', () => onSignal('disconnect'))
  if (process.connected === false) onSignal('disconnect')
}
