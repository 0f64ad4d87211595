/** Text from a file or a request, made safe to print: quoted, cut short, nothing in it that a terminal would obey. */

const UNSAFE = /[\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]/g

export function quote(text: string, limit = 80): string {
  const shown = text.length > limit ? `${text.slice(0, limit)}...` : text
  return JSON.stringify(shown).replace(UNSAFE, (character) => {
    return `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`
  })
}

/** The same without quotes, for what a manifest holds to be read by people: a path or an alias may hold anything. */
export function printable(text: string, limit: number): string {
  return text.slice(0, limit).replace(/[\p{Cc}\p{Cs}]/gu, '\ufffd')
}
