import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { seededBytes } from '../../support/seeded-bytes.ts'
import { describeProgram, itBesideFiles, LARGE, ODD_NAMES, type Workplace } from './describe-program.ts'

/** rclone, where `at:` is the server. */
function rclone(place: Workplace, ...args: string[]): Promise<string> {
  return place.run('rclone', args, {
    RCLONE_CONFIG: join(place.folder, 'rclone.conf'),
    RCLONE_CONFIG_AT_TYPE: 's3',
    RCLONE_CONFIG_AT_PROVIDER: 'Other',
    RCLONE_CONFIG_AT_ENV_AUTH: 'true',
    RCLONE_CONFIG_AT_ENDPOINT: place.server.endpoint,
    // It has this from 16 MiB on; the sizes of the gate are smaller than people's.
    RCLONE_CONFIG_AT_UPLOAD_CUTOFF: '5Mi',
  })
}

describeProgram('rclone', 'rclone', (place) => {
  it('syncs a folder, whatever its files are called, and finds there byte for byte what is here', async () => {
    const bucket = await place().bucket()
    await place().writeTree('tree', ODD_NAMES)
    await rclone(place(), 'sync', 'tree', `at:${bucket}/kept`)
    expect(await place().names(bucket)).toEqual(ODD_NAMES.map((name) => `kept/${name}`).toSorted())
    await rclone(place(), 'check', '--download', 'tree', `at:${bucket}/kept`)
    await rclone(place(), 'check', 'tree', `at:${bucket}/kept`)
  })

  it('syncs what has changed, and removes what is gone', async () => {
    const bucket = await place().bucket()
    await place().writeTree('changing', ['a.txt', 'b.txt', 'in/c.txt'])
    await rclone(place(), 'sync', 'changing', `at:${bucket}`)
    await place().write('changing/a.txt', 'other')
    await rclone(place(), 'sync', 'changing', `at:${bucket}`, '--exclude', '/b.txt', '--delete-excluded')
    expect(await place().names(bucket)).toEqual(['a.txt', 'in/c.txt'])
    expect(await rclone(place(), 'cat', `at:${bucket}/a.txt`)).toBe('other')
  })

  it('copies large files by four at once, and back', async () => {
    const bucket = await place().bucket()
    for (const name of ['a', 'b', 'c', 'd']) {
      await place().write(`large/${name}.bin`, seededBytes(name, LARGE / 4 + 1_500_000))
    }
    await rclone(place(), 'copy', 'large', `at:${bucket}`, '--transfers', '4')
    await rclone(place(), 'copy', `at:${bucket}`, 'large-back', '--transfers', '4')
    expect(await place().tree('large-back')).toEqual(await place().tree('large'))
    const { headers } = await place().server.request('HEAD', `/object/${bucket}/a.bin`)
    expect(headers.get('etag')).toMatch(/^"[\da-f]{32}-\d+"$/)
  })

  it('copies and moves within the server', async () => {
    const bucket = await place().bucket()
    await place().server.request('PUT', `/object/${bucket}/a%20b.txt`, { body: 'hello' })
    await rclone(place(), 'copyto', `at:${bucket}/a b.txt`, `at:${bucket}/in/naïve+c.txt`)
    await rclone(place(), 'moveto', `at:${bucket}/a b.txt`, `at:${bucket}/d.txt`)
    expect(await place().names(bucket)).toEqual(['d.txt', 'in/naïve+c.txt'])
    expect(await rclone(place(), 'cat', `at:${bucket}/in/naïve+c.txt`)).toBe('hello')
  })

  itBesideFiles('makes buckets and folders, lists what is in them, and purges them', async () => {
    await rclone(place(), 'mkdir', 'at:by-rclone')
    await place().write('some/a.txt', 'hello')
    await mkdir(join(place().folder, 'some/empty'))
    await rclone(place(), 'copy', 'some', 'at:by-rclone/some', '--create-empty-src-dirs')
    const listed = await rclone(place(), 'lsf', '-R', 'at:by-rclone')
    expect(listed.trim().split('\n').toSorted()).toEqual(['some/', 'some/a.txt'])
    await rclone(place(), 'purge', 'at:by-rclone')
    expect(await rclone(place(), 'lsf', 'at:')).not.toContain('by-rclone')
  })

  it('shows versions, goes back to a moment, and cleans up what is hidden', async () => {
    const bucket = await place().bucket()
    const at = `at:${bucket}`
    expect(await rclone(place(), 'backend', 'versioning', at)).toContain('Unversioned')
    expect(await rclone(place(), 'backend', 'versioning', at, 'Enabled')).toContain('Enabled')
    await place().write('v/a.txt', 'one')
    await rclone(place(), 'copy', 'v', at)
    const [row] = await place().server.admin`
      select to_char(clock_timestamp() at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') as now`
    await place().write('v/a.txt', 'longer')
    await rclone(place(), 'copy', 'v', at)
    await rclone(place(), 'deletefile', `${at}/a.txt`)
    expect(await rclone(place(), 'lsf', at)).toBe('')

    const listed = (await rclone(place(), 'lsf', '--s3-versions', at)).trim().split('\n')
    expect(listed).toHaveLength(2)
    const texts = listed.map((name) => rclone(place(), 'cat', '--s3-versions', `${at}/${name}`))
    expect((await Promise.all(texts)).toSorted()).toEqual(['longer', 'one'])
    expect(await rclone(place(), 'cat', '--s3-version-at', String(row?.now), `${at}/a.txt`)).toBe('one')

    await place().write('v/a.txt', 'last')
    await rclone(place(), 'copy', 'v', at)
    await rclone(place(), 'backend', 'cleanup-hidden', at)
    expect(await rclone(place(), 'lsf', '--s3-versions', at)).toBe('a.txt\n')
    expect(await rclone(place(), 'cat', `${at}/a.txt`)).toBe('last')
    const [left] = await place().server.admin`
      select count(*)::int as count from storage.object_versions where bucket_id = ${bucket}`
    expect(left?.count).toBe(0)
  })
})
