import { describe, expect, it } from 'vitest'
import { SETTINGS } from '../../src/config/config.ts'
import { FOREIGN_SETTINGS } from '../../src/config/foreign-settings.ts'
import { foreignProblems, translateEnv } from '../../src/config/translated-env.ts'
import { settingProblems as problems } from '../support/setting-problems.ts'

describe("the table of other servers' settings", () => {
  it('names settings of ours, and has none of them among the others', () => {
    const named = Object.values(FOREIGN_SETTINGS).flatMap(({ ours }) => ours ?? [])
    expect(named.filter((name) => !SETTINGS.includes(name))).toEqual([])
    expect(Object.keys(FOREIGN_SETTINGS).filter((name) => SETTINGS.includes(name))).toEqual([])
  })

  it('says why, where nothing is needed', () => {
    const mute = Object.entries(FOREIGN_SETTINGS).filter(([, { ours, note }]) => ours === undefined && !note)
    expect(mute).toEqual([])
  })
})

describe("another server's setting", () => {
  it.each([
    ['STORAGE_S3_ENDPOINT_URL', 'https://s3.hunter2.example', 'here it is STORAGE_S3_ENDPOINT'],
    ['STORAGE_MAX_UPLOAD_SIZE', '5GB', 'here it is STORAGE_MAX_FILE_SIZE'],
    ['STORAGE_S3_SECRET_ACCESS_KEY', 'hunter2', 'here it is STORAGE_S3_SECRET_KEY'],
    ['STORAGE_DATABASE_URL', 'postgres://u:hunter2@db/x', 'here it is DATABASE_URL'],
    ['STORAGE_ENABLED', 'true', 'what is started is on'],
    ['STORAGE_REDIS_URL', 'redis://:hunter2@x', 'what servers have to know of each other is in PostgreSQL'],
    ['STORAGE_PROT', '8000', 'STORAGE_PORT is'],
    ['STORAGE_MAX_FILESIZE', '1', 'STORAGE_MAX_FILE_SIZE is'],
  ])('%s is answered by ours, and its value not repeated', (name, value, answer) => {
    expect(problems({ [name]: value })).toEqual([`${name} is not a setting: ${answer}`])
  })

  it.each([
    ['file', 'local'],
    ['minio', 's3'],
    ['Filesystem', 'local'],
  ])('STORAGE_BACKEND=%s is answered by %s', (value, ours) => {
    expect(problems({ STORAGE_BACKEND: value })).toEqual([
      `STORAGE_BACKEND must be local or s3: what is meant is ${ours} here`,
    ])
  })

  it('that is like none of ours is named alone', () => {
    expect(problems({ STORAGE_FROBNICATION: 'x' })).toEqual(['STORAGE_FROBNICATION is not a setting'])
    expect(problems({ STORAGE_toString: 'x' })).toEqual(['STORAGE_toString is not a setting'])
  })
})

/** As in the docker-compose file of a self-hosted Supabase. */
const SUPABASE = {
  ANON_KEY: 'eyJ.anon',
  SERVICE_KEY: 'eyJ.service',
  POSTGREST_URL: 'http://rest:3000',
  PGRST_JWT_SECRET: 'a secret of at least 32 characters',
  DATABASE_URL: 'postgres://supabase_storage_admin:secret@db:5432/postgres',
  FILE_SIZE_LIMIT: '52428800',
  STORAGE_BACKEND: 'file',
  FILE_STORAGE_BACKEND_PATH: '/var/lib/storage',
  TENANT_ID: 'stub',
  REGION: 'stub',
  GLOBAL_S3_BUCKET: 'stub',
  ENABLE_IMAGE_TRANSFORMATION: 'true',
  IMGPROXY_URL: 'http://imgproxy:5001',
  TUS_URL_PATH: '/upload/resumable',
  TUS_URL_EXPIRY_MS: '3600000',
  EMPTY: '',
  COMPOSE_PROJECT_NAME: 'mine',
}

describe('a whole file of another server', () => {
  it('becomes settings that a server starts with', () => {
    const { settings, needless, unknown } = translateEnv(SUPABASE, SETTINGS)
    expect(settings).toEqual([
      { name: 'DATABASE_URL', value: SUPABASE.DATABASE_URL, from: 'DATABASE_URL' },
      { name: 'STORAGE_BACKEND', value: 'local', from: 'STORAGE_BACKEND' },
      { name: 'STORAGE_MAX_FILE_SIZE', value: '52428800', from: 'FILE_SIZE_LIMIT' },
      { name: 'STORAGE_DATA_DIR', value: '/var/lib/storage', from: 'FILE_STORAGE_BACKEND_PATH' },
      { name: 'STORAGE_JWT_SECRET', value: SUPABASE.PGRST_JWT_SECRET, from: 'PGRST_JWT_SECRET' },
      { name: 'STORAGE_TUS_EXPIRY', value: '3600000ms', from: 'TUS_URL_EXPIRY_MS' },
    ])
    expect(needless.map(({ name }) => name)).toEqual([
      'ANON_KEY',
      'ENABLE_IMAGE_TRANSFORMATION',
      'IMGPROXY_URL',
      'POSTGREST_URL',
      'SERVICE_KEY',
      'TENANT_ID',
      'TUS_URL_PATH',
    ])
    expect(unknown.map(({ name }) => name)).toEqual(['COMPOSE_PROJECT_NAME', 'GLOBAL_S3_BUCKET', 'REGION'])
    expect(problems(Object.fromEntries(settings.map(({ name, value }) => [name, value])))).toEqual([])
  })

  it('of MinIO becomes S3 with paths; and one thing is said once, by our own name if it is there', () => {
    const { settings, needless } = translateEnv(
      {
        AWS_DEFAULT_REGION: 'eu-west-1',
        REGION: 'us-east-2',
        STORAGE_BACKEND: 'minio',
        STORAGE_S3_ENDPOINT_URL: 'http://minio:9000',
        STORAGE_S3_BUCKET: 'ours',
        GLOBAL_S3_BUCKET: 'theirs',
      },
      SETTINGS,
    )
    expect(Object.fromEntries(settings.map(({ name, value }) => [name, value]))).toEqual({
      STORAGE_BACKEND: 's3',
      STORAGE_S3_FORCE_PATH_STYLE: 'true',
      STORAGE_S3_BUCKET: 'ours',
      STORAGE_S3_REGION: 'eu-west-1',
      STORAGE_S3_ENDPOINT: 'http://minio:9000',
    })
    expect(needless).toEqual([
      { name: 'GLOBAL_S3_BUCKET', why: 'STORAGE_S3_BUCKET says it already' },
      { name: 'REGION', why: 'STORAGE_S3_REGION says it already' },
    ])
  })

  it('is refused where it would do nothing, by the names that mean something', () => {
    expect(foreignProblems(SUPABASE, SETTINGS)).toEqual([
      'FILE_SIZE_LIMIT means nothing here: here it is STORAGE_MAX_FILE_SIZE',
      'FILE_STORAGE_BACKEND_PATH means nothing here: here it is STORAGE_DATA_DIR: what lies in the folder of another server is not taken over: upload it, or use an S3 client',
      'PGRST_JWT_SECRET means nothing here: here it is STORAGE_JWT_SECRET',
      'TUS_URL_EXPIRY_MS means nothing here: here it is STORAGE_TUS_EXPIRY',
    ])
  })

  it('may be for both servers: what ours says as well is no problem', () => {
    const both = { FILE_SIZE_LIMIT: '1000', STORAGE_MAX_FILE_SIZE: '1000', SITE_URL: 'https://app.example' }
    expect(foreignProblems(both, SETTINGS)).toEqual([])
  })
})
