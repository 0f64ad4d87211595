/**
 * Memory that this thread's JavaScript shares with native code (`crates/node/src/library/slab.rs`): numbers pass through it both ways,
 * since each would cost three or four calls of Node-API as an argument or a result. Nothing in it lasts: it is written right before a
 * native call and read right after it, with no code of the user's between.
 */

/** Parameters of a call, or columns of a row; more of them go other ways. */
export const MOST_VALUES = 64

const CALL_AT = 24
const VALUES_AT = 32
const KINDS_AT = VALUES_AT + MOST_VALUES * 8
const memory = new ArrayBuffer(KINDS_AT + MOST_VALUES * 4)

/** All of it. */
export const slab = new Float64Array(memory)
/** What the last call changed: `changes`, the last row id; or the pages of a backup and those left. */
export const counters = new Float64Array(memory, 0, 2)
/** The last row id again, exactly, at 2. */
export const exactCounters = new BigInt64Array(memory, 0, 3)
/** The statement's handle, and how many values its parameters get; their complement if some are arguments. */
const call = new Int32Array(memory, CALL_AT, 2)
/** Values where they are float64, and where they are int32: in the first half of the same eight bytes. */
const numbers = new Float64Array(memory, VALUES_AT, MOST_VALUES)
const integers = new Int32Array(memory, VALUES_AT, MOST_VALUES * 2)
const kinds = new Int32Array(memory, KINDS_AT, MOST_VALUES)

/** Of a parameter: what is no number is an argument of the call. */
const NUMBER = 0
const STRING = 1
const OTHER = 2
const ALL_ARE_ARGUMENTS = -(2 ** 31)

/** Of a column: what is at least zero is text, and where it ends in the string of all texts. */
const INT32 = -1
const FLOAT64 = -2

/**
 * Names the statement of the next call, and leaves it the values of its parameters. False: not all are numbers, and the call is to
 * get every one of them as an argument.
 *
 * @param values of an array that nobody else has: reading them runs no code
 */
export function leave(statement: number, values: readonly unknown[]): boolean {
  const { length } = values
  call[0] = statement
  if (length > MOST_VALUES) {
    call[1] = ALL_ARE_ARGUMENTS
    return false
  }
  let areNumbers = true
  for (let index = 0; index < length; index += 1) {
    const value = values[index]
    if (typeof value === 'number') {
      numbers[index] = value
      kinds[index] = NUMBER
    } else {
      kinds[index] = typeof value === 'string' ? STRING : OTHER
      areNumbers = false
    }
  }
  call[1] = areNumbers ? length : ~length
  return areNumbers
}

/** What `library.prepare` says of a statement beside its return value. */
export const leftStatement = (): { handle: number; columns: number; isReadOnly: boolean } => ({
  handle: call[0] ?? -1,
  columns: call[1] ?? 0,
  isReadOnly: kinds[0] === 1,
})

/** What native code returns for a row that it left here: null, or a string of all its texts. */
export const isLeft = (row: unknown): row is string | null => row === null || typeof row === 'string'

/** The values of the row that native code left. */
export function leftValues(text: string | null, columns: number): unknown[] {
  const values: unknown[] = []
  let from = 0
  for (let column = 0; column < columns; column += 1) {
    const kind = kinds[column] ?? 0
    if (kind >= 0) values.push(text?.substring(from, (from = kind)))
    else if (kind === INT32) values.push(integers[2 * column])
    else values.push(kind === FLOAT64 ? numbers[column] : null)
  }
  return values
}

/** What compiled code names the arrays that `leftValues` reads, in the order of `LEFT_ARRAYS`. */
export const LEFT_NAMES = ['kinds', 'integers', 'numbers'] as const
export const LEFT_ARRAYS = [kinds, integers, numbers] as const

/** The same in compiled code: statements that declare `c0`, `c1`, ..., from the string `text`. */
export function declareLeft(columns: number): string {
  const parts = ['let from=0,kind;']
  for (let column = 0; column < columns; column += 1) {
    parts.push(
      `const c${column}=(kind=kinds[${column}])>=0?text.substring(from,from=kind)`,
      `:kind===${INT32}?integers[${2 * column}]:kind===${FLOAT64}?numbers[${column}]:null;`,
    )
  }
  return parts.join('')
}
