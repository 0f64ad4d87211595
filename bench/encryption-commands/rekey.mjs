/** The step of `rotate-dek` that writes every page anew beside `PRAGMA rekey` of SQLCipher as it is published, on the same file. */
import { copyFileSync, rmSync, statSync } from 'node:fs'
import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { interleave, median, medianRatio } from '../harness/statistics.mjs'
import { milliseconds, ratio } from '../harness/tables.mjs'
import { durationOf, makeSqlite, withWorkspace } from './workspace.mjs'

const rounds = 5
const mebibytes = 256
const profiles = ['sqlcipher-4', 'sqlcipher-4-sha256']
const ours = fileURLToPath(new URL('rekey-step.mjs', import.meta.url))
const genuine = fileURLToPath(new URL('genuine_rekey.py', import.meta.url))

export async function run() {
  const site = installGenuine()
  const figures = {}
  const tables = []
  for (const profile of profiles) {
    await withWorkspace(async (workspace) => {
      const { data, key } = workspace
      const plain = `${data}/plain.db`
      await makeSqlite(plain, mebibytes)
      const encrypted = `${plain}.encrypted`
      const subject = ['--provider', 'sqlite', '--tenant-id', 'bench']
      workspace.encryption(['migrate', '--source', plain, ...subject, '--profile', profile, '--skip-validation'])
      durationOf('python3', [genuine, 'encrypt', plain, `${data}/genuine.db`, profile], environment(site))
      const results = await interleave(rounds, {
        nimbus: async () => printedMs(process.execPath, [ours, encrypted, key]),
        genuine: async () => {
          const copy = `${data}/copy.db`
          copyFileSync(`${data}/genuine.db`, copy)
          durationOf('sync', [copy])
          const ms = printedMs('python3', [genuine, 'rekey', copy, profile], environment(site))
          rmSync(copy)
          return ms
        },
      })
      figures[profile] = { megabytes: Math.round(statSync(encrypted).size / 1e6), ...results }
      tables.push({
        title: `A new key for ${figures[profile].megabytes} MB of ${profile} (${rounds} rounds)`,
        columns: ['how', 'median', 'as fast as the first'],
        rows: [
          ['PRAGMA rekey of SQLCipher', milliseconds(median(results.genuine)), ''],
          [
            'the step of rotate-dek',
            milliseconds(median(results.nimbus)),
            ratio(medianRatio(results.genuine, results.nimbus)),
          ],
        ],
      })
    })
  }
  return { figures, tables }
}

/** SQLCipher over OpenSSL, built by others: from PyPI, as the tests have it. */
function installGenuine() {
  const site = fileURLToPath(new URL('../results/site-packages', import.meta.url))
  const pip = ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', '--no-deps', '--only-binary', ':all:']
  durationOf('python3', [...pip, '--upgrade', '--target', site, 'sqlcipher3-wheels==0.5.7'])
  return site
}

const environment = (site) => ({ env: { ...process.env, PYTHONPATH: site } })

/** What the program says that it took. */
function printedMs(program, args, options = {}) {
  const { status, stdout, stderr } = spawnSync(program, args, { encoding: 'utf8', ...options })
  if (status !== 0) throw new Error(`${program} ${args.join(' ')} ended with ${status}: ${stderr}`)
  return Number(stdout)
}
