/** `assetd keys …`: makes, lists and revokes API keys, on a running service too; it sees them at once. */
import type { Command } from 'commander'
import type { Records } from '../adapters/stores.ts'
import { newApiKey } from '../gate/api-key.ts'
import { type ApiKeyRow, insertApiKey, listApiKeys, revokeApiKey } from '../records/api-keys.ts'
import { parseDuration } from './duration.ts'
import { CommandFailure } from './failure.ts'
import { commandLine } from './invocation.ts'
import { addPrincipalOptions, type PrincipalOptions } from './principal-options.ts'

type WithRecords = (work: (records: Records) => Promise<void>) => Promise<void>

export function addKeyCommands(program: Command, withRecords: WithRecords): void {
  const keys = program.command('keys').description('make, list and revoke API keys')
  addPrincipalOptions(keys.command('create'))
    .description('make a key; it is shown once')
    .option('--expires <duration>', 'when it stops working, such as 90d (default: never)', parseDuration)
    .option('--json', 'print JSON')
    .action((options) => withRecords((records) => create(records, options)))
  keys
    .command('list')
    .description('show all keys, without their secrets')
    .option('--json', 'print JSON')
    .action((options) => withRecords((records) => list(records, options)))
  keys
    .command('revoke')
    .description('stop a key from working')
    .argument('<key-id>', 'as `keys list` shows it, or the whole key')
    .option('--json', 'print JSON')
    .action((keyId, options) => withRecords((records) => revoke(records, keyId, options)))
}

type JsonOption = { json?: boolean }

async function create(
  { database, clock }: Records,
  options: PrincipalOptions & JsonOption & { expires?: number },
): Promise<void> {
  const { key, keyId, secretHash } = newApiKey()
  const now = clock.wallMs()
  const row: ApiKeyRow = {
    key_id: keyId,
    secret_hash: secretHash,
    workspace: options.workspace,
    owner: options.owner,
    scopes: [...options.scopes].join(' '),
    created_at_ms: now,
    expires_at_ms: options.expires === undefined ? null : now + options.expires * 1000,
    last_used_at_ms: null,
    revoked_at_ms: null,
  }
  await database.write([insertApiKey(database, row)])
  if (options.json) console.log(JSON.stringify({ key, ...shown(row, now) }))
  else {
    console.log(key)
    console.error(`This is the key ${keyId}. It is shown this once; keep it now.`)
  }
}

async function list({ database, clock }: Records, options: JsonOption): Promise<void> {
  const rows = (await listApiKeys(database)).map((row) => shown(row, clock.wallMs()))
  if (options.json) {
    console.log(JSON.stringify(rows))
    return
  }
  if (rows.length === 0) {
    console.log(`There are no keys yet. Make one with: ${commandLine('keys create')}`)
    return
  }
  const columns = [
    'key_id',
    'state',
    'workspace',
    'owner',
    'scopes',
    'created_at',
    'expires_at',
    'last_used_at',
  ] as const
  const cells = [columns, ...rows.map((row) => columns.map((column) => row[column] ?? '-'))]
  const widths = columns.map((_, at) => Math.max(...cells.map((row) => (row[at] ?? '').length)))
  for (const row of cells)
    console.log(
      row
        .map((cell, at) => cell.padEnd(widths[at] ?? 0))
        .join('  ')
        .trimEnd(),
    )
}

async function revoke({ database, clock }: Records, idOrKey: string, options: JsonOption): Promise<void> {
  const keyId = /^assetd_([0-9a-f]{12})_/.exec(idOrKey)?.[1] ?? idOrKey
  const outcome = await database.write([revokeApiKey(database, keyId, clock.wallMs())])
  if (!outcome.written) {
    throw new CommandFailure(
      `there is no key ${keyId} that could be revoked; see: ${commandLine('keys list')}`,
    )
  }
  console.log(
    options.json ? JSON.stringify({ key_id: keyId, state: 'revoked' }) : `The key ${keyId} is revoked.`,
  )
}

function shown(row: ApiKeyRow, nowMs: number) {
  const isExpired = row.expires_at_ms !== null && row.expires_at_ms <= nowMs
  return {
    key_id: row.key_id,
    state: row.revoked_at_ms !== null ? 'revoked' : isExpired ? 'expired' : 'active',
    workspace: row.workspace,
    owner: row.owner,
    scopes: row.scopes,
    created_at: iso(row.created_at_ms),
    expires_at: iso(row.expires_at_ms),
    last_used_at: iso(row.last_used_at_ms),
    revoked_at: iso(row.revoked_at_ms),
  }
}

function iso(ms: number | null): string | null {
  return ms === null ? null : new Date(ms).toISOString().replace('.000Z', 'Z')
}
