/** The words of assets in PostgreSQL: a column that a trigger keeps; see the migrations. */
import type { TextIndex } from '../records/database.ts'
import { sql } from '../records/kysely.ts'

/**
 * PostgreSQL cannot know how common a word is, and either way to it is wrong for some words by seconds: from the newest
 * asset on for a rare one, by the index of words for a common one. So first so many of the newest are looked at, which
 * is enough for what is common; and what is not found there often enough is rare enough for the index.
 */
const newest = 20_000

export const postgresTexts: TextIndex = {
  find({ workspace, kind, words, before, limit }) {
    const terms = [
      sql`quote_literal(assetd_scope(${workspace}, ${kind}))`,
      // The database folds what is looked for as it folded what is there.
      ...words.map((word) => {
        const lexeme = sql`quote_literal(assetd_lexeme(${word.text}))`
        return word.isPrefix ? sql`${lexeme} || ':*'` : lexeme
      }),
    ]
    const hasAll = sql`words @@ (${sql.join(terms, sql` || ' & ' || `)})::tsquery`
    const end = before ?? Number.MAX_SAFE_INTEGER
    // `+ 0`: by the index of words, and by no other.
    return sql`(
      WITH near AS MATERIALIZED (
        SELECT at FROM (
          SELECT completed_order AS at, words FROM assets
          WHERE completed_order IS NOT NULL AND completed_order < ${end}
          ORDER BY completed_order DESC LIMIT ${newest}) AS newest
        WHERE ${hasAll} ORDER BY at DESC LIMIT ${limit}
      ), far AS MATERIALIZED (
        SELECT completed_order AS at FROM assets
        WHERE (SELECT count(*) FROM near) < ${limit} AND ${hasAll} AND completed_order IS NOT NULL
          AND completed_order + 0 < coalesce((SELECT min(at) FROM near), ${end})
        ORDER BY completed_order + 0 DESC LIMIT ${limit}
      )
      SELECT at FROM near UNION ALL SELECT at FROM far ORDER BY at DESC LIMIT ${limit})`
  },
  findAnywhere: () => null,
}
