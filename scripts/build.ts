/**
 * `npm run build`, and before `npm pack`: makes dist/, what the package runs. Node.js strips no types below node_modules,
 * so only there is the code compiled; the folders keep their places, so that every relative path holds.
 */
import { spawnSync } from 'node:child_process'
import { copyFileSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import packageJson from '../package.json' with { type: 'json' }
import { vendorFiles } from '../src/routes/docs.ts'
import { toScript } from '../src/routes/page.ts'

const root = fileURLToPath(new URL('..', import.meta.url))
const dist = join(root, 'dist')

rmSync(dist, { recursive: true, force: true })
compile()
compile('--declaration', '--emitDeclarationOnly')
keepDeclarationsOfClient()
const { name, version, description, type } = packageJson
writeFileSync(join(dist, 'package.json'), JSON.stringify({ name, version, description, type }))
copy(join(root, 'examples'), 'examples', ['first-upload.png'])
copyPage(join(root, 'page'))
// Copied, so that whoever installs the package does not run the install script that comes with swagger-ui-dist.
const swagger = dirname(createRequire(import.meta.url).resolve('swagger-ui-dist/package.json'))
copy(swagger, 'vendor/swagger-ui', [...vendorFiles, 'LICENSE', 'NOTICE'])

function compile(...more: string[]): void {
  const tsc = join(root, 'node_modules/.bin/tsc')
  const args = [tsc, '-p', join(root, 'tsconfig.build.json'), ...more]
  const { status } = spawnSync(process.execPath, args, { stdio: 'inherit' })
  if (status !== 0) process.exit(1)
}

/** In declarations the compiler leaves the names of imports as they are. */
function keepDeclarationsOfClient(): void {
  for (const path of readdirSync(dist, { recursive: true, encoding: 'utf8' })) {
    if (!path.endsWith('.d.ts')) continue
    const file = join(dist, path)
    if (path.startsWith('src')) rmSync(file)
    else writeFileSync(file, readFileSync(file, 'utf8').replace(/(['"]\.\/[\w-]+)\.ts(['"])/g, '$1.js$2'))
  }
}

function copyPage(from: string): void {
  const names = readdirSync(from).filter((name) => !name.endsWith('.json'))
  const modules = names.filter((name) => name.endsWith('.ts'))
  copy(
    from,
    'page',
    names.filter((name) => !modules.includes(name)),
  )
  for (const name of modules) {
    const script = toScript(readFileSync(join(from, name), 'utf8'))
    writeFileSync(join(dist, 'page', name.replace(/ts$/, 'js')), script)
  }
}

function copy(from: string, to: string, files: readonly string[]): void {
  mkdirSync(join(dist, to), { recursive: true })
  for (const file of files) copyFileSync(join(from, file), join(dist, to, file))
}
