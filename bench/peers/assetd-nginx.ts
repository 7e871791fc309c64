/** assetd behind nginx, which sends the files itself: ASSETD_ACCEL_REDIRECT, as deploy/nginx has it. Gives files out alone. */
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { freePort, type Peer } from '../server.ts'
import { startAssetd } from './assetd.ts'
import { findNginx, quoted, startNginx } from './nginx.ts'

export const assetdBehindNginx: Peer = {
  name: 'assetd + nginx',
  async start(place) {
    const program = findNginx()
    if (typeof program !== 'string') return program
    const behind = { ...place, dir: join(place.dir, 'assetd'), port: await freePort() }
    mkdirSync(behind.dir)
    const assetd = await startAssetd(behind, [], {
      ASSETD_ACCEL_REDIRECT: '/assetd-blobs/',
      ASSETD_TRUSTED_PROXIES: '127.0.0.1/32',
      ASSETD_PUBLIC_URL: `http://127.0.0.1:${place.port}`,
    })
    const front = await startNginx(
      program,
      place,
      `
    location / {
      proxy_pass http://127.0.0.1:${behind.port};
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Host $host;
      proxy_set_header X-Forwarded-For $remote_addr;
    }
    location /assetd-blobs/ {
      internal;
      alias ${quoted(`${join(behind.dir, 'data', 'blobs')}/`)};
      etag off;
      add_header ETag $upstream_http_etag;
    }`,
    )
    return {
      name: 'assetd + nginx',
      pids: [...assetd.pids, front.pid],
      // Past nginx: what it would do to an upload is not the question here.
      ...(assetd.publish && { publish: assetd.publish }),
      files: assetd.files,
      async stop() {
        await front.stop()
        await assetd.stop()
      },
    }
  },
}
