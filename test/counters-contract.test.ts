/** The contract of the counters, held in memory. */
import { createMemoryCounters } from '../src/adapters/memory-counters.ts'
import { countersContract } from './contract/counters.ts'

countersContract({
  name: 'memory',
  isShared: false,
  runs: 300,
  place() {
    let nowMs = 1_000_000
    return {
      open: () => createMemoryCounters(() => nowMs),
      pass(seconds) {
        nowMs += seconds * 1000
      },
    }
  },
})
