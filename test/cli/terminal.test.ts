import { execFile } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { newFolder, removeFolder } from '../support/command.ts'
import { describeWith, isInstalled } from '../support/installed.ts'
import { Terminal } from '../support/terminal.ts'

const sh = promisify(execFile)

// In this order, in one data folder.
describeWith('script', 'a server on a terminal', () => {
  let cwd: string
  let terminal: Terminal
  beforeAll(async () => {
    cwd = await newFolder()
  })
  afterAll(async () => {
    await terminal?.close()
    await removeFolder(cwd, [])
  })

  async function start(env: Record<string, string> = {}): Promise<void> {
    await terminal?.close()
    terminal = new Terminal(['serve'], { cwd, env: { STORAGE_PORT: '0', ...env } })
    await terminal.says('Strongroom listens on ')
  }

  const keys = async () => JSON.parse(await readFile(join(cwd, 'storage-data', 'keys.json'), 'utf8'))

  it('tells what takes its time at the first start, then both keys and what to do next', async () => {
    await start()
    await terminal.says('curl -X PUT')
    const { anonKey, serviceKey, jwtSecret } = await keys()
    for (const text of [anonKey, serviceKey]) expect(terminal.screen).toContain(text)
    expect(terminal.screen).not.toContain(jwtSecret)
    const { lines } = terminal
    const steps = ['making the database', 'migrating the database', 'Strongroom listens on'].map((step) =>
      lines.findIndex((line) => line.includes(step)),
    )
    expect(steps).toEqual(steps.toSorted((a, b) => a - b))
    expect(steps).not.toContain(-1)
    expect(lines.filter((line) => line.startsWith('{'))).toEqual([])
    expect(terminal.screen).not.toContain('STORAGE_MAX_CONNECTIONS')
  })

  it('names a command that prints the keys from there', async () => {
    const [, command = ''] = /All again: (.+)$/m.exec(terminal.screen) ?? []
    const { anonKey, serviceKey, s3 } = await keys()
    const { stdout } = await sh('sh', ['-c', command], { cwd })
    expect(JSON.parse(stdout)).toEqual({ anonKey, serviceKey, s3 })
  })

  it('welcomes again for as long as there is no bucket', async () => {
    await start()
    await terminal.says('curl -X PUT')
    expect(terminal.screen).toContain((await keys()).serviceKey)
    expect(terminal.screen).not.toContain('making the database')
  })

  it.skipIf(!isInstalled('curl'))(
    'has a curl line that uploads a file when it is pasted, and writes one line for each request (skipped without curl)',
    async () => {
      const line = terminal.lines.find((text) => text.trim().startsWith('curl ')) ?? ''
      for (const _ of ['first', 'second']) {
        const { stdout } = await sh('sh', ['-c', line])
        expect(JSON.parse(stdout)).toMatchObject({ Key: 'hello/world.txt' })
      }
      const [, url] = /Strongroom listens on (\S+)/.exec(terminal.screen) ?? []
      await fetch(`${url}/storage/v1/object/hello/none%1b%5b2Jcleared.txt`)
      await terminal.says('cleared.txt')
      const requests = terminal.lines.filter((text) => /^\d\d:\d\d:\d\d \d{3} /.test(text))
      expect(requests).toEqual([
        expect.stringMatching(/^\d\d:\d\d:\d\d 201 POST hello service_role [\d.]+ ms$/),
        expect.stringMatching(/^\d\d:\d\d:\d\d 201 PUT hello\/world\.txt 13 B service_role [\d.]+ ms$/),
        expect.stringMatching(/^\d\d:\d\d:\d\d 409 POST hello service_role [\d.]+ ms$/),
        expect.stringMatching(/^\d\d:\d\d:\d\d 200 PUT hello\/world\.txt 13 B service_role [\d.]+ ms$/),
        expect.stringMatching(/^\d\d:\d\d:\d\d 40\d GET .*\\u001b\[2Jcleared\.txt/),
      ])
    },
  )

  // What a machine says of its own Amazon is not for us.
  const others = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('AWS_')))
  for (const [tool, listed] of [
    ['aws', /^\S+ \S+ +hello$/m],
    ['rclone', /^ +-1 .* hello$/m],
  ] as const) {
    it.skipIf(!isInstalled(tool))(
      `has a line for ${tool} that lists the buckets when it is pasted (skipped without)`,
      async () => {
        const line = terminal.lines.find((text) => text.includes(`ACCESS_KEY`) && text.includes(` ${tool} `))
        const { stdout } = await sh('sh', ['-c', line ?? ''], { env: { ...others, HOME: cwd } })
        expect(stdout).toMatch(listed)
      },
    )
  }

  it('has lines whose keys a shell leaves alone, whatever they are', async () => {
    const secret = 'it\'s $HOME & `more` \\ "than" 32 characters'.replaceAll(' ', '_')
    const env = {
      STORAGE_S3_PROTOCOL_ACCESS_KEY_ID: 'own',
      STORAGE_S3_PROTOCOL_ACCESS_KEY_SECRET: secret,
      STORAGE_DATA_DIR: './other-data',
    }
    await start(env)
    await terminal.says('RCLONE')
    const line = terminal.lines.find((text) => text.includes(' aws ')) ?? ''
    const shown = line.replace(/ aws .*$/, ' sh -c \'printf %s "$AWS_SECRET_ACCESS_KEY"\'')
    expect((await sh('sh', ['-c', shown])).stdout).toBe(secret)
  })

  it('prints no key once there is one, and ends in order at Ctrl-C', async () => {
    await start({ STORAGE_MAX_CONNECTIONS: '999999' })
    const { anonKey, serviceKey, s3 } = await keys()
    await terminal.says('keys)')
    for (const key of [anonKey, serviceKey, s3.accessKeyId, s3.secretAccessKey])
      expect(terminal.screen).not.toContain(key)
    // Asked for by name, so it matters.
    expect(terminal.screen).toMatch(/warning: only \d+ connections, not the 999999 .* raise the limit/)
    terminal.pressCtrlC()
    expect(await terminal.ended).toBe(0)
    expect(terminal.lines.at(-2)).toMatch(/^\d\d:\d\d:\d\d stopped$/)
  })
})
