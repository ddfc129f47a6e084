import { mkdir, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { invocation } from '../../src/cli/invocation.ts'
import { newFolder, removeFolder } from '../support/command.ts'

let folder: string
/** `<folder>/clone` is the project, and `<folder>/app` has it installed. */
const at = (...path: string[]) => join(folder, ...path)

beforeAll(async () => {
  folder = await newFolder()
  for (const home of ['clone', 'app/node_modules/strongroom', 'cache/_npx/0a/node_modules/strongroom']) {
    await mkdir(at(home, 'dist'), { recursive: true })
    await writeFile(at(home, 'package.json'), '{"name":"strongroom"}')
    await writeFile(at(home, 'dist/main.js'), '')
  }
  for (const other of ['app/node_modules/.bin', 'app/below', 'bin', 'elsewhere']) await mkdir(at(other))
  await writeFile(at('app/package.json'), '{"name":"app"}')
  await symlink('../strongroom/dist/main.js', at('app/node_modules/.bin/strongroom'))
  await symlink(at('clone/dist/main.js'), at('bin/strongroom'))
})
afterAll(() => removeFolder(folder, []))

it.each([
  ['in a clone', 'clone/dist/main.js', 'clone', '', 'npx strongroom'],
  ['where it is installed', 'app/node_modules/.bin/strongroom', 'app', '', 'npx strongroom'],
  ['below that', 'app/node_modules/strongroom/dist/main.js', 'app/below', '', 'npx strongroom'],
  [
    'as npx fetched it',
    'cache/_npx/0a/node_modules/strongroom/dist/main.js',
    'elsewhere',
    '',
    'npx strongroom',
  ],
  ['on the PATH', 'bin/strongroom', 'elsewhere', 'bin', 'strongroom'],
  [
    "on npm's PATH alone",
    'app/node_modules/.bin/strongroom',
    'app',
    'app/node_modules/.bin',
    'npx strongroom',
  ],
  [
    "on the PATH, but another's",
    'clone/dist/main.js',
    'clone',
    'app/node_modules/strongroom',
    'npx strongroom',
  ],
  ['elsewhere', 'clone/dist/main.js', 'elsewhere', '', 'node ../clone/dist/main.js'],
])('%s the command is called as it works there', (_, main, cwd, path, expected) => {
  expect(invocation(at(main), { cwd: at(cwd), path: path && at(path) })).toBe(expected)
})
