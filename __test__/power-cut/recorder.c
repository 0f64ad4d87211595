/*
 * Preloaded into a process: records what it does to the files below the directory NIMBUS_RECORD_ROOT, in the file
 * NIMBUS_RECORD_LOG, in the order in which it was done.
 *
 * Each record is a line `<operation> <inode> <offset> <length> <path>\t<other path>\n`, and after a write its bytes.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static const char *root;
static int record = -1;

__attribute__((constructor)) static void begin(void) {
    root = getenv("NIMBUS_RECORD_ROOT");
    const char *path = getenv("NIMBUS_RECORD_LOG");
    if (root != NULL && path != NULL) record = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
}

static int is_ours(const char *path) {
    return record >= 0 && strncmp(path, root, strlen(root)) == 0 && path[strlen(root)] == '/';
}

static int path_of(int fd, char path[PATH_MAX]) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, PATH_MAX - 1);
    if (length < 0) return 0;
    path[length] = 0;
    /* A directory that is synced may be the root itself. */
    return record >= 0 && strncmp(path, root, strlen(root)) == 0;
}

static unsigned long inode_of(int fd) {
    struct stat facts;
    return fstat(fd, &facts) == 0 ? facts.st_ino : 0;
}

static void put(const void *bytes, size_t length) {
    for (const char *at = bytes; length > 0;) {
        ssize_t written = syscall(SYS_write, record, at, length);
        if (written < 0) abort();
        at += written;
        length -= (size_t)written;
    }
}

static void log_line(const char *operation, unsigned long inode, long offset, size_t length, const char *path,
                     const char *other) {
    char line[2 * PATH_MAX + 128];
    put(line, (size_t)snprintf(line, sizeof line, "%s %lu %ld %zu %s\t%s\n", operation, inode, offset, length, path, other));
}

/* The change and its record are one step: no other thread's record comes between. The errno is the change's. */
#define STEP(type, change, note)                        \
    pthread_mutex_lock(&mutex);                         \
    type result = change;                               \
    int kept = errno;                                   \
    note;                                               \
    pthread_mutex_unlock(&mutex);                       \
    errno = kept;                                       \
    return result

static void note_open(int fd, int existed, int flags) {
    char path[PATH_MAX];
    if (fd < 0 || !path_of(fd, path)) return;
    if ((flags & O_TMPFILE) == O_TMPFILE) log_line("nameless", inode_of(fd), 0, 0, "", "");
    else if ((flags & O_CREAT) && !existed) log_line("create", inode_of(fd), 0, 0, path, "");
    else if (flags & O_TRUNC) log_line("truncate", inode_of(fd), 0, 0, path, "");
}


static int open_noting(int directory, const char *path, int flags, mode_t mode) {
    int existed = faccessat(directory, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
    STEP(int, (int)syscall(SYS_openat, directory, path, flags, mode), note_open(result, existed, flags));
}

static int needs_mode(int flags) { return (flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE; }

#define OPENING(name, directory, parameters)                                 \
    int name parameters {                                                    \
        va_list rest;                                                        \
        va_start(rest, flags);                                               \
        mode_t mode = needs_mode(flags) ? va_arg(rest, mode_t) : 0; \
        va_end(rest);                                                        \
        return open_noting(directory, path, flags | O_LARGEFILE, mode);      \
    }

OPENING(open, AT_FDCWD, (const char *path, int flags, ...))
OPENING(open64, AT_FDCWD, (const char *path, int flags, ...))
OPENING(openat, directory, (int directory, const char *path, int flags, ...))
OPENING(openat64, directory, (int directory, const char *path, int flags, ...))

static void note_write(int fd, const void *bytes, long offset, ssize_t written) {
    char path[PATH_MAX];
    if (written <= 0 || record < 0 || fd == record || !path_of(fd, path)) return;
    log_line("write", inode_of(fd), offset, (size_t)written, path, "");
    put(bytes, (size_t)written);
}

/* A signal handler writes to a pipe, perhaps on the thread that it found inside a step. */
ssize_t write(int fd, const void *bytes, size_t length) {
    char path[PATH_MAX];
    if (!path_of(fd, path)) return syscall(SYS_write, fd, bytes, length);
    STEP(ssize_t, syscall(SYS_write, fd, bytes, length),
         note_write(fd, bytes, lseek(fd, 0, SEEK_CUR) - result, result));
}

static ssize_t write_at(int fd, const void *bytes, size_t length, off_t offset) {
    STEP(ssize_t, syscall(SYS_pwrite64, fd, bytes, length, offset), note_write(fd, bytes, offset, result));
}

ssize_t pwrite(int fd, const void *bytes, size_t length, off_t offset) { return write_at(fd, bytes, length, offset); }
ssize_t pwrite64(int fd, const void *bytes, size_t length, off64_t offset) { return write_at(fd, bytes, length, offset); }

static void note_fd(const char *operation, int fd, long offset, int result) {
    char path[PATH_MAX];
    if (result == 0 && path_of(fd, path)) log_line(operation, inode_of(fd), offset, 0, path, "");
}

static int cut_to(int fd, off_t length) {
    STEP(int, (int)syscall(SYS_ftruncate, fd, length), note_fd("truncate", fd, length, result));
}

int ftruncate(int fd, off_t length) { return cut_to(fd, length); }
int ftruncate64(int fd, off64_t length) { return cut_to(fd, length); }

int fsync(int fd) { STEP(int, (int)syscall(SYS_fsync, fd), note_fd("sync", fd, 0, result)); }
int fdatasync(int fd) { STEP(int, (int)syscall(SYS_fdatasync, fd), note_fd("sync", fd, 0, result)); }
int syncfs(int fd) { STEP(int, (int)syscall(SYS_syncfs, fd), note_fd("flush", fd, 0, result)); }

static void note_paths(const char *operation, unsigned long inode, const char *path, const char *other, int result) {
    if (result == 0 && is_ours(path)) log_line(operation, inode, 0, 0, path, other);
}

int rename(const char *from, const char *to) {
    STEP(int, (int)syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0), note_paths("rename", 0, from, to, result));
}

int unlink(const char *path) {
    STEP(int, (int)syscall(SYS_unlinkat, AT_FDCWD, path, 0), note_paths("remove", 0, path, "", result));
}

int linkat(int from_directory, const char *from, int to_directory, const char *to, int flags) {
    struct stat facts;
    STEP(int, (int)syscall(SYS_linkat, from_directory, from, to_directory, to, flags),
         note_paths("link", lstat(to, &facts) == 0 ? facts.st_ino : 0, to, "", result));
}

int link(const char *from, const char *to) { return linkat(AT_FDCWD, from, AT_FDCWD, to, 0); }

/* What is not recorded must not happen unseen. */
static void refuse(int fd, const char *what) {
    char path[PATH_MAX];
    if (!path_of(fd, path)) return;
    fprintf(stderr, "recorder: %s of %s is not recorded\n", what, path);
    abort();
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
    refuse(fd, "writev");
    return syscall(SYS_writev, fd, parts, count);
}

int fallocate(int fd, int mode, off_t offset, off_t length) {
    refuse(fd, "fallocate");
    return (int)syscall(SYS_fallocate, fd, mode, offset, length);
}

ssize_t copy_file_range(int from, off64_t *from_at, int to, off64_t *to_at, size_t length, unsigned flags) {
    refuse(to, "copy_file_range");
    return syscall(SYS_copy_file_range, from, from_at, to, to_at, length, flags);
}
