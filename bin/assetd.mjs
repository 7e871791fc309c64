#!/usr/bin/env node
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { launch } from './launch.mjs'

/** The package has the code compiled: Node.js strips no types below node_modules. */
const source = new URL('../src/cli/entry.ts', import.meta.url)
const compiled = new URL('../dist/src/cli/entry.js', import.meta.url)
const program = fileURLToPath(existsSync(source) ? source : compiled)
// A nursery that is large enough from the first to start in, and that stays too small to hold on to what uploads make
// (docs/performance.md).
launch([
  '--min-semi-space-size=4', // MiB
  '--max-semi-space-size=4',
  '--disable-warning=ExperimentalWarning',
  program,
  ...process.argv.slice(2),
])
