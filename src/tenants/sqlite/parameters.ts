/** The parameters of a statement while it is put together: a value goes in, its placeholder comes out. */
import type { SqlParameter } from '../../native.js'

export class Parameters {
  readonly values: SqlParameter[] = []
  readonly #placeholders = new Map<SqlParameter, string>()

  /** `?1`, `?2`, and so on; equal values share one. */
  add(value: SqlParameter): string {
    let placeholder = this.#placeholders.get(value)
    if (placeholder === undefined) {
      this.values.push(value)
      placeholder = `?${this.values.length}`
      this.#placeholders.set(value, placeholder)
    }
    return placeholder
  }
}
