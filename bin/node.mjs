// Runs the pinned Node.js with the arguments given: what npm scripts use for everything but the service.
import { launch } from './launch.mjs'

launch(['--disable-warning=ExperimentalWarning', ...process.argv.slice(2)])
