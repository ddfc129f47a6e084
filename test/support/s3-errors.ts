import { S3ServiceException } from '@aws-sdk/client-s3'

/** An error of the S3 protocol, as its XML says it. */
export interface S3ErrorTold {
  status: number
  type: string | null
  resource: string | undefined
  code: string | undefined
  message: string | undefined
  requestId: string | undefined
}

export async function told(response: Response): Promise<S3ErrorTold> {
  const text = await response.text()
  const field = (name: string) => new RegExp(`<${name}>(.*)</${name}>`, 's').exec(text)?.[1]
  return {
    status: response.status,
    type: response.headers.get('content-type'),
    resource: field('Resource'),
    code: field('Code'),
    message: field('Message'),
    requestId: field('RequestId'),
  }
}

/** What an S3 client is told when it is refused. */
export async function refusal(asking: Promise<unknown>): Promise<[status: number | undefined, code: string]> {
  try {
    await asking
  } catch (error) {
    if (error instanceof S3ServiceException) return [error.$metadata.httpStatusCode, error.name]
    throw error
  }
  throw new Error('it was not refused')
}
