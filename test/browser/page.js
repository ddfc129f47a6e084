// What the tests call in the page. It has nothing but what a browser and tus-js-client give it.

/** What the page could read of each answer. */
const answers = []

/** A file of that many bytes, of which no part is like another; the same for the same seed. */
function makeFile({ size, seed }) {
  const words = new Uint32Array(Math.ceil(size / 4))
  let state = seed
  for (let n = 0; n < words.length; n++) {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    words[n] = state
  }
  return new File([words.buffer.slice(0, size)], `${seed}.bin`, { lastModified: 0 })
}

async function sha256(file) {
  const digest = await crypto.subtle.digest('SHA-256', await file.arrayBuffer())
  return Array.from(new Uint8Array(digest), (byte) => byte.toString(16).padStart(2, '0')).join('')
}

/**
 * Uploads such a file; goes on with one that the browser remembers. Resolves when it is finished, with the SHA-256 of
 * the file.
 */
async function upload({ endpoint, headers, metadata, chunkSize, retryDelays, ...content }) {
  const file = makeFile(content)
  await new Promise((resolve, reject) => {
    const sending = new tus.Upload(file, {
      endpoint,
      headers,
      metadata,
      chunkSize,
      retryDelays,
      removeFingerprintOnSuccess: true,
      onAfterResponse: (request, response) => {
        const names = [
          'Location',
          'Upload-Offset',
          'Upload-Length',
          'Upload-Expires',
          'Tus-Complete',
          'Tus-Resumable',
        ]
        const readable = names.map((name) => [name, response.getHeader(name) ?? null])
        const method = request.getMethod()
        answers.push({ method, status: response.getStatus(), headers: Object.fromEntries(readable) })
      },
      onError: (error) => reject(new Error(error.message)),
      onSuccess: resolve,
    })
    sending.findPreviousUploads().then(([previous]) => {
      if (previous) sending.resumeFromPreviousUpload(previous)
      sending.start()
    }, reject)
  })
  return sha256(file)
}

/** One request, past tus-js-client. */
async function ask({ url, ...init }) {
  const response = await fetch(url, init)
  return {
    status: response.status,
    headers: Object.fromEntries(response.headers),
    text: await response.text(),
  }
}

globalThis.inPage = { upload, ask, answers: () => answers }
