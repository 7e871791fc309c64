/** The words of assets in SQLite's full-text index; what keeps it is in the migrations. */
import type { TextIndex } from '../records/database.ts'
import { sql } from '../records/kysely.ts'

export const sqliteTexts: TextIndex = {
  find({ workspace, kind, words, before, limit }) {
    const text = [
      `scope : w${Buffer.from(workspace).toString('hex')}${kind}`,
      ...words.map((word) => `{name type owner} : "${word.text}"${word.isPrefix ? ' *' : ''}`),
    ].join(' AND ')
    const behind = before === null ? sql`` : sql`AND rowid < ${before}`
    return sql`(
      SELECT rowid AS at FROM asset_texts WHERE asset_texts MATCH ${text} ${behind}
      ORDER BY rowid DESC LIMIT ${limit})`
  },
}
