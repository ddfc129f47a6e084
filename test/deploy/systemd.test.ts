import { execFile } from 'node:child_process'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { newFolder, removeFolder } from '../support/command.ts'
import { describeWith } from '../support/installed.ts'
import { ROOT } from '../support/project-texts.ts'

const run = promisify(execFile)

/** Of ten, in tenths: what `systemd-analyze security` makes of it. Few services are below 2. */
const MOST_EXPOSED = 15

describeWith('systemd-analyze', 'the unit for systemd', () => {
  let folder: string
  let unit: string
  beforeAll(async () => {
    folder = await newFolder()
    unit = join(folder, 'strongroom.service')
    const text = await readFile(join(ROOT, 'deploy/systemd/strongroom.service'), 'utf8')
    const installed = 'ExecStart=/opt/strongroom/node_modules/.bin/strongroom serve'
    expect(text).toContain(installed)
    // A unit whose program is not there is refused.
    await writeFile(unit, text.replace(installed, `ExecStart=${process.execPath} serve`))
  })
  afterAll(() => removeFolder(folder, []))

  it('is one that systemd takes, without a word against it', async () => {
    expect(await run('systemd-analyze', ['verify', unit])).toMatchObject({ stdout: '', stderr: '' })
  })

  it('keeps the server in its place', async () => {
    const { stdout } = await run('systemd-analyze', [
      ...['security', '--offline=yes', '--no-pager', `--threshold=${MOST_EXPOSED}`],
      unit,
    ])
    expect(stdout).toMatch(/Overall exposure level .* OK/)
  })
})
