import { once } from 'node:events'
import { createServer, type IncomingHttpHeaders, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { gunzipSync } from 'node:zlib'
import { type Message, readMessage } from './protobuf.ts'
import { until } from './wait.ts'

/** A span as a collector gets it. */
export interface ReceivedSpan {
  traceId: string
  spanId: string
  /** Empty for the first of its trace. */
  parentSpanId: string
  traceState: string
  name: string
  kind: 'internal' | 'server' | 'client' | 'other'
  attributes: Record<string, unknown>
  isError: boolean
  resource: Record<string, unknown>
}

/** How a collector takes what it is sent: with a status, or never. */
export type Taking = number | 'hangs'

/** A collector: a real HTTP server that reads OTLP (https://opentelemetry.io/docs/specs/otlp/#otlphttp). */
export class OtlpReceiver {
  readonly spans: ReceivedSpan[] = []
  /** All that has come, as text: what must not be in it is searched there. */
  sent = ''
  readonly requests: { path: string; headers: IncomingHttpHeaders }[] = []
  taking: Taking = 200
  readonly #hanging: ServerResponse[] = []
  readonly #server = createServer(async (request, response) => {
    const chunks: Buffer[] = []
    for await (const chunk of request) chunks.push(chunk)
    const { url: path = '', headers } = request
    this.requests.push({ path, headers })
    if (this.taking === 'hangs') return void this.#hanging.push(response)
    const whole = Buffer.concat(chunks)
    const body = headers['content-encoding'] === 'gzip' ? gunzipSync(whole) : whole
    if (this.taking === 200) {
      this.sent += body.toString('latin1')
      const isJson = headers['content-type'] === 'application/json'
      this.spans.push(...(isJson ? fromJson(JSON.parse(body.toString())) : fromProtobuf(readMessage(body))))
    }
    response.writeHead(this.taking).end()
  })

  static async listen(): Promise<OtlpReceiver> {
    const receiver = new OtlpReceiver()
    receiver.#server.listen(0, '127.0.0.1')
    await once(receiver.#server, 'listening')
    return receiver
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`
  }

  /** Waits for one that is so. */
  async span(what: string, isMeant: (span: ReceivedSpan) => boolean): Promise<ReceivedSpan> {
    let found: ReceivedSpan | undefined
    await until(() => {
      found = this.spans.find(isMeant)
      return found !== undefined
    }, `the collector has ${what}`)
    return found as ReceivedSpan
  }

  /** The span of the request with that id, once it has come. */
  request(id: string | null): Promise<ReceivedSpan> {
    return this.span(
      `the span of request ${id}`,
      ({ attributes }) => attributes['strongroom.request_id'] === id,
    )
  }

  /** What has come of the same trace so far. */
  traceOf({ traceId }: ReceivedSpan): ReceivedSpan[] {
    return this.spans.filter((span) => span.traceId === traceId)
  }

  async close(): Promise<void> {
    for (const response of this.#hanging) response.destroy()
    this.#server.close()
    this.#server.closeAllConnections()
    await once(this.#server, 'close')
  }
}

/** A trace as lines: each span by its name, below its parent; those that begin together in the order in which they came. */
export function treeOf(spans: ReceivedSpan[], root: ReceivedSpan): string[] {
  const below = (parent: ReceivedSpan, depth: number): string[] => [
    `${'  '.repeat(depth)}${parent.name}`,
    ...spans.filter((span) => span.parentSpanId === parent.spanId).flatMap((span) => below(span, depth + 1)),
  ]
  return below(root, 0)
}

const KINDS = { 1: 'internal', 2: 'server', 3: 'client' } as const

function kindOf(number: unknown): ReceivedSpan['kind'] {
  return KINDS[Number(number) as keyof typeof KINDS] ?? 'other'
}

/** https://github.com/open-telemetry/opentelemetry-proto/blob/main/opentelemetry/proto/trace/v1/trace.proto */
function fromProtobuf(request: Message): ReceivedSpan[] {
  return request.messages(1).flatMap((ofResource) => {
    const resource = attributesOf(ofResource.messages(1)[0]?.messages(1))
    return ofResource.messages(2).flatMap((ofScope) =>
      ofScope.messages(2).map((span) => ({
        traceId: span.bytes(1).toString('hex'),
        spanId: span.bytes(2).toString('hex'),
        parentSpanId: span.bytes(4).toString('hex'),
        traceState: span.bytes(3).toString(),
        name: span.bytes(5).toString(),
        kind: kindOf(span.number(6)),
        attributes: attributesOf(span.messages(9)),
        isError: span.messages(15)[0]?.number(3) === 2,
        resource,
      })),
    )
  })
}

function attributesOf(pairs: Message[] = []): Record<string, unknown> {
  return Object.fromEntries(
    pairs.map((pair) => {
      const [value] = pair.messages(2)
      const plain = value?.has(1)
        ? value.bytes(1).toString()
        : value?.has(2)
          ? value.number(2) === 1
          : value?.number(3)
      return [pair.bytes(1).toString(), plain]
    }),
  )
}

interface JsonPair {
  key: string
  value: { stringValue?: string; boolValue?: boolean; intValue?: number | string }
}

interface JsonRequest {
  resourceSpans: {
    resource: { attributes: JsonPair[] }
    scopeSpans: {
      spans: (Pick<ReceivedSpan, 'traceId' | 'spanId' | 'name'> & {
        parentSpanId?: string
        traceState?: string
        kind: number
        attributes: JsonPair[]
        status: { code: number }
      })[]
    }[]
  }[]
}

function fromJson({ resourceSpans }: JsonRequest): ReceivedSpan[] {
  return resourceSpans.flatMap(({ resource, scopeSpans }) =>
    scopeSpans.flatMap(({ spans }) =>
      spans.map(
        ({ parentSpanId = '', traceState = '', kind, attributes, status, traceId, spanId, name }) => ({
          ...{ traceId, spanId, parentSpanId, traceState, name },
          kind: kindOf(kind),
          attributes: plainAttributes(attributes),
          isError: status.code === 2,
          resource: plainAttributes(resource.attributes),
        }),
      ),
    ),
  )
}

function plainAttributes(pairs: JsonPair[]): Record<string, unknown> {
  return Object.fromEntries(
    pairs.map(({ key, value: { stringValue, boolValue, intValue } }) => [
      key,
      stringValue ?? boolValue ?? Number(intValue),
    ]),
  )
}
