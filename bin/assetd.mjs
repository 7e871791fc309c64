#!/usr/bin/env node
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { launch } from './launch.mjs'

/** The package has the code compiled: Node.js strips no types below node_modules. */
const source = new URL('../src/cli/program.ts', import.meta.url)
const compiled = new URL('../dist/src/cli/program.js', import.meta.url)
const program = fileURLToPath(existsSync(source) ? source : compiled)
// A small nursery: uploads make little garbage, and a large one only holds on to what they made (docs/performance.md).
// The S3 client makes more: there a larger one costs a seventh less CPU, and no memory (docs/scaling.md).
const nurseryMiB = process.env.ASSETD_S3_BUCKET ? 4 : 1
launch([
  `--max-semi-space-size=${nurseryMiB}`,
  '--disable-warning=ExperimentalWarning',
  program,
  ...process.argv.slice(2),
])
