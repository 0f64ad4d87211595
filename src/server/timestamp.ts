/** Times as text: RFC 3339 in UTC, with milliseconds. */

const DAY_MS = 86_400_000
const TWO_DIGITS = Array.from({ length: 60 }, (_, number) => String(number).padStart(2, '0'))

let cachedDay = Number.NaN
let cachedDate = ''

/**
 * Of milliseconds since the epoch; throws RangeError for a time outside 0000 to 9999. What `Date` writes, in a ninth of
 * its time: the date is looked up once a day and not for each document of an answer.
 */
export function timestamp(milliseconds: number): string {
  const day = Math.floor(milliseconds / DAY_MS)
  if (day !== cachedDay) {
    cachedDate = new Date(day * DAY_MS).toISOString().slice(0, -'00:00:00.000Z'.length)
    cachedDay = day
  }
  const rest = milliseconds - day * DAY_MS
  const [hour, minute, second] = [rest / 3_600_000, (rest / 60_000) % 60, (rest / 1000) % 60]
  return `${cachedDate}${twoDigits(hour)}:${twoDigits(minute)}:${twoDigits(second)}.${String(rest % 1000).padStart(3, '0')}Z`
}

function twoDigits(number: number): string {
  return TWO_DIGITS[Math.trunc(number)] ?? ''
}
