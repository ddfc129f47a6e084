import { execFile, spawn } from 'node:child_process'
import { chmod, chown, cp, mkdir, readdir, readFile, symlink, writeFile } from 'node:fs/promises'
import { dirname, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { Command, newFolder, removeFolder } from './support/command.ts'
import { freePort } from './support/free-port.ts'
import { until } from './support/wait.ts'

const ROOT = fileURLToPath(new URL('..', import.meta.url))
const NOBODY = 65_534
const run = promisify(execFile)

let folder: string
/** Where the packages are that are needed to run. */
let production: string[]
const started: Command[] = []
beforeAll(async () => {
  folder = await newFolder()
  const { stdout } = await run('npm', ['ls', '--omit=dev', '--parseable'], { cwd: ROOT })
  production = stdout.trim().split('\n').slice(1)
})
afterAll(() => removeFolder(folder, started))

/** A `node_modules` as `npm ci --omit=dev` makes it, of links to what is installed here; they are resolved to it. */
async function installProduction(home: string): Promise<void> {
  for (const path of production) {
    const place = join(home, relative(ROOT, path))
    await mkdir(dirname(place), { recursive: true })
    await symlink(path, place)
  }
}

describe('a clone without the compiler', () => {
  let clone: string
  beforeAll(async () => {
    clone = join(folder, 'clone')
    for (const part of ['package.json', 'scripts', 'drizzle', 'vendor', 'dist']) {
      await cp(join(ROOT, part), join(clone, part), { recursive: true })
    }
    await installProduction(clone)
  })

  it.skipIf(process.getuid?.() !== 0)(
    'starts by `npm start` for a user who may write nothing in it (skipped without root)',
    async () => {
      const [dataDir, home, port] = [join(folder, 'data'), join(folder, 'home'), await freePort()]
      for (const own of [dataDir, home]) {
        await mkdir(own)
        await chown(own, NOBODY, NOBODY)
      }
      const before = await readdir(clone, { recursive: true })
      const server = spawn('npm', ['start'], {
        cwd: clone,
        uid: NOBODY,
        gid: NOBODY,
        detached: true,
        env: {
          PATH: process.env.PATH,
          HOME: home,
          STORAGE_DATA_DIR: dataDir,
          STORAGE_PORT: String(port),
        },
        stdio: ['ignore', 'pipe', 'pipe'],
      })
      let said = ''
      for (const stream of [server.stdout, server.stderr]) stream.on('data', (bytes) => (said += bytes))
      const ended = new Promise((resolve) => server.once('close', resolve))
      const isUp = () =>
        fetch(`http://127.0.0.1:${port}/health`).then(
          ({ ok }) => ok,
          () => false,
        )
      await until(async () => {
        if (server.exitCode !== null) throw new Error(said)
        return isUp()
      }, 'it serves')
      process.kill(-Number(server.pid), 'SIGINT') // as a terminal does
      await ended
      expect(await readdir(clone, { recursive: true })).toEqual(before)
    },
    120_000,
  )

  it('says that it has to be built where it never was', async () => {
    const bare = join(folder, 'bare')
    for (const part of ['package.json', 'scripts']) {
      await cp(join(ROOT, part), join(bare, part), { recursive: true })
    }
    await installProduction(bare)
    const failure = await run('npm', ['start'], { cwd: bare }).catch((error) => error)
    expect(failure.stderr).toContain(
      'strongroom: it is not built, and there is no compiler: run npm ci && npm run build',
    )
  })
})

describe('the package that `npm pack` makes', () => {
  it('serves by `npx strongroom` where it is installed', async () => {
    const app = join(folder, 'app')
    const home = join(app, 'node_modules/strongroom')
    await mkdir(home, { recursive: true })
    // Built it is: built anew, it would change under the tests that run beside this one.
    await run('npm', ['pack', '--ignore-scripts', '--pack-destination', folder], { cwd: ROOT })
    const [archive = ''] = (await readdir(folder)).filter((name) => name.endsWith('.tgz'))
    await run('tar', ['-xzf', join(folder, archive), '--strip-components=1', '-C', home])
    // As `npm install` does it.
    await writeFile(join(app, 'package.json'), '{"name":"app"}')
    await mkdir(join(app, 'node_modules/.bin'))
    await symlink('../strongroom/dist/main.js', join(app, 'node_modules/.bin/strongroom'))
    await chmod(join(home, 'dist/main.js'), 0o755)
    await installProduction(app)

    expect((await readdir(home)).sort()).toEqual(
      ['LICENSE', 'README.md', 'deploy', 'dist', 'docs', 'drizzle', 'package.json', 'vendor'].sort(),
    )
    expect((await run('npx', ['strongroom', '--version'], { cwd: app })).stdout).toMatch(/^\d+\.\d+\.\d+\n$/)
    const main = join(app, 'node_modules/.bin/strongroom')
    const server = new Command(['serve'], { cwd: app, env: { STORAGE_PORT: '0' }, main })
    started.push(server)
    const url = await server.url()
    expect((await fetch(`${url}/health`)).status).toBe(200)
    const { serviceKey } = JSON.parse(await readFile(join(app, 'storage-data/keys.json'), 'utf8'))
    const ask = (path: string, body?: string) =>
      fetch(`${url}/storage/v1${path}`, {
        ...(body !== undefined && { method: 'POST', body }),
        headers: { authorization: `Bearer ${serviceKey}` },
      })
    expect((await ask('/bucket', '{"name":"box"}')).status).toBe(201)
    expect((await ask('/object/box/a.txt', 'Meow.')).status).toBe(201)
    expect(await (await ask('/object/box/a.txt')).text()).toBe('Meow.')
    expect(server.stdout).toContain('`npx strongroom keys` prints its keys')
    server.signal('SIGINT')
    expect(await server.ended).toMatchObject({ code: 0, stderr: '' })
  }, 120_000)
})
