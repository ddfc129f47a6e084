import type { S3Client } from '@aws-sdk/client-s3'
import type { Tracing } from '../../telemetry/tracing/tracing.ts'

/** What of the SDK's requests is looked at here. */
interface Sent {
  hostname: string
  port?: number
  headers: Record<string, string>
}

/**
 * Makes each request to the store, each attempt by itself, a step of the request that needs it
 * (https://opentelemetry.io/docs/specs/semconv/object-stores/s3/), and tells the store of its trace.
 *
 * The header is put on behind the signing, which is not to cover it: a proxy in between, which is a part of the trace, too,
 * writes another one there.
 */
export function traceRequests(client: S3Client, tracing: Tracing): void {
  client.middlewareStack.add(
    (next, { commandName = '' }) =>
      (args) => {
        const request = args.request as Sent // the SDK does not say which it is; this is HTTP
        const method = commandName.replace(/Command$/, '')
        const attributes = {
          'rpc.system': 'aws-api',
          'rpc.service': 'S3',
          'rpc.method': method,
          'server.address': request.hostname,
          'server.port': request.port,
        }
        return tracing.call(`S3.${method}`, attributes, async (traceparent) => {
          if (traceparent !== undefined) request.headers.traceparent = traceparent
          try {
            return await next(args)
          } finally {
            delete request.headers.traceparent // the next attempt signs what is there
          }
        })
      },
    { step: 'deserialize', priority: 'high', name: 'traceRequests' },
  )
}
