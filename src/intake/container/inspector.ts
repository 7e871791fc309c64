/** Says what a file is, judged by its bytes alone, while they pass by. */
import type { AssetType, Inspection, MediaType } from '../../asset.ts'
import { fileFault } from '../../errors.ts'
import { detect, detectBytes } from './detect.ts'
import { drive } from './drive.ts'
import { jpeg } from './jpeg.ts'
import { mp3 } from './mp3.ts'
import { mp4 } from './mp4.ts'
import { pdf } from './pdf.ts'
import { png } from './png.ts'
import { unsupported } from './refusal.ts'
import { peek, type Stranger, type Walk } from './walk.ts'
import { wav } from './wav.ts'
import { webm } from './webm.ts'

export type Inspector = {
  /** Looks at the next slice; throws a file fault as soon as the file is proven bad. */
  write(slice: Buffer): void
  /** The file has ended: what it is, or the fault that it is not whole. */
  end(): Inspection
}

const walkers = { png, jpeg, mp4, webm, mp3, wav, pdf } as const satisfies Record<
  MediaType,
  () => Walk<Inspection | Stranger>
>

/** The whole judgement: which container it is, whether that is allowed here, and whether it is whole. */
function* judge(allowed: ReadonlySet<AssetType>): Walk {
  const head = (yield* peek(detectBytes)).subarray(0, detectBytes)
  if (head.length === 0)
    throw fileFault('empty_file', 'The file is empty (0 bytes). Choose a file with content.')
  const found = detect(head)
  if (found.type === null || !allowed.has(found.type)) throw unsupported(found, allowed)
  const verdict = yield* walkers[found.type]()
  if (verdict.type === null) throw unsupported(verdict, allowed)
  return verdict
}

export function createInspector(options: { allowed: ReadonlySet<AssetType> }): Inspector {
  const run = drive(judge(options.allowed))
  let fault: unknown
  const guarded = <T>(step: () => T): T => {
    if (fault !== undefined) throw fault
    try {
      return step()
    } catch (thrown) {
      fault = thrown
      throw thrown
    }
  }
  return {
    write: (slice) => guarded(() => run.write(slice)),
    end: () => guarded(() => run.end()),
  }
}
