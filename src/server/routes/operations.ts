/** Routes for whoever operates the server: is it up, how is it doing, what is encrypted, what does it offer. */
import type { TenantProvider } from '../../tenants/contract.js'
import { answer, answerText } from '../answer.js'
import type { App } from '../app-types.js'
import type { EncryptionPosture } from '../encryption-posture.js'
import type { Metrics, Reading } from '../metrics.js'
import { EncryptionStatus, Health, NoQuery } from '../schemas.js'

const METRICS_TYPE = 'text/plain; version=0.0.4; charset=utf-8'

export interface Operations {
  readonly tenants: TenantProvider
  readonly posture: EncryptionPosture
  readonly metrics: Metrics
  readonly readings: () => Reading[]
  /** The text of /openapi.json, once every route is there. */
  readonly description: () => string
}

export function addOperationRoutes(app: App, { tenants, posture, metrics, readings, description }: Operations): void {
  app.get(
    '/health',
    {
      config: {
        description: {
          summary: 'Whether the server is up; needs no token.',
          answers: { 200: Health },
          open: true,
          always: true,
        },
      },
    },
    (_request, reply) => answer(reply, 200, '{"ok":true}'),
  )

  app.get(
    '/metrics',
    {
      schema: { querystring: NoQuery },
      config: {
        description: { summary: 'Metrics for Prometheus.', answers: { 200: 'text/plain' }, always: true },
      },
    },
    (_request, reply) => answerText(reply, 200, METRICS_TYPE, metrics.text(readings())),
  )

  app.get(
    '/debug/encryption/status',
    {
      schema: { querystring: NoQuery },
      config: {
        description: {
          summary: 'What is encrypted, by the configuration and as the disk shows it.',
          answers: { 200: EncryptionStatus },
        },
      },
    },
    async (_request, reply) => answer(reply, 200, JSON.stringify({ ...posture, files: await tenants.files() })),
  )

  app.get(
    '/openapi.json',
    {
      schema: { querystring: NoQuery },
      config: { description: { summary: 'This description.', access: 'any', answers: { 200: 'application/json' } } },
    },
    (_request, reply) => answer(reply, 200, description()),
  )
}
