import { describe, expect, it } from 'vitest'
import type { StorageEvent } from '../../../src/database/queries/events.ts'
import { EventFrames } from '../../../src/http/realtime/event-frames.ts'
import { VERSIONS } from '../../../src/http/realtime/frames.ts'

/** An event that counts how often its record is made text. */
function counted(): { event: StorageEvent; made: () => number } {
  let made = 0
  const metadata = {
    toJSON: () => {
      made++
      return { size: 1 }
    },
  }
  const event = {
    position: 7,
    type: 'storage.object.created',
    bucket: 'b',
    path: 'a "quoted" name',
    oldBucket: null,
    oldPath: null,
    createdAt: new Date(0),
    record: { id: 'x', bucket_id: 'b', name: 'a "quoted" name', metadata },
  } as unknown as StorageEvent // what the frames look at
  return { event, made: () => made }
}

const group = (columns: string[]) => ({ columns, members: [] })

describe('the frames of an event', () => {
  it('have what is told made once, whatever the channels are called and whoever asks', () => {
    const frames = new EventFrames()
    const { event, made } = counted()
    for (let index = 0; index < 50; index++) {
      const to = { version: VERSIONS[index % 2] ?? '2.0.0', topic: `realtime:${index}` }
      frames.change(event, to, group(['name', 'metadata']), [1])
      frames.change(event, to, group(['name', 'metadata']), [1, 2, index])
    }
    expect(made()).toBe(1)
    frames.change(event, { version: '2.0.0', topic: 'realtime:x' }, group(['metadata']), [1])
    expect(made()).toBe(2)
  })

  it('are the same bytes for all that get the same', () => {
    const frames = new EventFrames()
    const { event } = counted()
    const to = { version: '2.0.0', topic: 'realtime:storage' } as const
    expect(frames.broadcast(event, to)).toBe(frames.broadcast(event, { ...to }))
    expect(frames.raw(event, to)).not.toBe(frames.raw(event, { ...to, topic: 'realtime:storage:b' }))
  })

  it('do not mix up two forms in which one event is told', () => {
    const frames = new EventFrames()
    const { event } = counted()
    const to = { version: '2.0.0', topic: 'realtime:storage' } as const
    frames.raw(event, to)
    const other = frames.raw({ ...event, path: 'elsewhere' }, to)
    expect(JSON.parse(other.toString())[4].path).toBe('elsewhere')
  })
})
