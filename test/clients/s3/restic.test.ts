import { expect, it } from 'vitest'
import { describeProgram, type Workplace } from './describe-program.ts'

/** restic knows no endpoint with a path: it has to have a host that is S3's alone. */
function restic(place: Workplace, bucket: string, ...args: string[]): Promise<string> {
  return place.run('restic', args, {
    RESTIC_REPOSITORY: `s3:${place.server.rootEndpoint}/${bucket}/backups`,
    RESTIC_PASSWORD: 'of the tests',
  })
}

describeProgram('restic', 'restic', (place) => {
  it('keeps backups, forgets old ones, and restores what it has kept', async () => {
    const bucket = await place().bucket()
    const run = (...args: string[]) => restic(place(), bucket, ...args)
    await run('init')
    await place().writeTree('home', ['large.bin', 'a b.txt', 'in/c.txt'])
    await run('backup', 'home')
    const names = await place().names(bucket)
    expect(names).toContain('backups/config')
    await place().writeTree('home', ['other.bin', 'a b.txt'])
    await run('backup', 'home')
    await run('forget', '--keep-last', '1', '--prune')
    expect(JSON.parse(await run('snapshots', '--json'))).toHaveLength(1)
    expect(await run('check', '--read-data')).toContain('no errors were found')
    await run('restore', 'latest', '--target', 'restored')
    expect(await place().tree('restored/home')).toEqual(await place().tree('home'))
  })
})
