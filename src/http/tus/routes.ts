import { Hono } from 'hono'
import type { Logger } from 'pino'
import type { Env } from '../env.ts'
import { operation } from '../openapi/operation.ts'
import type { Services } from '../services.ts'
import { createUpload } from './create.ts'
import { terminateUpload } from './delete.ts'
import { findUpload } from './head.ts'
import { tusOperations } from './operations.ts'
import { appendChunk } from './patch.ts'
import { TUS_PATH } from './protocol.ts'
import { type Variant, type Verb, verbHandler } from './request.ts'

/** The TUS protocol (wire §5). */
export function resumableRoutes(services: Services, logger: Logger) {
  return (
    new Hono<Env>()
      // Its path is also one of the other variant's ids, so it stands first.
      .route('/', variant(services, logger, { path: `${TUS_PATH}/sign`, suffix: '_signed', isSigned: true }))
      .route('/', variant(services, logger, { path: TUS_PATH, suffix: '', isSigned: false }))
  )
}

function variant(services: Services, logger: Logger, of: Variant) {
  const about = tusOperations(of)
  const handler = (action: string, verb: Verb) => verbHandler(services, logger, of, action, verb)
  const create = operation(about.create, handler('create', createUpload))
  const find = handler('get', findUpload)
  const append = operation(about.append, handler('part', appendChunk))
  const terminate = operation(about.terminate, handler('delete', terminateUpload))
  const byMethod = new Map([
    ['PATCH', append],
    ['DELETE', terminate],
    ['HEAD', find],
  ])

  return (
    new Hono<Env>()
      .post(of.path, create)
      .post(`${of.path}/`, create)
      // Hono answers HEAD by the routes of GET; a GET is no part of the protocol.
      .get(
        `${of.path}/:id`,
        operation(about.find, (c, next) => (c.req.method === 'HEAD' ? find(c, next) : next())),
      )
      .patch(`${of.path}/:id`, append)
      .put(`${of.path}/:id`, append)
      .delete(`${of.path}/:id`, terminate)
      // For clients whose network knows no other method (TUS 1.0, X-HTTP-Method-Override).
      .post(
        `${of.path}/:id`,
        operation(about.override, (c, next) => {
          const meant = byMethod.get(c.req.header('x-http-method-override')?.toUpperCase() ?? '')
          return meant ? meant(c, next) : next()
        }),
      )
  )
}
