import { execFile } from 'node:child_process'
import { mkdtemp, open, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { type Bench, MIB } from './family.ts'
import { freePort, startProgram, untilAnswers } from './processes.ts'
import type { Contestant } from './rounds.ts'
import type { Reference } from './stores.ts'

export async function hasNginx(): Promise<boolean> {
  return promisify(execFile)('nginx', ['-v']).then(
    () => true,
    () => false,
  )
}

/**
 * nginx sending a file of `size` bytes by sendfile.
 *
 * @param on measures what is at this URL
 */
export function nginxSending({ folder }: Bench, size: number, on: (url: string) => Contestant): Reference {
  return {
    name: 'nginx, sendfile',
    on: async () => {
      const prefix = await mkdtemp(join(folder, 'nginx-'))
      await writeBytes(join(prefix, 'file.bin'), size)
      return on(`${await startNginx(prefix)}/file.bin`)
    },
  }
}

async function writeBytes(path: string, size: number): Promise<void> {
  const file = await open(path, 'wx')
  const piece = Buffer.alloc(MIB, 'x')
  for (let left = size; left > 0; left -= piece.length) {
    await file.write(piece.subarray(0, Math.min(left, piece.length)))
  }
  await file.sync() // not to be written while something is measured
  await file.close()
}

/** An nginx of our own that serves this folder, and has its files there. */
async function startNginx(folder: string): Promise<string> {
  const port = await freePort()
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
  const config = `
    daemon off;
    worker_processes 1;
    pid ${folder}/nginx.pid;
    error_log ${folder}/error.log;
    ${process.getuid?.() === 0 ? 'user root;' : '' /* the folder is private to our user */}
    events {}
    http {
      access_log off;
      sendfile on;
      tcp_nopush on;
      ${temporary.map((name) => `${name}_temp_path ${folder}/${name};`).join('\n      ')}
      server { listen 127.0.0.1:${port}; location / { root ${folder}; } }
    }`
  const path = join(folder, 'nginx.conf')
  await writeFile(path, config)
  const log = join(folder, 'error.log')
  const nginx = await startProgram(['nginx', '-e', log, '-p', folder, '-c', path], { log })
  const url = `http://127.0.0.1:${port}`
  await untilAnswers(`${url}/nginx.conf`, log, nginx)
  return url
}
