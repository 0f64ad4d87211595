import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest'
import { openAwsKms } from '../../src/keys/aws-kms/provider.js'
import type { KeyProvider } from '../../src/keys/provider.js'
import { rejectionOf } from '../support/failure.js'
import { MOTO_REGION, type Moto, startMoto, whyNoMoto } from '../support/moto.js'
import { keyProviderContract, newBinding } from './contract-suite.js'

const why = whyNoMoto()
if (why !== undefined) console.warn(`aws-kms on moto is not tested: ${why}`)

/** What moto gets wrong, by the promise that cannot be kept on it. The strict KMS of our own keeps all of them. */
const OTHER_KEY = 'to Decrypt with another KeyId it answers AccessDeniedException, not IncorrectKeyException'
const GAPS = {
  'refuses what another KEK wrapped under the name of its own': OTHER_KEY,
  'refuses wrapped bytes with any part changed, cut off or added': `a blob names its key in the clear; ${OTHER_KEY}`,
}

describe.skipIf(why !== undefined)(`moto${why === undefined ? '' : ` (not here: ${why})`}`, () => {
  let moto: Moto | undefined
  beforeAll(async () => {
    moto = await startMoto()
  }, 60_000)
  afterAll(() => moto?.stop())
  beforeEach(() => {
    vi.stubEnv('AWS_ACCESS_KEY_ID', 'any')
    vi.stubEnv('AWS_SECRET_ACCESS_KEY', 'any')
  })

  /** As a start opens it: with a first call, after which a foreign key is known without the KMS. */
  async function open(keyId: string): Promise<KeyProvider> {
    const provider = await openAwsKms({ provider: 'aws-kms', keyId, region: MOTO_REGION, endpointUrl: moto?.url })
    await provider.health?.()
    return provider
  }

  keyProviderContract(
    'aws-kms, on moto',
    async () => {
      const [one, two] = [`one-${randomUUID()}`, `two-${randomUUID()}`]
      await moto?.addKey(one)
      await moto?.addKey(two)
      return { open: () => open(`alias/${one}`), openOther: () => open(`alias/${two}`) }
    },
    GAPS,
  )

  it.each(['alias/nowhere', randomUUID()])('says that there is no key %s', async (keyId) => {
    const error = await rejectionOf(open(keyId))
    expect(error).toMatchObject({ code: 'kms_key_not_found' })
    expect(error.message).toContain('NotFoundException')
  })

  it('names the key by its ARN, whatever it was called in the configuration', async () => {
    const alias = `named-${randomUUID()}`
    const arn = await moto?.addKey(alias)
    const made = await (await open(`alias/${alias}`)).newDek(newBinding())
    expect(made).toMatchObject({ keyId: arn, hint: `alias/${alias} in ${MOTO_REGION}` })
    const id = arn?.slice(arn.indexOf('/') + 1) ?? ''
    expect((await (await open(id)).newDek(newBinding())).keyId).toBe(arn)
  })
})
