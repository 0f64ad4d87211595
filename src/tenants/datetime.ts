/** The schema type `datetime`: RFC 3339 instants, stored in UTC with milliseconds so that the order of text is the order of time. */

/** RFC 3339, section 5.6, `date-time`; what follows the third fractional digit must be zeros, since it could not be kept. */
const DATE_TIME =
  /^(\d{4})-(\d{2})-(\d{2})[Tt](\d{2}):(\d{2}):(\d{2})(?:\.(\d{1,3})\d*)?(?:[Zz]|([+-])(\d{2}):(\d{2}))$/
const BEYOND_MILLISECONDS = /\.\d{3}\d*[1-9]\d*(?:[Zz]|[+-])/
const FIRST_MS = Date.parse('0000-01-01T00:00:00.000Z')
const LAST_MS = Date.parse('9999-12-31T23:59:59.999Z')

/**
 * The same instant as `2026-01-31T09:30:00.000Z`; `undefined` for text that is not an RFC 3339 date-time of the years
 * 0000 to 9999 in whole milliseconds. Leap seconds, which no arithmetic here knows, are refused.
 */
export function canonicalDateTime(text: string): string | undefined {
  const parts = DATE_TIME.exec(text)
  if (parts === null || BEYOND_MILLISECONDS.test(text)) return undefined
  const [, year = '', month = '', day = '', hour = '', minute = '', second = '', fraction = '', sign, hours, minutes] =
    parts
  const local = `${year}-${month}-${day}T${hour}:${minute}:${second}.${fraction.padEnd(3, '0')}Z`
  const localMs = Date.parse(local)
  // Date.parse takes 24:00, and in some engines 31 February, for the day after: such text does not come back the same.
  if (Number.isNaN(localMs) || new Date(localMs).toISOString() !== local) return undefined
  if (Number(hours ?? 0) > 23 || Number(minutes ?? 0) > 59) return undefined
  const offsetMs = (Number(hours ?? 0) * 60 + Number(minutes ?? 0)) * 60_000
  const ms = sign === '-' ? localMs + offsetMs : localMs - offsetMs
  return ms < FIRST_MS || ms > LAST_MS ? undefined : new Date(ms).toISOString()
}
