/** The document that is inserted: 300 bytes of JSON, as a request's body. */

const text = 'the quick brown fox jumps over the lazy dog '.repeat(5)

/** @param {Record<string, unknown>} fields what a benchmark filters on */
export function document(fields = {}) {
  const body = {
    table: 'notes',
    fields: { title: 'a document of 300 bytes', done: false, priority: 3, ...fields, text: '' },
  }
  body.fields.text = text.repeat(2).slice(0, 300 - JSON.stringify(body).length)
  return body
}
