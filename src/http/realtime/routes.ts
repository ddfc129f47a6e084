import { Hono } from 'hono'
import { StorageError } from '../../model/errors.ts'
import type { Env } from '../env.ts'
import { WEBSOCKET_PATH } from './upgrade.ts'

/** What comes to Realtime's addresses over plain HTTP (wire §10.6). */
export function realtimeRoutes() {
  const refuse = (): never => {
    throw new StorageError('NoBroadcasts')
  }
  return new Hono<Env>()
    .get(WEBSOCKET_PATH, () => {
      throw new StorageError('UpgradeRequired')
    })
    .post('/realtime/v1/api/broadcast', refuse)
    .post('/realtime/v1/api/broadcast/:topic/events/:event', refuse)
}
