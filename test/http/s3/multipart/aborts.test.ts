import { expect, it } from 'vitest'
import { startS3Server } from '../../../support/s3-protocol.ts'
import { until } from '../../../support/wait.ts'

it('an upload is aborted while a part of it is being noted', async () => {
  const server = await startS3Server()
  try {
    await server.createBucket('box')
    const begun = await (await server.send('POST', '/box/whole?uploads', { body: '' })).text()
    const [, id = ''] = /<UploadId>(\w+)</.exec(begun) ?? []
    // As `storage.keep_part` has its rows, one after the other.
    const { abort } = await server.admin.begin(async (tx) => {
      await tx`select from storage.s3_multipart_uploads where id = ${id} for no key update`
      const abort = server.send('DELETE', `/box/whole?uploadId=${id}`)
      await until(async () => {
        const [row] = await server.admin`
          select count(*)::int as n from pg_stat_activity
          where datname = current_database() and wait_event_type = 'Lock'`
        return row?.n === 1
      }, 'the abort waits')
      await tx`
        update storage.resumable_uploads set expires_at = expires_at + interval '1 second'
        where id = (select upload from storage.s3_multipart_uploads where id = ${id})`
      return { abort }
    })
    expect((await abort).status).toBe(204)
  } finally {
    await server.close()
  }
})
