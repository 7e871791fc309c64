/** `npm run bench:scale`: what docs/scaling.md rests on. See there for how to read it. */
import { parseArgs } from 'node:util'
import { measureCopies } from './scale-copies.ts'
import { measureCpu } from './scale-cpu.ts'
import { closeAll, open } from './scale-load.ts'
import { measureRecords } from './scale-records.ts'

const usage = `Usage: npm run bench:scale -- [records] [copies] [cpu] [options]    (all three, where none is named)
  records        p50 and p99 of claim, commit, get and list on PostgreSQL, with few rows and with many
  copies         uploads a second with one, two and three copies on this machine
  cpu            CPU of the service for each upload, SQLite and disk beside PostgreSQL and S3
  --rows N,N     how many rows (10000,10000000)
  --times N      how often each query is measured (2000)
  --rounds N     rounds of copies and cpu (3)`

const say = (text: string): void => console.error(`bench: ${text}`)

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    rows: { type: 'string', default: '10000,10000000' },
    times: { type: 'string', default: '2000' },
    rounds: { type: 'string', default: '3' },
    help: { type: 'boolean', short: 'h', default: false },
  },
})
const parts = ['records', 'copies', 'cpu']
if (values.help || positionals.some((part) => !parts.includes(part))) {
  console.log(usage)
  process.exit(values.help ? 0 : 2)
}
const isAsked = (part: string): boolean => positionals.length === 0 || positionals.includes(part)

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
  process.once(signal, () => closeAll(open).finally(() => process.exit(1)))

if (isAsked('records')) {
  const rows = values.rows.split(',').map(Number)
  console.log(await measureRecords({ rows, times: Number(values.times), say }))
}
if (isAsked('copies')) console.log(`\n${await measureCopies(Number(values.rounds), say)}`)
if (isAsked('cpu')) console.log(`\n${await measureCpu(Number(values.rounds), say)}`)
