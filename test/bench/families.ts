import type { Family } from './family.ts'
import { backup } from './rows/backup.ts'
import { coldStart } from './rows/cold-start.ts'
import { events } from './rows/events.ts'
import { filters } from './rows/filters.ts'
import { growth } from './rows/growth.ts'
import { largeGet } from './rows/large-get.ts'
import { largePut } from './rows/large-put.ts'
import { latency } from './rows/latency.ts'
import { list } from './rows/list.ts'
import { listS3 } from './rows/list-s3.ts'
import { manyFiles } from './rows/many-files.ts'
import { memory } from './rows/memory.ts'
import { ranges } from './rows/ranges.ts'
import { resumable } from './rows/resumable.ts'
import { s3 } from './rows/s3.ts'
import { settings } from './rows/settings.ts'
import { sizesGet, sizesPut } from './rows/sizes.ts'
import { bulkDelete, smallDelete } from './rows/small-delete.ts'
import { smallGetPublic } from './rows/small-get-public.ts'
import { smallGetRls, smallGetRlsCold } from './rows/small-get-rls.ts'
import { info, notModified, signHundred, signOne, smallGetSigned } from './rows/small-requests.ts'
import { smallUpload, smallUploadSlowFlush, smallUpsert } from './rows/small-upload.ts'
import { sweep } from './rows/sweep.ts'
import { versions } from './rows/versions.ts'

interface Described {
  measure: Family
  /** What it measures, for --help. */
  shows: string
  /** It does more than HTTP can, such as fill the database or look at the process. */
  needsOwnServer?: true
}

export const FAMILIES: Record<string, Described> = {
  'get-public': { measure: smallGetPublic, shows: '4 KiB GET of a public object' },
  'get-signed': { measure: smallGetSigned, shows: '4 KiB GET by signed URL' },
  'get-rls': { measure: smallGetRls, shows: '4 KiB GET under RLS' },
  'get-rls-cold': { measure: smallGetRlsCold, shows: '4 KiB GET under RLS of what is not in memory' },
  'not-modified': { measure: notModified, shows: '304 to a matching If-None-Match' },
  info: { measure: info, shows: 'what is known of an object' },
  upload: { measure: smallUpload, shows: '4 KiB upload to new names' },
  'upload-slow': { measure: smallUploadSlowFlush, shows: '4 KiB upload where a flush takes 5 ms' },
  upsert: { measure: smallUpsert, shows: '4 KiB upload over what is there' },
  latency: { measure: latency, shows: 'the slowest of a hundred 4 KiB uploads and GETs' },
  'many-files': { measure: manyFiles, shows: "uploads and downloads of 4 to 64 KiB by Supabase's client" },
  settings: {
    measure: settings,
    shows: 'what rate limits, the audit log and metrics cost a 4 KiB upload and GET',
    needsOwnServer: true,
  },
  sign: { measure: signOne, shows: 'one signed URL' },
  'sign-100': { measure: signHundred, shows: 'a hundred signed URLs by one request' },
  delete: { measure: smallDelete, shows: 'one object after the other' },
  'delete-1000': { measure: bulkDelete, shows: 'a thousand objects by one request' },
  'sizes-get': { measure: sizesGet, shows: 'GET of 16 KiB, 64 KiB, 1 MiB and 64 MiB' },
  'sizes-put': { measure: sizesPut, shows: 'PUT of 16 KiB, 64 KiB, 1 MiB and 64 MiB' },
  'large-get': { measure: largeGet, shows: 'GET of 1 GiB' },
  'large-put': { measure: largePut, shows: 'PUT of 1 GiB' },
  ranges: { measure: ranges, shows: '4 KiB out of 1 GiB' },
  resumable: { measure: resumable, shows: '256 MiB by the TUS protocol' },
  s3: {
    measure: s3,
    shows: '64 MiB and 4 KiB by the S3 protocol, beside REST',
    needsOwnServer: true,
  },
  list: {
    measure: list,
    shows: 'a thousand of a million, v1 and v2, with and without RLS',
    needsOwnServer: true,
  },
  filters: { measure: filters, shows: 'lists with filters, of very many objects', needsOwnServer: true },
  'list-s3': {
    measure: listS3,
    shows: 'pages of a million by the S3 protocol, the first and one from the middle',
    needsOwnServer: true,
  },
  backup: { measure: backup, shows: 'what a backup of a million objects costs', needsOwnServer: true },
  memory: { measure: memory, shows: 'peak of a thousand uploads of 10 MiB at once', needsOwnServer: true },
  events: { measure: events, shows: 'how soon listeners hear, and what they cost', needsOwnServer: true },
  'cold-start': { measure: coldStart, shows: 'until the server is ready', needsOwnServer: true },
  growth: {
    measure: growth,
    shows: 'costs at ten thousand, a hundred thousand and a million rows',
    needsOwnServer: true,
  },
  versions: {
    measure: versions,
    shows: 'what versions cost uploads over what is there, and lists',
    needsOwnServer: true,
  },
  sweep: { measure: sweep, shows: 'what a cleanup of a million files costs', needsOwnServer: true },
}
