/** The words of assets in SQLite's full-text index; what keeps it is in the migrations. */
import type { TextIndex, Words } from '../records/database.ts'
import { sql } from '../records/kysely.ts'

export const sqliteTexts: TextIndex = {
  find({ workspace, kind, words, before, limit }) {
    const scope = `scope : w${Buffer.from(workspace).toString('hex')}${kind}`
    return sql`(
      ${rowsWith([scope, ...termsOf(words)], before)}
      ORDER BY rowid DESC LIMIT ${limit})`
  },
  findAnywhere({ words, before, limit }) {
    // Two common words that no asset has both are looked for along the whole of their lists.
    if (words.length > 1 || words.some(({ text }) => isLikeScope(text))) return null
    return sql`(
      ${rowsWith(termsOf(words), before)}
      UNION ALL SELECT 0 ORDER BY at DESC LIMIT ${limit})`
  },
}

function rowsWith(terms: readonly string[], before: number | null) {
  const behind = before === null ? sql`` : sql`AND rowid < ${before}`
  return sql`SELECT rowid AS at FROM asset_texts WHERE asset_texts MATCH ${terms.join(' AND ')} ${behind}`
}

function termsOf(words: Words): string[] {
  return words.map(({ text, isPrefix }) => `{name type owner} : "${text}"${isPrefix ? ' *' : ''}`)
}

/** Of such a word's list most may be scopes, whose column is passed over asset by asset. */
function isLikeScope(word: string): boolean {
  const folded = word.normalize('NFD').replace(/\p{M}/gu, '')
  return /^w(([0-9a-f]{2})*[0-9a-f]?$|([0-9a-f]{2})+[io])/i.test(folded)
}
