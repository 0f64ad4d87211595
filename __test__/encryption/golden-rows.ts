/** What the golden databases hold: every kind of value, and one that needs overflow pages. */
import type { SqlValue } from '../../src/native.js'

export const ROWS: readonly (readonly SqlValue[])[] = [
  [1, 'one', 1.5, Buffer.from('00ff10', 'hex')],
  [2, 'zwölf Boxkämpfer \u{1f511}', -0.25, Buffer.alloc(0)],
  [3, null, null, null],
  [4, 'overflow', 4, Buffer.from(Array.from({ length: 10_000 }, (_, index) => index % 251))],
]
