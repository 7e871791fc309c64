/** Who asks: the workspace whose assets they are, the owner within it, and what the credentials allow. */

export const scopes = ['assets:read', 'assets:write'] as const
export type Scope = (typeof scopes)[number]

export type Principal = { workspace: string; owner: string; scopes: ReadonlySet<Scope> }

/** A principal and how we know it. */
export type Caller = {
  principal: Principal
  /** One name for each credential presented: each has a rate limit of its own. */
  credentials: readonly string[]
  /** The id of the API key, for the log; null where a token alone was sent. */
  keyId: string | null
}

/** The scopes we know among those named, separated by spaces or commas. */
export function parseScopes(text: string): Set<Scope> {
  const named = new Set(text.split(/[\s,]+/))
  return new Set(scopes.filter((scope) => named.has(scope)))
}
