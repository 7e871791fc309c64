/** Brings the bytes of an asset to a file, whole or not at all. */
import { createHash, randomUUID } from 'node:crypto'
import { constants, createWriteStream } from 'node:fs'
import { copyFile, link, lstat, rename, rm } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { Transform } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import type { Asset } from '../../client/index.ts'
import { causeOf } from './connection.ts'
import { interruptedStatus } from './exit-codes.ts'
import { CommandFailure } from './failure.ts'
import { startTransfer } from './progress.ts'

const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const

/** @throws {CommandFailure} where the file is there already and may not be replaced, or the bytes are not those of the asset */
export async function download(asset: Asset, file: string, mayReplace: boolean): Promise<void> {
  const found = await lstat(file).catch(() => null)
  if (found?.isDirectory()) throw new CommandFailure(`${file} is a folder; name a file in it`)
  if (found !== null && !mayReplace) throw alreadyThere(file)
  const beside = join(dirname(file), `.${basename(file)}.${randomUUID()}`)
  const dropOnSignal = (): void => {
    rm(beside, { force: true }).finally(() => process.exit(interruptedStatus))
  }
  // Not `once`: one Ctrl-C comes several times, from the terminal and from the launcher.
  for (const signal of signals) process.on(signal, dropOnSignal)
  try {
    await receive(asset, beside)
    await (mayReplace ? rename(beside, file) : putWhereNothingIs(beside, file))
  } catch (error) {
    if (error instanceof CommandFailure) throw error
    throw new CommandFailure(`${file} cannot be written (${(error as NodeJS.ErrnoException).code ?? error})`)
  } finally {
    for (const signal of signals) process.off(signal, dropOnSignal)
    await rm(beside, { force: true })
  }
}

async function receive({ id, url, size_bytes }: Asset, file: string): Promise<void> {
  const response = await fetch(url).catch((error) => {
    throw new CommandFailure(`${url} cannot be reached (${causeOf(error)})`)
  })
  if (!response.ok || response.body === null) {
    await response.body?.cancel()
    throw new CommandFailure(`the file at ${url} cannot be had: it answers ${response.status}`)
  }
  const transfer = startTransfer(1)
  const part = transfer.add(id)
  const hash = createHash('sha256')
  let bytes = 0
  const measure = new Transform({
    transform(slice: Buffer, _encoding, next) {
      bytes += slice.length
      hash.update(slice)
      part.update(bytes, size_bytes)
      next(null, slice)
    },
  })
  try {
    await pipeline(response.body, measure, createWriteStream(file, { flags: 'wx' }))
  } catch (error) {
    if ((error as NodeJS.ErrnoException).syscall !== undefined) throw error
    throw new CommandFailure(`the connection to ${url} broke after ${bytes} of ${size_bytes} bytes`)
  } finally {
    part.end()
    transfer.end()
  }
  if (bytes !== size_bytes) throw new CommandFailure(`${bytes} bytes came, and ${id} has ${size_bytes}`)
  const [, sha256 = null] = /^"([0-9a-f]{64})"$/.exec(response.headers.get('etag') ?? '') ?? []
  if (sha256 !== null && sha256 !== hash.digest('hex')) {
    throw new CommandFailure(`the bytes that came are not those of ${id}: their SHA-256 differs`)
  }
}

/** Never replaces, even what came to be while the bytes came. */
async function putWhereNothingIs(from: string, to: string): Promise<void> {
  try {
    await link(from, to).catch(async (error: NodeJS.ErrnoException) => {
      if (error.code === 'EEXIST') throw error
      await copyFile(from, to, constants.COPYFILE_EXCL) // a file system without hard links
    })
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') throw alreadyThere(to)
    throw error
  }
}

function alreadyThere(file: string): CommandFailure {
  return new CommandFailure(`${file} is there already; add --force to replace it`)
}
