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
const RFC_3339_UTC = /^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,3})?Z$/

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
  /** From then on it is refused; null for never. */
  readonly expires_at: string | null
  readonly revoked_at: string | null
}

export interface NewToken {
  readonly name: string
  /** Tenant ids, or `*` alone. */
  readonly tenants: readonly string[]
  readonly access: Access
  /** RFC 3339, UTC; never, if left out. */
  readonly expires_at?: string | undefined
}

/** What the token that a request carries permits. */
export class Grant {
  readonly #access: Access
  /** Undefined for every tenant. */
  readonly #tenants: ReadonlySet<string> | undefined
  readonly #expiresAtMs: number

  constructor({ access, tenants, expires_at: expiresAt }: Pick<ApiToken, 'access' | 'tenants' | 'expires_at'>) {
    this.#access = access
    this.#expiresAtMs = expiresAt === null ? Infinity : Date.parse(expiresAt)
    this.#tenants = tenants.includes(EVERY_TENANT) ? undefined : new Set(tenants)
  }

  isGoodAt(timeMs: number): boolean {
    return timeMs < this.#expiresAtMs
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
   * What a presented token permits; undefined if it is none of these, expired or revoked. It is looked up by its hash, so the time that
   * this takes tells nothing of the tokens that there are: nobody can steer a hash towards one.
   */
  grantOf(presented: string): Grant | undefined {
    if (!presented.startsWith(TOKEN_PREFIX)) return undefined
    const grant = this.#grants.get(hashOf(presented))
    return grant?.isGoodAt(Date.now()) === true ? grant : undefined
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
    const expiresAt = expiryOf(wanted)
    const token = TOKEN_PREFIX + randomBytes(RANDOM_BYTES).toString('base64url')
    const record: ApiToken = {
      id: randomBytes(ID_BYTES).toString('hex'),
      prefix: token.slice(0, PREFIX_CHARACTERS),
      name: wanted.name,
      tenants: [...new Set(wanted.tenants)].sort(),
      access: wanted.access,
      created_at: new Date().toISOString(),
      expires_at: expiresAt,
      revoked_at: null,
    }
    await this.#store.commit(() => [
      ...this.#makeRoom(),
      this.#put(hashOf(token), record),
      this.#events.record('token_created', `token:${record.id}`),
    ])
    return { token, record }
  }

  /** From now on it is refused. The record stays, so that it can still be recognised. @throws `token_not_found` */
  async revoke(id: string): Promise<void> {
    await this.#store.commit(() => {
      const [hash, token] = this.#find(id)
      return token.revoked_at === null ? this.#revoked(hash, token) : []
    })
  }

  /** Takes a tenant out of every scope; a token that was for this one alone is revoked. */
  without(tenant: string): Plan {
    const plans = [...this.#tokens]
      .filter(([, { tenants, revoked_at: revokedAt }]) => revokedAt === null && tenants.includes(tenant))
      .flatMap(([hash, token]) => {
        const tenants = token.tenants.filter((other) => other !== tenant)
        if (tenants.length > 0) return [this.#put(hash, { ...token, tenants })]
        return this.#revoked(hash, token)
      })
    return {
      changes: plans.flatMap(({ changes }) => changes),
      apply: () => {
        for (const plan of plans) plan.apply()
      },
    }
  }

  #revoked(hash: string, token: ApiToken): Plan[] {
    const revoked = { ...token, revoked_at: new Date().toISOString() }
    return [this.#put(hash, revoked), this.#events.record('token_revoked', `token:${token.id}`)]
  }

  /** Drops the record that has been of no use for longest, if there are too many. */
  #makeRoom(): Plan[] {
    if (this.#tokens.size < MOST_TOKENS) return []
    const now = new Date().toISOString()
    const useless = [...this.#tokens].flatMap(([hash, token]) => {
      const since = token.revoked_at ?? token.expires_at
      return since !== null && since <= now ? [[since, hash] as const] : []
    })
    const [oldest] = useless.sort(([one], [other]) => (one < other ? -1 : 1))
    if (oldest === undefined) {
      throw new NimbusError('invalid_request', `there are ${MOST_TOKENS} tokens in use`, {
        remediation: 'Revoke those that nobody uses: DELETE /api/tokens/<id>.',
      })
    }
    const [, hash] = oldest
    const forget = (): void => {
      this.#tokens.delete(hash)
      this.#grants.delete(hash)
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

/** In the one form in which times are kept, which sorts as text. */
function expiryOf({ expires_at: wanted }: NewToken): string | null {
  if (wanted === undefined) return null
  const timeMs = RFC_3339_UTC.test(wanted) ? Date.parse(wanted) : Number.NaN
  if (Number.isNaN(timeMs)) {
    throw new NimbusError('invalid_request', `${quote(wanted)} is not a time such as 2027-01-31T12:00:00Z`)
  }
  if (timeMs <= Date.now()) throw new NimbusError('invalid_request', `a token cannot expire in the past: ${wanted}`)
  return new Date(timeMs).toISOString()
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
    expires_at: orNull(isTime),
    revoked_at: orNull(isTime),
  })
}
