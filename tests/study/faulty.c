/* A disk that fails, for tests: preloaded, it stands before the C library's writes to files named *.db*.
 *
 * fault_at(n, kind): the n-th write or fsync from now on fails. kind 0: half of the bytes are written, then SIGKILL; else
 * kind is the errno, of this and all later calls (ENOSPC: the disk stays full). fault_at(0, 0): a sound disk again.
 * shift_clock(seconds): what the clock of the wall says from now on, beside the truth.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

static long countdown;
static int kind;

void fault_at(long n, int how) { countdown = n; kind = how; }

static long shift_s;

void shift_clock(long seconds) { shift_s = seconds; }

static int is_due(int fd) {
  char link[64], path[4096];
  if (countdown == 0) return 0;
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(link, path, sizeof path - 1);
  if (length < 0) return 0;
  path[length] = 0;
  if (!strstr(path, ".db")) return 0;
  if (countdown > 1) { countdown--; return 0; }
  return 1;
}

#define REAL(name) __typeof__(&name) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)
#define FAIL(half) do { \
    if (is_due(fd)) { \
      if (kind == 0) { half; kill(getpid(), SIGKILL); } \
      errno = kind; \
      return -1; \
    } \
  } while (0)

ssize_t write(int fd, const void *data, size_t n) { REAL(write); FAIL(real(fd, data, n / 2)); return real(fd, data, n); }
ssize_t pwrite(int fd, const void *data, size_t n, off_t at) { REAL(pwrite); FAIL(real(fd, data, n / 2, at)); return real(fd, data, n, at); }
ssize_t pwrite64(int fd, const void *data, size_t n, off64_t at) { REAL(pwrite64); FAIL(real(fd, data, n / 2, at)); return real(fd, data, n, at); }
int fsync(int fd) { REAL(fsync); FAIL((void)0); return real(fd); }
int fdatasync(int fd) { REAL(fdatasync); FAIL((void)0); return real(fd); }

int clock_gettime(clockid_t clock, struct timespec *now) {
  REAL(clock_gettime);
  int code = real(clock, now);
  if (clock == CLOCK_REALTIME) now->tv_sec += shift_s;
  return code;
}
