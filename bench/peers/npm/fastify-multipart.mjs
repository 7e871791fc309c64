// Fastify with @fastify/multipart, as its README has it: the file's stream is piped to a file.
import { randomUUID } from 'node:crypto'
import { createWriteStream } from 'node:fs'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import multipart from '@fastify/multipart'
import Fastify from 'fastify'

const [folder, port] = process.argv.slice(2)
const app = Fastify()
app.register(multipart, { limits: { fileSize: 64 * 1024 * 1024 } })
app.post('/upload', async (request) => {
  const data = await request.file()
  const name = randomUUID()
  await pipeline(data.file, createWriteStream(join(folder, name)))
  return { path: `/files/${name}`, size: data.file.bytesRead }
})
await app.listen({ port: Number(port), host: '127.0.0.1' })
