/** Module hooks with which a child process of a test runs the sources as they are: `.js` imports find `.ts` files. */
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

/** Loading the compiler takes longer than most children live, so what it made is kept, by the hash of the source. */
const CACHE = fileURLToPath(new URL('../../node_modules/.cache/nimbus-tests/', import.meta.url))

export async function resolve(specifier, context, next) {
  if (specifier.startsWith('.') && specifier.endsWith('.js')) {
    const source = new URL(specifier.replace(/\.js$/, '.ts'), context.parentURL)
    if (existsSync(source)) return { url: source.href, shortCircuit: true }
  }
  return next(specifier, context)
}

export async function load(url, context, next) {
  if (!url.endsWith('.ts')) return next(url, context)
  return { format: 'module', source: await compiled(fileURLToPath(url)), shortCircuit: true }
}

async function compiled(path) {
  const text = readFileSync(path, 'utf8')
  const kept = `${CACHE}${createHash('sha256').update(path).update('\0').update(text).digest('hex')}.js`
  if (existsSync(kept)) return readFileSync(kept, 'utf8')
  const { default: ts } = await import('typescript')
  const { outputText } = ts.transpileModule(text, {
    fileName: path,
    compilerOptions: { module: ts.ModuleKind.ESNext, target: ts.ScriptTarget.ES2023, verbatimModuleSyntax: true },
  })
  keep(kept, outputText)
  return outputText
}

/** Another child may write the same file at the same moment; one that runs as another user may not write at all. */
function keep(path, text) {
  try {
    mkdirSync(CACHE, { recursive: true })
    writeFileSync(`${path}.${process.pid}`, text)
    renameSync(`${path}.${process.pid}`, path)
  } catch {
    return
  }
}
