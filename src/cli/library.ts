/** `assetd ls`, `get` and `rm`. */
import { createInterface } from 'node:readline/promises'
import { type Asset, AssetdError } from '../../client/index.ts'
import { withService } from './connection.ts'
import { download } from './download.ts'
import { CommandFailure } from './failure.ts'
import { shownBytes, shownName } from './shown.ts'

type JsonOption = { json?: boolean }

const largestPage = 100

export async function list(
  options: JsonOption & { limit: number; all?: boolean; username?: string },
): Promise<void> {
  const { json = false, username } = options
  const most = options.all ? Number.POSITIVE_INFINITY : options.limit
  await withService(async ({ client }) => {
    let [shown, isCut] = [0, false]
    const limit = Math.min(largestPage, most)
    const pages = client.listPages({ limit, ...(username === undefined ? {} : { username }) })
    for await (const { data, has_more } of pages) {
      if (shown === 0 && !json && data.length > 0) console.log(row('ID', 'TYPE', 'SIZE', 'UPLOADED', 'NAME'))
      for (const asset of data.slice(0, most - shown))
        console.log(json ? JSON.stringify(asset) : rowOf(asset))
      isCut = has_more || shown + data.length > most
      shown += Math.min(data.length, most - shown)
      if (shown >= most) break
    }
    if (shown === 0 && !json) console.error('There are no assets yet.')
    else if (isCut) console.error(`There are more; see them with --all or a larger --limit.`)
  })
}

function rowOf({ id, type, size_bytes, uploaded_at, name }: Asset): string {
  return row(id, type, shownBytes(size_bytes), shownTime(uploaded_at), shownName(name))
}

/** Fixed widths, so that a list of any length can be shown as it comes. */
function row(id: string, type: string, size: string, uploaded: string, name: string): string {
  return `${id.padEnd(32)}  ${type.padEnd(8)}  ${size.padStart(10)}  ${uploaded.padEnd(20)}  ${name}`
}

function shownTime(unixSeconds: number): string {
  return new Date(unixSeconds * 1000).toISOString().replace('.000Z', 'Z')
}

export async function get(
  assetId: string,
  { json = false, force = false, output }: JsonOption & { force?: boolean; output?: string },
): Promise<void> {
  await withService(async ({ client }) => {
    const asset = await client.get(assetId)
    if (output !== undefined) await download(asset, output, force)
    if (json) console.log(JSON.stringify(output === undefined ? asset : { ...asset, file: output }))
    else if (output !== undefined)
      console.log(`${output} has the ${asset.size_bytes} bytes of ${shownName(asset.name)}.`)
    else {
      const facts = { ...asset, uploaded_at: shownTime(asset.uploaded_at) }
      for (const [name, value] of Object.entries(facts))
        if (value !== null) console.log(`${name.padEnd(12)} ${shownName(String(value))}`)
    }
  })
}

export async function remove(
  assetIds: readonly string[],
  { json = false, yes = false }: JsonOption & { yes?: boolean },
): Promise<void> {
  if (!yes) await askOrFail(assetIds)
  await withService(async ({ client, inWords }) => {
    let failed = 0
    for (const assetId of assetIds) {
      try {
        await client.remove(assetId)
        console.log(json ? JSON.stringify({ id: assetId, state: 'deleted' }) : `${assetId} is deleted.`)
      } catch (error) {
        if (!(error instanceof AssetdError) || error.status !== 404) throw error
        failed++
        if (json) console.log(JSON.stringify({ id: assetId, state: 'not_found' }))
        console.error(`assetd: ${shownName(assetId)}: ${inWords(error)}`)
      }
    }
    if (failed > 0) throw new CommandFailure(`${failed} of ${assetIds.length} assets could not be deleted`)
  })
}

async function askOrFail(assetIds: readonly string[]): Promise<void> {
  if (!process.stdin.isTTY || !process.stderr.isTTY) {
    throw new CommandFailure('nothing is deleted unless you say --yes: there is no terminal to ask at')
  }
  const terminal = createInterface({ input: process.stdin, output: process.stderr })
  const what = assetIds.length === 1 ? shownName(String(assetIds[0])) : `these ${assetIds.length} assets`
  const answer = await terminal.question(`Delete ${what} for good? (y/N) `).finally(() => terminal.close())
  if (!/^y(es)?$/i.test(answer.trim())) throw new CommandFailure('nothing is deleted')
}
