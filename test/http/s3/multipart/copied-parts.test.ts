import { expect, it } from 'vitest'
import { RawConnection, rawRequest } from '../../../support/raw-http.ts'
import { told } from '../../../support/s3-errors.ts'
import { startS3Server } from '../../../support/s3-protocol.ts'
import { until } from '../../../support/wait.ts'

it('a part that is copied needs a place among the uploads, since its bytes pass through the server', async () => {
  const server = await startS3Server({ STORAGE_MAX_UPLOADS: '1' })
  try {
    await server.createBucket('box')
    await server.send('PUT', '/box/source', { body: 'bytes' })
    const begun = await (await server.send('POST', '/box/whole?uploads', { body: '' })).text()
    const [, id = ''] = /<UploadId>(\w+)</.exec(begun) ?? []
    const copy = () =>
      server.send('PUT', `/box/whole?partNumber=1&uploadId=${id}`, {
        headers: { 'x-amz-copy-source': '/box/source' },
      })
    const stalled = await RawConnection.open(server.url)
    await stalled.send(
      rawRequest('PUT', '/object/box/stalled', [
        `Authorization: Bearer ${server.keys.serviceKey}`,
        'Content-Type: text/plain',
        'Content-Length: 400000',
      ]),
    )
    const uploads = () => server.admin`select from storage.uploads where name = 'stalled'`
    await until(async () => (await uploads()).length === 1, 'an upload is under way')
    expect(await told(await copy())).toMatchObject({ status: 503, code: 'SlowDown' })
    stalled.abort()
    await until(async () => (await copy()).ok, 'there is a place again')
  } finally {
    await server.close()
  }
})
