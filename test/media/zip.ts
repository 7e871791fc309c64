/** ZIP archives, made by hand: stored entries, a directory, its end (APPNOTE.TXT 4.3). */
import { crc32 } from 'node:zlib'

export type ZipFaults = {
  /** Added to what the directory says of the first entry. */
  localOffset?: number
  compressedSize?: number
}

const u16 = (value: number): Buffer => Buffer.from([value & 255, value >>> 8])
function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32LE(value >>> 0)
  return bytes
}

export const emptyZip = Buffer.concat([Buffer.from('PK\x05\x06'), Buffer.alloc(18)])

export function zip(
  entries: Record<string, string | Buffer>,
  { localOffset = 0, compressedSize = 0 }: ZipFaults = {},
): Buffer {
  const files: Buffer[] = []
  const directory: Buffer[] = []
  let offset = 0
  for (const [name, content] of Object.entries(entries)) {
    const data = Buffer.from(content)
    const nameBytes = Buffer.from(name)
    const common = [
      u16(0),
      u16(0),
      u32(0),
      u32(crc32(data)),
      u32(data.length + compressedSize),
      u32(data.length),
    ]
    const lengths = [u16(nameBytes.length), u16(0)]
    const local = Buffer.concat([Buffer.from('PK\x03\x04'), u16(20), ...common, ...lengths, nameBytes, data])
    directory.push(
      Buffer.concat([
        Buffer.from('PK\x01\x02'),
        u16(20),
        u16(20),
        ...common,
        ...lengths,
        u16(0),
        u16(0),
        u16(0),
        u32(0),
        u32(offset + localOffset),
        nameBytes,
      ]),
    )
    files.push(local)
    offset += local.length
  }
  const list = Buffer.concat(directory)
  const count = u16(directory.length)
  const end = Buffer.concat([
    Buffer.from('PK\x05\x06'),
    u16(0),
    u16(0),
    count,
    count,
    u32(list.length),
    u32(offset),
    u16(0),
  ])
  return Buffer.concat([...files, list, end])
}
