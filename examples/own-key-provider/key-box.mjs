/**
 * A stand-in for an HSM: a process of its own that holds one KEK and shows it to nobody. It makes data keys and opens them again,
 * over a Unix socket that only its user may connect to.
 *
 *     node key-box.mjs <file with the KEK, made if missing> <socket>
 *
 * One request a connection, JSON: {"op":"generate","context":{...}} or {"op":"open","context":{...},"blob":"<hex>"}. The answer
 * is bytes: 0, then 32 of the data key and, of "generate", the blob; or 1 for a blob or context that was altered; or 2 for a blob
 * of another KEK. Each answer of 0 and 2 ends with the 20 bytes that name the KEK here.
 */
import { createCipheriv, createDecipheriv, createHash, randomFillSync } from 'node:crypto'
import { chmodSync, existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'

const [keyFile = '', socketPath = ''] = process.argv.slice(2)
if (!existsSync(keyFile)) writeFileSync(keyFile, randomFillSync(Buffer.alloc(32)), { mode: 0o400, flag: 'wx' })
const kek = readFileSync(keyFile)
const name = createHash('sha256').update('key-box').update(kek).digest().subarray(0, 20)

/**
 * Members in the order of their names, each part with its length: no two contexts have the same bytes.
 *
 * @param {Record<string, string>} context
 */
function associatedData(context) {
  const parts = Object.entries(context)
    .sort(([one], [other]) => (one < other ? -1 : 1))
    .flat()
  return Buffer.concat(parts.flatMap((part) => [Buffer.from(`${Buffer.byteLength(part)}:`), Buffer.from(part)]))
}

/** @param {Record<string, string>} context */
function generate(context) {
  const [key, nonce] = [randomFillSync(Buffer.alloc(32)), randomFillSync(Buffer.alloc(12))]
  const cipher = createCipheriv('aes-256-gcm', kek, nonce).setAAD(associatedData(context))
  const sealed = Buffer.concat([cipher.update(key), cipher.final(), cipher.getAuthTag()])
  return [Buffer.of(0), key, name, nonce, sealed, name]
}

/**
 * @param {Record<string, string>} context
 * @param {Buffer} blob
 */
function open(context, blob) {
  if (blob.length !== 80 || !blob.subarray(0, 20).equals(name)) return [Buffer.of(2), name]
  const decipher = createDecipheriv('aes-256-gcm', kek, blob.subarray(20, 32))
  decipher.setAAD(associatedData(context)).setAuthTag(blob.subarray(64))
  try {
    return [Buffer.of(0), Buffer.concat([decipher.update(blob.subarray(32, 64)), decipher.final()]), name]
  } catch {
    return [Buffer.of(1)]
  }
}

const server = createServer({ allowHalfOpen: true }, (socket) => {
  let text = ''
  socket.setEncoding('utf8').on('data', (chunk) => (text += chunk))
  socket.on('error', () => socket.destroy())
  socket.on('end', () => {
    const { op, context, blob } = JSON.parse(text)
    const parts = op === 'generate' ? generate(context) : open(context, Buffer.from(blob, 'hex'))
    const answer = Buffer.alloc(parts.reduce((sum, part) => sum + part.length, 0))
    parts.reduce((at, part) => at + part.copy(answer, at), 0)
    const [status, key] = parts
    socket.end(answer, () => {
      answer.fill(0)
      if (status?.[0] === 0) key?.fill(0)
    })
  })
})
rmSync(socketPath, { force: true })
server.listen(socketPath, () => {
  chmodSync(socketPath, 0o600)
  console.log('ready')
})
