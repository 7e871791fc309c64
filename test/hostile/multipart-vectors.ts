/**
 * Bodies of multipart that stopped, fooled or filled other readers, each built here from what its advisory says. The
 * file in them, where there is one, is a good picture: so what decides is the shape of the body alone.
 */
import { png } from '../media/samples.ts'
import { boundary, latin1, multipart, type Part } from '../raw-http.ts'

export type Vector = {
  /** Whose reader it hurt, and how. */
  story: string
  body: Buffer
  contentType?: string
  /** 200, or the reason of the refusal. */
  expected: 200 | string
}

export const image = png()
const file: Part = { fileName: 'a.png', type: 'image/png', body: image }
const field = (name: string, body: string | Uint8Array = 'v'): Part => ({ name, body })
const headed = (head: string | Uint8Array, body: string | Uint8Array = image): Part => ({ head, body })
const disposition = 'Content-Disposition: form-data; name="file"'
const typed = `multipart/form-data; boundary=${boundary}`

const open = `--${boundary}\r\n`
const close = `\r\n--${boundary}--\r\n`
const raw = (...pieces: (string | Uint8Array)[]): Buffer =>
  Buffer.concat(pieces.map((piece) => (typeof piece === 'string' ? latin1(piece) : Buffer.from(piece))))
/** One file with its head as it is; each character of a text is a byte. */
const withHead = (head: string | Uint8Array): Buffer => multipart([headed(raw(head))])

const bad = 'malformed_multipart'

/** What ends, or never begins. */
const broken: Vector[] = [
  {
    story: 'multer CVE-2025-47944: a head, a blank line, and half of a boundary',
    body: raw(
      open,
      disposition,
      '; filename=""\r\nContent-Type: application/octet-stream\r\n\r\n\r\n',
      '--a-bound',
    ),
    expected: bad,
  },
  {
    story: 'multer CVE-2025-7338: the head ends within a quoted name',
    body: raw(open, 'Content-Disposition: form-data; name="fi'),
    expected: bad,
  },
  {
    story: 'multer CVE-2025-7338: a whole file and no word after it',
    body: raw(open, disposition, '\r\n\r\n', image),
    expected: bad,
  },
  {
    story: 'multer CVE-2026-3304: a fault behind a whole file, which must not stay',
    body: multipart([file, headed('Content-Disposition: form-data', 'x')]),
    expected: bad,
  },
  {
    story: '@fastify/multipart CVE-2025-24033: a limit that is passed behind a whole file',
    body: multipart([file, field('a', Buffer.alloc(1_100_000, 'a'))]),
    expected: 'fields_too_large',
  },
  {
    story: 'dicer CVE-2022-24434: a head that begins with a blank',
    body: withHead(` ${disposition}`),
    expected: bad,
  },
  {
    story: 'dicer CVE-2022-24434: a head that begins with a tab',
    body: withHead(`\t${disposition}`),
    expected: bad,
  },
  {
    story: 'dicer: a head of a blank line and then headers',
    body: raw(open, '\r\n', disposition, '\r\n\r\n', image, close),
    expected: bad,
  },
  {
    story: 'multipart (Rust): heads and data without a boundary anywhere',
    body: raw(disposition, '\r\n\r\n', image, '\r\n', disposition, '\r\n\r\nvalue2 '),
    expected: bad,
  },
  {
    story: 'form-data (Rust): two dashes too few before the later boundaries',
    body: raw(open, disposition, '\r\n\r\n', image, `\r\n${boundary}\r\n${boundary}--\r\n`),
    expected: bad,
  },
  {
    story: 'shellinabox CVE-2018-16789: a boundary, and no line after it',
    body: raw(`--${boundary}`),
    expected: bad,
  },
  {
    story: 'a boundary twice, with nothing between',
    body: raw(open, open, disposition, '\r\n\r\n', image, close),
    expected: bad,
  },
  {
    story: 'a closing boundary before the file',
    body: raw(`--${boundary}--\r\n`, multipart([file])),
    expected: 'missing_file',
  },
  {
    story: 'no line break between the file and the closing boundary',
    body: raw(open, disposition, '\r\n\r\n', image, `--${boundary}--\r\n`),
    expected: bad,
  },
  {
    story: 'a closing boundary among the headers',
    body: raw(open, disposition, `\r\n--${boundary}--\r\n\r\n`, image, close),
    expected: bad,
  },
  {
    story: 'a byte order mark before the first boundary',
    body: raw('\xef\xbb\xbf', multipart([file])),
    expected: 'missing_file',
  },
  {
    story: 'a head in UTF-16',
    body: withHead(Buffer.from(disposition, 'utf16le')),
    expected: bad,
  },
  { story: 'a byte order mark before a head', body: withHead(`\xef\xbb\xbf${disposition}`), expected: bad },
  {
    story: 'a no-break space before a value',
    body: withHead(Buffer.from(disposition.replace(' ', '\u00a0'))),
    expected: bad,
  },
  { story: 'heads that end in LF alone', body: raw(open, disposition, '\n\n', image, close), expected: bad },
  { story: 'heads that end in CR alone', body: raw(open, disposition, '\r\r', image, close), expected: bad },
]

/** Heads that other readers die of, guess at, or read in two ways. */
const heads: Vector[] = [
  {
    story: 'PHP CVE-2015-4024: a header over many lines',
    body: withHead(`Content-Disposition: form-data;${'\r\n a'.repeat(500)}`),
    expected: bad,
  },
  { story: 'busboy: a header that is a colon alone', body: withHead(`:\r\n${disposition}`), expected: bad },
  { story: 'busboy: a header without a value', body: withHead(`X:\r\n${disposition}`), expected: 200 },
  {
    story: 'undici: no blank behind the colon',
    body: withHead('content-disposition:form-data;name="file"'),
    expected: 200,
  },
  {
    story: 'undici: all in capitals',
    body: withHead('CONTENT-DISPOSITION: FORM-DATA; NAME="file"; FILENAME="x"'),
    expected: 200,
  },
  {
    story: 'undici: a name without quotes',
    body: withHead('Content-Disposition: form-data; name=file'),
    expected: 200,
  },
  {
    story: 'a name in single quotes',
    body: withHead("Content-Disposition: form-data; name='file'"),
    expected: 'missing_file',
  },
  {
    story: 'a comma for a semicolon',
    body: withHead('Content-Disposition: form-data, name="file"'),
    expected: bad,
  },
  { story: 'no semicolon', body: withHead('Content-Disposition: form-data name="file"'), expected: bad },
  {
    story: 'blanks around an equals sign',
    body: withHead('Content-Disposition: form-data; name = "file"'),
    expected: bad,
  },
  {
    story: 'two filenames',
    body: withHead(`${disposition}; filename="a.png"; filename="b.html"`),
    expected: bad,
  },
  {
    story: 'two names that differ in case',
    body: withHead('Content-Disposition: form-data; name="a"; Name="file"'),
    expected: bad,
  },
  {
    story: 'a backslash before the last quote',
    body: withHead('Content-Disposition: form-data; name="file\\"'),
    expected: bad,
  },
  {
    story: 'NUL at the end of the name',
    body: withHead('Content-Disposition: form-data; name="file\0"'),
    expected: bad,
  },
  {
    story: 'NUL between header and colon',
    body: withHead('Content-Disposition\0: form-data; name="file"'),
    expected: bad,
  },
  {
    story: 'a boundary within a filename',
    body: withHead(`${disposition}; filename="--${boundary}--"`),
    expected: 200,
  },
  {
    story: 'a boundary on a line of its own within a filename',
    body: withHead(`${disposition}; filename="a\r\n--${boundary}\r\n"`),
    expected: bad,
  },
  {
    story: 'control characters in a filename',
    body: withHead(`${disposition}; filename="a\x01\x08\x0b\x1b[31m\x7f"`),
    expected: 200,
  },
  {
    story: 'a filename in UTF-8 that is too long',
    body: withHead(`${disposition}; filename="\xc0\xaf\xe0\x80\xaf..\xc0\xae"`),
    expected: 200,
  },
  {
    story: 'half a surrogate in a filename',
    body: withHead(`${disposition}; filename="\xed\xa0\x80"`),
    expected: 200,
  },
  {
    story: 'a filename of 16,000 bytes',
    body: withHead(`${disposition}; filename="${'n'.repeat(16_000)}"`),
    expected: 200,
  },
  {
    story: 'multiparty: filename* that is no percent-encoding',
    body: withHead(`${disposition}; filename*=UTF-8''%`),
    expected: 200,
  },
  {
    story: 'multiparty: filename* of bytes that are no UTF-8',
    body: withHead(`${disposition}; filename*=UTF-8''%ff%fe%00`),
    expected: 200,
  },
  { story: 'filename* of no charset', body: withHead(`${disposition}; filename*=nonsense`), expected: 200 },
  {
    story: 'filename* in a charset that is none',
    body: withHead(`${disposition}; filename*=../../etc'x'a`),
    expected: 200,
  },
  {
    story: 'RFC 2231: a filename in pieces',
    body: withHead(`${disposition}; filename*0="a"; filename*1*=%2e; filename*2=php`),
    expected: 200,
  },
  { story: 'name* beside a name', body: withHead(`${disposition}; name*=UTF-8''other`), expected: 200 },
  {
    story: 'name* in place of a name',
    body: withHead("Content-Disposition: form-data; name*=UTF-8''file"),
    expected: bad,
  },
  {
    story: 'RFC 2047: a name as an encoded word',
    body: withHead('Content-Disposition: form-data; name="=?utf-8?Q?file?="'),
    expected: 'missing_file',
  },
  {
    story: 'a name behind a blank',
    body: withHead('Content-Disposition: form-data; name=" file"'),
    expected: 'missing_file',
  },
  {
    story: 'multer CVE-2025-48997: an empty name',
    body: multipart([{ ...file, name: '' }, file]),
    expected: 200,
  },
  {
    story: 'PHP CVE-2012-1172: an open bracket in a name',
    body: multipart([{ ...file, name: 'file[[x]' }]),
    expected: 'missing_file',
  },
  {
    story: 'PHP: a name that asks for an array',
    body: multipart([{ ...file, name: 'file[]' }]),
    expected: 'missing_file',
  },
  {
    story: 'multer CVE-2026-3520: a name that nests',
    body: multipart([field(`a${'[b]'.repeat(5_000)}`), file]),
    expected: 200,
  },
  {
    story:
      '@fastify/multipart CVE-2020-8136, express-fileupload CVE-2020-7699: names of what every object has',
    body: multipart([
      ...[
        '__proto__',
        '__proto__[polluted]',
        '__proto__.polluted',
        'constructor',
        'constructor[prototype][polluted]',
        'toString',
        'hasOwnProperty',
      ].map((name) => field(name, 'polluted')),
      file,
    ]),
    expected: 200,
  },
]

/** Headers and fields that claim something about the bytes: nobody here believes them. */
const claims: Vector[] = [
  ...['0', '-1', '1', '99999999999999999999', 'nonsense'].map((length) => ({
    story: `aiohttp CVE-2024-30251: a part with Content-Length: ${length}`,
    body: withHead(`${disposition}\r\nContent-Length: ${length}`),
    expected: 200 as const,
  })),
  ...['base64', 'quoted-printable', 'gzip', 'x-uuencode', '7bit', '\x01'].map((encoding) => ({
    story: `Django CVE-2022-23833, ModSecurity: Content-Transfer-Encoding: ${JSON.stringify(encoding)}`,
    body: withHead(`${disposition}\r\nContent-Transfer-Encoding: ${encoding}`),
    expected: 200 as const,
  })),
  {
    story: 'Django CVE-2022-23833: a field of blanks in base64',
    body: multipart([
      headed(
        'Content-Disposition: form-data; name="a"\r\nContent-Transfer-Encoding: base64',
        ' \n'.repeat(500),
      ),
      file,
    ]),
    expected: 200,
  },
  {
    story: 'a part with Content-Encoding: gzip',
    body: withHead(`${disposition}\r\nContent-Encoding: gzip`),
    expected: 200,
  },
  {
    story: 'a part with Transfer-Encoding: chunked',
    body: withHead(`${disposition}\r\nTransfer-Encoding: chunked`),
    expected: 200,
  },
  {
    story: 'a part whose type has a charset that is none',
    body: withHead(`${disposition}\r\nContent-Type: text/plain; charset=../../utf-99`),
    expected: 200,
  },
  {
    story: 'a part whose type is no type',
    body: withHead(`${disposition}\r\nContent-Type: ;;;"\\`),
    expected: 200,
  },
  {
    story: 'ModSecurity CVE-2022-39956: fields that speak of charsets and limits',
    body: multipart([
      field('_charset_', 'utf-7'),
      field('MAX_FILE_SIZE', '1'),
      field('PHP_SESSION_UPLOAD_PROGRESS'),
      file,
    ]),
    expected: 200,
  },
  {
    story: 'RFC 2388: a multipart within the file’s part, with a file of its own',
    body: multipart([
      headed(
        `${disposition}\r\nContent-Type: multipart/mixed; boundary=inner`,
        raw('--inner\r\n', disposition, '\r\n\r\n', image, '\r\n--inner--\r\n'),
      ),
    ]),
    expected: 'unsupported_type',
  },
  {
    story: 'RFC 2388: a multipart within a field',
    body: multipart([
      headed(
        'Content-Disposition: form-data; name="a"\r\nContent-Type: multipart/mixed; boundary=inner',
        raw('--inner\r\n', disposition, '\r\n\r\nx\r\n--inner--\r\n'),
      ),
      file,
    ]),
    expected: 200,
  },
]

/** Much of what is legal, and boundaries that are like each other. */
const floods: Vector[] = [
  {
    story: 'python-multipart CVE-2024-53981: line breaks before the first boundary',
    body: raw('\r\n'.repeat(20_000), multipart([file])),
    expected: 200,
  },
  {
    story: 'python-multipart CVE-2024-53981: line breaks behind the last',
    body: raw(multipart([file]), '\r\n'.repeat(20_000)),
    expected: 200,
  },
  {
    story: 'Rack CVE-2025-61770: a preamble without an end',
    body: Buffer.alloc(1_100_000, 'preamble\r\n'),
    expected: 'fields_too_large',
  },
  {
    story: 'Rack CVE-2025-61772: headers without a blank line',
    body: raw(open, disposition, '\r\n', 'X: y\r\n'.repeat(4_000)),
    expected: 'fields_too_large',
  },
  {
    story: 'werkzeug CVE-2023-46136: a field that begins with CR, and has no other for long',
    body: multipart([field('a', `\r${'a'.repeat(50_000)}`), file]),
    expected: 200,
  },
  {
    story: 'werkzeug CVE-2023-46136: a field that begins with LF, and has no other for long',
    body: multipart([field('a', `\n${'a'.repeat(50_000)}`), file]),
    expected: 200,
  },
  {
    story: 'Go CVE-2023-24536: 99 parts with heads of 16 KB',
    body: multipart([
      ...Array.from({ length: 99 }, () =>
        headed(`Content-Disposition: form-data; name="a"\r\n${'X: y\r\n'.repeat(2_700)}X: y`, ''),
      ),
      file,
    ]),
    expected: 200,
  },
  {
    story: 'Go CVE-2022-41725: 100 files',
    body: multipart(Array.from({ length: 100 }, () => file)),
    expected: 'multiple_files',
  },
  {
    story: 'PHP CVE-2023-0662: 101 parts without a byte',
    body: multipart([...Array.from({ length: 100 }, () => field('a', '')), file]),
    expected: 'too_many_parts',
  },
  {
    story: 'a CR before the boundary belongs to the file',
    body: raw(open, disposition, '\r\n\r\n', image, '\r', close),
    expected: 200,
  },
  {
    story: 'a line break before the boundary belongs to the file',
    body: raw(open, disposition, '\r\n\r\n', image, '\r\n', close),
    expected: 200,
  },
  {
    story: 'a field of boundaries that are too long, and of closing ones that are too short',
    body: multipart([
      field('a', `--${boundary}x\r\n--${boundary}-\r\n--${boundary}-x\r\n-${boundary}--\r\n--${boundary} x`),
      file,
    ]),
    expected: 200,
  },
]

const withBoundary = (
  limit: string,
  parameter = `boundary="${limit}"`,
): Pick<Vector, 'body' | 'contentType'> => ({
  body: multipart([field('a', `--${limit.slice(0, -1)}\r\n--\r\n`), file], limit),
  contentType: `multipart/form-data; ${parameter}`,
})

const boundaries: Vector[] = [
  { story: 'a boundary that ends in two dashes', ...withBoundary('b--'), expected: 200 },
  { story: 'a boundary of dashes alone', ...withBoundary('----'), expected: 200 },
  { story: 'a boundary of one dash', ...withBoundary('-'), expected: 200 },
  { story: 'a boundary with blanks inside', ...withBoundary('a  b'), expected: 200 },
  { story: 'a boundary of quote-like signs', ...withBoundary("'a'"), expected: 200 },
  {
    story: 'commons-fileupload CVE-2014-0050: a boundary of 4,092 letters',
    ...withBoundary('b'.repeat(4_092)),
    expected: bad,
  },
  {
    story: 'commons-fileupload CVE-2016-3092: the longest boundary that is legal',
    ...withBoundary('b'.repeat(70)),
    expected: 200,
  },
  { story: 'bun: a boundary that is one quote', ...withBoundary(boundary, 'boundary="'), expected: bad },
  {
    story: 'a boundary that is an escaped quote',
    ...withBoundary(boundary, 'boundary="\\""'),
    expected: bad,
  },
  {
    story: 'Rack CVE-2026-26961: a second boundary',
    ...withBoundary(boundary, `boundary=safe; boundary=${boundary}`),
    expected: bad,
  },
  {
    story: 'a second boundary in capitals',
    ...withBoundary(boundary, `boundary=${boundary}; BOUNDARY=other`),
    expected: bad,
  },
  {
    story: 'RFC 2231: a boundary in pieces',
    ...withBoundary(boundary, `boundary*0=a-; boundary*1=boundary`),
    expected: bad,
  },
  {
    story: 'RFC 2231: boundary* in place of boundary',
    ...withBoundary(boundary, `boundary*=utf-8''${boundary}`),
    expected: bad,
  },
  {
    story: 'boundary* beside boundary',
    ...withBoundary(boundary, `boundary=${boundary}; boundary*=utf-8''other`),
    expected: 200,
  },
  {
    story: 'a boundary of other letters than the body’s',
    ...withBoundary(boundary, `boundary=${boundary.toUpperCase()}`),
    expected: bad,
  },
  {
    story: 'a boundary within another parameter',
    ...withBoundary(boundary, `x="; boundary=${boundary}"`),
    expected: bad,
  },
  {
    story: 'python-multipart CVE-2024-24762: backslashes without an end',
    ...withBoundary(boundary, `!="${'\\'.repeat(8_000)}`),
    expected: bad,
  },
  {
    story: 'many parameters before the boundary',
    ...withBoundary(
      boundary,
      `${Array.from({ length: 1_000 }, (_, at) => `p${at}=x; `).join('')}boundary=${boundary}`,
    ),
    expected: 200,
  },
  {
    story: 'a no-break space before the type',
    body: multipart([file]),
    contentType: `\xa0${typed}`,
    expected: 'missing_file',
  },
  {
    story: 'the type, and a word',
    body: multipart([file]),
    contentType: `multipart/form-data x; boundary=${boundary}`,
    expected: 'missing_file',
  },
  {
    story: 'multipart/form-data-encoded',
    body: multipart([file]),
    contentType: `multipart/form-data-encoded; boundary=${boundary}`,
    expected: 'missing_file',
  },
]

export const vectors: Required<Vector>[] = [...broken, ...heads, ...claims, ...floods, ...boundaries].map(
  (vector) => ({ contentType: typed, ...vector }),
)
