import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { type AddressInfo, createServer, type Server } from 'node:net'
import { getPriority } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { Command, newFolder, removeFolder } from '../support/command.ts'
import { nicenessOf } from '../support/processes.ts'
import { until } from '../support/wait.ts'

describe.runIf(existsSync('/proc/self/stat'))('`backup create` gives way by the share', () => {
  let folder: string
  /** A database that never answers, so that the command is met at work. */
  let silent: Server
  const commands: Command[] = []
  beforeAll(async () => {
    folder = await newFolder()
    silent = createServer().listen(0, '127.0.0.1')
    await once(silent, 'listening')
    const { port } = silent.address() as AddressInfo
    const settings = (share: number) =>
      `DATABASE_URL=postgres://nobody@127.0.0.1:${port}/none\nSTORAGE_BACKUP_SHARE=${share}\n`
    await writeFile(join(folder, '.env'), settings(0.5))
    await writeFile(join(folder, 'other.env'), settings(0.2))
  })
  afterAll(async () => {
    await removeFolder(folder, commands)
    silent.close()
  })

  it.each([
    ['.env', [], {}, 3],
    ['a file that is named', ['--env', 'other.env'], {}, 7],
    ['the environment', ['--env', 'other.env'], { STORAGE_BACKUP_SHARE: '0.1' }, 10],
  ])('of %s', async (_, args, env, nicer) => {
    const command = new Command(['backup', 'create', ...args], { cwd: folder, env })
    commands.push(command)
    const { pid = 0 } = command.child
    const expected = Math.min(19, getPriority() + nicer)
    await until(() => nicenessOf(pid).every((nice) => nice === expected), `it is ${nicer} nicer`)
    expect(command.isRunning).toBe(true)
    command.signal('SIGKILL')
  })
})
