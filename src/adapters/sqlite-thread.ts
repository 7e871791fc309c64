/** Starts the thread that writes to SQLite, ahead of time where somebody knows that it will be needed. */
import { extname } from 'node:path'
import { Worker } from 'node:worker_threads'
import { SchemaTooNew } from '../records/database.ts'
import type { WriterReply, WriterRequest } from './sqlite-writer.ts'

/** A thread that waits to be told its file. */
let ready: Worker | null = null

/**
 * Starts a thread for the next `startWriter`: it comes up while the rest of the program is loaded. One that is never used
 * keeps no process alive.
 */
export function prepareWriter(): void {
  ready ??= newThread()
  ready.unref()
}

/**
 * @returns the thread, with the file open
 * @throws {SchemaTooNew} where a newer assetd wrote the file
 */
export function startWriter(path: string): Promise<Worker> {
  const writer = ready ?? newThread()
  ready = null
  writer.ref()
  writer.postMessage({ open: path } satisfies WriterRequest)
  return new Promise((resolve, reject) => {
    writer.once('error', reject)
    writer.once('message', (reply: WriterReply) => {
      writer.off('error', reject)
      if (!('failedToOpen' in reply)) return resolve(writer)
      const { name, message } = reply.failedToOpen
      reject(name === 'SchemaTooNew' ? new SchemaTooNew(message) : new Error(message))
    })
  })
}

function newThread(): Worker {
  // `.js` in the package, where the code is compiled.
  return new Worker(new URL(`./sqlite-writer${extname(import.meta.url)}`, import.meta.url))
}
