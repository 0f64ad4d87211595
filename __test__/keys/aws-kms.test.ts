import { beforeEach, describe, expect, it, vi } from 'vitest'
import type { DekBinding } from '../../src/keys/binding.js'
import { openAwsKms } from '../../src/keys/aws-kms/provider.js'
import { encryptionContext } from '../../src/keys/encryption-context.js'
import type { KeyProvider, NewDek } from '../../src/keys/provider.js'
import { rejectionOf } from '../support/failure.js'
import { FAKE_CREDENTIALS, FAKE_REGION, FakeKms, type Fault, type Operation } from '../support/fake-kms.js'
import { keyProviderContract, newBinding } from './contract-suite.js'

beforeEach(() => {
  vi.stubEnv('AWS_ACCESS_KEY_ID', FAKE_CREDENTIALS.id)
  vi.stubEnv('AWS_SECRET_ACCESS_KEY', FAKE_CREDENTIALS.secret)
})

const QUICK = { attempt: 1_000, call: 2_000, firstWait: 2, longestWait: 20 }

function openOn(kms: FakeKms, keyId: string, times = QUICK): Promise<KeyProvider> {
  return openAwsKms({ provider: 'aws-kms', keyId, region: FAKE_REGION, endpointUrl: kms.url }, times)
}

keyProviderContract('aws-kms, on a strict KMS', async () => {
  const kms = await FakeKms.start()
  kms.addKey('one')
  kms.addKey('two')
  return { open: () => openOn(kms, 'alias/one'), openOther: () => openOn(kms, 'alias/two') }
})

async function opened(keyId = 'alias/one') {
  const kms = await FakeKms.start()
  const arn = kms.addKey('one')
  const provider = await openOn(kms, keyId === 'arn' ? arn : keyId)
  return { kms, arn, provider }
}

/** A DEK of one provider, and a second provider on the same key that has not seen it yet. */
async function reopened() {
  const { kms, arn, provider } = await opened()
  const binding = newBinding()
  const made = await provider.newDek(binding)
  const unwrap = (by: KeyProvider) => by.unwrap(binding, made, made.dek.commitment(binding.salt))
  const again = await openOn(kms, 'alias/one')
  kms.requests.length = 0
  return { kms, arn, provider, again, binding, made, unwrap }
}

/** The first requests get this, the others an answer. */
function first(count: number, fault: Fault): FakeKms['faults'] {
  return (_operation, number) => (number <= count ? fault : undefined)
}

describe('the encryption context', () => {
  it('names the format, the descriptor, the file and the generation, as the manifest spells them', () => {
    const binding = { ...newBinding(), fileId: Buffer.alloc(16, 0xab), salt: Buffer.alloc(32, 0xcd) }
    expect(encryptionContext(binding)).toEqual({
      'nimbus:format': 'nimbus-enc/1',
      'nimbus:descriptor': 'db:sqlite:tenant:demo:demo.sqlite3',
      'nimbus:cipher': 'sqlcipher',
      'nimbus:profile': 'sqlcipher-4',
      'nimbus:generation': '1',
      'nimbus:file-id': 'ab'.repeat(16),
      'nimbus:salt': 'cd'.repeat(32),
    })
  })
})

describe('the KMS that answers', () => {
  it('is asked once for a DEK that many want at the same time, and not again when one of them comes back', async () => {
    const { kms, again, unwrap } = await reopened()
    kms.latencyMs = 20
    const results = await Promise.all(Array.from({ length: 50 }, () => unwrap(again)))
    expect(new Set(results.map(({ outcome }) => outcome))).toEqual(new Set(['opened']))
    expect((await unwrap(again)).outcome).toBe('opened')
    expect(kms.requests).toEqual(['Decrypt'])
  })

  it('is asked again after a failure: only keys are kept', async () => {
    const { kms, again, unwrap } = await reopened()
    kms.denied.add('Decrypt')
    expect(await rejectionOf(unwrap(again))).toMatchObject({ code: 'kms_denied' })
    kms.denied.clear()
    expect((await unwrap(again)).outcome).toBe('opened')
    expect(kms.requests).toEqual(['Decrypt', 'Decrypt'])
  })

  it('can be gone: what was opened stays open, and so does what is opened again', async () => {
    const { kms, again, unwrap, made, binding } = await reopened()
    expect((await unwrap(again)).outcome).toBe('opened')
    await kms.stop()
    expect((await unwrap(again)).outcome).toBe('opened')
    expect(made.dek.commitment(binding.salt)).toHaveLength(32)
    expect(await rejectionOf(again.newDek(newBinding()))).toMatchObject({ code: 'kms_unavailable' })
  })

  it('is refused when it names another key than it was asked for', async () => {
    for (const operation of ['GenerateDataKey', 'Decrypt'] as const) {
      const { kms, again, unwrap } = await reopened()
      await again.health?.()
      kms.faults = (asked) => (asked === operation ? 'wrong_key_id' : undefined)
      if (operation === 'Decrypt') expect((await unwrap(again)).outcome).toBe('other_key')
      else expect(await rejectionOf(again.newDek(newBinding()))).toMatchObject({ code: 'key_wrong' })
    }
  })

  it('is refused when it moves a key from or to another one than it was asked for', async () => {
    const { kms, provider: from } = await opened()
    kms.addKey('two')
    const to = await openOn(kms, 'alias/two')
    await to.health?.()
    const binding = newBinding()
    const wrapping = { provider: from, binding, wrapped: await from.newDek(binding) }
    kms.faults = (operation) => (operation === 'ReEncrypt' ? 'wrong_source' : undefined)
    expect(await to.rewrap?.(wrapping, newBinding())).toMatchObject({ outcome: 'other_key' })
    kms.faults = (operation) => (operation === 'ReEncrypt' ? 'wrong_key_id' : undefined)
    expect(await rejectionOf(Promise.resolve(to.rewrap?.(wrapping, newBinding())))).toMatchObject({ code: 'key_wrong' })
  })

  it('is refused when an alias was given to another key while the provider is open', async () => {
    const { kms, arn, provider } = await opened()
    await provider.health?.()
    kms.addKey('one')
    const error = await rejectionOf(provider.newDek(newBinding()))
    expect(error).toMatchObject({ code: 'key_wrong' })
    expect(error.message).toContain(arn)
  })

  it.each(['no_plaintext', 'cut', 'cut_silently', 'reset'] as const)(
    'is asked again after an answer that is %s',
    async (fault) => {
      for (const operation of ['GenerateDataKey', 'Decrypt'] as const) {
        const { kms, again, unwrap } = await reopened()
        kms.faults = first(2, fault)
        if (operation === 'Decrypt') expect((await unwrap(again)).outcome).toBe('opened')
        else await again.newDek(newBinding())
        expect(kms.requests).toEqual([operation, operation, operation])
      }
    },
  )
})

describe('the endpoint', () => {
  it.each([
    ['https://kms.internal.example', 0],
    ['http://localhost:4566', 0],
    ['http://127.0.0.1:4566', 0],
    ['http://[::1]:4566', 0],
    ['http://kms.internal.example', 1],
  ])('%s is worth %i warnings', async (endpointUrl, count) => {
    const provider = await openAwsKms({ provider: 'aws-kms', keyId: 'alias/one', region: FAKE_REGION, endpointUrl })
    expect(provider.warnings).toHaveLength(count)
  })
})

describe('a key of another', () => {
  it('is known without a call where the key is configured by its ARN or id', async () => {
    const { kms, provider: other } = await opened()
    const theirs = await other.newDek(newBinding())
    const arn = kms.addKey('two')
    for (const keyId of [arn, arn.slice(arn.indexOf('/') + 1)]) {
      const ours = await openOn(kms, keyId)
      kms.requests.length = 0
      expect(ours.mayOpen?.(theirs.keyId)).toBe(false)
      expect(await ours.unwrap(newBinding(), theirs, new Uint8Array(32))).toEqual({ outcome: 'other_key', ours: keyId })
      expect(kms.requests).toEqual([])
    }
  })

  it('that planted a blob under the name of ours opens nothing', async () => {
    const { kms, arn, provider } = await opened()
    kms.addKey('two')
    const binding = newBinding()
    const planted = await (await openOn(kms, 'alias/two')).newDek(binding)
    const result = await provider.unwrap(binding, { ...planted, keyId: arn }, planted.dek.commitment(binding.salt))
    expect(result.outcome).toBe('other_key')
  })

  it('may be a replica of ours in another region: the same key', async () => {
    const { kms } = await opened()
    const id = 'mrk-1234abcd12ab34cd56ef1234567890ab'
    const arn = kms.addKey('replica', id)
    const provider = await openOn(kms, arn)
    expect(provider.mayOpen?.(arn.replace(FAKE_REGION, 'us-west-2'))).toBe(true)
    expect(provider.mayOpen?.(arn.replace('111122223333', '444455556666'))).toBe(false)
  })
})

describe('a failure', () => {
  async function failureWith(prepare: (kms: FakeKms, arn: string) => void, keyId = 'alias/one') {
    const { kms, arn, provider } = await opened(keyId)
    prepare(kms, arn)
    const error = await rejectionOf(provider.newDek(newBinding()))
    expect(error.message).toContain(`KMS GenerateDataKey with key ${keyId} in region ${FAKE_REGION} at ${kms.url}`)
    expect(error.detail).toEqual({ operation: 'GenerateDataKey', key_id: keyId, region: FAKE_REGION })
    return { kms, error }
  }

  it('to find the key names it and its region', async () => {
    const { kms, error } = await failureWith(() => undefined, 'alias/nowhere')
    expect(error).toMatchObject({ code: 'kms_key_not_found' })
    expect(error.remediation).toBe(`Check that alias/nowhere resolves in the region ${FAKE_REGION}.`)
    expect(kms.requests).toHaveLength(1)
  })

  it('for want of a permission names the action to grant, and is not tried again', async () => {
    const { kms, error } = await failureWith((strict) => strict.denied.add('GenerateDataKey'))
    expect(error).toMatchObject({ code: 'kms_denied' })
    expect(error.remediation).toContain('kms:GenerateDataKey')
    expect(kms.requests).toHaveLength(1)
    const { kms: second, again, unwrap } = await reopened()
    second.denied.add('Decrypt')
    expect((await rejectionOf(unwrap(again))).remediation).toContain('kms:Decrypt')
  })

  it.each(['Disabled', 'PendingDeletion'] as const)(
    'of a key that is %s says so, and is not tried again',
    async (state) => {
      const { kms, error } = await failureWith((strict, arn) => strict.setState(arn, state))
      expect(error).toMatchObject({ code: 'kms_denied' })
      expect(error.message).toContain('the key may not be used in its state')
      expect(error.remediation).toContain('Enable the key alias/one, or cancel its deletion')
      expect(kms.requests).toHaveLength(1)
    },
  )

  it('of the credentials is told from a missing permission', async () => {
    vi.stubEnv('AWS_SECRET_ACCESS_KEY', 'another secret')
    const { kms, error } = await failureWith(() => undefined)
    expect(error).toMatchObject({ code: 'kms_denied' })
    expect(error.message).toContain('no valid AWS credentials')
    expect(error.remediation).toContain('through the AWS chain')
    expect(kms.requests).toHaveLength(1)
  })

  it.each([
    ['internal', 5],
    ['reset', 5],
    ['hang', 1],
  ] as const)('of the network (%s) is tried %i times, then names what to look at', async (fault, attempts) => {
    const { kms, error } = await failureWith((strict) => (strict.faults = () => fault))
    expect(error).toMatchObject({ code: 'kms_unavailable', retryable: true })
    expect(error.remediation).toBe(
      'Check the region, the endpoint override, VPC routing, and the AWS credential chain.',
    )
    expect(error.message).toContain(fault === 'hang' ? 'did not answer in time' : 'did not answer')
    expect(kms.requests).toHaveLength(attempts)
  })

  it('by throttling goes on until the time of the call is over', async () => {
    const started = performance.now()
    const { kms, error } = await failureWith((strict) => (strict.faults = () => 'throttle'))
    expect(error).toMatchObject({ code: 'kms_throttled', retryable: true })
    expect(performance.now() - started).toBeLessThan(QUICK.call + 1_000)
    expect(kms.requests.length).toBeGreaterThan(2)
  })

  it('to know a region is told before any call', async () => {
    for (const name of ['AWS_REGION', 'AWS_DEFAULT_REGION']) vi.stubEnv(name, undefined)
    vi.stubEnv('AWS_CONFIG_FILE', '/nonexistent')
    vi.stubEnv('AWS_EC2_METADATA_DISABLED', 'true')
    const opening = openAwsKms({ provider: 'aws-kms', keyId: 'alias/one', region: undefined, endpointUrl: undefined })
    const error = await rejectionOf(opening)
    expect(error).toMatchObject({ code: 'config_invalid' })
    expect(error.remediation).toContain('--encryption-aws-region')
  })
})

describe('a thousand tenants that open at once', () => {
  it('all open while the KMS throttles, at most 20 calls at a time and few of them in vain', async () => {
    const { kms } = await opened()
    const patient = { attempt: 10_000, call: 60_000, firstWait: 50, longestWait: 500 }
    const provider = await openOn(kms, 'alias/one', patient)
    const made: [DekBinding, NewDek][] = []
    const bindings = Array.from({ length: 1000 }, newBinding)
    await Promise.all(bindings.map(async (binding) => made.push([binding, await provider.newDek(binding)])))
    const again = await openOn(kms, 'alias/one', patient)
    kms.requests.length = 0
    kms.mostAtOnce = 0
    kms.faults = atMost(400)
    const started = performance.now()
    const results = await Promise.all(
      made.map(([binding, dek]) => again.unwrap(binding, dek, dek.dek.commitment(binding.salt))),
    )
    expect(results.filter(({ outcome }) => outcome === 'opened')).toHaveLength(1000)
    expect(kms.mostAtOnce).toBeLessThanOrEqual(20)
    expect(kms.requests.length).toBeLessThan(2_000)
    // Without throttling it would be 2.5 s; a KMS that is asked too slowly keeps tenants waiting.
    expect(performance.now() - started).toBeLessThan(20_000)
  }, 60_000)
})

/** A quota of so many requests a second, and a tenth of it at once. */
function atMost(perSecond: number): (operation: Operation, number: number) => Fault | undefined {
  const burst = perSecond / 10
  let tokens = burst
  let last = performance.now()
  return () => {
    const now = performance.now()
    tokens = Math.min(burst, tokens + ((now - last) * perSecond) / 1000)
    last = now
    if (tokens < 1) return 'throttle'
    tokens -= 1
    return undefined
  }
}
