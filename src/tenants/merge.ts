/** JSON Merge Patch (RFC 7396, section 2): what PATCH does to a document's fields. */
import { type JsonObject, type JsonValue, isJsonObject } from './json.js'

/** `target` with `patch` applied: `null` removes a member, an object merges into it, anything else replaces it. Neither is changed. */
export function mergePatch(target: JsonObject, patch: JsonObject): JsonObject {
  // A map, because assigning to a property called __proto__ would not make a member of that name.
  const merged = new Map<string, JsonValue>(Object.entries(target))
  for (const [name, value] of Object.entries(patch)) {
    if (value === null) {
      merged.delete(name)
    } else if (isJsonObject(value)) {
      const old = merged.get(name)
      merged.set(name, mergePatch(isJsonObject(old) ? old : {}, value))
    } else {
      merged.set(name, value)
    }
  }
  return Object.fromEntries(merged)
}
