/**
 * One keep-alive HTTP/1.1 connection that waits for an answer before the next request. It is written on the bare socket,
 * because client and server share the machine: what a client library costs would be taken from the server's figure.
 */
import { connect } from 'node:net'

const HEAD_END = Buffer.from('\r\n\r\n')

/**
 * The bytes of a request, made once and sent often.
 *
 * @param {{ url: string, token?: string, method?: string, path: string, body?: unknown }} request
 */
export function requestBytes({ url, token, method = 'GET', path, body }) {
  const text = body === undefined ? '' : JSON.stringify(body)
  const lines = [`${method} ${path} HTTP/1.1`, `Host: ${new URL(url).host}`]
  if (token !== undefined) lines.push(`Authorization: Bearer ${token}`)
  if (body !== undefined) lines.push('Content-Type: application/json', `Content-Length: ${Buffer.byteLength(text)}`)
  return Buffer.from(`${lines.join('\r\n')}\r\n\r\n${text}`)
}

export class Connection {
  #socket
  #received = Buffer.alloc(0)
  #answerBytes = -1
  #settle
  #fail

  /** @param {string} url */
  static open(url) {
    const { hostname, port } = new URL(url)
    const connection = new Connection()
    return new Promise((resolve, reject) => {
      connection.#socket = connect({ host: hostname, port: Number(port), noDelay: true })
      connection.#socket.once('connect', () => resolve(connection))
      connection.#socket.once('error', (error) => (connection.#fail ?? reject)(error))
      connection.#socket.once('close', () => connection.#fail?.(new Error('the server closed the connection')))
      connection.#socket.on('data', (chunk) => connection.#receive(chunk))
    })
  }

  /**
   * @param {Buffer} bytes from {@link requestBytes}
   * @returns {Promise<Buffer>} the whole answer, head and body; rejects unless its status is 2xx
   */
  send(bytes) {
    return new Promise((resolve, reject) => {
      this.#settle = resolve
      this.#fail = reject
      this.#socket.write(bytes)
    })
  }

  /** Sends, and parses the body of the answer. */
  async json(request) {
    const answer = await this.send(requestBytes(request))
    return JSON.parse(answer.subarray(answer.indexOf(HEAD_END) + HEAD_END.length).toString())
  }

  close() {
    this.#fail = undefined
    this.#socket.destroy()
  }

  /** @param {Buffer} chunk */
  #receive(chunk) {
    this.#received = this.#received.length === 0 ? chunk : Buffer.concat([this.#received, chunk])
    if (this.#answerBytes < 0) this.#answerBytes = answerBytes(this.#received)
    if (this.#answerBytes < 0 || this.#received.length < this.#answerBytes) return
    const answer = this.#received
    this.#received = Buffer.alloc(0)
    this.#answerBytes = -1
    // `HTTP/1.1 2..`
    if (answer[9] === 0x32) this.#settle(answer)
    else this.#fail(new Error(answer.toString()))
  }
}

/**
 * The length of the answer that begins here, or -1 while its head is incomplete.
 *
 * @param {Buffer} received
 */
function answerBytes(received) {
  const headEnd = received.indexOf(HEAD_END)
  if (headEnd < 0) return -1
  const head = received.latin1Slice(0, headEnd)
  const length = /\r\ncontent-length: (\d+)/i.exec(head)?.[1]
  if (length === undefined && !head.includes(' 204 ')) throw new Error(`an answer without its length:\n${head}`)
  return headEnd + HEAD_END.length + Number(length ?? 0)
}
