/** Gets hold of the NimbusError that an action ends with. */
import { expect } from 'vitest'
import { NimbusError } from '../../src/errors.js'

export function failureOf(action: () => unknown): NimbusError {
  try {
    action()
  } catch (error) {
    return asNimbusError(error)
  }
  return expect.fail('it did not throw')
}

export async function rejectionOf(promise: Promise<unknown>): Promise<NimbusError> {
  try {
    await promise
  } catch (error) {
    return asNimbusError(error)
  }
  return expect.fail('it did not reject')
}

function asNimbusError(error: unknown): NimbusError {
  if (error instanceof NimbusError) return error
  throw error
}
