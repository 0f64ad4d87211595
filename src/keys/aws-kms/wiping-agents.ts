/**
 * HTTP connections that leave nothing behind of what they read. Ordinarily a socket allocates memory for each read and gives
 * it up unwiped, long before anybody here could reach it. These read into one buffer each (`onread` of `net.connect`), hand
 * Node's HTTP parser a view of it, and wipe it when the parser is done; what the parser copied is the body that callers get.
 */
import { Agent as HttpAgent } from 'node:http'
import { Agent as HttpsAgent } from 'node:https'
import type { Duplex } from 'node:stream'

const SOCKETS = 20
const BUFFER_BYTES = 16 * 1024
/** `SSL_OP_CLEANSE_PLAINTEXT`: OpenSSL wipes a record in its own buffer once it has been read (SSL_CTX_set_options(3)). */
const CLEANSE_PLAINTEXT = 1 << 1

const OPTIONS = { keepAlive: true, maxSockets: SOCKETS }

export function wipingAgents(): { httpAgent: HttpAgent; httpsAgent: HttpsAgent } {
  return {
    httpAgent: new WipingHttpAgent(OPTIONS),
    httpsAgent: new WipingHttpsAgent({ ...OPTIONS, secureOptions: CLEANSE_PLAINTEXT }),
  }
}

type Connect = HttpAgent['createConnection']

class WipingHttpAgent extends HttpAgent {
  override createConnection(...[options, callback]: Parameters<Connect>): ReturnType<Connect> {
    return wiping((onread) => super.createConnection({ ...options, ...onread }, callback))
  }
}

class WipingHttpsAgent extends HttpsAgent {
  override createConnection(...[options, callback]: Parameters<HttpsAgent['createConnection']>): ReturnType<Connect> {
    return wiping((onread) => super.createConnection({ ...options, ...onread }, callback))
  }
}

interface OnRead {
  readonly onread: { readonly buffer: Uint8Array; callback(bytes: number): boolean }
}

function wiping(connect: (onread: OnRead) => Duplex | null | undefined): Duplex | null | undefined {
  const buffer = Buffer.alloc(BUFFER_BYTES)
  const socket = connect({
    onread: {
      buffer,
      callback(bytes) {
        try {
          // What a socket without `onread` does with what it reads. The parser is the listener, and done when this returns.
          socket?.emit('data', buffer.subarray(0, bytes))
          return true
        } finally {
          buffer.fill(0, 0, bytes)
        }
      },
    },
  })
  return socket
}
