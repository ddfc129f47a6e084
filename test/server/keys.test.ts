import { randomUUID } from 'node:crypto'
import {
  lstat,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rename,
  rm,
  stat,
  symlink,
  writeFile,
} from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { decodeJwt, jwtVerify } from 'jose'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { findKeys, KeysError, loadKeys, mintToken } from '../../src/server/keys.ts'

const SECRET = 'a secret of the environment, 32 characters or more'

let folder: string
let path: string

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'strongroom-keys-'))
  path = join(folder, 'keys.json')
})
afterEach(() => rm(folder, { recursive: true }))

function verify(token: string, secret: string) {
  return jwtVerify(token, new TextEncoder().encode(secret), { algorithms: ['HS256'] })
}

describe('the keys of a data folder', () => {
  it('are made at the first start, and are the same at every other', async () => {
    const made = await loadKeys(folder, {})
    expect(JSON.parse(await readFile(path, 'utf8'))).toEqual(made)
    expect(await loadKeys(folder, {})).toEqual(made)
    expect(await readdir(folder)).toEqual(['keys.json'])
  })

  it('are for their owner alone, whatever the umask says', async () => {
    const umask = process.umask(0)
    await loadKeys(folder, {}).finally(() => process.umask(umask))
    expect((await stat(path)).mode & 0o777).toBe(0o600)
  })

  it('are found where they are, and made by no one who only looks', async () => {
    await expect(findKeys(folder, {})).rejects.toThrow(
      new KeysError(
        `There are no keys in ${folder}: run this where the server was started, or set STORAGE_DATA_DIR`,
      ),
    )
    expect(await readdir(folder)).toEqual([])
    const made = await loadKeys(folder, {})
    expect(await findKeys(folder, {})).toEqual(made)
  })

  it('have a pair for S3 clients, which no two folders share', async () => {
    const [one, two] = [await loadKeys(join(folder, 'one'), {}), await loadKeys(join(folder, 'two'), {})]
    expect(one.s3.accessKeyId).toMatch(/^[\da-f]{32}$/)
    expect(one.s3.secretAccessKey).toMatch(/^[\da-f]{64}$/)
    expect(new Set([one, two].flatMap(({ s3 }) => Object.values(s3))).size).toBe(4)
  })

  it('get that pair added where a server of before has made them, the same by all who start at once', async () => {
    const { s3, ...before } = await loadKeys(folder, {})
    await writeFile(path, JSON.stringify(before))
    expect((await findKeys(folder, {})).s3).toEqual(s3)
    expect(JSON.parse(await readFile(path, 'utf8'))).toEqual(before)

    const all = await Promise.all(Array.from({ length: 20 }, () => loadKeys(folder, {})))
    for (const keys of all) expect(keys).toEqual({ ...before, s3 })
    expect(JSON.parse(await readFile(path, 'utf8'))).toEqual({ ...before, s3 })
    expect((await stat(path)).mode & 0o777).toBe(0o600)
    expect(await readdir(folder)).toEqual(['keys.json'])
  })

  it('get it behind a link, too, which stays one', async () => {
    const { s3, ...before } = await loadKeys(folder, {})
    await rename(path, join(folder, 'elsewhere.json'))
    await writeFile(join(folder, 'elsewhere.json'), JSON.stringify(before))
    await symlink('elsewhere.json', path)
    expect((await loadKeys(folder, {})).s3).toEqual(s3)
    expect((await lstat(path)).isSymbolicLink()).toBe(true)
    expect(JSON.parse(await readFile(path, 'utf8'))).toEqual({ ...before, s3 })
  })

  it('keep a pair that somebody has written there', async () => {
    const keys = await loadKeys(folder, {})
    const s3 = { accessKeyId: 'own', secretAccessKey: SECRET }
    await writeFile(path, JSON.stringify({ ...keys, s3 }))
    expect(await loadKeys(folder, {})).toEqual({ ...keys, s3 })
  })

  it('need no folder where the secrets are those of the environment', async () => {
    const { serviceKey, signingSecret } = await findKeys(folder, { jwtSecret: SECRET })
    expect((await verify(serviceKey, SECRET)).payload.role).toBe('service_role')
    expect(signingSecret).toBeUndefined()
    expect(await readdir(folder)).toEqual([])
  })

  it('say in words why there can be none', async () => {
    await writeFile(path, '')
    await expect(loadKeys(join(path, 'data'), {})).rejects.toThrow(
      /keys\.json cannot be (read|written): it, or what is above it, is not a folder/,
    )
  })

  it('are made in a folder that is not there yet', async () => {
    const made = await loadKeys(join(folder, 'new', 'data'), {})
    expect(await loadKeys(join(folder, 'new', 'data'), {})).toEqual(made)
  })

  it('are other ones in another folder, with secrets of 256 bits that have nothing in common', async () => {
    const one = await loadKeys(join(folder, 'one'), {})
    const two = await loadKeys(join(folder, 'two'), {})
    const secrets = [one.jwtSecret, one.signingSecret, two.jwtSecret, two.signingSecret]
    expect(new Set(secrets).size).toBe(4)
    for (const secret of secrets) expect(Buffer.from(secret, 'base64url')).toHaveLength(32)
  })

  it('are tokens of anon and service_role that the secret verifies and that never expire', async () => {
    const { jwtSecret, anonKey, serviceKey } = await loadKeys(folder, {})
    const [anon, service] = [await verify(anonKey, jwtSecret), await verify(serviceKey, jwtSecret)]
    expect([anon.payload.role, service.payload.role]).toEqual(['anon', 'service_role'])
    expect([anon.payload.exp, service.payload.exp]).toEqual([undefined, undefined])
  })

  it('are the same for all who start at once, and are never half written', async () => {
    const all = await Promise.all(Array.from({ length: 20 }, () => loadKeys(folder, {})))
    const kept = JSON.parse(await readFile(path, 'utf8'))
    for (const keys of all) expect(keys).toEqual(kept)
    expect(await readdir(folder)).toEqual(['keys.json'])
  })

  it('are all that is left of a start that was killed while it made them', async () => {
    const draft = () => writeFile(`${path}.new-${randomUUID()}`, 'secrets')
    await draft()
    const made = await loadKeys(folder, {})
    expect(await readdir(folder)).toEqual(['keys.json'])
    await draft()
    await writeFile(`${path}.new-of-the-operator`, '')
    expect(await loadKeys(folder, {})).toEqual(made)
    expect((await readdir(folder)).sort()).toEqual(['keys.json', 'keys.json.new-of-the-operator'])
  })

  it.each([
    ['empty', ''],
    ['cut off', '{"jwtSecret":"abc'],
    ['without a secret', '{"anonKey":"a","serviceKey":"b"}'],
    ['of a secret that is too short', '{"jwtSecret":"a","signingSecret":"b","anonKey":"c","serviceKey":"d"}'],
    ['no object', '[]'],
  ])('are not replaced when the file is %s: it says so, and what to do', async (_, text) => {
    await writeFile(path, text)
    await expect(loadKeys(folder, {})).rejects.toThrow(KeysError)
    await expect(loadKeys(folder, {})).rejects.toThrow(
      `${path} is damaged. Restore it from a backup, or delete it to have new keys made.`,
    )
    expect(await readFile(path, 'utf8')).toBe(text)
    expect(await readdir(folder)).toEqual(['keys.json'])
  })

  it('cannot be read from what is no file: it says which', async () => {
    await mkdir(path)
    await expect(loadKeys(folder, {})).rejects.toThrow(`${path} cannot be read`)
  })

  it('cannot be kept where no folder can be: it says so', async () => {
    await writeFile(join(folder, 'file'), '')
    await expect(loadKeys(join(folder, 'file', 'data'), {})).rejects.toThrow(KeysError)
  })
})

describe('a secret of the environment', () => {
  it('takes the place of the one in the file, and the two keys are minted from it', async () => {
    const kept = await loadKeys(folder, {})
    const keys = await loadKeys(folder, { jwtSecret: SECRET })

    expect(keys).toMatchObject({ jwtSecret: SECRET, signingSecret: kept.signingSecret })
    expect((await verify(keys.anonKey, SECRET)).payload.role).toBe('anon')
    expect((await verify(keys.serviceKey, SECRET)).payload.role).toBe('service_role')
    await expect(verify(kept.serviceKey, SECRET)).rejects.toThrow()
  })

  it('signs URLs without a change to the keys', async () => {
    const kept = await loadKeys(folder, {})
    expect(await loadKeys(folder, { signingSecret: SECRET })).toEqual({ ...kept, signingSecret: SECRET })
  })

  it('is not written down, so that taking it away brings back what was', async () => {
    await loadKeys(folder, { jwtSecret: SECRET, signingSecret: SECRET })
    expect(await readFile(path, 'utf8')).not.toContain(SECRET)
    const kept = await loadKeys(folder, {})
    expect([kept.jwtSecret, kept.signingSecret]).not.toContain(SECRET)
    expect((await verify(kept.anonKey, kept.jwtSecret)).payload.role).toBe('anon')
  })

  it('that is the one in the file changes no key', async () => {
    const kept = await loadKeys(folder, {})
    expect(await loadKeys(folder, { jwtSecret: kept.jwtSecret })).toEqual(kept)
  })
})

describe('the pair for S3 clients of the environment', () => {
  const s3 = { accessKeyId: 'backups', secretAccessKey: SECRET }

  it('takes the place of the one in the file, and is not written down', async () => {
    const kept = await loadKeys(folder, {})
    expect(await loadKeys(folder, { s3 })).toEqual({ ...kept, s3 })
    expect(await findKeys(folder, { s3, jwtSecret: SECRET })).toMatchObject({ s3, jwtSecret: SECRET })
    expect(await loadKeys(folder, {})).toEqual(kept)
  })

  it('need not be given to servers that have the same STORAGE_JWT_SECRET: theirs is the same, and their own', async () => {
    const [one, two] = [
      await loadKeys(join(folder, 'one'), { jwtSecret: SECRET }),
      await loadKeys(join(folder, 'two'), { jwtSecret: SECRET }),
    ]
    expect(one.s3).toEqual(two.s3)
    expect((await findKeys(join(folder, 'none'), { jwtSecret: SECRET })).s3).toEqual(one.s3)
    expect((await loadKeys(join(folder, 'one'), { jwtSecret: `another ${SECRET}` })).s3).not.toEqual(one.s3)
    expect((await loadKeys(join(folder, 'one'), {})).s3).not.toEqual(one.s3)
    expect(JSON.stringify(one.s3)).not.toContain(SECRET)
  })
})

describe('a minted token', () => {
  it('says role, subject and when it ends, in whole seconds', async () => {
    vi.useFakeTimers({ toFake: ['Date'], now: 1_795_231_260_700 })
    const token = await mintToken(SECRET, { role: 'authenticated', subject: 'user-1' }, 60).finally(() =>
      vi.useRealTimers(),
    )
    expect(decodeJwt(token)).toEqual({
      role: 'authenticated',
      sub: 'user-1',
      iss: 'strongroom',
      iat: 1_795_231_260,
      exp: 1_795_231_320,
    })
  })

  it('has no subject and no end unless they are given', async () => {
    const claims = decodeJwt(await mintToken(SECRET, { role: 'anon' }))
    expect(Object.keys(claims).sort()).toEqual(['iat', 'iss', 'role'])
  })
})
