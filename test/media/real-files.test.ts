/** Files of real encoders: what our inspector makes of them, and whether independent judges agree. */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { after, describe, test } from 'node:test'
import { promisify } from 'node:util'
import { fileTypeFromBuffer } from 'file-type'
import { type MediaType, mediaTypeNames, mediaTypes } from '../../src/asset.ts'
import { encodeSample, ffmpeg, missing, picture, programPath, run, tone } from './encode.ts'
import { inShort, verdictOf } from './judge.ts'
import { jpeg, jpegSegment, pdf } from './samples.ts'

const folder = mkdtempSync(join(tmpdir(), 'assetd-media-'))
after(() => rmSync(folder, { recursive: true, force: true }))

type Real = {
  name: string
  needs: string[]
  make: (path: string) => Promise<void>
  /** A type that is accepted, or `unsupported_type` and what is detected. */
  verdict: string
  /** The container does not say how long it is, so that a cut file may pass. */
  openEnded?: true
}

/** Made by ffmpeg; `name` ends in the extension, which picks the format where no `-f` does. */
function byFfmpeg(name: string, verdict: string, args: readonly string[], more: Partial<Real> = {}): Real {
  const make = (path: string) => ffmpeg(...args, path)
  return { name, needs: ['ffmpeg'], make, verdict, ...more }
}

/** As by ffmpeg, but written to a pipe, so that no size can be filled in afterwards. */
function piped(name: string, verdict: string, args: readonly string[], more: Partial<Real> = {}): Real {
  const make = async (path: string) => {
    writeFileSync(path, await run('ffmpeg', ['-v', 'error', ...args, 'pipe:1']))
  }
  return { name, needs: ['ffmpeg'], make, verdict, ...more }
}

function byMagick(name: string, verdict: string, args: readonly string[]): Real {
  const source = ['-size', '60x40', 'gradient:red-blue']
  return {
    name,
    needs: ['convert'],
    make: async (path) => void (await run('convert', [...source, ...args, path])),
    verdict,
  }
}

const h264 = ['-c:v', 'libx264', '-preset', 'ultrafast', '-pix_fmt', 'yuv420p']
const aac = ['-c:a', 'aac']
const both = [...picture, ...tone, ...h264, ...aac]
const vp8 = ['-c:v', 'libvpx', '-deadline', 'realtime', '-cpu-used', '8']
const vp9 = ['-c:v', 'libvpx-vp9', '-deadline', 'realtime', '-cpu-used', '8']
const opus = ['-c:a', 'libopus']

const mp4: Real[] = [
  byFfmpeg('plain.mp4', 'mp4', both),
  byFfmpeg('faststart.mp4', 'mp4', [...both, '-movflags', '+faststart']),
  byFfmpeg('audio-alone.mp4', 'mp4', [...tone, ...aac]),
  byFfmpeg('mpeg4.mp4', 'mp4', [...picture, '-c:v', 'mpeg4', '-brand', 'mp42']),
  byFfmpeg('fragmented.mp4', 'mp4', [...both, '-movflags', '+frag_keyframe+empty_moov']),
  piped('piped.mp4', 'mp4', [...both, '-f', 'mp4', '-movflags', '+frag_keyframe+empty_moov']),
  byFfmpeg('every-frame.mp4', 'mp4', [
    ...both,
    '-movflags',
    '+frag_every_frame+empty_moov+default_base_moof',
  ]),
  byFfmpeg('dash.mp4', 'mp4', [...both, '-movflags', '+dash+frag_keyframe', '-brand', 'dash']),
  byFfmpeg('cmaf.mp4', 'mp4', [...both, '-movflags', '+cmaf+frag_keyframe']),
  byFfmpeg('itunes.m4v', 'mp4', [...both, '-f', 'ipod']),
  byFfmpeg('flash.f4v', 'mp4', [...both, '-f', 'f4v']),
  byFfmpeg('psp.mp4', 'mp4', [...both, '-ar', '48000', '-f', 'psp']),
]

const webm: Real[] = [
  byFfmpeg('vp8-vorbis.webm', 'webm', [...picture, ...tone, ...vp8, '-c:a', 'libvorbis']),
  byFfmpeg('vp9-opus.webm', 'webm', [...picture, ...tone, ...vp9, ...opus]),
  byFfmpeg('opus-alone.webm', 'webm', [...tone, ...opus]),
  byFfmpeg('cues-first.webm', 'webm', [
    ...picture,
    ...vp8,
    '-cues_to_front',
    '1',
    '-reserve_index_space',
    '500',
  ]),
  piped('piped.webm', 'webm', [...picture, ...vp8, '-f', 'webm'], { openEnded: true }),
  piped('live.webm', 'webm', [...picture, ...tone, ...vp8, ...opus, '-f', 'webm', '-live', '1'], {
    openEnded: true,
  }),
  {
    name: 'mkvmerge.webm',
    needs: ['ffmpeg', 'mkvmerge'],
    make: async (path) => {
      await ffmpeg(...picture, ...tone, ...vp8, ...opus, `${path}.mkv`)
      await run('mkvmerge', ['-q', '-w', '-o', path, `${path}.mkv`])
    },
    verdict: 'webm',
  },
]

const open = { openEnded: true } as const
const cover = [
  '-i',
  join(folder, 'cover.png'),
  '-map',
  '0',
  '-map',
  '1',
  '-c:v',
  'copy',
  '-id3v2_version',
  '3',
]
const mp3: Real[] = [
  byFfmpeg('constant.mp3', 'mp3', [...tone, '-b:a', '128k'], open),
  byFfmpeg('variable.mp3', 'mp3', [...tone, '-q:a', '4'], open),
  byFfmpeg('untagged.mp3', 'mp3', [...tone, '-id3v2_version', '0', '-write_xing', '0'], open),
  byFfmpeg('id3v1.mp3', 'mp3', [...tone, '-write_id3v1', '1', '-metadata', 'title=tone'], open),
  byFfmpeg('mpeg-2.mp3', 'mp3', [...tone, '-ar', '22050', '-b:a', '32k'], open),
  byFfmpeg('mpeg-2.5.mp3', 'mp3', [...tone, '-ar', '8000', '-b:a', '8k', '-ac', '1'], open),
  {
    name: 'cover.mp3',
    needs: ['ffmpeg'],
    make: async (path) => {
      await ffmpeg(...picture, '-frames:v', '1', join(folder, 'cover.png'))
      await ffmpeg(...tone, ...cover, path)
    },
    verdict: 'mp3',
    ...open,
  },
  {
    name: 'lame.mp3',
    needs: ['ffmpeg', 'lame'],
    make: async (path) => {
      await ffmpeg(...tone, `${path}.wav`)
      await run('lame', ['--quiet', '--preset', 'standard', '--tt', 'tone', `${path}.wav`, path])
    },
    verdict: 'mp3',
    ...open,
  },
]

const wav: Real[] = [
  byFfmpeg('plain.wav', 'wav', [...tone]),
  byFfmpeg('bits24.wav', 'wav', [...tone, '-c:a', 'pcm_s24le', '-ac', '2']),
  byFfmpeg('float.wav', 'wav', [...tone, '-c:a', 'pcm_f32le']),
  byFfmpeg('odd.wav', 'wav', [...tone, '-c:a', 'pcm_u8', '-t', '0.0101', '-ar', '10000']),
  byFfmpeg('adpcm.wav', 'wav', [...tone, '-c:a', 'adpcm_ms']),
  byFfmpeg('broadcast.wav', 'wav', [...tone, '-write_bext', '1', '-metadata', 'description=tone']),
  byFfmpeg('long.wav', 'wav', [...tone, '-rf64', 'always']),
  piped('piped.wav', 'wav', [...tone, '-f', 'wav'], open),
  piped('piped-long.wav', 'wav', [...tone, '-f', 'wav', '-rf64', 'always'], open),
]

const images: Real[] = [
  byMagick('true-colour.png', 'png', []),
  byMagick('interlaced.png', 'png', ['-interlace', 'PNG']),
  byMagick('palette.png', 'png', ['-colors', '16', '-type', 'Palette']),
  byMagick('grey16.png', 'png', ['-colorspace', 'Gray', '-depth', '16']),
  byMagick('alpha.png', 'png', ['-alpha', 'set', '-channel', 'A', '-evaluate', 'set', '50%']),
  byFfmpeg('animated.png', 'png', [...picture, '-f', 'apng']),
  byMagick('baseline.jpeg', 'jpeg', []),
  byMagick('progressive.jpeg', 'jpeg', ['-interlace', 'JPEG']),
  byMagick('grey.jpeg', 'jpeg', ['-colorspace', 'Gray']),
  byMagick('cmyk.jpeg', 'jpeg', ['-colorspace', 'CMYK']),
  byMagick('comment.jpeg', 'jpeg', ['-set', 'comment', '<script>alert(1)</script>']),
  byMagick('restarts.jpeg', 'jpeg', ['-define', 'jpeg:restart-interval=1', '-quality', '100']),
  {
    name: 'exif.jpeg',
    needs: ['convert'],
    make: async (path) => {
      const plain = await run('convert', ['-size', '60x40', 'gradient:', 'jpeg:-'])
      const exif = Buffer.concat([Buffer.from('Exif\0\0II*\0\x08\0\0\0\0\0', 'latin1'), jpeg()])
      writeFileSync(path, Buffer.concat([plain.subarray(0, 2), jpegSegment(0xe1, exif), plain.subarray(2)]))
    },
    verdict: 'jpeg',
  },
]

function byQpdf(name: string, ...args: string[]): Real {
  const make = async (path: string) => {
    writeFileSync(`${path}.in`, pdf())
    await run('qpdf', [...args, `${path}.in`, path])
  }
  return { name, needs: ['qpdf'], make, verdict: 'pdf' }
}

const documents: Real[] = [
  byQpdf('plain.pdf'),
  byQpdf('linear.pdf', '--linearize'),
  byQpdf('streams.pdf', '--object-streams=generate'),
  byQpdf('locked.pdf', '--encrypt', 'user', 'owner', '256', '--'),
]

const h263 = ['-c:v', 'h263', '-s', '176x144', '-an']
const still = ['-frames:v', '1']
const lookAlikes: Real[] = [
  byFfmpeg('movie.mov', 'unsupported_type video/quicktime', both),
  byFfmpeg('song.m4a', 'unsupported_type audio/mp4', [...tone, ...aac]),
  byFfmpeg('phone.3gp', 'unsupported_type video/3gpp', [...picture, ...h263]),
  byFfmpeg('phone.3g2', 'unsupported_type video/3gpp2', [...picture, ...h263]),
  byFfmpeg('video.mkv', 'unsupported_type video/x-matroska', both),
  byFfmpeg('sound.mka', 'unsupported_type video/x-matroska', [...tone, ...opus]),
  byFfmpeg('opus.ogg', 'unsupported_type audio/ogg', [...tone, ...opus]),
  byFfmpeg('vorbis.ogg', 'unsupported_type audio/ogg', [...tone, '-c:a', 'libvorbis']),
  byFfmpeg('sound.flac', 'unsupported_type audio/flac', [...tone]),
  byFfmpeg('sound.aac', 'unsupported_type audio/aac', [...tone, ...aac, '-f', 'adts']),
  byFfmpeg('sound.mp2', 'unsupported_type audio/mp2', [...tone, '-c:a', 'mp2']),
  byFfmpeg('sound.ac3', 'unsupported_type audio/ac3', [...tone]),
  byFfmpeg('sound.aiff', 'unsupported_type audio/aiff', [...tone]),
  byFfmpeg('sound.w64', 'unsupported_type audio/x-w64', [...tone]),
  byFfmpeg('video.avi', 'unsupported_type video/x-msvideo', [...picture]),
  byFfmpeg('video.flv', 'unsupported_type video/x-flv', [...picture]),
  byFfmpeg('video.wmv', 'unsupported_type video/x-ms-asf', [...picture]),
  byFfmpeg('video.ts', 'unsupported_type video/mp2t', both),
  byFfmpeg('video.mpg', 'unsupported_type video/mpeg', [...picture, '-r', '25']),
  byFfmpeg('animation.gif', 'unsupported_type image/gif', [...picture]),
  byFfmpeg('picture.webp', 'unsupported_type image/webp', [...picture, ...still]),
  byFfmpeg('animation.webp', 'unsupported_type image/webp', [...picture, '-c:v', 'libwebp_anim']),
  byFfmpeg('picture.avif', 'unsupported_type image/avif', [
    ...picture,
    ...still,
    '-c:v',
    'libaom-av1',
    '-cpu-used',
    '8',
  ]),
  byFfmpeg('picture.bmp', 'unsupported_type image/bmp', [...picture, ...still]),
  byFfmpeg('picture.tiff', 'unsupported_type image/tiff', [...picture, ...still]),
  byMagick('picture.ico', 'unsupported_type image/x-icon', []),
]

/** The MIME type of our verdict, whether accepted or refused. */
function ourMime(verdict: string): string {
  const type = mediaTypeNames.find((name) => name === verdict)
  return type === undefined ? (verdict.split(' ')[1] ?? '') : mediaTypes[type].mimeType
}

/** Other names that `file` and `file-type` have for the same thing. */
const sameAs: Readonly<Record<string, string>> = {
  'audio/x-wav': 'audio/wav',
  'audio/vnd.wave': 'audio/wav',
  'audio/x-m4a': 'audio/mp4',
  'video/x-m4v': 'video/mp4',
  'image/apng': 'image/png',
  'video/matroska': 'video/x-matroska',
  'audio/matroska': 'video/x-matroska',
  'application/ogg': 'audio/ogg',
  'video/ogg': 'audio/ogg',
  'audio/x-flac': 'audio/flac',
  'audio/x-hx-aac-adts': 'audio/aac',
  'audio/x-aiff': 'audio/aiff',
  'audio/vnd.dolby.dd-raw': 'audio/ac3',
  'video/vnd.avi': 'video/x-msvideo',
  'video/MP2T': 'video/mp2t',
  'application/vnd.ms-asf': 'video/x-ms-asf',
  'video/MP1S': 'video/mpeg',
  'video/MP2P': 'video/mpeg',
  'image/vnd.microsoft.icon': 'image/x-icon',
  'image/x-ms-bmp': 'image/bmp',
}

/** ffprobe's name for the container of each of our types. */
const formats: Readonly<Record<string, readonly string[]>> = {
  'image/png': ['png_pipe', 'apng'],
  'image/jpeg': ['jpeg_pipe', 'image2'],
  'video/mp4': ['mov,mp4,m4a,3gp,3g2,mj2'],
  'video/webm': ['matroska,webm'],
  'audio/mpeg': ['mp3'],
  'audio/wav': ['wav'],
}

const execute = promisify(execFile)

/** Where a judge is known to see less than we do: MP2 and MP3 have one name, and one brand of MP4 is audio. */
const knownToDiffer: Readonly<Record<string, string>> = {
  'sound.mp2': 'audio/mpeg',
  'psp.mp4': 'audio/mp4',
}

/** What `file` and `file-type` say where they know the type at all. */
async function agrees(path: string, mime: string): Promise<void> {
  const expected = [mime, knownToDiffer[basename(path)]]
  if (programPath('file') !== null) {
    const said = (await run('file', ['--brief', '--mime-type', path])).toString().trim()
    assert.ok([...expected, 'application/octet-stream'].includes(sameAs[said] ?? said), `file says ${said}`)
  }
  const found = await fileTypeFromBuffer(readFileSync(path))
  if (found === undefined) return
  const said = found.mime.split(';')[0] ?? ''
  assert.ok(expected.includes(sameAs[said] ?? said), `file-type says ${said}`)
}

async function judged(path: string, type: MediaType): Promise<void> {
  const families = formats[mediaTypes[type].mimeType]
  if (families !== undefined && programPath('ffprobe') !== null) {
    const entries = ['-v', 'error', '-show_entries', 'format=format_name', '-of', 'csv=p=0']
    const said = (await run('ffprobe', [...entries, path])).toString().trim().replaceAll('"', '')
    assert.ok(families.includes(said), `ffprobe says ${said}`)
  }
  const checker = { png: ['pngcheck', '-q'], pdf: ['qpdf', '--check', '--password=user'] }[
    type as 'png' | 'pdf'
  ]
  const program = programPath(checker?.[0] ?? '')
  if (checker !== undefined && program !== null) await execute(program, [...checker.slice(1), path])
}

function assertCutIsRefused(file: Buffer): void {
  const places = [0.01, 0.1, 0.5, 0.9, 0.99].map((share) => Math.floor(file.length * share))
  for (const bytes of [...places, file.length - 3]) {
    const verdict = verdictOf(file.subarray(0, bytes))
    assert.ok('reason' in verdict, `accepted when cut to ${bytes} of ${file.length} bytes`)
    assert.ok(['corrupt_file', 'unsupported_type'].includes(String(verdict.reason)))
  }
}

const all: [string, Real[]][] = [
  ['MP4', mp4],
  ['WebM', webm],
  ['MP3', mp3],
  ['WAV', wav],
  ['PNG and JPEG', images],
  ['PDF', documents],
  ['look-alikes', lookAlikes],
]

for (const [group, reals] of all) {
  describe(`real files: ${group}`, { concurrency: 2 }, () => {
    for (const { name, needs, make, verdict, openEnded } of reals) {
      test(`case ${verdict.includes(' ') ? 36 : 35}: ${name}: ${verdict}`, {
        skip: missing(...needs),
      }, async () => {
        const path = join(folder, name)
        await make(path)
        const file = readFileSync(path)
        assert.equal(inShort(file), verdict)
        assert.deepEqual(verdictOf(file, { sliceBytes: 1 }), verdictOf(file))
        await agrees(path, ourMime(verdict))
        const type = mediaTypeNames.find((known) => known === verdict)
        if (type === undefined) return
        await judged(path, type)
        if (openEnded !== true) assertCutIsRefused(file)
      })
    }
  })
}

describe('real files: more', { concurrency: 2 }, () => {
  for (const type of mediaTypeNames) {
    const needs = type === 'pdf' ? 'qpdf' : 'ffmpeg'
    test(`case 35: the sample encoder makes a real ${type}`, { skip: missing(needs) }, async () => {
      const path = await encodeSample(type, folder)
      assert.ok(path !== null)
      assert.equal(inShort(readFileSync(path)), type)
    })
  }

  test('case 39: pictures tell their pixels', { skip: missing('convert') }, async () => {
    for (const type of ['png', 'jpeg']) {
      const file = await run('convert', ['-size', '60x40', 'gradient:', `${type}:-`])
      assert.deepEqual(verdictOf(file), { type, width: 60, height: 40 })
    }
  })

  test('case 39: a linearized PDF cut after its first end is refused', {
    skip: missing('qpdf'),
  }, async () => {
    const path = join(folder, 'cut-linear.pdf')
    writeFileSync(`${path}.in`, pdf())
    await run('qpdf', ['--linearize', `${path}.in`, path])
    const file = readFileSync(path)
    const firstEnd = file.indexOf('%%EOF') + 6
    assert.ok(firstEnd < file.length)
    assert.equal(inShort(file.subarray(0, firstEnd)), 'corrupt_file application/pdf')
  })
})
