/*
 * A disk whose flushes take FLUSH_MS, for a process that is started with this library (LD_PRELOAD), and for those that it
 * starts itself, with whatever environment. SELF is the path of the library.
 */

#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static int flush(long call, int fd) {
  struct timespec wait = {0, FLUSH_MS * 1000000L};
  nanosleep(&wait, NULL);
  return (int)syscall(call, fd);
}

int fsync(int fd) { return flush(SYS_fsync, fd); }

int fdatasync(int fd) { return flush(SYS_fdatasync, fd); }

/* As Node starts a process. PostgreSQL gets an environment with nothing of ours. */
int execvp(const char *file, char *const args[]) {
  setenv("LD_PRELOAD", SELF, 1);
  return execvpe(file, args, environ);
}
