import { nkeys } from '@nats-io/transport-node'

type KeyPair = ReturnType<typeof nkeys.createUser>

/**
 * An operator, an account of his, and a user of that, as `nsc` makes them.
 * https://docs.nats.io/running-a-nats-service/configuration/securing_nats/auth_intro/jwt
 */
export function operatorMode(): {
  /** What the server's configuration needs. */
  settings: string
  /** Text of the user's `.creds` file. */
  credentials: string
} {
  const [operator, account, user] = [nkeys.createOperator(), nkeys.createAccount(), nkeys.createUser()]
  const jwt = (type: string, subject: KeyPair, issuer: KeyPair, more: object = {}) => {
    const claims = {
      iat: Math.floor(Date.now() / 1000),
      iss: issuer.getPublicKey(),
      sub: subject.getPublicKey(),
      name: type,
      nats: { type, version: 2, ...more },
    }
    const signed = [{ typ: 'JWT', alg: 'ed25519-nkey' }, claims]
      .map((part) => Buffer.from(JSON.stringify(part)).toString('base64url'))
      .join('.')
    return `${signed}.${Buffer.from(issuer.sign(Buffer.from(signed))).toString('base64url')}`
  }
  const unlimited = { subs: -1, data: -1, payload: -1 }
  const accountJwt = jwt('account', account, operator, {
    limits: { ...unlimited, imports: -1, exports: -1, wildcards: true, conn: -1, leaf: -1 },
  })
  return {
    settings: `
      operator: ${jwt('operator', operator, operator)}
      resolver: MEMORY
      resolver_preload: { ${account.getPublicKey()}: ${accountJwt} }`,
    credentials: [
      '-----BEGIN NATS USER JWT-----',
      jwt('user', user, account, unlimited),
      '------END NATS USER JWT------',
      '',
      '-----BEGIN USER NKEY SEED-----',
      Buffer.from(user.getSeed()).toString(),
      '------END USER NKEY SEED------',
      '',
    ].join('\n'),
  }
}
