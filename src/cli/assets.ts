/** `assetd upload`, `ls`, `get`, `rm`: what a user of a service does, over HTTP, wherever it runs. */
import { type Command, InvalidArgumentError } from 'commander'

export function addAssetCommands(program: Command): void {
  program
    .command('upload')
    .description('upload files to a service (ASSETD_URL, ASSETD_API_KEY); prints id, URL and file')
    .argument('<file...>')
    .option('--parallel <n>', 'how many at once', wholeNumber(1, 32), 3)
    .option('--tries <n>', 'how often each request is tried', wholeNumber(1, 100), 6)
    .option('--json', 'print JSON, a line for each file')
    .action(async (files, options) => (await import('./upload.ts')).upload(files, options))
  program
    .command('ls')
    .description('list the assets of a service, newest first')
    .option('--limit <n>', 'how many', wholeNumber(1, 1_000_000), 20)
    .option('--all', 'all there are')
    .option('--username <name>', 'only those of this owner')
    .option('--json', 'print JSON, a line for each asset')
    .action(async (options) => (await import('./library.ts')).list(options))
  program
    .command('get')
    .description('show what is known of an asset, or download it')
    .argument('<asset-id>')
    .option('-o, --output <file>', 'write its bytes to this file')
    .option('--force', 'also where the file is there already')
    .option('--json', 'print JSON')
    .action(async (assetId, options) => (await import('./library.ts')).get(assetId, options))
  program
    .command('rm')
    .description('delete assets; their URLs stop working at once')
    .argument('<asset-id...>')
    .option('--yes', 'do not ask')
    .option('--json', 'print JSON, a line for each asset')
    .action(async (assetIds, options) => (await import('./library.ts')).remove(assetIds, options))
}

function wholeNumber(least: number, most: number) {
  return (text: string): number => {
    const value = Number(text)
    if (!/^\d+$/.test(text) || value < least || value > most) {
      throw new InvalidArgumentError(`Give a whole number from ${least} to ${most}.`)
    }
    return value
  }
}
