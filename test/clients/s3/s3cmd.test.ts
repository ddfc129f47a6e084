import { expect, it } from 'vitest'
import { seededBytes } from '../../support/seeded-bytes.ts'
import { describeProgram, LARGE, ODD_NAMES, type Workplace } from './describe-program.ts'

/** s3cmd knows no endpoint with a path: it has to have a host that is S3's alone. */
function s3cmd(place: Workplace, ...args: string[]): Promise<string> {
  const { host } = new URL(place.server.rootEndpoint)
  const { accessKeyId, secretAccessKey } = place.server.keys3
  return place.run('s3cmd', [
    `--access_key=${accessKeyId}`,
    `--secret_key=${secretAccessKey}`,
    `--host=${host}`,
    `--host-bucket=${host}`, // path style
    '--no-ssl',
    '--no-progress',
    '--multipart-chunk-size-mb=5',
    ...args,
  ])
}

describeProgram('s3cmd', 's3cmd', (place) => {
  it('puts files, tells of them and deletes them', async () => {
    await s3cmd(place(), 'mb', 's3://by-s3cmd')
    await place().write('small.txt', 'hello')
    await place().write('large.bin', seededBytes('s3cmd', LARGE))
    await s3cmd(place(), 'put', 'small.txt', 'large.bin', 's3://by-s3cmd/in/')
    const told = await s3cmd(place(), 'info', 's3://by-s3cmd/in/small.txt')
    expect(told).toMatch(/File size: 5$/m)
    expect(told).toMatch(/MD5 sum: {3}5d41402abc4b2a76b9719d911017c592$/m)
    expect(await s3cmd(place(), 'info', 's3://by-s3cmd')).toMatch(/Location: /)
    await s3cmd(place(), 'get', 's3://by-s3cmd/in/large.bin', 'back.bin')
    expect((await place().read('back.bin')).equals(await place().read('large.bin'))).toBe(true)
    await s3cmd(place(), 'del', '-r', '--force', 's3://by-s3cmd')
    expect(await place().names('by-s3cmd')).toEqual([])
    await s3cmd(place(), 'rb', 's3://by-s3cmd')
    expect(await s3cmd(place(), 'ls')).not.toContain('by-s3cmd')
  })

  it('syncs a folder there and back, whatever its files are called, and once more nothing', async () => {
    const bucket = await place().bucket()
    await place().writeTree('there', ODD_NAMES)
    await s3cmd(place(), 'sync', 'there/', `s3://${bucket}/kept/`)
    expect(await place().names(bucket)).toEqual(ODD_NAMES.map((name) => `kept/${name}`).toSorted())
    await s3cmd(place(), 'sync', `s3://${bucket}/kept/`, 'back/')
    expect(await place().tree('back')).toEqual(await place().tree('there'))
    expect(await s3cmd(place(), 'sync', 'there/', `s3://${bucket}/kept/`)).not.toContain('upload:')
  })
})
