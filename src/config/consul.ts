import { z } from 'zod'
import { host, webUrl } from './fields.ts'
import { setting, type ValuesOf } from './setting.ts'

/** A Consul that servers are found by. */
export interface ConsulSettings extends Omit<Values, 'url'> {
  /** Of its agent, without a slash at the end. */
  url: string
}

export const CONSUL_TABLE = {
  // With a user in it no request can be made, and every error would quote its password.
  url: setting(
    'STORAGE_CONSUL_URL',
    webUrl.refine(hasNoUser, 'must have no user: STORAGE_CONSUL_TOKEN is for that'),
    {
      help: 'the agent of a Consul in which the server says where it is',
      example: 'http://127.0.0.1:8500',
    },
  ),
  token: setting('STORAGE_CONSUL_TOKEN', z.string(), {
    help: 'may write that service there',
  }),
  name: setting(
    'STORAGE_SERVICE_NAME',
    // What Consul's DNS can ask for.
    z.string().regex(/^[\w-]{1,63}$/, 'must be letters, digits, - and _, at most 63'),
    { preset: 'storage_service', help: 'what it is called there' },
  ),
  address: setting('STORAGE_SERVICE_ADDRESS', host, {
    shown: 'the host of `STORAGE_PUBLIC_URL`, else of the machine',
    help: 'where others reach this server, and Consul its health',
    example: '10.0.0.1',
  }),
}

function hasNoUser(url: string): boolean {
  const { username, password } = new URL(url)
  return username === '' && password === ''
}

type Values = ValuesOf<typeof CONSUL_TABLE>

/** What is wrong with settings that are each right by themselves. */
export function consulContradictions({ url, token, address }: Values): string[] {
  if (url !== undefined) return []
  const idle = [token && 'STORAGE_CONSUL_TOKEN', address && 'STORAGE_SERVICE_ADDRESS'].filter(Boolean)
  return idle.map((name) => `${name} needs STORAGE_CONSUL_URL`)
}

export function consulSettings({ url, ...rest }: Values): ConsulSettings | undefined {
  return url === undefined ? undefined : { ...rest, url }
}
