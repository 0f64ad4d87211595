/** Files that a database may be. */
import type { DatabaseOptions } from '../../src/index.js'

export const KEY = Buffer.alloc(32, 0x5a)

export const kinds: Record<string, DatabaseOptions> = {
  plain: {},
  'plain and exclusive': { exclusive: true },
  encrypted: { key: KEY },
  'encrypted and exclusive': { key: KEY, exclusive: true },
}
