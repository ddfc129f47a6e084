import { expect, it } from 'vitest'
import { seededBytes } from '../../support/seeded-bytes.ts'
import { describeProgram, itBesideFiles, LARGE, ODD_NAMES, type Workplace } from './describe-program.ts'

function aws(place: Workplace, ...args: string[]): Promise<string> {
  return place.run('aws', ['--endpoint-url', place.server.endpoint, ...args])
}

describeProgram('aws', 'awscli', (place) => {
  itBesideFiles('makes a bucket, lists it, and removes it', async () => {
    await aws(place(), 's3', 'mb', 's3://made-here')
    expect(await aws(place(), 's3', 'ls')).toMatch(/ made-here$/m)
    await aws(place(), 's3', 'rb', 's3://made-here')
    expect(await aws(place(), 's3', 'ls')).not.toContain('made-here')
  })

  it('copies a large file there and back, in parts', async () => {
    const bucket = await place().bucket()
    const bytes = seededBytes(bucket, LARGE)
    await place().write('large.bin', bytes)
    await aws(place(), 's3', 'cp', 'large.bin', `s3://${bucket}/in/large.bin`, '--only-show-errors')
    const { headers } = await place().server.request('HEAD', `/object/${bucket}/in/large.bin`)
    expect(headers.get('etag')).toMatch(/^"[\da-f]{32}-\d+"$/)
    expect(headers.get('content-length')).toBe(String(LARGE))
    await aws(place(), 's3', 'cp', `s3://${bucket}/in/large.bin`, 'back.bin', '--only-show-errors')
    expect((await place().read('back.bin')).equals(bytes)).toBe(true)
  })

  it('syncs a folder there and back, whatever its files are called, and once more nothing', async () => {
    const bucket = await place().bucket()
    await place().writeTree('there', ODD_NAMES)
    await aws(place(), 's3', 'sync', 'there', `s3://${bucket}/kept`, '--only-show-errors')
    expect(await place().names(bucket)).toEqual(ODD_NAMES.map((name) => `kept/${name}`).toSorted())
    await aws(place(), 's3', 'sync', `s3://${bucket}/kept`, 'back', '--only-show-errors')
    expect(await place().tree('back')).toEqual(await place().tree('there'))
    expect(await aws(place(), 's3', 'sync', 'there', `s3://${bucket}/kept`)).toBe('')
    await aws(place(), 's3', 'rm', `s3://${bucket}/kept`, '--recursive', '--only-show-errors')
    expect(await place().names(bucket)).toEqual([])
  })

  itBesideFiles('tags what it puts, which other clients know as words', async () => {
    const bucket = await place().bucket()
    await place().write('a.txt', 'hello')
    const at = ['--bucket', bucket, '--key', 'a.txt']
    await aws(place(), 's3api', 'put-object', ...at, '--body', 'a.txt', '--tagging', 'project=apollo&urgent=')
    const told = JSON.parse(await aws(place(), 's3api', 'get-object-tagging', ...at, '--output', 'json'))
    expect(told.TagSet).toEqual([
      { Key: 'project', Value: 'apollo' },
      { Key: 'urgent', Value: '' },
    ])
    const { server } = place()
    const rows = await server.admin`select tags from storage.objects where bucket_id = ${bucket}`
    expect(rows).toEqual([{ tags: ['project=apollo', 'urgent'] }])
  })

  itBesideFiles('signs URLs that anybody may open', async () => {
    const bucket = await place().bucket()
    // Version 1 would sign this alone as of 2006.
    await place().write('.aws/config', '[default]\ns3 =\n  signature_version = s3v4\n')
    await place().server.request('PUT', `/object/${bucket}/a%20b.txt`, { body: 'hello' })
    const url = await aws(place(), 's3', 'presign', `s3://${bucket}/a b.txt`, '--expires-in', '60')
    const response = await fetch(url.trim())
    expect([response.status, await response.text()]).toEqual([200, 'hello'])
  })
})
