import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { freePort } from './free-port.ts'
import { until } from './wait.ts'

export interface Nginx {
  url: string
  /** All that it has complained of. */
  errors(): Promise<string>
  close(): Promise<void>
}

/** An nginx of our own before a server, as Debian has it: only the size of bodies is not its default. */
export function startNginx(upstream: string, { buffering }: { buffering: 'on' | 'off' }): Promise<Nginx> {
  return startNginxWith(
    (listen) => `client_max_body_size 0;
      server {
        listen ${listen};
        location / { proxy_pass ${upstream}; proxy_request_buffering ${buffering}; }
      }`,
  )
}

/** A configuration that writes nowhere but in `folder`. @param site what stands in `http` */
export function nginxConfig(folder: string, site: string): string {
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
  return `daemon off;
    pid ${folder}/nginx.pid;
    error_log ${folder}/error.log;
    ${process.getuid?.() === 0 ? 'user root;' : '' /* the folder is private to our user */}
    events {}
    http {
      access_log off;
      ${temporary.map((name) => `${name}_temp_path ${folder}/${name};`).join('\n      ')}
      ${site}
    }`
}

/** @param site what stands in `http`, of which one server listens where it is told */
export async function startNginxWith(site: (listen: string) => string): Promise<Nginx> {
  const folder = await mkdtemp(join(tmpdir(), 'strongroom-nginx-'))
  const port = await freePort()
  const log = join(folder, 'error.log')
  await writeFile(join(folder, 'nginx.conf'), nginxConfig(folder, site(`127.0.0.1:${port}`)))
  const nginx: ChildProcess = spawn('nginx', ['-e', log, '-p', folder, '-c', join(folder, 'nginx.conf')])
  const url = `http://127.0.0.1:${port}`
  const close = async () => {
    const ended = once(nginx, 'exit')
    if (nginx.exitCode === null && nginx.kill()) await ended
    await rm(folder, { recursive: true, force: true })
  }
  try {
    const isUp = () => fetch(`${url}/status`).then(({ ok }) => ok)
    await until(() => isUp().catch(() => false), 'nginx answers')
  } catch (error) {
    await close()
    throw error
  }
  return { url, errors: () => readFile(log, 'utf8'), close }
}
