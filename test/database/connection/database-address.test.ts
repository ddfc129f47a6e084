import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, inject, it } from 'vitest'
import { openDatabase } from '../../../src/database/connection/client.ts'
import { explainConnectionError } from '../../../src/database/connection/connection-error.ts'
import { readDatabaseUrl } from '../../../src/database/connection/database-url.ts'

const BASE = 'postgres://app:secret@db:6000/files'
const read = (query: string, base = BASE) => readDatabaseUrl(`${base}?${query}`)

describe('the parameters of DATABASE_URL', () => {
  it.each<[query: string, options: Record<string, unknown>]>([
    ['application_name=mine', { connection: { application_name: 'mine' } }],
    ['options=-c%20search_path%3Dx', { connection: { options: '-c search_path=x' } }],
    ['target_session_attrs=read-write', { target_session_attrs: 'read-write' }],
    ['target_session_attrs=any', {}],
    ['connect_timeout=3', { connect_timeout: 3 }],
    ['user=else&password=p&dbname=d', { user: 'else', pass: 'p', database: 'd' }],
    ['host=a&port=1', { host: 'a', port: 1 }],
    ['host=a,b&port=1,2', { host: 'a:1,b:2', port: 1 }],
    ['sslmode=disable', { ssl: false }],
    ['sslmode=prefer', { ssl: 'prefer' }],
    ['sslmode=require', { ssl: 'require' }],
    ['sslmode=no-verify', { ssl: 'require' }],
    ['sslmode=verify-full', { ssl: {} }],
    ['sslmode=verify-ca', { ssl: { checkServerIdentity: expect.any(Function) } }],
    ['ssl=true', { ssl: {} }],
    ['sslrootcert=system', { ssl: {} }],
    ['channel_binding=prefer&gssencmode=disable', {}],
  ])('are libpq’s: %s', (query, options) => {
    expect(read(query)).toEqual({ url: BASE, options, place: expect.any(String), remarks: [] })
  })

  it.each<[query: string, named: RegExp]>([
    ['channel_binding=require', /^channel_binding, .* \(libpq's; sslmode=verify-full/],
    ['gssencmode=require', /^gssencmode, .*libpq's/],
    ['keepalives_idle=3', /^keepalives_idle, .*libpq's/],
    ['pgbouncer=true', /^pgbouncer, .*Prisma's/],
    ['connection_limit=1', /^connection_limit, .*STORAGE_DATABASE_POOL/],
    ['schema=public', /^schema, .*Prisma's/],
    ['frobnicate=hunter2', /^frobnicate, .*not a word of PostgreSQL/],
  ])('that do nothing are named: %s', (query, named) => {
    const { options, remarks } = read(query)
    expect([options, remarks]).toEqual([{}, [expect.stringMatching(named)]])
    expect(remarks.join()).not.toContain('hunter2')
  })

  it.each<[query: string, says: RegExp]>([
    ['sslmode=maybe', /^sslmode of DATABASE_URL is none of: disable, .* verify-full$/],
    ['target_session_attrs=maybe', /^target_session_attrs of DATABASE_URL is none of: any, read-write, /],
    ['port=x', /^port of DATABASE_URL is none of: numbers$/],
    ['sslmode=verify-full&sslrootcert=/not/there', /sslrootcert .* cannot be read \(ENOENT\): \/not\/there$/],
  ])('that mean nothing are refused: %s', (query, says) => {
    expect(catching(() => read(query))).toMatchObject({
      name: 'DatabaseUrlError',
      message: expect.stringMatching(says),
    })
  })

  it('tell nothing of a password with a question mark in it', () => {
    const url = 'postgres://app:123?hunter2=x@db/files'
    const error = catching(() => readDatabaseUrl(url))
    expect(explainConnectionError(error, url)).toMatch(/^DATABASE_URL is not a URL: .*%40 for @$/)
  })

  it('may name a file of authorities for certificates, which `require` then heeds, as with libpq', () => {
    const folder = mkdtempSync(join(tmpdir(), 'authority-'))
    const path = join(folder, 'root.pem')
    writeFileSync(path, 'authority')
    for (const mode of ['require', 'verify-ca', undefined]) {
      const { options } = read(`sslrootcert=${path}${mode ? `&sslmode=${mode}` : ''}`)
      expect(options.ssl).toEqual({
        ca: Buffer.from('authority'),
        checkServerIdentity: expect.any(Function),
      })
    }
    expect(read(`sslrootcert=${path}&sslmode=verify-full`).options.ssl).toEqual({
      ca: Buffer.from('authority'),
    })
    rmSync(folder, { recursive: true })
  })
})

describe('an address of a socket', () => {
  const { host, port, superuser } = inject('postgres')

  it.each<[how: string, url: string]>([
    ['as parameters', `postgres://${superuser}@/postgres?host=${encodeURIComponent(host)}&port=${port}`],
    ['with all as parameters', `postgresql://?user=${superuser}&dbname=postgres&host=${host}&port=${port}`],
    ['as an escaped host', `postgres://${superuser}@${encodeURIComponent(host)}:${port}/postgres`],
    ['with blanks around it', `  postgres://${superuser}@/postgres?host=${host}&port=${port}\n`],
    [
      'with the words of others',
      `postgres://${superuser}@/postgres?host=${host}&port=${port}&pgbouncer=true&schema=x`,
    ],
    [
      'with libpq’s',
      `postgres://${superuser}@/postgres?host=${host}&port=${port}&channel_binding=require&gssencmode=disable`,
    ],
  ])('leads there, %s', async (_, url) => {
    const pool = openDatabase(url, { connections: 1 })
    try {
      expect(await pool.sql`select current_database() as name`).toEqual([{ name: 'postgres' }])
    } finally {
      await pool.close()
    }
    expect(readDatabaseUrl(url).place).toBe(`${host}/.s.PGSQL.${port}`)
  })

  it('has the name that it gives the connection', async () => {
    const url = `postgres://${superuser}@/postgres?host=${host}&port=${port}&application_name=files`
    const pool = openDatabase(url, { connections: 1 })
    try {
      expect(await pool.sql`show application_name`).toEqual([{ application_name: 'files' }])
    } finally {
      await pool.close()
    }
  })
})

function catching(work: () => unknown): unknown {
  try {
    return work()
  } catch (error) {
    return error
  }
}
