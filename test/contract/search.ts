/** Searches over random assets, page by page: the same as to go through them all. */
import assert from 'node:assert/strict'
import { type AssetType, type MediaType, mediaTypeNames, mediaTypes } from '../../src/asset.ts'
import { completePending, insertPending } from '../../src/records/assets.ts'
import type { Database } from '../../src/records/database.ts'
import { type FoundAsset, searchAssets, withdrawAsset } from '../../src/records/library.ts'
import { seeded } from '../corpus/feeding.ts'
import type { Engine } from './database.ts'
import { pending, testsOf } from './records.ts'

type Asset = { id: string; workspace: string; type: AssetType; name: string; owner: string }

const count = 800
const hexOfLarge = Buffer.from('large').toString('hex')

/** How many of the assets have a word, and of which workspace these are. */
const words: readonly { text: string; share: number; workspace?: string }[] = [
  { text: 'every', share: 1 },
  { text: 'half', share: 0.5 },
  { text: 'beach', share: 0.1 },
  { text: 'beaches', share: 0.05 },
  { text: 'rare', share: 0.01 },
  { text: 'foreign', share: 1, workspace: 'other' },
  { text: 'foreign', share: 0.01, workspace: 'large' },
  { text: 'foreign', share: 0.2, workspace: 'small' },
  { text: `w${hexOfLarge.slice(0, 3)}at`, share: 0.02 },
]

const searches = [
  ...['every', 'ev', 'half', 'beach', 'beaches', 'be', 'rare', 'ra', 'foreign', 'foreig', 'absent'],
  ...[
    'png',
    'jpeg',
    'mp4',
    'mp',
    'alice',
    'image',
    `w${hexOfLarge.slice(0, 3)}`,
    `w${hexOfLarge.slice(0, 2)}`,
  ],
  ...[
    'every half',
    'be rare',
    'rare foreign',
    'foreign half',
    'every absent',
    'beach png',
    'bob ra',
    'mp4 every',
  ],
].map((text) => text.split(' '))

function randomAssets(random: () => number): Asset[] {
  const one = <Item>(items: readonly Item[]): Item => items[Math.floor(random() * items.length)] as Item
  return Array.from({ length: count }, (_, index) => {
    const at = random()
    const workspace = at < 0.02 ? 'small' : at < 0.3 ? 'other' : 'large'
    const has = words.filter((word) => random() < word.share && (word.workspace ?? workspace) === workspace)
    const name = has.map(({ text }) => text).join(' ')
    const type = one<MediaType>([...mediaTypeNames, 'png', 'png', 'jpeg'])
    return { id: `a${index}`, workspace, type, name, owner: one(['alice', 'bob']) }
  })
}

async function store(database: Database, assets: readonly Asset[]): Promise<void> {
  const facts = { sha256: 'h', completedAtMs: 5_000, width: null, height: null, sizeBytes: 1 }
  for (let at = 0; at < assets.length; at += 100) {
    const batch = assets
      .slice(at, at + 100)
      .flatMap(({ id, workspace, type, name, owner }) => [
        insertPending(database, pending(id, { workspace, owner })),
        completePending(database, id, `t-${id}`, { type, name, ...facts }),
      ])
    assert.deepEqual(await database.write(batch), { written: true })
  }
}

async function withdraw(database: Database, assets: readonly Asset[]): Promise<void> {
  const heir = { token: 'heir', serviceId: 's', leaseExpiresAtMs: 0 }
  const batch = assets.map(({ workspace, id }) => withdrawAsset(database, workspace, id, heir))
  assert.deepEqual(await database.write(batch), { written: true })
}

function isFound(asset: Asset, workspace: string, searched: readonly string[]): boolean {
  if (asset.workspace !== workspace || !isImage(asset.type)) return false
  const texts = [...asset.name.split(' '), asset.type, asset.owner]
  return searched.every((word) =>
    texts.some((text) => (word.length >= 2 && word.length <= 6 ? text.startsWith(word) : text === word)),
  )
}

const isImage = (type: AssetType): boolean => type !== 'zip' && mediaTypes[type].kind === 'image'

/** To the end, page by page. */
async function all(database: Database, workspace: string, searched: string[], limit: number) {
  const found: string[] = []
  for (let before: number | null = null; ; ) {
    const search = { workspace, kind: 'image', words: searched, before, limit } as const
    const page: FoundAsset[] = await searchAssets(database, search)
    assert.ok(page.length <= limit)
    found.push(...page.map(({ asset_id }) => asset_id))
    const last = page.at(-1)
    if (last === undefined || page.length < limit) return found
    assert.ok(last.completed_order < (before ?? Number.MAX_SAFE_INTEGER), 'pages go on')
    before = last.completed_order
  }
}

export function searchContract(engine: Engine): void {
  const it = testsOf(engine)

  it('a search finds what going through all assets finds, in the same order, by pages of any size', async ({
    database,
  }) => {
    const random = seeded(9)
    const stored = randomAssets(random)
    await store(database, stored)
    const gone = new Set(stored.filter(() => random() < 0.1))
    await withdraw(database, [...gone])
    const newestFirst = stored.filter((asset) => !gone.has(asset)).toReversed()
    for (const workspace of ['large', 'other', 'small', 'none'])
      for (const searched of searches) {
        const wanted = newestFirst.filter((asset) => isFound(asset, workspace, searched)).map(({ id }) => id)
        for (const limit of [1, 2, 3, 4, 5, 21, count]) {
          const what = `${searched.join(' ')} in ${workspace}, ${limit} at a time`
          assert.deepEqual(await all(database, workspace, searched, limit), wanted, what)
        }
      }
  })
}
