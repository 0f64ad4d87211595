/** A start that is refused, as its operator sees it. */
import { expect } from 'vitest'
import { type Environment, failToStart } from '../support/cli.js'

export interface Refusal {
  readonly exitCode: number | null
  readonly code: string
  readonly message: string
  /** One thing to do. */
  readonly remediation: string
}

/** Nothing was served: no line on stdout says where. */
export async function refusalOf(env: Environment, ...args: string[]): Promise<Refusal> {
  const { code: exitCode, stdout, stderr } = await failToStart(env, [...args, '--format', 'json'])
  expect(stdout).toBe('')
  // Behind the log, if that has anything to say.
  const last = stderr.trimEnd().split('\n').at(-1) ?? ''
  const { error } = JSON.parse(last) as { error: Omit<Refusal, 'exitCode'> }
  return { exitCode, code: error.code, message: error.message, remediation: error.remediation }
}
