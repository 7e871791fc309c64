/** The S3 servers that a suite runs on. */
import { isShort } from '../form.ts'
import { noRadosgw, startRadosgw } from './radosgw.ts'
import type { S3Server } from './s3.ts'
import { noVersitygw, startVersitygw } from './versitygw.ts'

type Kind = { name: string; skip: string | false; begin(): Promise<S3Server> }

/** @param inShort in the short form: on both too, or on the one that starts in no time */
export function s3Servers({ inShort }: { inShort: 'both' | 'one' }): Kind[] {
  const isLeftOut = isShort && inShort === 'one'
  return [
    { name: 'versitygw', skip: noVersitygw, begin: () => startVersitygw() },
    {
      name: 'radosgw',
      skip: isLeftOut ? 'the short form runs this on versitygw alone' : noRadosgw,
      begin: startRadosgw,
    },
  ]
}
