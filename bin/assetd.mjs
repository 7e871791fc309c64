#!/usr/bin/env node
import { fileURLToPath } from 'node:url'
import { launch } from './launch.mjs'

const program = fileURLToPath(new URL('../src/cli/program.ts', import.meta.url))
launch(['--disable-warning=ExperimentalWarning', program, ...process.argv.slice(2)])
