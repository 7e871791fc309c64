#!/usr/bin/env node
import { fileURLToPath } from 'node:url'
import { launch } from './launch.mjs'

const program = fileURLToPath(new URL('../src/cli/program.ts', import.meta.url))
// A small nursery: uploads make little garbage, and a large one only holds on to what they made (docs/performance.md).
launch([
  '--max-semi-space-size=1',
  '--disable-warning=ExperimentalWarning',
  program,
  ...process.argv.slice(2),
])
