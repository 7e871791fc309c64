/** The S3 servers that a suite runs on. */
import { isShort } from '../form.ts'
import { noRadosgw, startRadosgw } from './radosgw.ts'
import type { S3Server } from './s3.ts'
import { noVersitygw, startVersitygw } from './versitygw.ts'

type Kind = { name: string; skip: string | false; begin(): Promise<S3Server> }

/** In the short form the one that starts in no time. */
export function s3Servers(): Kind[] {
  return [
    { name: 'versitygw', skip: noVersitygw, begin: () => startVersitygw() },
    {
      name: 'radosgw',
      skip: isShort ? 'the short form runs this on versitygw alone' : noRadosgw,
      begin: startRadosgw,
    },
  ]
}
