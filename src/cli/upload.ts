/** `assetd upload FILE…`: several at once, each by the door that fits it, all of them tried whatever becomes of one. */
import { stat } from 'node:fs/promises'
import { AssetdError, multipartMaxBytes } from '../../client/index.ts'
import { openFile, sha256Of } from '../../client/node.ts'
import { type Connection, connect } from './connection.ts'
import { interruptedStatus } from './exit-codes.ts'
import { CommandFailure } from './failure.ts'
import { startTransfer, type Transfer } from './progress.ts'
import { shownName } from './shown.ts'

export type UploadOptions = { parallel: number; tries: number; json?: boolean }

export async function upload(files: readonly string[], options: UploadOptions): Promise<void> {
  const transfer = startTransfer(files.length)
  const connection = connect(options.tries, (words) => transfer.note(`assetd: ${words}`))
  const signal = endOnSignals(transfer)
  const waiting = files.entries()
  const hasFailed: boolean[] = []
  const work = async (): Promise<void> => {
    for (const [at, file] of waiting) {
      if (signal.aborted) return
      hasFailed[at] = !(await uploadOne(file, connection, transfer, signal, options))
    }
  }
  await Promise.all(Array.from({ length: options.parallel }, work))
  transfer.end()
  if (signal.aborted) {
    console.error('assetd: stopped; what was not whole is not kept')
    process.exit(interruptedStatus)
  }
  const failed = files.filter((_, at) => hasFailed[at]) // as they were named, not as they ended
  if (failed.length > 0 && files.length > 1) {
    const names = failed.map(shownName).join(', ')
    throw new CommandFailure(`${failed.length} of ${files.length} files could not be uploaded: ${names}`)
  }
  if (failed.length > 0) throw new CommandFailure('the file could not be uploaded')
}

/** @returns whether it is stored; the person, or the program, has been told either way */
async function uploadOne(
  path: string,
  { client, inWords }: Connection,
  transfer: Transfer,
  signal: AbortSignal,
  { json = false }: UploadOptions,
): Promise<boolean> {
  const part = transfer.add(path)
  try {
    const file = await openOrExplain(path)
    const checksum = file.size > multipartMaxBytes ? { checksumSha256: await sha256Of(file, signal) } : {}
    const uploaded = await client.upload(file, {
      ...checksum,
      signal,
      onProgress: ({ sentBytes, totalBytes }) => part.update(sentBytes, totalBytes),
    })
    const { asset_id, url, mime_type, size_bytes } = uploaded
    transfer.print(
      json
        ? JSON.stringify({ file: path, asset_id, url, mime_type, size_bytes })
        : `${asset_id}\t${url}\t${shownName(path)}`,
    )
    return true
  } catch (error) {
    if (signal.aborted) return false
    const words = error instanceof CommandFailure ? error.message : inWords(error)
    if (json) transfer.print(JSON.stringify({ file: path, error: factsOf(error, words) }))
    transfer.note(`assetd: ${shownName(path)}: ${words}`)
    return false
  } finally {
    part.end()
  }
}

function factsOf(error: unknown, message: string) {
  if (!(error instanceof AssetdError)) return { code: 'file_unreadable', message }
  const { code, status, param, details, requestId } = error
  return { code, message: error.message, param, details, status, request_id: requestId }
}

async function openOrExplain(path: string): Promise<File> {
  try {
    if ((await stat(path)).isDirectory()) throw new CommandFailure('it is a folder; name the files in it')
    return await openFile(path)
  } catch (error) {
    if (error instanceof CommandFailure) throw error
    const { code } = error as NodeJS.ErrnoException
    throw new CommandFailure(code === 'ENOENT' ? 'there is no such file' : `it cannot be read (${code})`)
  }
}

/** The first signal takes back what is under way; one after a second ends us where we are. One Ctrl-C comes several times. */
function endOnSignals(transfer: Transfer): AbortSignal {
  const end = new AbortController()
  let firstAt: number | null = null
  const onSignal = (): void => {
    if (firstAt !== null && performance.now() - firstAt > 1_000) process.exit(interruptedStatus)
    firstAt ??= performance.now()
    transfer.end()
    end.abort()
  }
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, onSignal)
  return end.signal
}
