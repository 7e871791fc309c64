/** Why judges differ. The first reason that fits a disagreement counts; one that none fits fails the run. */
import { type Judge, type Ours, ourMimes } from './judges.ts'

export type Disagreement = {
  package: string
  path: string
  ours: Ours
  judge: Judge
  theirs: string | null
  /** The first bytes of the file. */
  head: Buffer
}

export type Reason = { why: string; fits: (one: Disagreement) => boolean }

/** The same container and the same finding. That a file is not whole, the others never say. */
export function isAgreement(ours: Ours, theirs: string | null): boolean {
  if (ours.finding === 'empty') return theirs === null || theirs === 'inode/x-empty'
  return ours.finding !== 'broken' && ours.mime === theirs
}

const isText = (mime: string | null): boolean =>
  mime !== null &&
  (/^(text|message)\//.test(mime) ||
    /^application\/(json|x-ndjson|xml|rtf|postscript|eps|javascript|x-setupscript|x-wine-extension-ini|x-bytecode\.\w+)$/.test(
      mime,
    ) ||
    ['image/svg+xml', 'image/x-xfig', 'image/x-xpixmap'].includes(mime))

const isOurs = (mime: string | null): boolean => mime !== null && ourMimes.has(mime)
const strange = ({ ours }: Disagreement): boolean => ours.finding === 'strange'

/** Both refuse it, under two names. */
function named(ours: string, theirs: RegExp): (one: Disagreement) => boolean {
  return (one) => strange(one) && one.ours.mime === ours && theirs.test(one.theirs ?? '')
}

/** A file that its own project's tests have as a damaged one, and what we say of it. */
function damaged(name: string, path: RegExp, message: RegExp): (one: Disagreement) => boolean {
  return (one) =>
    one.ours.finding === 'broken' &&
    one.package === name &&
    path.test(one.path) &&
    message.test(one.ours.message) &&
    (one.theirs === null || one.theirs === one.ours.mime)
}

const refusedEitherWay: Reason[] = [
  {
    why: 'texts of all kinds are refused alike, so few kinds have a name here',
    fits: (one) => strange(one) && isText(one.ours.mime) && isText(one.theirs),
  },
  {
    why: 'the library knows no texts',
    fits: (one) => strange(one) && isText(one.ours.mime) && one.judge === 'file-type' && one.theirs === null,
  },
  {
    why: 'text with control characters or in an old encoding: it is called text there, and nothing here',
    fits: (one) => strange(one) && one.ours.mime === null && isText(one.theirs),
  },
  {
    why: 'a type that has no name here, since nobody sends it by mistake; refused either way',
    fits: (one) => strange(one) && one.ours.mime === null && one.theirs !== null && !isOurs(one.theirs),
  },
  {
    why: 'known here and not there; refused either way',
    fits: (one) => strange(one) && one.ours.mime !== null && one.theirs === null,
  },
  {
    why: 'a picture, a subtitle or a plot written as plain text: called a text here',
    fits: named('text/plain', /^(image|application)\/(fits|x-subrip|x-portable-\w+|x-mvg|vnd\.hp-HPGL)$/),
  },
  {
    why: 'a text of one line that begins like a Musepack file: called a text here',
    fits: named('text/plain', /^audio\/x-musepack$/),
  },
  {
    why: 'a ZIP archive by its container, there by what it holds',
    fits: named('application/zip', /^application\/(vnd\.|x-|epub|java)/),
  },
  {
    why: 'an older Office file by its container, there by what it holds',
    fits: named('application/x-cfb', /^application\/(vnd\.|msword)/),
  },
  {
    why: 'a raw camera image by its container, TIFF, there by its maker',
    fits: named('image/tiff', /^image\/x-(canon-cr2|adobe-dng)$/),
  },
  {
    why: 'Windows Media by its container, there by what it holds',
    fits: named('video/x-ms-asf', /^audio\/x-ms-asf$/),
  },
  { why: 'two names for a JPEG 2000 codestream', fits: named('image/j2c', /^image\/x-jp2-codestream$/) },
  {
    why: 'a Java class and a program for macOS begin with the same four bytes, and have one name here',
    fits: named('application/x-mach-binary', /^application\/(x-java-applet|java-vm)$/),
  },
  {
    why: 'a font for macOS begins with the four bytes of an icon',
    fits: named('image/x-icon', /^application\/x-dfont$/),
  },
]

/** They say that it is one of the seven types, by less than we look at. */
const onlyTheyTakeIt: Reason[] = [
  {
    why: 'the library takes eleven bits of sync for MP3; no frame, or no second one, is there',
    fits: (one) =>
      strange(one) && one.judge === 'file-type' && one.theirs === 'audio/mpeg' && one.head[0] === 0xff,
  },
  {
    why: 'the library takes any brand for MP4 that it does not know; the ruling takes those that it names',
    fits: (one) =>
      strange(one) &&
      one.judge === 'file-type' &&
      one.theirs === 'video/mp4' &&
      /with the brand/.test(one.ours.message),
  },
  {
    why: 'the library takes EBML with a damaged or missing DocType for WebM',
    fits: (one) =>
      strange(one) && one.theirs === 'video/webm' && /does not say "webm"/.test(one.ours.message),
  },
  {
    why: 'a PDF begins with "%PDF-"; this one has no hyphen (a damaged file of the suite)',
    fits: (one) =>
      named('text/plain', /^application\/pdf$/)(one) && one.head.toString('latin1').startsWith('%PDF'),
  },
  {
    why: 'a text that speaks of "%PDF-" in its first lines; `file` takes it for a PDF with something before it',
    fits: (one) => named('text/plain', /^application\/pdf$/)(one) && one.head.includes('%PDF-'),
  },
]

/** Of our types, and not whole: the others judge by the first bytes alone. */
const onlyWeRefuseIt: Reason[] = [
  {
    why: 'made to crash readers: chunks of a billion bytes in files of sixty, and wrong checksums',
    fits: damaged(
      'libpng1.6',
      /\/crashers\//,
      /which says it has 1073741823 bytes|does not match its checksum/,
    ),
  },
  {
    why: 'damaged on purpose, to test the repair of files whose table is lost or points elsewhere',
    fits: damaged('qpdf', /\.pdf$/, /"startxref"|"%%EOF"/),
  },
  {
    why: 'bytes before "%PDF-", on purpose: the ruling wants it at the start, which is what makes polyglots hard',
    fits: damaged('qpdf', /\/(qpdf_extra|qtest)\//, /other bytes before its "%PDF-"/),
  },
  {
    why: 'invalid on purpose: cut, or with sizes that lead out of the file',
    fits: damaged('libwebm', /\/testdata\/invalid\//, /it ends at byte/),
  },
  {
    why: 'inputs of a fuzzer for a parser of single elements: cut, or without any media',
    fits: damaged('libwebm', /\/fuzzing\/corpus\//, /it ends at byte|no track|no element|has no size/),
  },
  {
    why: 'a tag alone, or a song cut behind its tag to keep the suite small',
    fits: (one) =>
      damaged('taglib', /\.(id3|mp3)$/, /inside its ID3 tag|before its second frame|no MP3 frames/)(one) ||
      damaged('libimage-exiftool-perl', /\/MP3\.mp3$/, /before its second frame/)(one),
  },
  {
    why: 'an ID3 tag before audio of another kind (APE, TTA, Musepack), which has no name here',
    fits: (one) =>
      one.ours.finding === 'broken' &&
      /no MP3 frames follow/.test(one.ours.message) &&
      /\.(ape|tta|mpc)$/.test(one.path) &&
      !isOurs(one.theirs),
  },
  {
    why: 'frames in another container between the tag and the sound, which the ruling does not take',
    fits: damaged('libmp3-info-perl', /\/testv2\.\d\.0\.mp3$/, /no MP3 frames follow/),
  },
  {
    why: 'a crasher: its "fmt " has two bytes',
    fits: damaged('taglib', /\/segfault\.wav$/, /"fmt " has only 2 bytes/),
  },
  {
    why: 'followed by 20 KB of zero bytes, so no end is near its end, where the ruling wants it; readers repair it',
    fits: damaged('pypdf', /selenium-pypdf-issue-177\.pdf$/, /"%%EOF"/),
  },
]

export const reasons: readonly Reason[] = [...refusedEitherWay, ...onlyTheyTakeIt, ...onlyWeRefuseIt]
