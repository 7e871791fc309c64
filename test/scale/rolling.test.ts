/** Copies are restarted one after the other behind nginx, as docs/scaling.md says, while clients go on. */
import assert from 'node:assert/strict'
import { it } from 'node:test'
import { newUpload, send } from '../crash/uploads.ts'
import type { RunningService } from '../service.ts'
import { copiesOn } from './copies.ts'
import { noNginx, startNginx } from './nginx.ts'
import { noPostgres, startPostgres } from './postgres.ts'
import { freePort } from './programs.ts'

it('no client sees another answer than 200 while every copy is restarted', {
  skip: noPostgres || noNginx,
}, async (context) => {
  const server = await startPostgres()
  context.after(() => server.remove())
  const port = await freePort()
  const settings = { ASSETD_PUBLIC_URL: `http://127.0.0.1:${port}`, ASSETD_TRUSTED_PROXIES: '127.0.0.1' }
  const copies = copiesOn(await server.freshUrl(), settings)
  context.after(() => copies.remove())
  const running: RunningService[] = []
  for (let at = 0; at < 3; at++) running.push(await copies.start())
  const ports = running.map((copy) => copy.port)
  const nginx = await startNginx(port, ports)
  context.after(() => nginx.stop())

  const statuses = new Map<number | undefined, number>()
  const others: string[] = []
  let isOver = false
  const client = async (): Promise<void> => {
    while (!isOver) {
      const answer = await send({ url: nginx.url, key: copies.key }, newUpload())
      statuses.set(answer?.status, (statuses.get(answer?.status) ?? 0) + 1)
      if (answer?.status !== 200) others.push(answer?.body ?? 'no answer')
    }
  }
  const clients = Array.from({ length: 6 }, client)
  for (const [at, copy] of running.entries()) {
    await nginx.reload([copy.port])
    await copy.stop({ keepData: true })
    running[at] = await copies.start({ ASSETD_PORT: String(copy.port) })
    await nginx.reload([])
  }
  isOver = true
  await Promise.all(clients)
  for (const copy of running) await copy.stop({ keepData: true })
  assert.deepEqual([...statuses.keys()], [200], others.join('\n'))
  assert.ok((statuses.get(200) ?? 0) > 50, `${statuses.get(200)} uploads`)
})
