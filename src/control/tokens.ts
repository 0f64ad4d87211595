/** API tokens: kept as their SHA-256, shown once, good for some tenants, to read or to write as well. */
import { createHash, randomBytes } from 'node:crypto'
import { NimbusError } from '../errors.js'
import { quote } from '../keys/quote.js'
import { isTenantId } from '../keys/subject.js'
import type { EventLog } from './events.js'
import { type ControlStore, type Plan, isText, isTime, listOf, oneOf, orNull, planOf, rowOf } from './store.js'

/** By which a token is told from the admin token, by people and by the server. */
export const TOKEN_PREFIX = 'nbt_'
const PREFIX_CHARACTERS = 12
const RANDOM_BYTES = 32
const ID_BYTES = 8
/** Stands for every tenant, also those made later. */
export const EVERY_TENANT = '*'

const MOST_TOKENS = 10_000
const MOST_TENANTS = 100
const LONGEST_NAME = 100

/** `write` includes `read`: the answer to a change shows the document. */
export type Access = 'read' | 'write'

export interface ApiToken {
  readonly id: string
  /** The first 12 characters of the token, to recognise it by. */
  readonly prefix: string
  readonly name: string
  readonly tenants: readonly string[]
  readonly access: Access
  readonly created_at: string
  readonly revoked_at: string | null
}

export interface NewToken {
  readonly name: string
  /** Tenant ids, or `*` alone. */
  readonly tenants: readonly string[]
  readonly access: Access
}

/** What the token that a request carries permits. */
export class Grant {
  readonly #access: Access
  /** Undefined for every tenant. */
  readonly #tenants: ReadonlySet<string> | undefined

  constructor({ access, tenants }: Pick<ApiToken, 'access' | 'tenants'>) {
    this.#access = access
    this.#tenants = tenants.includes(EVERY_TENANT) ? undefined : new Set(tenants)
  }

  permits(access: Access, tenant: string): boolean {
    return (this.#access === 'write' || access === 'read') && (this.#tenants?.has(tenant) ?? true)
  }
}

export class TokenRecords {
  readonly #store: ControlStore
  readonly #events: EventLog
  /** By SHA-256 in hex. */
  readonly #tokens: Map<string, ApiToken>
  /** Those that are not revoked. */
  readonly #grants = new Map<string, Grant>()

  private constructor(store: ControlStore, events: EventLog, tokens: Map<string, ApiToken>) {
    this.#store = store
    this.#events = events
    this.#tokens = new Map()
    for (const [hash, token] of tokens) this.#know(hash, token)
  }

  static load(store: ControlStore, events: EventLog): TokenRecords {
    const rows = store.load('tokens', parseToken).map(([key, row]): [string, ApiToken] => [key.toString(), row])
    return new TokenRecords(store, events, new Map(rows))
  }

  /**
   * What a presented token permits; undefined if it is none of these, or revoked. It is looked up by its hash, so the time that
   * this takes tells nothing of the tokens that there are: nobody can steer a hash towards one.
   */
  grantOf(presented: string): Grant | undefined {
    return presented.startsWith(TOKEN_PREFIX) ? this.#grants.get(hashOf(presented)) : undefined
  }

  /** In order of creation. */
  all(): ApiToken[] {
    return [...this.#tokens.values()].sort((one, other) =>
      `${one.created_at} ${one.id}` < `${other.created_at} ${other.id}` ? -1 : 1,
    )
  }

  /** @throws `invalid_request`, `invalid_tenant_id`. The token itself is nowhere but in the answer. */
  async create(wanted: NewToken): Promise<{ readonly token: string; readonly record: ApiToken }> {
    requireValid(wanted)
    const room = this.#makeRoom()
    const token = TOKEN_PREFIX + randomBytes(RANDOM_BYTES).toString('base64url')
    const record: ApiToken = {
      id: randomBytes(ID_BYTES).toString('hex'),
      prefix: token.slice(0, PREFIX_CHARACTERS),
      name: wanted.name,
      tenants: [...new Set(wanted.tenants)].sort(),
      access: wanted.access,
      created_at: new Date().toISOString(),
      revoked_at: null,
    }
    const event = this.#events.record('token_created', `token:${record.id}`)
    await this.#store.commit([...room, this.#put(hashOf(token), record), event])
    return { token, record }
  }

  /** From now on it is refused. The record stays, so that it can still be recognised. @throws `token_not_found` */
  async revoke(id: string): Promise<void> {
    const [hash, token] = this.#find(id)
    if (token.revoked_at !== null) return
    const revoked = { ...token, revoked_at: new Date().toISOString() }
    await this.#store.commit([this.#put(hash, revoked), this.#events.record('token_revoked', `token:${id}`)])
  }

  /** Takes a tenant out of every scope; a token that was for this one alone is revoked. */
  without(tenant: string): Plan {
    const plans = [...this.#tokens]
      .filter(([, { tenants, revoked_at: revokedAt }]) => revokedAt === null && tenants.includes(tenant))
      .flatMap(([hash, token]) => {
        const tenants = token.tenants.filter((other) => other !== tenant)
        if (tenants.length > 0) return [this.#put(hash, { ...token, tenants })]
        const revoked = { ...token, revoked_at: new Date().toISOString() }
        return [this.#put(hash, revoked), this.#events.record('token_revoked', `token:${token.id}`)]
      })
    return {
      changes: plans.flatMap(({ changes }) => changes),
      apply: () => {
        for (const plan of plans) plan.apply()
      },
    }
  }

  /** Drops the record that was revoked first, if there are too many. */
  #makeRoom(): Plan[] {
    if (this.#tokens.size < MOST_TOKENS) return []
    const revoked = [...this.#tokens].filter(([, token]) => token.revoked_at !== null)
    const [oldest] = revoked.sort(([, one], [, other]) => ((one.revoked_at ?? '') < (other.revoked_at ?? '') ? -1 : 1))
    if (oldest === undefined) {
      throw new NimbusError('invalid_request', `there are ${MOST_TOKENS} tokens in use`, {
        remediation: 'Revoke those that nobody uses: DELETE /api/tokens/<id>.',
      })
    }
    const [hash] = oldest
    const forget = (): void => {
      this.#tokens.delete(hash)
    }
    return [planOf({ table: 'tokens', key: hash, value: null }, forget)]
  }

  #find(id: string): [hash: string, token: ApiToken] {
    const found = [...this.#tokens].find(([, token]) => token.id === id)
    if (found === undefined) throw new NimbusError('token_not_found', `there is no API token ${quote(id)}`)
    return found
  }

  #put(hash: string, token: ApiToken): Plan {
    return planOf({ table: 'tokens', key: hash, value: token }, () => {
      this.#know(hash, token)
    })
  }

  #know(hash: string, token: ApiToken): void {
    this.#tokens.set(hash, token)
    if (token.revoked_at === null) this.#grants.set(hash, new Grant(token))
    else this.#grants.delete(hash)
  }
}

function requireValid({ name, tenants }: NewToken): void {
  if (name.length === 0 || name.length > LONGEST_NAME || /\p{C}/u.test(name)) {
    throw new NimbusError('invalid_request', `the name of a token has 1 to ${LONGEST_NAME} printable characters`)
  }
  if (tenants.length === 0 || tenants.length > MOST_TENANTS) {
    throw new NimbusError('invalid_request', `a token is for 1 to ${MOST_TENANTS} tenants, or for "*"`)
  }
  if (tenants.length === 1 && tenants[0] === EVERY_TENANT) return
  const bad = tenants.find((tenant) => !isTenantId(tenant))
  if (bad !== undefined) throw new NimbusError('invalid_tenant_id', `${quote(bad)} is not a tenant id`)
}

function hashOf(token: string): string {
  return createHash('sha256').update(token).digest('hex')
}

function parseToken(value: unknown): ApiToken | undefined {
  return rowOf<ApiToken>(value, {
    id: isText,
    prefix: isText,
    name: isText,
    tenants: listOf(isText),
    access: oneOf('read', 'write'),
    created_at: isTime,
    revoked_at: orNull(isTime),
  })
}
