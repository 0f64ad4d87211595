/** `node --import` this, and TypeScript sources run without being built. */
import { register } from 'node:module'

register('./typescript-hooks.mjs', import.meta.url)
