/** The locks under which a command changes files: nobody serves them meanwhile, and no other command works on them. */
import { dirname, join } from 'node:path'
import { FileLock } from '../native.js'

const DIRECTORY_LOCK = '.nimbus.lock'
const FILE_LOCK_SUFFIX = '.nimbus-lock'

export interface Held {
  release(): void
}

/**
 * One file for this process alone: its own lock, and its directory's together with others that work on files in it.
 *
 * @throws `file_busy` at once, naming the owner; `data_dir_unwritable`, `io_error`.
 */
export function holdFile(path: string): Held {
  return hold(path, FileLock.exclusive)
}

function hold(path: string, take: (path: string) => FileLock): Held {
  const directory = FileLock.shared(join(dirname(path), DIRECTORY_LOCK))
  try {
    const file = take(path + FILE_LOCK_SUFFIX)
    return {
      release: () => {
        file.release()
        directory.release()
      },
    }
  } catch (error) {
    directory.release()
    throw error
  }
}

/** One file together with others that only open it: nobody changes its key meanwhile. @throws as `holdFile` */
export function shareFile(path: string): Held {
  return hold(path, FileLock.shared)
}

/** Every file of a directory for this process alone, as a server has it: whoever holds one of them holds its directory too. */
export function holdDirectory(path: string): Held {
  return FileLock.exclusive(join(path, DIRECTORY_LOCK))
}
