/** What `bin/assetd.mjs` runs. To serve, nothing of the other commands is loaded: a twentieth of the start. */
import { prepareWriter } from '../adapters/sqlite-thread.ts'
import { run } from './run.ts'

if (process.argv.slice(2).join(' ') === 'serve') {
  if (!process.env.ASSETD_DATABASE_URL && !process.env.ASSETD_DATABASE_URL_FILE) prepareWriter()
  const { serve } = await import('./serve.ts')
  await run(() => serve(process.env))
} else {
  await import('./program.ts')
}
