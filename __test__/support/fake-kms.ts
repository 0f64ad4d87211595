/**
 * A KMS that is stricter than the emulators: it verifies signatures, compares contexts byte by byte, knows states of keys, and fails on
 * command. JSON 1.1 over HTTP, as the AWS KMS API reference has it.
 */
import { createCipheriv, createDecipheriv, randomBytes, randomUUID } from 'node:crypto'
import { type IncomingMessage, type Server, type ServerResponse, createServer } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { onTestFinished } from 'vitest'
import { isSigned } from './signature-v4.js'

export const FAKE_REGION = 'eu-central-1'
export const FAKE_CREDENTIALS = { id: 'AKIDEXAMPLE', secret: 'wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY' }
const ACCOUNT = '111122223333'

export type Operation = 'GenerateDataKey' | 'Decrypt' | 'ReEncrypt'

/** What happens to a request: `cut` ends the connection in the middle of the answer, `cut_silently` says that this was all. */
export type Fault =
  'throttle' | 'internal' | 'hang' | 'cut' | 'cut_silently' | 'reset' | 'wrong_key_id' | 'no_plaintext'

interface Key {
  readonly arn: string
  readonly material: Buffer
  state: 'Enabled' | 'Disabled' | 'PendingDeletion'
}

type Context = Readonly<Record<string, string>> | undefined
interface Input {
  text(name: string): string | undefined
  context(name: string): Context
}
type Output = Record<string, string>

/** A refusal, in the KMS's own words. */
class Refusal extends Error {
  readonly type: string
  readonly status: number

  constructor(type: string, message: string, status = 400) {
    super(message)
    this.type = type
    this.status = status
  }
}

export class FakeKms {
  /** The operations that the caller may not use. */
  readonly denied = new Set<Operation>()
  /** Asked for each request, in the order in which they come; `number` counts from 1. */
  faults: (operation: Operation, number: number) => Fault | undefined = () => undefined
  /** All requests that came, answered or not. */
  readonly requests: Operation[] = []
  /** Every data key in the clear that was handed out, in whole or in part. */
  readonly plaintexts: Buffer[] = []
  /** Milliseconds before each answer. */
  latencyMs = 0
  mostAtOnce = 0
  #atOnce = 0
  readonly #keys = new Map<string, Key>()
  readonly #aliases = new Map<string, string>()
  readonly #server: Server
  readonly #scheme: string

  private constructor(tls: { cert: Buffer; key: Buffer } | undefined) {
    const listener = (request: IncomingMessage, response: ServerResponse): void => this.#receive(request, response)
    this.#server = tls === undefined ? createServer(listener) : createTlsServer(tls, listener)
    this.#scheme = tls === undefined ? 'http' : 'https'
  }

  /** On a free port of loopback; gone when the test is over. */
  static async start(tls?: { cert: Buffer; key: Buffer }): Promise<FakeKms> {
    const kms = new FakeKms(tls)
    await kms.listen(0)
    onTestFinished(() => kms.stop())
    return kms
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port
  }

  get url(): string {
    return `${this.#scheme}://localhost:${this.port}`
  }

  listen(port: number): Promise<void> {
    return new Promise((resolve) => this.#server.listen(port, '127.0.0.1', resolve))
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections()
    await new Promise((resolve) => this.#server.close(resolve))
  }

  /** The ARN of a new key, which `alias/<alias>` stands for from now on. */
  addKey(alias: string, id: string = randomUUID()): string {
    const arn = `arn:aws:kms:${FAKE_REGION}:${ACCOUNT}:key/${id}`
    this.#keys.set(arn, { arn, material: randomBytes(32), state: 'Enabled' })
    this.#aliases.set(`alias/${alias}`, arn)
    return arn
  }

  setState(name: string, state: Key['state']): void {
    this.#named(name).state = state
  }

  #receive(request: IncomingMessage, response: ServerResponse): void {
    this.#atOnce += 1
    this.mostAtOnce = Math.max(this.mostAtOnce, this.#atOnce)
    response.once('close', () => (this.#atOnce -= 1))
    const chunks: Buffer[] = []
    request.on('data', (chunk: Buffer) => chunks.push(chunk))
    request.on('end', () => {
      setTimeout(() => {
        try {
          this.#handle(request, Buffer.concat(chunks), response)
        } catch (error) {
          if (!(error instanceof Refusal)) throw error
          send(response, error.status, { __type: error.type, message: error.message })
        }
      }, this.latencyMs)
    })
  }

  #handle(request: IncomingMessage, body: Buffer, response: ServerResponse): void {
    const operation = operationOf(request)
    this.requests.push(operation)
    const fault = this.faults(operation, this.requests.length)
    if (fault === 'hang') return
    if (fault === 'reset') return void request.socket.destroy()
    if (fault === 'throttle') throw new Refusal('ThrottlingException', 'Rate exceeded')
    if (fault === 'internal') throw new Refusal('KMSInternalException', 'try later', 500)
    if (!isSigned(request, body, { ...FAKE_CREDENTIALS, region: FAKE_REGION, service: 'kms' })) {
      throw new Refusal('InvalidSignatureException', 'The request signature does not match')
    }
    if (this.denied.has(operation)) {
      throw new Refusal('AccessDeniedException', `User: nimbus is not authorized to perform: kms:${operation}`)
    }
    const answer = this.#answer(operation, inputOf(body))
    if (fault === 'wrong_key_id') answer['KeyId'] = `arn:aws:kms:${FAKE_REGION}:${ACCOUNT}:key/${randomUUID()}`
    if (fault === 'no_plaintext') delete answer['Plaintext']
    send(response, 200, answer, fault)
  }

  #answer(operation: Operation, input: Input): Output {
    const context = input.context('EncryptionContext')
    switch (operation) {
      case 'GenerateDataKey': {
        if (input.text('KeySpec') !== 'AES_256') throw new Refusal('ValidationException', 'KeySpec')
        const key = this.#usable(input.text('KeyId'))
        const plaintext = randomBytes(32)
        this.plaintexts.push(plaintext)
        return {
          CiphertextBlob: seal(key, plaintext, context),
          Plaintext: plaintext.toString('base64'),
          KeyId: key.arn,
        }
      }
      case 'Decrypt': {
        const [key, plaintext] = this.#open(input.text('CiphertextBlob'), input.text('KeyId'), context)
        this.plaintexts.push(plaintext)
        return { Plaintext: plaintext.toString('base64'), KeyId: key.arn }
      }
      case 'ReEncrypt': {
        const sourceContext = input.context('SourceEncryptionContext')
        const [source, plaintext] = this.#open(input.text('CiphertextBlob'), input.text('SourceKeyId'), sourceContext)
        const key = this.#usable(input.text('DestinationKeyId'))
        const blob = seal(key, plaintext, input.context('DestinationEncryptionContext'))
        return { CiphertextBlob: blob, SourceKeyId: source.arn, KeyId: key.arn }
      }
    }
  }

  #named(name: string | undefined): Key {
    if (name === undefined) throw new Refusal('ValidationException', 'this KMS wants a key id in every call')
    const arn = name.startsWith('arn:') ? name : `arn:aws:kms:${FAKE_REGION}:${ACCOUNT}:key/${name}`
    const key = this.#keys.get(this.#aliases.get(name) ?? arn)
    if (key === undefined) throw new Refusal('NotFoundException', `${name} is not found.`)
    return key
  }

  #usable(name: string | undefined): Key {
    const key = this.#named(name)
    if (key.state === 'Disabled') throw new Refusal('DisabledException', `${key.arn} is disabled.`)
    if (key.state === 'PendingDeletion')
      throw new Refusal('KMSInvalidStateException', `${key.arn} is pending deletion.`)
    return key
  }

  #open(blob: string | undefined, name: string | undefined, context: Context): [Key, Buffer] {
    const key = this.#usable(name)
    const bytes = Buffer.from(blob ?? '', 'base64')
    const arnBytes = bytes.length < 2 ? 0 : bytes.readUInt16BE(0)
    const sealed = bytes.subarray(2 + arnBytes)
    const arn = bytes.subarray(2, 2 + arnBytes).toString('utf8')
    if (sealed.length < 28 || !this.#keys.has(arn)) throw new Refusal('InvalidCiphertextException', '')
    if (arn !== key.arn) throw new Refusal('IncorrectKeyException', 'The key ID does not identify the key')
    const decipher = createDecipheriv('aes-256-gcm', key.material, sealed.subarray(0, 12))
    decipher.setAAD(associatedData(context)).setAuthTag(sealed.subarray(-16))
    try {
      return [key, Buffer.concat([decipher.update(sealed.subarray(12, -16)), decipher.final()])]
    } catch {
      throw new Refusal('InvalidCiphertextException', '')
    }
  }
}

function seal(key: Key, plaintext: Buffer, context: Context): string {
  const nonce = randomBytes(12)
  const cipher = createCipheriv('aes-256-gcm', key.material, nonce).setAAD(associatedData(context))
  const sealed = Buffer.concat([cipher.update(plaintext), cipher.final(), cipher.getAuthTag()])
  return Buffer.concat([prefixed(key.arn), nonce, sealed]).toString('base64')
}

/** The pairs in the order of their names, each part with its length: no two contexts have the same bytes. */
function associatedData(context: Context): Buffer {
  const pairs = Object.entries(context ?? {}).sort(([one], [other]) => (one < other ? -1 : 1))
  return Buffer.concat(pairs.flat().map(prefixed))
}

function prefixed(text: string): Buffer {
  const bytes = Buffer.from(text, 'utf8')
  return Buffer.concat([Buffer.of(bytes.length >> 8, bytes.length & 0xff), bytes])
}

function operationOf({ method, headers }: IncomingMessage): Operation {
  const [service, operation] = String(headers['x-amz-target']).split('.')
  const known = (['GenerateDataKey', 'Decrypt', 'ReEncrypt'] as const).find((name) => name === operation)
  const isJson = headers['content-type'] === 'application/x-amz-json-1.1'
  if (method !== 'POST' || service !== 'TrentService' || known === undefined || !isJson) {
    throw new Refusal('UnknownOperationException', `${method} ${String(headers['x-amz-target'])}`)
  }
  return known
}

function inputOf(body: Buffer): Input {
  const members = JSON.parse(body.toString('utf8')) as Record<string, unknown>
  return {
    text: (name) => (typeof members[name] === 'string' ? members[name] : undefined),
    context: (name) => members[name] as Context,
  }
}

function send(response: ServerResponse, status: number, answer: Output, fault?: Fault): void {
  const body = Buffer.from(JSON.stringify(answer))
  const headers = { 'content-type': 'application/x-amz-json-1.1', 'x-amzn-requestid': randomUUID() }
  const half = body.subarray(0, body.length / 2)
  if (fault === 'cut_silently') return void response.writeHead(status, headers).end(half)
  response.writeHead(status, { ...headers, 'content-length': body.length })
  if (fault === 'cut') return void response.write(half, () => response.destroy())
  response.end(body)
}
