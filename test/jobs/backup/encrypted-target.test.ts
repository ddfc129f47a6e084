import { execFileSync, spawnSync } from 'node:child_process'
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { generateX25519Identity, identityToRecipient } from 'age-encryption'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { readConfig } from '../../../src/config/config.ts'
import { openTarget } from '../../../src/jobs/backup/open-target.ts'
import type { BackupKeys } from '../../../src/jobs/backup/target-keys.ts'
import { describeTarget, textOf } from './target-contract.ts'

const SECRET = 'what nobody else may read'
const hasAge = spawnSync('age', ['--version']).status === 0

let folder: string
let identity: string
let recipient: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'strongroom-backup-encrypted-'))
  identity = await generateX25519Identity()
  recipient = await identityToRecipient(identity)
})
afterAll(() => rm(folder, { recursive: true }))

const at = (...names: string[]) => join(folder, ...names)

function open(name: string, { passphrase, recipient, identity }: BackupKeys, forWriting = false) {
  const config = readConfig({
    STORAGE_DATA_DIR: at('data'),
    STORAGE_BACKUP_PASSPHRASE: passphrase,
    STORAGE_BACKUP_RECIPIENT: recipient,
  })
  return openTarget(at(name), config, { identity, forWriting })
}

describe('a target that is encrypted for a recipient', () => {
  describeTarget(() => open('contract', { recipient, identity }, true))

  it('has names and manifests in plain text, and nothing else', async () => {
    const target = await open('plain', { recipient }, true)
    await target.write('id/rows/objects.ndjson', Buffer.from(SECRET))
    await target.write('id/manifest.json', Buffer.from('{}'))
    expect(await readdir(at('plain', 'id', 'rows'))).toEqual(['objects.ndjson.age'])
    expect(await readFile(at('plain', 'id', 'rows', 'objects.ndjson.age'), 'latin1')).not.toContain(SECRET)
    expect(await readFile(at('plain', 'id', 'manifest.json'), 'utf8')).toBe('{}')
  })

  it('is written without what decrypts it, and not read', async () => {
    const target = await open('write-only', { recipient }, true)
    await target.write('id/file', Buffer.from(SECRET))
    await expect(target.read('id/file')).rejects.toMatchObject({
      fault: 'WrongKey',
      message: `${at('write-only')} is encrypted for ${recipient}: its identity is needed to read it (--identity, or STORAGE_BACKUP_IDENTITY)`,
    })
    expect(await textOf(await open('write-only', { identity }), 'id/file')).toBe(SECRET)
  })

  it.each([
    ['another one', async () => generateX25519Identity()],
    ['none at all', async () => 'something'],
  ])('is not read with the identity of %s', async (_, other) => {
    await (await open('others', { recipient }, true)).write('id/file', Buffer.from(SECRET))
    const target = await open('others', { identity: await other() })
    await expect(target.read('id/file')).rejects.toMatchObject({ fault: 'WrongKey' })
  })

  it('is not written for another, by a passphrase, or by whoever has changed its marker', async () => {
    await open('one-key', { recipient }, true)
    const other = await identityToRecipient(await generateX25519Identity())
    await expect(open('one-key', { recipient: other }, true)).rejects.toMatchObject({ fault: 'WrongKey' })
    await expect(open('one-key', { passphrase: 'battery staple' }, true)).rejects.toMatchObject({
      fault: 'WrongKey',
    })
    await writeFile(at('one-key', 'strongroom-backups.json'), JSON.stringify({ format: 1, recipient: other }))
    await expect(open('one-key', { recipient }, true)).rejects.toMatchObject({ fault: 'WrongKey' })
  })

  it('says which file is damaged', async () => {
    const target = await open('damaged', { recipient, identity }, true)
    for (const [name, size, position] of [
      ['header', 100, 40],
      ['first', 100, 250],
      ['later', 300_000, 200_000],
    ] as const) {
      await target.write(`id/${name}`, Buffer.alloc(size, 'x'))
      const path = at('damaged', 'id', `${name}.age`)
      const bytes = await readFile(path)
      bytes[position] = (bytes[position] ?? 0) ^ 1
      await writeFile(path, bytes)
      await expect(textOf(target, `id/${name}`)).rejects.toThrow(
        new RegExp(`^id/${name} in .*(damaged|another key)`),
      )
    }
  })

  it.each([0, 100, 65_536, 65_552, 200_000])(
    'notices a file that is cut off after %i bytes',
    async (size) => {
      const target = await open('cut', { recipient, identity }, true)
      await target.write('id/file', Buffer.alloc(300_000, 'x'))
      const path = at('cut', 'id', 'file.age')
      await writeFile(path, (await readFile(path)).subarray(0, size))
      await expect(textOf(target, 'id/file')).rejects.toMatchObject({ fault: 'DamagedBackup' })
    },
  )
})

describe('a target that is encrypted with a passphrase', () => {
  it('is read with it, and with no other', async () => {
    const target = await open('passphrase', { passphrase: 'correct horse' }, true)
    await target.write('id/file', Buffer.from(SECRET))
    expect(await textOf(await open('passphrase', { passphrase: 'correct horse' }), 'id/file')).toBe(SECRET)

    const wrong = {
      fault: 'WrongKey',
      message: `The passphrase in STORAGE_BACKUP_PASSPHRASE is not that of ${at('passphrase')}`,
    }
    const wrongly = await open('passphrase', { passphrase: 'battery staple' })
    await expect(wrongly.read('id/file')).rejects.toMatchObject(wrong)
    await expect(open('passphrase', { passphrase: 'battery staple' }, true)).rejects.toMatchObject(wrong)
    const without = await open('passphrase', {})
    await expect(without.read('id/file')).rejects.toMatchObject({
      fault: 'WrongKey',
      message: `${at('passphrase')} is encrypted with a passphrase: set STORAGE_BACKUP_PASSPHRASE`,
    })
  })

  it('is not one whose backups are in plain text', async () => {
    await open('in-plain-text', {}, true)
    await expect(open('in-plain-text', { passphrase: 'battery staple' }, true)).rejects.toMatchObject({
      fault: 'UnusableTarget',
    })
  })
})

describe.runIf(hasAge)("Debian's age", () => {
  it('reads what is written here', async () => {
    const target = await open('for-age', { recipient }, true)
    const bytes = Buffer.alloc(200_000, SECRET)
    await target.write('id/file', bytes)
    await target.write('id/empty', Buffer.alloc(0))
    await writeFile(at('identity.txt'), `${identity}\n`)
    const decrypt = (name: string) =>
      execFileSync('age', ['-d', '-i', at('identity.txt'), at('for-age', 'id', name)])
    expect(bytes.equals(decrypt('file.age'))).toBe(true)
    expect(decrypt('empty.age')).toHaveLength(0)
  })

  it('is read here', async () => {
    const target = await open('from-age', { recipient, identity }, true)
    await target.write('id/file', Buffer.from('x'))
    execFileSync('age', ['-r', recipient, '-o', at('from-age', 'id', 'file.age')], { input: SECRET })
    expect(await textOf(target, 'id/file')).toBe(SECRET)
  })

  it('takes the identity under the passphrase, as it is in the marker', async () => {
    const target = await open('sealed', { passphrase: 'correct horse' }, true)
    await target.write('id/file', Buffer.from(SECRET))
    const { identity: sealed } = JSON.parse(await readFile(at('sealed', 'strongroom-backups.json'), 'utf8'))
    await writeFile(at('identity.age'), sealed)
    // It asks a terminal for the passphrase, and nobody else.
    const python = spawnSync('python3', [
      '-c',
      WITH_TERMINAL,
      'age',
      '-d',
      '-i',
      at('identity.age'),
      '-o',
      at('out'),
      at('sealed', 'id', 'file.age'),
    ])
    expect(python.status, python.stdout.toString()).toBe(0)
    expect(await readFile(at('out'), 'utf8')).toBe(SECRET)
  })
})

/** Runs a command in a terminal, and answers its first question. */
const WITH_TERMINAL = `
import os, pty, sys
pid, fd = pty.fork()
if pid == 0:
    os.execvp(sys.argv[1], sys.argv[1:])
said = b''
answered = False
while True:
    try:
        chunk = os.read(fd, 1000)
    except OSError:
        break
    if not chunk:
        break
    said += chunk
    if not answered and b'passphrase' in said:
        os.write(fd, b'correct horse\\n')
        answered = True
print(said)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
`
