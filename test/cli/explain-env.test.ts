import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { parseEnv } from 'node:util'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { newFolder, removeFolder, strongroom } from '../support/command.ts'

const FILE = `# of a self-hosted Supabase
PGRST_JWT_SECRET="it's a secret of at least 32 characters"
DATABASE_URL=postgres://admin:hunter2@db:5432/postgres
FILE_SIZE_LIMIT=52428800
STORAGE_BACKEND=file
TENANT_ID=stub
SITE=\${HOME}/x
SUPABASE_PUBLIC_URL=\${PUBLIC}/storage
`

let folder: string
beforeAll(async () => {
  folder = await newFolder()
  await writeFile(join(folder, 'their.env'), FILE)
})
afterAll(() => removeFolder(folder, []))

const check = (...args: string[]) => strongroom(['check', '--explain-env', ...args], { cwd: folder })

it('check --explain-env writes a file with our settings, and no secret unless it is asked to', async () => {
  const { code, stdout, stderr } = await check('their.env')
  expect([code, stderr]).toEqual([0, ''])
  expect(stdout).toBe(`# Settings of Strongroom

# the value of DATABASE_URL belongs here; --with-secrets writes it
# DATABASE_URL=

STORAGE_BACKEND=local

# was FILE_SIZE_LIMIT
STORAGE_MAX_FILE_SIZE=52428800

# was PGRST_JWT_SECRET
# the value of PGRST_JWT_SECRET belongs here; --with-secrets writes it
# STORAGE_JWT_SECRET=

# was SUPABASE_PUBLIC_URL
# refers to another variable, which has to be put in its place
STORAGE_PUBLIC_URL='\${PUBLIC}/storage'

# Not needed:
#   TENANT_ID: one server is one project

# Unknown, or to be said in another way:
#   SITE: no setting of this server, nor of one that is known
`)
})

it('with secrets it is what Node reads back as they were', async () => {
  const { stdout } = await check('their.env', '--with-secrets')
  expect(parseEnv(stdout)).toMatchObject({
    STORAGE_JWT_SECRET: "it's a secret of at least 32 characters",
    DATABASE_URL: 'postgres://admin:hunter2@db:5432/postgres',
  })
})

it('it says what a server would not start with, and its exit code is 1; a file that is not there is named', async () => {
  await writeFile(join(folder, 'wrong.env'), 'STORAGE_BACKEND=minio\nFILE_SIZE_LIMIT=much\n')
  const wrong = await check('wrong.env')
  expect(wrong.code).toBe(1)
  expect(wrong.stdout).toContain('# Still wrong:\n#   STORAGE_MAX_FILE_SIZE must be a number of bytes')
  const missing = await check('missing.env')
  expect([missing.code, missing.stdout]).toEqual([1, ''])
  expect(missing.stderr).toMatch(/^strongroom: missing\.env: [^\n]+\n$/)
})

it('--env reads settings from a file, and refuses names of others that would do nothing', async () => {
  await writeFile(join(folder, 'ours.env'), 'STORAGE_PORT=http\n')
  const ours = await strongroom(['serve', '--env', 'ours.env'], { cwd: folder })
  expect([ours.code, ours.stderr]).toEqual([
    1,
    'strongroom: STORAGE_PORT must be a whole number from 0 to 65535\n',
  ])
  const theirs = await strongroom(['serve', '--env', 'their.env'], { cwd: folder })
  expect(theirs.code).toBe(1)
  expect(theirs.stderr.trimEnd().split('\n')).toEqual([
    'strongroom: FILE_SIZE_LIMIT means nothing here: here it is STORAGE_MAX_FILE_SIZE',
    'strongroom: PGRST_JWT_SECRET means nothing here: here it is STORAGE_JWT_SECRET',
    'strongroom: SUPABASE_PUBLIC_URL means nothing here: here it is STORAGE_PUBLIC_URL',
    'strongroom: check --explain-env their.env writes all of it as it is to be here',
  ])
  expect(theirs.stderr).not.toContain('hunter2')
  expect(await readFile(join(folder, 'their.env'), 'utf8')).toBe(FILE)
})
