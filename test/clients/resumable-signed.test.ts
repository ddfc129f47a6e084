import { describe, expect, it } from 'vitest'
import { signUrlToken } from '../../src/storage/links/url-token.ts'
import { bytesFor, expectStored, type ObjectPlace, refusal, startUpload, tusOptions } from '../support/tus.ts'
import { TusRequests } from '../support/tus-requests.ts'
import { describeClientInBothModes, ok } from './describe-client.ts'

describe('a signed resumable upload', () => {
  describeClientInBothModes((clients) => {
    async function place(settings: Record<string, unknown> = {}): Promise<ObjectPlace> {
      return { bucket: await clients.bucket(settings), name: 'deep/a.bin' }
    }

    const endpoint = () => `${clients.url}/upload/resumable/sign`

    /** What a browser without a login gives to tus-js-client. */
    function signedOptions(at: ObjectPlace, token: string, chunkSize = 4000) {
      const { metadata } = tusOptions(clients.server, at)
      return { endpoint: endpoint(), headers: { 'x-signature': token }, metadata: metadata ?? {}, chunkSize }
    }

    /** Requests of somebody who has nothing but this token. */
    function signed(token: string): TusRequests {
      return new TusRequests(clients.server, { token: null, headers: { 'x-signature': token } }, endpoint())
    }

    async function sign(at: ObjectPlace, { subject = '', upsert = false } = {}): Promise<string> {
      const client = subject === '' ? clients.service : clients.user(subject)
      return ok(await client.from(at.bucket).createSignedUploadUrl(at.name, { upsert })).token
    }

    it('lets somebody without a login upload, in the name of who signed', async () => {
      const at = await place({ policy: 'authenticated' })
      const bytes = bytesFor(at, 10_000)

      const upload = startUpload(bytes, signedOptions(at, await sign(at, { subject: 'signer' })))
      await upload.done

      expect(upload.sent).toEqual(['POST', 'PATCH 0', 'PATCH 4000', 'PATCH 8000'])
      expect(upload.upload.url?.startsWith(`${endpoint()}/`)).toBe(true)
      await expectStored(clients.server, at, bytes)
      const rows = await clients.server
        .admin`select owner_id from storage.objects where bucket_id = ${at.bucket}`
      expect(rows).toEqual([{ owner_id: 'signer' }])
    })

    it('goes on with another token that the same signer gave for the same object', async () => {
      const at = await place({ policy: 'authenticated' })
      const bytes = bytesFor(at, 10_000)
      const first = signed(await sign(at, { subject: 'signer' }))
      const url = await first.begin(at, bytes.length)
      await first.patch(url, 0, bytes.subarray(0, 3000))

      const options = signedOptions(at, await sign(at, { subject: 'signer' }))
      const upload = startUpload(bytes, { ...options, uploadUrl: url })
      await upload.done

      expect(upload.sent).toEqual(['HEAD', 'PATCH 3000', 'PATCH 7000'])
      await expectStored(clients.server, at, bytes)
    })

    it('is nothing to go on with for those without the token', async () => {
      const at = await place({ policy: 'authenticated' })
      const token = await sign(at, { subject: 'signer' })
      const url = await signed(token).begin(at, 4)
      const plain = url.replace('/sign/', '/')

      const other = await sign(at, { subject: 'mallory' })
      const strangers: [TusRequests, string, number][] = [
        [new TusRequests(clients.server, { token: null }), url, 400],
        [signed(other), url, 403],
        // Whoever signed has not begun this upload.
        [new TusRequests(clients.server, { token: await clients.server.token('signer') }), plain, 403],
        [new TusRequests(clients.server), plain, 403],
      ]
      for (const [raw, at, status] of strangers) {
        expect((await raw.head(at)).status).toBe(status)
        expect((await raw.patch(at, 0, Buffer.from('evil'))).status).toBe(status)
        expect((await raw.terminate(at)).status).toBe(status)
      }
      expect(
        await clients.server.admin`select id from storage.objects where bucket_id = ${at.bucket}`,
      ).toEqual([])
    })

    it('refuses a token that is missing, altered, expired, or for something else', async () => {
      const at = await place()
      const other = { ...at, name: 'deep/b.bin' }
      const token = await sign(at)
      const { signingSecret } = clients.server.keys
      const made = (scope: 'upload' | 'download', now: Date) =>
        signUrlToken(
          { scope, bucket: at.bucket, bucketUid: undefined, name: at.name, expiresInSeconds: 1 },
          signingSecret,
          now,
        ).token
      const refusals: [string, ObjectPlace, string | RegExp][] = [
        ['', at, 'Missing x-signature header'],
        ['garbage', at, 'Invalid Compact JWS'],
        [`${token.slice(0, -3)}abc`, at, 'Invalid Compact JWS'],
        [made('upload', new Date(Date.now() - 60_000)), at, '"exp" claim timestamp check failed'],
        [made('download', new Date()), at, /./],
        [token, other, /./],
        [token, { ...at, bucket: (await place()).bucket }, /./],
      ]

      for (const [signature, to, text] of refusals) {
        const upload = startUpload(Buffer.from('x'), signedOptions(to, signature))
        expect(await refusal(upload)).toEqual({
          status: 400,
          text: typeof text === 'string' ? text : expect.stringMatching(text),
        })
      }
      await startUpload(Buffer.from('x'), signedOptions(at, token)).done // it was good all along
      await expectStored(clients.server, at, Buffer.from('x'))
    })

    it('replaces an object only if that was signed for', async () => {
      const at = await place()
      const [once, always] = [await sign(at), await sign(at, { upsert: true })]
      await startUpload(Buffer.from('first'), signedOptions(at, once)).done

      const options = signedOptions(at, once)
      const headers = { ...options.headers, 'x-upsert': 'true' }
      const again = startUpload(Buffer.from('again'), { ...options, headers })
      expect(await refusal(again)).toEqual({ status: 409, text: 'The resource already exists' })
      await expectStored(clients.server, at, Buffer.from('first'))

      await startUpload(Buffer.from('second'), signedOptions(at, always)).done
      await expectStored(clients.server, at, Buffer.from('second'))
    })

    it("holds to the bucket's rules", async () => {
      const at = await place({ file_size_limit: 3, allowed_mime_types: ['text/plain'] })
      const token = await sign(at)
      const of = (bytes: string, contentType: string) => {
        const options = signedOptions(at, token)
        return startUpload(Buffer.from(bytes), { ...options, metadata: { ...options.metadata, contentType } })
      }

      expect((await refusal(of('four', 'text/plain'))).status).toBe(413)
      expect((await refusal(of('x', 'image/png'))).status).toBe(415)
      await of('x', 'text/plain').done
      await expectStored(clients.server, at, Buffer.from('x'))
    })
  })
})
