/** Terminates workers that are in the middle of their work: `worker.ts <directory>`. */
import path from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads'
import { KvStore } from '../../../src/native.js'

const key = (number: number) => new Uint8Array(Buffer.from(String(number)))

function work(file: string): void {
  const store = KvStore.open({ path: file, mode: 'create' })
  for (let number = 0; number < 1000; number++) {
    void store.write([{ table: 't', key: key(number), value: new Uint8Array(500) }])
  }
  parentPort?.postMessage('open')
  setInterval(() => {
    const snapshot = store.snapshot()
    store.get('t', key(7))
    void snapshot.rangeAsync('t', { limit: 1e6, mostBytes: 1e6 })
  }, 1)
}

async function terminateThem(directory: string): Promise<void> {
  for (let round = 0; round < 5; round++) {
    const workers = [0, 1].map(
      (which) =>
        new Worker(new URL(import.meta.url), {
          workerData: path.join(directory, `${String(round)}-${String(which)}.redb`),
        }),
    )
    await Promise.all(workers.map((worker) => new Promise((resolve) => worker.once('message', resolve))))
    await delay(Math.random() * 40)
    await Promise.all(workers.map((worker) => worker.terminate()))
  }
  console.log('survived')
}

if (isMainThread) await terminateThem(process.argv[2] ?? '')
else if (typeof workerData === 'string') work(workerData)
