import { describe, expect, it } from 'vitest'
import { isWithin, parseNetwork } from '../../src/lib/ip-network.ts'

describe('parseNetwork', () => {
  it.each([
    ['192.0.2.7', '192.0.2.7/32'],
    ['192.0.2.7/24', '192.0.2.0/24'],
    ['192.0.2.7/0', '0.0.0.0/0'],
    ['10.255.1.1/9', '10.128.0.0/9'],
    ['2001:DB8::1', '2001:db8::1/128'],
    ['2001:db8:ffff::1/33', '2001:db8:8000::/33'],
    ['::ffff:192.0.2.7', '192.0.2.7/32'],
    ['::ffff:192.0.2.7/120', '192.0.2.0/24'],
    ['::/0', '::/0'],
  ])('%s is %s', (text, network) => {
    expect(parseNetwork(text)).toBe(network)
  })

  it.each([
    '',
    '1',
    '10.1',
    '010.1.1.1',
    '0x7f.0.0.1',
    '192.0.2.7/33',
    '192.0.2.7/-1',
    '192.0.2.7/',
    '192.0.2.7/24/1',
    '2001:db8::1/129',
    'fe80::1%eth0',
    ' 192.0.2.7',
    '192.0.2.7\n',
    'example.com',
    '256.0.0.1',
  ])('%j is none', (text) => {
    expect(parseNetwork(text)).toBeNull()
  })
})

describe('isWithin', () => {
  const networks = ['192.0.2.0/24', '2001:db8::/32']
  it.each([
    ['192.0.2.255', true],
    ['::ffff:192.0.2.1', true],
    ['2001:db8:1::1', true],
    ['192.0.3.1', false],
    ['2001:db9::1', false],
    ['unknown', false],
    [undefined, false],
  ])('%s: %s', (address, is) => {
    expect(isWithin(address, networks)).toBe(is)
  })
})
