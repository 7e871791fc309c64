/** MP3: MPEG audio of Layer III, with or without ID3v2 tags before it (id3v2.4.0-structure, section 3). */
import type { Inspection } from '../../asset.ts'
import { framesIn, hasAdts, longestFrame, notMp3 } from './mpeg-audio.ts'
import { corrupt } from './refusal.ts'
import { peek, type Stranger, skip, type Walk } from './walk.ts'

/** Programs that don't find a tag put another before it; more than a few are no accident. */
const maxTags = 16
/** Some taggers leave zero bytes between the tag and the sound. */
const maxZeroBytes = 65_536

const tagHeaderBytes = 10
const twoFrames = 2 * longestFrame

export function* mp3(): Walk<Inspection | Stranger> {
  let tags = 0
  for (let next = yield* tagHead(); next !== null; next = yield* tagHead()) {
    tags++
    if (tags > maxTags) throw corrupt('mp3', `it exceeds our budget of ID3 tags: more than ${maxTags}`)
    yield* passTag(next)
  }
  if (tags > 0) yield* passZeroes()
  // Cut to what was asked for: a verdict must not hang on how much more is at hand.
  return sound((yield* peek(twoFrames)).subarray(0, twoFrames), tags > 0)
}

function* tagHead(): Walk<Buffer | null> {
  const head = (yield* peek(tagHeaderBytes)).subarray(0, tagHeaderBytes)
  return head.toString('latin1', 0, 3) === 'ID3' ? Buffer.from(head) : null
}

function* passTag(head: Buffer): Walk<void> {
  const bytes = tagBytes(head)
  const there = yield* skip(bytes)
  if (there < bytes) throw corrupt('mp3', `it ends inside its ID3 tag, which says it has ${bytes} bytes`)
}

/** Sizes are "syncsafe": seven bits to a byte (section 6.2), so that no size looks like sound. */
function tagBytes(head: Buffer): number {
  if (head.length < tagHeaderBytes) throw corrupt('mp3', 'it ends inside the head of its ID3 tag')
  const [version = 0, revision, flags = 0, ...size] = head.subarray(3)
  if (version < 2 || version > 4 || revision === 0xff || size.some((byte) => byte > 0x7f)) {
    throw corrupt('mp3', 'the head of its ID3 tag is damaged')
  }
  const footer = version === 4 && (flags & 0x10) !== 0 ? tagHeaderBytes : 0
  return tagHeaderBytes + size.reduce((sum, byte) => sum * 128 + byte, 0) + footer
}

function* passZeroes(): Walk<void> {
  for (let passed = 0; passed <= maxZeroBytes; ) {
    const view = (yield* peek(twoFrames)).subarray(0, twoFrames)
    const sound = view.findIndex((byte) => byte !== 0)
    if (sound === 0 || view.length === 0) return
    passed += yield* skip(sound < 0 ? view.length : sound)
  }
  throw corrupt('mp3', `it exceeds our budget of zero bytes after an ID3 tag: more than ${maxZeroBytes}`)
}

/**
 * Eleven bits of sync are found everywhere, so it takes a second frame to believe the first. After a tag a
 * single frame will do where the file has no more: a very short sound.
 */
function sound(view: Buffer, tagged: boolean): Inspection | Stranger {
  const frames = framesIn(view)
  if (frames.found === 'none') {
    if (hasAdts(view)) return { type: null, detected: 'audio/aac', what: 'AAC audio with an ID3 tag' }
    if (view.toString('latin1', 0, 4) === 'fLaC') {
      return { type: null, detected: 'audio/flac', what: 'FLAC audio with an ID3 tag' }
    }
    throw corrupt('mp3', 'no MP3 frames follow its ID3 tag')
  }
  const stranger = notMp3(frames.frame)
  if (stranger !== null) return stranger
  const wholeFrame = view.length === frames.frame.bytes
  if (frames.found === 'one' && !(tagged && wholeFrame)) {
    throw corrupt('mp3', 'it ends before its second frame')
  }
  return { type: 'mp3', width: null, height: null }
}
