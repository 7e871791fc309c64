/** The rows of the table: what is sent or asked for, of whom, and what assetd is to reach. */
import type { Row } from './measure.ts'
import { cpu, p99, peak, rate } from './metrics.ts'
import { peakOf, ratioToNginx, timesAlone, type Verdict } from './verdicts.ts'

export const MiB = 1024 * 1024

const smallBytes = 100_000
const four32MiB = { sizeBytes: 32 * MiB, parallel: 4 }
const smallUploads = {
  kind: 'upload',
  sizeBytes: smallBytes,
  parallel: 4,
  requests: 400,
  quickRequests: 150,
} as const
const smallGets = {
  kind: 'get',
  sizeBytes: smallBytes,
  parallel: 4,
  requests: 4_000,
  quickRequests: 1_000,
} as const

export const rows: readonly (Row & { verdict: Verdict })[] = [
  {
    id: 'P1',
    title: '32 MiB uploads, one at a time',
    figure: cpu,
    works: [{ kind: 'upload', sizeBytes: 32 * MiB, parallel: 1, requests: 24, quickRequests: 8 }],
    verdict: (outcome) => ratioToNginx(outcome, cpu, 'at most', ['@fastify/multipart']),
  },
  {
    id: 'P2',
    title: '32 MiB uploads, eight at once',
    figure: rate,
    works: [{ kind: 'upload', sizeBytes: 32 * MiB, parallel: 8, requests: 48, quickRequests: 16 }],
    verdict: (outcome) => ratioToNginx(outcome, rate, 'at least', ['multer']),
  },
  {
    id: 'P3',
    title: '100 KB uploads, 32 at once, each with an Idempotency-Key',
    figure: rate,
    works: [
      {
        kind: 'upload',
        sizeBytes: smallBytes,
        parallel: 32,
        requests: 2_000,
        quickRequests: 400,
        idempotency: true,
      },
    ],
    verdict: (outcome) =>
      ratioToNginx(outcome, rate, 'at least', ['PocketBase', '@fastify/multipart', 'multer', 'tusd']),
  },
  {
    id: 'P4',
    title: '30 MiB uploads, 64 at once',
    figure: peak,
    only: ['assetd', 'nginx'],
    works: [{ kind: 'upload', sizeBytes: 30 * MiB, parallel: 64, requests: 64, quickRequests: 64 }],
    verdict: (outcome) => peakOf(outcome, 250 * MiB),
  },
  {
    id: 'P5',
    title: 'GET of 32 MiB, one at a time',
    figure: cpu,
    works: [{ kind: 'get', sizeBytes: 32 * MiB, parallel: 1, requests: 60, quickRequests: 20 }],
    verdict: (outcome) => ratioToNginx(outcome, cpu, 'at most', ['multer'], 0.5),
  },
  {
    id: 'P6',
    title: 'GET of 100 KB, 32 at once',
    figure: rate,
    works: [{ kind: 'get', sizeBytes: smallBytes, parallel: 32, requests: 6_000, quickRequests: 1_500 }],
    verdict: (outcome) => ratioToNginx(outcome, rate, 'at least', ['multer']),
  },
  {
    id: 'P7',
    title: '100 KB, four at once: alone, and while four uploads of 32 MiB run',
    figure: p99,
    only: ['assetd', 'nginx', 'multer'],
    works: [
      { ...smallUploads, title: 'uploads alone' },
      { ...smallUploads, title: 'uploads beside', beside: four32MiB },
      { ...smallGets, title: 'GET alone' },
      { ...smallGets, title: 'GET beside', beside: four32MiB },
    ],
    verdict: (outcome) => timesAlone(outcome, 3),
  },
]
