import { execFile } from 'node:child_process'
import { mkdir, readdir, stat, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'
import type { Bench } from '../family.ts'
import { largeSize, MIB } from '../family.ts'
import { freePort, startProgram, untilAnswers } from '../processes.ts'
import type { Row } from '../results.ts'
import { alternate } from '../rounds.ts'
import { startStrongroom } from '../strongroom.ts'
import { timeDownload, timeUpload } from '../transfer.ts'

/** A large public object, against nginx sending the same file by sendfile. */
export async function largeGet(bench: Bench): Promise<Row[]> {
  const size = largeSize(bench)
  const work = `${size / MIB} MiB GET`
  if (!(await hasNginx())) return [{ work, skipped: 'nginx is not installed (Debian: nginx-light)' }]
  const server = await startStrongroom(bench.folder, 'large-get')
  try {
    await server.createBucket('bench', 'public')
    await timeUpload(`${server.url}/storage/v1/object/bench/large.bin`, size, {
      method: 'POST',
      headers: { authorization: `Bearer ${server.serviceToken}` },
    })
    const file = await onlyFile(join(server.dataDir, 'objects'))
    const { nginx, url } = await startNginx(join(bench.folder, 'nginx'), file)
    const get = (from: string) => ({ measure: async () => size / MIB / (await timeDownload(from, size)) })
    const [ours = 0, theirs = 0] = await alternate(
      [get(`${server.url}/storage/v1/object/public/bench/large.bin`), get(url)],
      bench.rounds,
    )
    await nginx.stop()
    return [
      {
        work,
        unit: 'MiB/s',
        ours,
        reference: { name: 'nginx, sendfile', value: theirs },
        budget: { atLeast: 0.8 },
      },
    ]
  } finally {
    await server.stop()
  }
}

async function hasNginx(): Promise<boolean> {
  return promisify(execFile)('nginx', ['-v']).then(
    () => true,
    () => false,
  )
}

/** An nginx of our own that serves the folder of `file`. */
async function startNginx(prefix: string, file: string) {
  await mkdir(prefix)
  const port = await freePort()
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
  const config = `
    daemon off;
    worker_processes 1;
    pid ${prefix}/nginx.pid;
    error_log ${prefix}/error.log;
    ${process.getuid?.() === 0 ? 'user root;' : '' /* the file is private to our user */}
    events {}
    http {
      access_log off;
      sendfile on;
      tcp_nopush on;
      ${temporary.map((name) => `${name}_temp_path ${prefix}/${name};`).join('\n      ')}
      server { listen 127.0.0.1:${port}; location / { root ${dirname(file)}; } }
    }`
  const path = join(prefix, 'nginx.conf')
  await writeFile(path, config)
  const log = join(prefix, 'error.log')
  const nginx = await startProgram(['nginx', '-e', log, '-p', prefix, '-c', path], { log })
  const url = `http://127.0.0.1:${port}/${file.slice(dirname(file).length + 1)}`
  await untilAnswers(`${url}`, log)
  return { nginx, url }
}

async function onlyFile(folder: string): Promise<string> {
  for (const name of await readdir(folder, { recursive: true })) {
    const path = join(folder, name)
    if ((await stat(path)).isFile()) return path
  }
  throw new Error(`There is no file in ${folder}`)
}
