/** Routes that verify every file of the server, in the background. */
import { answer } from '../answer.js'
import type { App } from '../app-types.js'
import { Verification, VerificationQuery, VerifyQuery } from '../schemas.js'
import type { BackgroundVerification } from '../verification.js'

/** 32 MiB: what a disk has left beside its work. */
const BYTES_PER_SECOND = 33_554_432

export function addVerificationRoutes(app: App, verification: Pick<BackgroundVerification, 'begin' | 'state'>): void {
  app.post(
    '/debug/encryption/verify',
    {
      schema: { querystring: VerifyQuery },
      config: {
        description: {
          summary:
            'Begins to authenticate every page of every file in the background, or answers with the run under way.',
          answers: { 202: Verification },
        },
      },
    },
    (request, reply) => {
      const { bytes_per_second: bytesPerSecond = BYTES_PER_SECOND } = request.query
      return answer(reply, 202, JSON.stringify(verification.begin(bytesPerSecond)))
    },
  )

  app.get(
    '/debug/encryption/verify',
    {
      schema: { querystring: VerificationQuery },
      config: {
        description: {
          summary: 'How far the last such run is, and what it has found.',
          answers: { 200: Verification },
        },
      },
    },
    (request, reply) => answer(reply, 200, JSON.stringify(verification.state(request.query.after ?? 0))),
  )
}
