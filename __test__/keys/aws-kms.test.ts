import { beforeEach, describe, expect, it, vi } from 'vitest'
import { openAwsKms } from '../../src/keys/aws-kms/provider.js'
import type { KeyProvider } from '../../src/keys/provider.js'
import { FAKE_CREDENTIALS, FAKE_REGION, FakeKms } from '../support/fake-kms.js'
import { keyProviderContract } from './contract-suite.js'

beforeEach(() => {
  vi.stubEnv('AWS_ACCESS_KEY_ID', FAKE_CREDENTIALS.id)
  vi.stubEnv('AWS_SECRET_ACCESS_KEY', FAKE_CREDENTIALS.secret)
})

const QUICK = { attempt: 300, call: 2_000, firstWait: 2, longestWait: 20 }

function openOn(kms: FakeKms, keyId: string): Promise<KeyProvider> {
  return openAwsKms({ provider: 'aws-kms', keyId, region: FAKE_REGION, endpointUrl: kms.url }, QUICK)
}

keyProviderContract('aws-kms, on a strict KMS', async () => {
  const kms = await FakeKms.start()
  kms.addKey('one')
  kms.addKey('two')
  return { open: () => openOn(kms, 'alias/one'), openOther: () => openOn(kms, 'alias/two') }
})
