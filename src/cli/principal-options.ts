/** The options that say who a key or a token is for. */
import { type Command, InvalidArgumentError, Option } from 'commander'
import { type Principal, parseScopes, type Scope, scopes } from '../principal.ts'

export type PrincipalOptions = { workspace: string; owner: string; scopes: ReadonlySet<Scope> }

export function addPrincipalOptions(command: Command): Command {
  return command
    .option('--workspace <name>', 'the workspace whose assets it opens', parseName, 'default')
    .option('--owner <name>', 'who it is for, within the workspace', parseName, 'default')
    .addOption(
      new Option('--scopes <list>', `some of ${scopes.join(',')}`)
        .argParser(parseScopeList)
        .default(new Set(scopes), 'all'),
    )
}

export function principalFrom(options: PrincipalOptions): Principal {
  return { workspace: options.workspace, owner: options.owner, scopes: options.scopes }
}

function parseName(text: string): string {
  if (!/^[A-Za-z0-9._@-]{1,128}$/.test(text)) {
    throw new InvalidArgumentError('Give 1 to 128 letters, digits, dots, dashes, underscores or @.')
  }
  return text
}

function parseScopeList(text: string): Set<Scope> {
  const named = text.split(/[\s,]+/).filter((name) => name !== '')
  const known = parseScopes(text)
  if (named.length === 0 || known.size !== new Set(named).size) {
    throw new InvalidArgumentError(`Give some of ${scopes.join(', ')}, with commas between.`)
  }
  return known
}
