/**
 * The thread that writes to SQLite. All batches that wait are put under one transaction, a savepoint for
 * each, so that one fsync serves them all (group commit); the main thread never waits for a disk.
 */
import type { DatabaseSync, SQLInputValue, StatementSync } from 'node:sqlite'
import { type MessagePort, parentPort, receiveMessageOnPort } from 'node:worker_threads'
import type { Outcome } from '../records/database.ts'
import { migrate, openForWriting, watchIdentity } from './sqlite-connection.ts'

/** `statement` stands for its text, which is sent once: to send it each time costs more than all else. */
export type WireStep = { statement: number; parameters: SQLInputValue[]; mustChange: boolean }
/** `open` comes first, and once. */
export type WriterRequest = { open: string } | Job | { close: true }
export type WriterReply =
  | { opened: true }
  | { failedToOpen: { name: string; message: string } }
  | { results: Result[] }
  | { failed: { ids: number[]; message: string } }

/** `texts` are those of new statements, by the number that each has from now on. */
export type Job = { id: number; batch: WireStep[]; texts: [statement: number, text: string][] }

/** A batch's outcome, or what the database refused it for. */
export type Result = { id: number; outcome: Outcome } | { id: number; refused: string }

/** More than this under one transaction would make the first wait too long for the last. */
const maxJobsAtOnce = 256

function run(port: MessagePort, connection: DatabaseSync, assertSameFiles: () => void): void {
  const texts: string[] = []
  const prepared: StatementSync[] = []
  /** A text that SQLite refuses is refused again to whoever comes with it next. */
  const prepare = (index: number): StatementSync => {
    prepared[index] ??= connection.prepare(texts[index] ?? '')
    return prepared[index]
  }
  const [save, undo, release] = ['SAVEPOINT batch', 'ROLLBACK TO batch', 'RELEASE batch'].map((sql) =>
    connection.prepare(sql),
  ) as [StatementSync, StatementSync, StatementSync]

  const runJob = (job: Job): Outcome => {
    save.run()
    for (const [index, { statement, parameters, mustChange }] of job.batch.entries()) {
      const { changes } = prepare(statement).run(...parameters)
      if (mustChange && Number(changes) === 0) {
        undo.run()
        release.run()
        return { written: false, failedStep: index }
      }
    }
    release.run()
    return { written: true }
  }

  /** A refused statement undoes its own batch; an error that ended the transaction takes all of them. */
  const decide = (job: Job): Result => {
    try {
      return { id: job.id, outcome: runJob(job) }
    } catch (error) {
      if (!connection.isTransaction) throw error
      undo.run()
      release.run()
      return { id: job.id, refused: String(error) }
    }
  }

  const commitTogether = (jobs: Job[]): WriterReply => {
    try {
      assertSameFiles()
      connection.exec('BEGIN IMMEDIATE')
      const results = jobs.map(decide)
      connection.exec('COMMIT')
      assertSameFiles() // what was written meanwhile may be in a file that nobody will find
      return { results }
    } catch (error) {
      // A failed COMMIT (disk full, I/O error) may have rolled back by itself; then this one has nothing to do.
      if (connection.isTransaction) connection.exec('ROLLBACK')
      return { failed: { ids: jobs.map((job) => job.id), message: String(error) } }
    }
  }

  port.on('message', (first: WriterRequest) => {
    const jobs: Job[] = []
    let closing = false
    for (let request: WriterRequest | undefined = first; request !== undefined; ) {
      if ('close' in request) closing = true
      else if ('batch' in request) {
        for (const [statement, text] of request.texts) texts[statement] = text
        jobs.push(request)
      }
      if (closing || jobs.length >= maxJobsAtOnce) break
      request = receiveMessageOnPort(port)?.message
    }
    if (jobs.length > 0) port.postMessage(commitTogether(jobs))
    if (closing) {
      connection.close()
      port.close()
    }
  })
}

parentPort?.once('message', (first: WriterRequest) => {
  if (parentPort === null || !('open' in first)) return
  try {
    const connection = openForWriting(first.open)
    migrate(connection)
    parentPort.postMessage({ opened: true } satisfies WriterReply)
    run(parentPort, connection, watchIdentity(first.open))
  } catch (error) {
    const { name, message } = error as Error
    parentPort.postMessage({ failedToOpen: { name, message } } satisfies WriterReply)
    parentPort.close()
  }
})
