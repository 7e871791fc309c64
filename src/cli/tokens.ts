/** `assetd tokens create`: mints an access token of the embedded issuer, with the data folder alone. */
import { type Command, InvalidArgumentError, Option } from 'commander'
import type { Records } from '../adapters/stores.ts'
import { openTokenIssuer } from '../gate/token-issuer.ts'
import { parseDuration } from './duration.ts'
import { addPrincipalOptions, type PrincipalOptions, principalFrom } from './principal-options.ts'

type WithRecords = (work: (records: Records) => Promise<void>) => Promise<void>

const longestSeconds = 30 * 86_400

export function addTokenCommands(program: Command, withRecords: WithRecords): void {
  const tokens = program.command('tokens').description('mint OAuth2 access tokens')
  addPrincipalOptions(tokens.command('create'))
    .description('mint a token; it is kept nowhere and cannot be revoked')
    .addOption(
      new Option('--expires <duration>', 'how long it works, at most 30d')
        .argParser(parseLifetime)
        .default(3_600, '1h'),
    )
    .option('--json', 'print JSON')
    .action((options) => withRecords((records) => create(records, options)))
}

async function create(
  { database, clock }: Records,
  options: PrincipalOptions & { expires: number; json?: boolean },
): Promise<void> {
  const issuer = await openTokenIssuer(database, clock)
  const token = await issuer.mint(principalFrom(options), options.expires)
  if (!options.json) return console.log(token)
  const { workspace, owner } = options
  // The names of the token endpoint's answer (RFC 6749 section 5.1).
  const answer = { access_token: token, token_type: 'Bearer', expires_in: options.expires }
  console.log(JSON.stringify({ ...answer, scope: [...options.scopes].join(' '), workspace, owner }))
}

function parseLifetime(text: string): number {
  const seconds = parseDuration(text)
  if (seconds > longestSeconds) throw new InvalidArgumentError('A token works for at most 30d.')
  return seconds
}
