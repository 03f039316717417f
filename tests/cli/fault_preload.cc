// Loaded before libc (LD_PRELOAD), makes calls of it fail: KARST_FAULT=GROUP:N:ERRNO fails the N-th call of
// the group, from 1, once. If there was such a call, the file KARST_FAULT_MET appears.
//
// Calls are counted in the whole process; those that libc makes itself are not seen.
#include <dlfcn.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdarg>
#include <cstdlib>
#include <cstring>

namespace {

struct Plan {
  char group[32] = "";
  long nth = 0;
  int error = EIO;
  Plan() {
    const char* text = getenv("KARST_FAULT");
    const char* colon = text ? strchr(text, ':') : nullptr;
    if (!colon || static_cast<size_t>(colon - text) >= sizeof group) return;
    memcpy(group, text, static_cast<size_t>(colon - text));
    char* rest;
    nth = strtol(colon + 1, &rest, 10);
    if (*rest == ':') error = static_cast<int>(strtol(rest + 1, nullptr, 10));
  }
};

bool fails(const char* group) {
  static const Plan plan;
  static std::atomic<long> seen{0};
  if (strcmp(group, plan.group) != 0 || ++seen != plan.nth) return false;
  if (const char* met = getenv("KARST_FAULT_MET"))
    syscall(SYS_close, syscall(SYS_openat, AT_FDCWD, met, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
  errno = plan.error;
  return true;
}

template <typename F>
F* next(const char* name) {
  return reinterpret_cast<F*>(dlsym(RTLD_NEXT, name));
}

}  // namespace

#define INTERPOSE(group, result, name, parameters, arguments)           \
  extern "C" result name parameters {                                   \
    static const auto original = next<result parameters>(#name);        \
    return fails(group) ? static_cast<result>(-1) : original arguments; \
  }

INTERPOSE("read", ssize_t, read, (int fd, void* into, size_t size), (fd, into, size))
INTERPOSE("pread", ssize_t, pread, (int fd, void* into, size_t size, off_t at), (fd, into, size, at))
INTERPOSE("stat", int, statx, (int fd, const char* path, int flags, unsigned mask, struct statx* into),
          (fd, path, flags, mask, into))
INTERPOSE("stat", int, fstat, (int fd, struct stat* into), (fd, into))
INTERPOSE("list", ssize_t, getdents64, (int fd, void* into, size_t size), (fd, into, size))
INTERPOSE("link", ssize_t, readlinkat, (int fd, const char* path, char* into, size_t size),
          (fd, path, into, size))
INTERPOSE("xattr", ssize_t, flistxattr, (int fd, char* into, size_t size), (fd, into, size))
INTERPOSE("xattr", ssize_t, llistxattr, (const char* path, char* into, size_t size), (path, into, size))
INTERPOSE("xattr", ssize_t, fgetxattr, (int fd, const char* name, void* into, size_t size),
          (fd, name, into, size))
INTERPOSE("xattr", ssize_t, lgetxattr, (const char* path, const char* name, void* into, size_t size),
          (path, name, into, size))
INTERPOSE("write", ssize_t, pwrite, (int fd, const void* from, size_t size, off_t at), (fd, from, size, at))
INTERPOSE("write", ssize_t, pwritev, (int fd, const iovec* from, int count, off_t at), (fd, from, count, at))
INTERPOSE("write", ssize_t, pwritev2, (int fd, const iovec* from, int count, off_t at, int flags),
          (fd, from, count, at, flags))
INTERPOSE("sync", int, fdatasync, (int fd), (fd))
INTERPOSE("size", int, ftruncate, (int fd, off_t size), (fd, size))
INTERPOSE("size", int, truncate, (const char* path, off_t size), (path, size))
INTERPOSE("allocate", int, fallocate, (int fd, int mode, off_t at, off_t size), (fd, mode, at, size))

extern "C" int open(const char* path, int flags, ...) {
  static const auto original = next<int(const char*, int, ...)>("open");
  va_list list;
  va_start(list, flags);
  const mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(list, mode_t) : 0;
  va_end(list);
  return fails("open") ? -1 : original(path, flags, mode);
}
extern "C" int openat(int directory, const char* path, int flags, ...) {
  static const auto original = next<int(int, const char*, int, ...)>("openat");
  va_list list;
  va_start(list, flags);
  const mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(list, mode_t) : 0;
  va_end(list);
  return fails("open") ? -1 : original(directory, path, flags, mode);
}
// openat2(2) has no function of its own; up to six arguments are passed on whoever calls.
extern "C" long syscall(long number, ...) noexcept {
  static const auto original = next<long(long, ...)>("syscall");
  long a[6];
  va_list list;
  va_start(list, number);
  for (long& argument : a) argument = va_arg(list, long);
  va_end(list);
  if (number == SYS_openat2 && fails("open")) return -1;
  return original(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}
