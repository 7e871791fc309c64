/** A line to a service that is slow in the direction of uploads, so that there is a middle of them. */
import { type AddressInfo, connect, createServer } from 'node:net'
import { bucketEndpoint } from './stores.ts'

export type SlowLine = Awaited<ReturnType<typeof slowLine>>

/** A line to the service, and one to the bucket where direct uploads go there. */
export async function slowLine() {
  const [toService, toBucket] = [await oneLine(), bucketEndpoint === null ? null : await oneLine()]
  if (bucketEndpoint !== null) toBucket?.leadTo(Number(new URL(bucketEndpoint).port))
  return {
    url: toService.url,
    leadTo: toService.leadTo,
    /** While this runs, it is slow enough for whoever is to do something in the middle, on however busy a machine. */
    async crawling(work: () => Promise<void>): Promise<void> {
      for (const one of [toService, toBucket]) one?.pass(1_000)
      try {
        await work()
      } finally {
        for (const one of [toService, toBucket]) one?.pass(8_000)
      }
    },
    /** What makes a service use it. */
    env: { ...(toBucket === null ? {} : { ASSETD_S3_ENDPOINT: toBucket.url }) },
    /** What has passed on the way that the bytes of a door take. */
    bytes: (door: 'multipart' | 'direct' = 'multipart') =>
      door === 'direct' && toBucket !== null ? toBucket.bytes() : toService.bytes(),
    close() {
      toService.close()
      toBucket?.close()
    },
  }
}

/** Passes on what clients send, at about 8 MB a second. */
async function oneLine() {
  let [port, bytes, bytesPerMs] = [0, 0, 8_000]
  const server = createServer((client) => {
    const upstream = connect(port, '127.0.0.1')
    const part = (): void => {
      client.destroy()
      upstream.destroy()
    }
    for (const socket of [client, upstream]) socket.on('close', part).on('error', part)
    upstream.pipe(client)
    client.on('data', (slice) => {
      bytes += slice.length
      upstream.write(slice)
      client.pause()
      setTimeout(() => client.resume(), slice.length / bytesPerMs)
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    leadTo(target: number) {
      port = target
    },
    pass(perMs: number) {
      bytesPerMs = perMs
    },
    bytes: () => bytes,
    close: () => server.close(),
  }
}
