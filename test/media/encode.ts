/**
 * Real files of the seven types, made by the usual encoders, for tests that want more than `samples.ts` has.
 * Where a program is not installed the answer is null, and the test says so and is skipped.
 */
import { execFile } from 'node:child_process'
import { existsSync, writeFileSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { promisify } from 'node:util'
import type { MediaType } from '../../src/asset.ts'
import { pdf } from './samples.ts'

const execute = promisify(execFile)

/** The path of an installed program, or null. The system's own comes before anything put in front of it. */
export function programPath(name: string): string | null {
  const folders = ['/usr/bin', ...(process.env.PATH ?? '').split(delimiter)]
  return folders.map((folder) => join(folder, name)).find((path) => existsSync(path)) ?? null
}

/** For `test(…, { skip: missing('ffmpeg') })`: false where all are there, else the reason in words. */
export function missing(...names: string[]): false | string {
  const absent = names.filter((name) => programPath(name) === null)
  return absent.length === 0 ? false : `${absent.join(' and ')} not installed`
}

/** Runs an installed program to its end; gives what it wrote to stdout. */
export async function run(name: string, args: readonly string[]): Promise<Buffer> {
  const path = programPath(name)
  if (path === null) throw new Error(`${name} is not installed`)
  const options = { encoding: 'buffer', maxBuffer: 2 ** 26, timeout: 30_000 } as const
  return (await execute(path, args, options)).stdout
}

export const picture = ['-f', 'lavfi', '-i', 'testsrc=size=64x48:rate=10:duration=1'] as const
export const tone = ['-f', 'lavfi', '-i', 'sine=frequency=440:duration=1'] as const

export async function ffmpeg(...args: string[]): Promise<void> {
  await run('ffmpeg', ['-v', 'error', '-y', '-threads', '1', ...args])
}

const h264 = ['-c:v', 'libx264', '-preset', 'ultrafast', '-pix_fmt', 'yuv420p']
const vp8 = ['-c:v', 'libvpx', '-deadline', 'realtime', '-cpu-used', '8']

const makers = {
  png: ['ffmpeg', (path: string) => ffmpeg(...picture, '-frames:v', '1', path)],
  jpeg: ['ffmpeg', (path: string) => ffmpeg(...picture, '-frames:v', '1', path)],
  mp4: ['ffmpeg', (path: string) => ffmpeg(...picture, ...tone, ...h264, '-c:a', 'aac', path)],
  webm: ['ffmpeg', (path: string) => ffmpeg(...picture, ...tone, ...vp8, '-c:a', 'libopus', path)],
  mp3: ['ffmpeg', (path: string) => ffmpeg(...tone, path)],
  wav: ['ffmpeg', (path: string) => ffmpeg(...tone, path)],
  pdf: ['qpdf', encodePdf],
} as const satisfies Record<MediaType, readonly [program: string, make: (path: string) => Promise<void>]>

async function encodePdf(path: string): Promise<void> {
  writeFileSync(`${path}.in`, pdf())
  await run('qpdf', ['--object-streams=generate', `${path}.in`, path])
}

/** Makes a real file of that type in the folder, called `sample.<type>`; null where its encoder is missing. */
export async function encodeSample(type: MediaType, folder: string): Promise<string | null> {
  const [program, make] = makers[type]
  if (programPath(program) === null) return null
  const path = join(folder, `sample.${type}`)
  await make(path)
  return path
}
