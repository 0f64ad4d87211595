#!/usr/bin/env node
/** The command line: finds the command, runs it, and turns what happened into text and an exit code. */
import { ERROR_CODES, toErrorBody, toNimbusError, type NimbusError } from '../errors.js'
import type { Context, Format } from './command.js'
import { findCommand, takeFormat } from './dispatch.js'
import { Interruption } from './interruption.js'

async function main(argv: readonly string[]): Promise<number> {
  let format: Format = 'human'
  try {
    const [chosen, words] = takeFormat(argv)
    format = chosen
    const run = await findCommand(words)
    return await run(contextOf(format))
  } catch (thrown) {
    if (thrown instanceof Interruption) return reportInterruption(thrown)
    return report(toNimbusError(thrown), format)
  }
}

function contextOf(format: Format): Context {
  return {
    env: process.env,
    format,
    print: (text) => process.stdout.write(text),
    warn: (what, hint) => process.stderr.write(`nimbus: ${what}\nhint: ${hint}\n`),
  }
}

function report(error: NimbusError, format: Format): number {
  const { code, message, remediation, cause } = error
  if (format === 'json') process.stderr.write(`${JSON.stringify(toErrorBody(error))}\n`)
  else process.stderr.write(`nimbus: ${message}\nhint: ${remediation}\n`)
  // Only a defect of ours is told with its place in the code.
  if (code === 'internal' && cause instanceof Error) process.stderr.write(`${cause.stack ?? cause.message}\n`)
  return ERROR_CODES[code].exitCode
}

function reportInterruption({ message, exitCode }: Interruption): number {
  process.stderr.write(`nimbus: ${message}\nhint: Run the command again; the files are consistent.\n`)
  return exitCode
}

/** Whoever reads our output may stop early, as `head` does. */
for (const stream of [process.stdout, process.stderr]) {
  stream.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error
  })
}

process.exitCode = await main(process.argv.slice(2))
