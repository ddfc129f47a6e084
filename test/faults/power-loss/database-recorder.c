/*
 * Preloaded into PostgreSQL (LD_PRELOAD): writes down what it does to the files of its cluster, with the bytes that were
 * there before, and what it has flushed, so that all that was not flushed can be undone (see database-loss.ts). A flush
 * itself is not passed on: it is the record that tells what the disk has.
 *
 * Not seen: what goes through stdio (caches and notes that PostgreSQL makes again), folders that are made and removed, and
 * copy_file_range, which it is not set to use. All of that counts as flushed.
 *
 * One record is one write to a file opened with O_APPEND, so that those of several processes do not mix.
 */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define MOST_DESCRIPTORS 65536

/* In the byte order of the machine; database-loss.ts reads it. */
struct record {
  uint32_t kind;   /* of the letters below */
  uint32_t length; /* of what follows, in bytes */
  uint64_t inode;  /* the file, or the folder that was flushed */
  uint64_t folder; /* of names: the inode of the folder that they are in */
  uint64_t offset; /* of bytes: where they are overwritten, appended or cut off */
  uint64_t count;  /* of bytes: how many */
  uint64_t size;   /* of bytes: of the file before; those before that are in what follows */
};

enum { BYTES = 'B', CREATED = 'C', RENAMED = 'R', REMOVED = 'X', FLUSHED = 'F', ALL_FLUSHED = 'A' };

static const char *cluster;
static const char *shadows;
static int journal = -1;

/* Which descriptors are of the cluster. A child inherits both. */
static char is_ours[MOST_DESCRIPTORS];

static int (*real_open)(const char *, int, ...);
static int (*real_close)(int);
static ssize_t (*real_write)(int, const void *, size_t);
static ssize_t (*real_pwrite)(int, const void *, size_t, off_t);
static ssize_t (*real_pwritev)(int, const struct iovec *, int, off_t);
static int (*real_ftruncate)(int, off_t);
static int (*real_truncate)(const char *, off_t);
static int (*real_posix_fallocate)(int, off_t, off_t);
static int (*real_fsync)(int);
static int (*real_fdatasync)(int);
static int (*real_syncfs)(int);
static int (*real_rename)(const char *, const char *);
static int (*real_unlink)(const char *);

static void fail(const char *what) {
  fprintf(stderr, "power-loss recorder: %s: %s\n", what, strerror(errno));
  abort();
}

/* A copy: PostgreSQL writes its title over its environment. */
static const char *setting(const char *name) {
  const char *value = getenv(name);
  const char *copy = value ? strdup(value) : NULL;
  if (!copy) fail(name);
  return copy;
}

__attribute__((constructor)) static void start(void) {
  real_open = dlsym(RTLD_NEXT, "open");
  real_close = dlsym(RTLD_NEXT, "close");
  real_write = dlsym(RTLD_NEXT, "write");
  real_pwrite = dlsym(RTLD_NEXT, "pwrite");
  real_pwritev = dlsym(RTLD_NEXT, "pwritev");
  real_ftruncate = dlsym(RTLD_NEXT, "ftruncate");
  real_truncate = dlsym(RTLD_NEXT, "truncate");
  real_posix_fallocate = dlsym(RTLD_NEXT, "posix_fallocate");
  real_fsync = dlsym(RTLD_NEXT, "fsync");
  real_fdatasync = dlsym(RTLD_NEXT, "fdatasync");
  real_syncfs = dlsym(RTLD_NEXT, "syncfs");
  real_rename = dlsym(RTLD_NEXT, "rename");
  real_unlink = dlsym(RTLD_NEXT, "unlink");
  const char *path = setting("POWER_LOSS_JOURNAL");
  cluster = setting("POWER_LOSS_CLUSTER");
  shadows = setting("POWER_LOSS_SHADOWS");
  journal = real_open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
  if (journal < 0) fail(path);
}

static void record(struct record of, const void *payload) {
  struct iovec parts[2] = {{&of, sizeof of}, {(void *)payload, of.length}};
  int before = errno;
  if (writev(journal, parts, 2) != (ssize_t)(sizeof of + of.length)) fail("journal");
  errno = before;
}

/* The absolute path of a name in the cluster; 0 for any other. */
static int within(const char *name, char path[PATH_MAX]) {
  if (name[0] == '/') {
    snprintf(path, PATH_MAX, "%s", name);
  } else {
    char folder[PATH_MAX];
    if (!getcwd(folder, sizeof folder)) return 0;
    while (name[0] == '.' && name[1] == '/') name += 2;
    if (snprintf(path, PATH_MAX, "%s/%s", folder, name) >= PATH_MAX) return 0;
  }
  size_t length = strlen(cluster);
  return strncmp(path, cluster, length) == 0 && (path[length] == '/' || path[length] == 0);
}

static uint64_t inode_at(const char *path) {
  struct stat found;
  return lstat(path, &found) == 0 ? found.st_ino : 0;
}

static uint64_t folder_of(const char *path) {
  char folder[PATH_MAX];
  snprintf(folder, sizeof folder, "%s", path);
  *strrchr(folder, '/') = 0;
  return inode_at(folder);
}

/* Gives a file that is about to lose its name another one. Empty when there is no such file. */
static void keep(const char *path, char shadow[PATH_MAX]) {
  static unsigned count;
  shadow[0] = 0;
  if (inode_at(path) == 0) return;
  snprintf(shadow, PATH_MAX, "%s/%d.%u", shadows, (int)getpid(), count++);
  if (link(path, shadow) != 0) fail(shadow);
}

/* Before bytes from `offset` on are changed; those behind the end are none. */
static void keep_bytes(int fd, off_t offset, size_t count) {
  static char *buffer;
  static size_t capacity;
  struct stat file;
  if (fstat(fd, &file) != 0 || !S_ISREG(file.st_mode)) return;
  size_t old = offset < file.st_size ? (size_t)(file.st_size - offset) : 0;
  if (old > count) old = count;
  if (old > capacity) {
    capacity = old;
    buffer = realloc(buffer, capacity);
    if (!buffer) fail("memory");
  }
  if (old > 0) {
    char name[64];
    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    int reader = real_open(name, O_RDONLY | O_CLOEXEC); // `fd` may be for writing only
    if (reader < 0 || pread(reader, buffer, old, offset) != (ssize_t)old) fail("old bytes");
    real_close(reader);
  }
  record((struct record){BYTES, old, file.st_ino, 0, offset, count, file.st_size}, buffer);
}

static void keep_cut(int fd, off_t length) {
  struct stat file;
  if (fstat(fd, &file) != 0) return;
  if (length < file.st_size) keep_bytes(fd, length, file.st_size - length);
  else keep_bytes(fd, file.st_size, length - file.st_size);
}

static int is_of_cluster(int fd) {
  return fd >= 0 && fd < MOST_DESCRIPTORS && is_ours[fd];
}

int open(const char *name, int flags, ...) {
  va_list rest;
  va_start(rest, flags);
  mode_t mode = flags & O_CREAT ? va_arg(rest, mode_t) : 0;
  va_end(rest);
  char path[PATH_MAX];
  if (!within(name, path)) return real_open(name, flags, mode);
  int is_new = (flags & O_CREAT) && inode_at(path) == 0;
  if ((flags & O_TRUNC) && !is_new) {
    int fd = real_open(path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
      keep_cut(fd, 0);
      real_close(fd);
    }
  }
  int fd = real_open(name, flags, mode);
  if (fd < 0) return fd;
  if (fd >= MOST_DESCRIPTORS) fail("descriptors");
  is_ours[fd] = 1;
  if (is_new) record((struct record){CREATED, strlen(path), inode_at(path), folder_of(path)}, path);
  return fd;
}

int close(int fd) {
  if (is_of_cluster(fd)) is_ours[fd] = 0;
  return real_close(fd);
}

ssize_t write(int fd, const void *bytes, size_t count) {
  if (is_of_cluster(fd)) {
    int is_appending = (fcntl(fd, F_GETFL) & O_APPEND) != 0;
    keep_bytes(fd, lseek(fd, 0, is_appending ? SEEK_END : SEEK_CUR), count);
  }
  return real_write(fd, bytes, count);
}

ssize_t pwrite(int fd, const void *bytes, size_t count, off_t offset) {
  if (is_of_cluster(fd)) keep_bytes(fd, offset, count);
  return real_pwrite(fd, bytes, count, offset);
}

ssize_t pwritev(int fd, const struct iovec *parts, int length, off_t offset) {
  if (is_of_cluster(fd)) {
    size_t count = 0;
    for (int i = 0; i < length; i++) count += parts[i].iov_len;
    keep_bytes(fd, offset, count);
  }
  return real_pwritev(fd, parts, length, offset);
}

int ftruncate(int fd, off_t length) {
  if (is_of_cluster(fd)) keep_cut(fd, length);
  return real_ftruncate(fd, length);
}

int truncate(const char *name, off_t length) {
  char path[PATH_MAX];
  int fd = within(name, path) ? real_open(path, O_RDONLY | O_CLOEXEC) : -1;
  if (fd >= 0) {
    keep_cut(fd, length);
    real_close(fd);
  }
  return real_truncate(name, length);
}

int posix_fallocate(int fd, off_t offset, off_t length) {
  struct stat file;
  if (is_of_cluster(fd) && fstat(fd, &file) == 0 && offset + length > file.st_size) keep_cut(fd, offset + length);
  return real_posix_fallocate(fd, offset, length);
}

static int flush(int fd, int (*real)(int)) {
  struct stat file;
  if (!is_of_cluster(fd) || fstat(fd, &file) != 0) return real(fd);
  record((struct record){FLUSHED, 0, file.st_ino}, "");
  return 0;
}

int fsync(int fd) {
  return flush(fd, real_fsync);
}

int fdatasync(int fd) {
  return flush(fd, real_fdatasync);
}

int syncfs(int fd) {
  if (!is_of_cluster(fd)) return real_syncfs(fd);
  record((struct record){ALL_FLUSHED}, "");
  return 0;
}

int rename(const char *from, const char *to) {
  char paths[3 * PATH_MAX], source[PATH_MAX], target[PATH_MAX], replaced[PATH_MAX];
  if (within(from, source) && within(to, target)) {
    keep(target, replaced);
    int length = snprintf(paths, sizeof paths, "%s%c%s%c%s", source, 0, target, 0, replaced);
    record((struct record){RENAMED, length, inode_at(source), folder_of(target)}, paths);
  }
  return real_rename(from, to);
}

int unlink(const char *name) {
  char paths[2 * PATH_MAX], path[PATH_MAX], shadow[PATH_MAX];
  if (within(name, path)) {
    keep(path, shadow);
    int length = snprintf(paths, sizeof paths, "%s%c%s", path, 0, shadow);
    if (shadow[0]) record((struct record){REMOVED, length, inode_at(path), folder_of(path)}, paths);
  }
  return real_unlink(name);
}
