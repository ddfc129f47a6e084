import type { LookupFunction } from 'node:net'
import ipaddr from 'ipaddr.js'
import { buildConnector } from 'undici'
import { isPublicAddress } from '../../lib/ip-address.ts'
import type { HostLookup } from './host-lookup.ts'

/** A webhook leads into a private network, and may not. */
export class PrivateAddressError extends Error {
  override readonly name = 'PrivateAddressError'
}

export interface ConnectorOptions {
  hosts: HostLookup
  /** For a connection, in milliseconds. */
  timeoutMs: number
  allowPrivate: boolean
}

/**
 * Makes connections, to public addresses only unless others are allowed. Asked at each connection, about the very
 * address that it is made to: a name that resolves to another one the next time gets no further.
 */
export function connector({ hosts, timeoutMs, allowPrivate }: ConnectorOptions): buildConnector.connector {
  const mayReach = (address: string) => allowPrivate || isPublicAddress(address)
  const lookup: LookupFunction = (hostname, { all }, callback) => {
    hosts.addresses(hostname).then(
      (addresses) => {
        const [first] = addresses
        if (!first || !addresses.every(({ address }) => mayReach(address))) {
          callback(new PrivateAddressError(), [])
        } else if (all) {
          callback(null, addresses)
        } else {
          callback(null, first.address, first.family)
        }
      },
      (error: Error) => callback(error, []),
    )
  }
  const connect = buildConnector({ lookup, timeout: timeoutMs })
  return (options, callback) => {
    // An address is not looked up.
    const isRefused = ipaddr.isValid(options.hostname) && !mayReach(options.hostname)
    if (isRefused) callback(new PrivateAddressError(), null)
    else connect(options, callback)
  }
}
