/*
 * Stands between a process and the file system (LD_PRELOAD), for the files below one directory:
 *
 * - writes down how to undo each change before it is made, and what was made durable when, so that a power cut can be
 *   played afterwards (FAULTS_JOURNAL; tests/faults/power.rs reads it);
 * - fails, kills or delays on command (FAULTS_CONTROL; tests/faults/control.rs writes it).
 *
 * FAULTS_DIRECTORY is the directory, without symbolic links in its path. FAULTS_KEPT is one beside it, where files that lose
 * their last name are kept. Calls go straight to the kernel. What a C library does behind its own back (stdio) is seen by its
 * effect only: a file that grew since it was last synced has grown unsynced. So it is with fallocate by other ways than
 * the C library.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

/* Kinds of calls, as bits. */
enum { WRITE = 1, SYNC = 2, READ = 4, NAME = 8, SIZE = 16 };
/* What happens to the call that is hit. */
enum { PASS = 0, FAIL = 1, KILL_BEFORE = 2, KILL_AFTER = 3, FAIL_SHORT = 4 };
/* Whose calls count. */
enum { STATE = 1, CLEANER = 2 };
/* Entries of the journal. */
enum { WROTE = 1, SIZED = 2, SYNCED = 3, MADE = 4, REMOVED = 5, RENAMED = 6, BORN = 7 };

/* Shared with the test; every field is eight bytes. */
struct control {
  uint64_t kinds;        /* which calls count */
  uint64_t countdown;    /* the call that is hit, from 1; 0: none */
  uint64_t action;       /* what happens to it */
  uint64_t error;        /* errno */
  uint64_t sticky;       /* and to all that count after it */
  uint64_t delay_micros; /* of every sync */
  uint64_t forget_syncs; /* say that a sync is done, and do not remember it */
  uint64_t seen;         /* calls that counted */
  uint64_t hit;          /* calls that were hit */
  uint64_t only;         /* only calls for the folder `state` count (1), only those of the cleaner (2) */
};

/* Followed by `length` bytes. */
struct entry {
  uint64_t kind, inode, a, b, c, length;
};

static struct control nothing;
static struct control *control = &nothing;
static char directory[PATH_MAX], kept[PATH_MAX];
static size_t directory_length;
static int journal = -1;
static uint64_t kept_count;
/* Whether the call under way is for the folder `state`. */
static __thread int is_state;
static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;

__attribute__((constructor)) static void begin(void) {
  const char *name = getenv("FAULTS_DIRECTORY");
  if (!name) return;
  snprintf(directory, sizeof directory, "%s", name);
  directory_length = strlen(directory);
  if ((name = getenv("FAULTS_CONTROL"))) {
    int file = syscall(SYS_openat, AT_FDCWD, name, O_RDWR | O_CLOEXEC, 0);
    void *shared = mmap(NULL, sizeof nothing, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (shared == MAP_FAILED) abort();
    control = shared;
  }
  if ((name = getenv("FAULTS_JOURNAL"))) {
    journal = syscall(SYS_openat, AT_FDCWD, name, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    if (journal < 0 || !getenv("FAULTS_KEPT")) abort();
    snprintf(kept, sizeof kept, "%s", getenv("FAULTS_KEPT"));
    /* Names of an earlier life are not given again. */
    kept_count = lseek(journal, 0, SEEK_END);
  }
}

static int is_inside(const char *path) {
  if (!directory_length || strncmp(path, directory, directory_length) != 0) return 0;
  is_state = strncmp(path + directory_length, "/state", 6) == 0;
  return path[directory_length] == 0 || path[directory_length] == '/';
}

/* Whether a descriptor is a file or folder below the directory. */
static int is_watched(int descriptor, struct stat *status) {
  char link[64], path[PATH_MAX];
  if (!directory_length || fstat(descriptor, status) != 0) return 0;
  if (!S_ISREG(status->st_mode) && !S_ISDIR(status->st_mode)) return 0;
  snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
  ssize_t length = syscall(SYS_readlinkat, AT_FDCWD, link, path, sizeof path - 1);
  if (length < 0) return 0;
  path[length] = 0;
  return is_inside(path);
}

/* The whole path of a name, if it is below the directory. */
static int resolve(int folder, const char *name, char *path) {
  if (!directory_length) return 0;
  if (name[0] == '/') {
    snprintf(path, PATH_MAX, "%s", name);
  } else {
    char link[64], base[PATH_MAX];
    if (folder == AT_FDCWD) snprintf(link, sizeof link, "/proc/self/cwd");
    else snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
    ssize_t length = syscall(SYS_readlinkat, AT_FDCWD, link, base, sizeof base - 1);
    if (length < 0) return 0;
    base[length] = 0;
    if (snprintf(path, PATH_MAX, "%s/%s", base, name) >= PATH_MAX) return 0;
  }
  return is_inside(path) && strlen(path) > directory_length;
}

static uint64_t inode_of(const char *path) {
  struct stat status;
  return lstat(path, &status) == 0 ? status.st_ino : 0;
}

/* The inode of the folder a path is in. */
static uint64_t parent_of(const char *path) {
  char parent[PATH_MAX];
  snprintf(parent, sizeof parent, "%s", path);
  *strrchr(parent, '/') = 0;
  return inode_of(parent);
}

static const char *last_part(const char *path) { return strrchr(path, '/') + 1; }

static void put(const void *bytes, size_t length) {
  const char *at = bytes;
  while (length > 0) {
    ssize_t count = syscall(SYS_write, journal, at, length);
    if (count < 0) abort();
    at += count;
    length -= count;
  }
}

static void note(uint64_t kind, uint64_t inode, uint64_t a, uint64_t b, uint64_t c, const void *bytes,
                 size_t length) {
  if (journal < 0) return;
  struct entry entry = {kind, inode, a, b, c, length};
  char *whole = malloc(sizeof entry + length);
  if (!whole) abort();
  memcpy(whole, &entry, sizeof entry);
  if (length) memcpy(whole + sizeof entry, bytes, length);
  put(whole, sizeof entry + length);
  free(whole);
}

/* Notes what is in a file from `from` to `to`, before it is changed. The descriptor may be for writing only. */
static void note_old(uint64_t kind, int descriptor, const struct stat *status, uint64_t from, uint64_t to,
                     uint64_t b) {
  if (journal < 0) return;
  uint64_t size = status->st_size, end = to < size ? to : size, done = 0;
  uint64_t length = end > from ? end - from : 0;
  char link[64], *bytes = malloc(length + 1);
  if (!bytes) abort();
  if (length) {
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    int reader = syscall(SYS_openat, AT_FDCWD, link, O_RDONLY | O_CLOEXEC, 0);
    while (reader >= 0 && done < length) {
      ssize_t count = syscall(SYS_pread64, reader, bytes + done, length - done, from + done);
      if (count <= 0) break;
      done += count;
    }
    if (done < length) abort();
    syscall(SYS_close, reader);
  }
  note(kind, status->st_ino, from, b, size, bytes, length);
  free(bytes);
}

static void name_next_kept(char *name) {
  kept_count++;
  snprintf(name, PATH_MAX + 32, "%s/%llu", kept, (unsigned long long)kept_count);
}

/* Keeps a file that is about to lose a name, and its inode from being given again. Returns the number it is kept by; 0 if
   there is none. */
static uint64_t keep(const char *path) {
  struct stat status;
  if (journal < 0 || lstat(path, &status) != 0 || !S_ISREG(status.st_mode)) return 0;
  char name[PATH_MAX + 32];
  name_next_kept(name);
  if (syscall(SYS_linkat, AT_FDCWD, path, AT_FDCWD, name, 0) != 0) abort();
  return kept_count;
}

static int is_empty(const char *path) {
  int count = 0;
  DIR *folder = opendir(path);
  while (folder && readdir(folder)) count++;
  if (folder) closedir(folder);
  return folder && count == 2;
}

static int is_cleaner(void) {
  char name[16] = "";
  prctl(PR_GET_NAME, name);
  return strcmp(name, "tidelog-cleaner") == 0;
}

/* Counts a call. Says what is to happen to it. */
static int count(uint64_t kind) {
  if (!(control->kinds & kind)) return PASS;
  if ((control->only == STATE && !is_state) || (control->only == CLEANER && !is_cleaner())) return PASS;
  uint64_t number = __atomic_add_fetch(&control->seen, 1, __ATOMIC_SEQ_CST);
  uint64_t first = control->countdown;
  if (!first || number < first || (number > first && !control->sticky)) return PASS;
  __atomic_add_fetch(&control->hit, 1, __ATOMIC_SEQ_CST);
  if (control->action == KILL_BEFORE) {
    kill(getpid(), SIGKILL);
    for (;;) pause();
  }
  return control->action;
}

static long done(int action, long result) {
  if (action == KILL_AFTER) {
    kill(getpid(), SIGKILL);
    for (;;) pause();
  }
  return result;
}

static long failed(void) {
  errno = control->error;
  return -1;
}

static ssize_t write_at(int descriptor, const void *bytes, size_t length, uint64_t position, int moves,
                        struct stat *status) {
  int action = count(WRITE);
  if (action == FAIL) return failed();
  if (action == FAIL_SHORT && length < 2) return failed();
  if (action == FAIL_SHORT) length /= 2;
  pthread_mutex_lock(&turn);
  fstat(descriptor, status);
  note_old(WROTE, descriptor, status, position, position + length, length);
  ssize_t result = moves ? syscall(SYS_write, descriptor, bytes, length)
                         : syscall(SYS_pwrite64, descriptor, bytes, length, position);
  pthread_mutex_unlock(&turn);
  return done(action, result);
}

ssize_t write(int descriptor, const void *bytes, size_t length) {
  struct stat status;
  if (!is_watched(descriptor, &status)) return syscall(SYS_write, descriptor, bytes, length);
  int appends = syscall(SYS_fcntl, descriptor, F_GETFL) & O_APPEND;
  uint64_t position = appends ? status.st_size : lseek(descriptor, 0, SEEK_CUR);
  return write_at(descriptor, bytes, length, position, 1, &status);
}

ssize_t pwrite64(int descriptor, const void *bytes, size_t length, off64_t position) {
  struct stat status;
  if (!is_watched(descriptor, &status)) return syscall(SYS_pwrite64, descriptor, bytes, length, position);
  return write_at(descriptor, bytes, length, position, 0, &status);
}

ssize_t pwrite(int descriptor, const void *bytes, size_t length, off_t position) {
  return pwrite64(descriptor, bytes, length, position);
}

ssize_t writev(int descriptor, const struct iovec *parts, int number) {
  struct stat status;
  if (!is_watched(descriptor, &status)) return syscall(SYS_writev, descriptor, parts, number);
  /* A short write is a right answer. */
  for (int part = 0; part < number; part++)
    if (parts[part].iov_len) return write(descriptor, parts[part].iov_base, parts[part].iov_len);
  return 0;
}

ssize_t read(int descriptor, void *bytes, size_t length) {
  struct stat status;
  if (!(control->kinds & READ) || !is_watched(descriptor, &status))
    return syscall(SYS_read, descriptor, bytes, length);
  int action = count(READ);
  if (action == FAIL || action == FAIL_SHORT) return failed();
  return done(action, syscall(SYS_read, descriptor, bytes, length));
}

ssize_t pread64(int descriptor, void *bytes, size_t length, off64_t position) {
  struct stat status;
  if (!(control->kinds & READ) || !is_watched(descriptor, &status))
    return syscall(SYS_pread64, descriptor, bytes, length, position);
  int action = count(READ);
  if (action == FAIL || action == FAIL_SHORT) return failed();
  return done(action, syscall(SYS_pread64, descriptor, bytes, length, position));
}

ssize_t pread(int descriptor, void *bytes, size_t length, off_t position) {
  return pread64(descriptor, bytes, length, position);
}

int ftruncate64(int descriptor, off64_t size) {
  struct stat status;
  if (!is_watched(descriptor, &status)) return syscall(SYS_ftruncate, descriptor, size);
  int action = count(SIZE);
  if (action == FAIL || action == FAIL_SHORT) return failed();
  pthread_mutex_lock(&turn);
  fstat(descriptor, &status);
  note_old(SIZED, descriptor, &status, size, status.st_size, size);
  long result = syscall(SYS_ftruncate, descriptor, size);
  pthread_mutex_unlock(&turn);
  return done(action, result);
}

int ftruncate(int descriptor, off_t size) { return ftruncate64(descriptor, size); }

static int sync_file(int descriptor, long call) {
  struct stat status;
  if (!is_watched(descriptor, &status)) return syscall(call, descriptor);
  int action = count(SYNC);
  if (action == FAIL || action == FAIL_SHORT) return failed();
  pthread_mutex_lock(&turn);
  fstat(descriptor, &status);
  uint64_t place = journal < 0 ? 0 : lseek(journal, 0, SEEK_END);
  pthread_mutex_unlock(&turn);
  if (control->delay_micros) {
    struct timespec pause = {control->delay_micros / 1000000, control->delay_micros % 1000000 * 1000};
    nanosleep(&pause, NULL);
  }
  long result = syscall(call, descriptor);
  if (result == 0 && !control->forget_syncs) {
    pthread_mutex_lock(&turn);
    note(SYNCED, status.st_ino, place, 0, status.st_size, NULL, 0);
    pthread_mutex_unlock(&turn);
  }
  return done(action, result);
}

int fsync(int descriptor) { return sync_file(descriptor, SYS_fsync); }

int fdatasync(int descriptor) { return sync_file(descriptor, SYS_fdatasync); }

static int open_file(int folder, const char *name, int flags, mode_t mode) {
  char path[PATH_MAX];
  if (!(flags & (O_CREAT | O_TRUNC)) || (flags & O_TMPFILE) == O_TMPFILE || !resolve(folder, name, path))
    return syscall(SYS_openat, folder, name, flags, mode);
  int action = count(NAME);
  if (action == FAIL || action == FAIL_SHORT) return failed();
  pthread_mutex_lock(&turn);
  struct stat status;
  int existed = lstat(path, &status) == 0;
  if (!existed && (flags & O_CREAT)) {
    note(MADE, parent_of(path), 0, 0, 0, last_part(path), strlen(last_part(path)));
  } else if (existed && (flags & O_TRUNC) && status.st_size > 0) {
    int reader = syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);
    if (reader >= 0) {
      note_old(SIZED, reader, &status, 0, status.st_size, 0);
      syscall(SYS_close, reader);
    }
  }
  long result = syscall(SYS_openat, folder, name, flags, mode);
  if (result >= 0 && !existed) note(BORN, inode_of(path), 0, 0, 0, NULL, 0);
  pthread_mutex_unlock(&turn);
  return done(action, result);
}

static mode_t mode_of(int flags, va_list arguments) {
  return (flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE ? va_arg(arguments, mode_t) : 0;
}

#define OPEN(function)                                       \
  int function(const char *name, int flags, ...) {           \
    va_list arguments;                                       \
    va_start(arguments, flags);                              \
    mode_t mode = mode_of(flags, arguments);                 \
    va_end(arguments);                                       \
    return open_file(AT_FDCWD, name, flags, mode);           \
  }
#define OPENAT(function)                                     \
  int function(int folder, const char *name, int flags, ...) { \
    va_list arguments;                                       \
    va_start(arguments, flags);                              \
    mode_t mode = mode_of(flags, arguments);                 \
    va_end(arguments);                                       \
    return open_file(folder, name, flags, mode);             \
  }
OPEN(open)
OPEN(open64)
OPENAT(openat)
OPENAT(openat64)

/* stdio: only that a file is made is seen. */
static FILE *open_stream(const char *name, const char *how) {
  int flags = how[0] == 'r' ? 0 : how[0] == 'w' ? O_CREAT | O_TRUNC : O_CREAT | O_APPEND;
  flags |= strchr(how, '+') ? O_RDWR : how[0] == 'r' ? O_RDONLY : O_WRONLY;
  int descriptor = open_file(AT_FDCWD, name, flags | (strchr(how, 'e') ? O_CLOEXEC : 0), 0666);
  return descriptor < 0 ? NULL : fdopen(descriptor, how);
}

FILE *fopen(const char *name, const char *how) { return open_stream(name, how); }

FILE *fopen64(const char *name, const char *how) { return open_stream(name, how); }

static int change_name(int from_folder, const char *from, int to_folder, const char *to) {
  char from_path[PATH_MAX], to_path[PATH_MAX];
  if (!resolve(from_folder, from, from_path) || !resolve(to_folder, to, to_path))
    return syscall(SYS_renameat, from_folder, from, to_folder, to);
  int action = count(NAME);
  if (action == FAIL || action == FAIL_SHORT) return failed();
  pthread_mutex_lock(&turn);
  if (inode_of(from_path)) {
    char names[2 * PATH_MAX];
    size_t first = strlen(last_part(from_path)) + 1, second = strlen(last_part(to_path));
    memcpy(names, last_part(from_path), first);
    memcpy(names + first, last_part(to_path), second);
    note(RENAMED, parent_of(from_path), parent_of(to_path), keep(to_path), inode_of(from_path), names,
         first + second);
  }
  long result = syscall(SYS_renameat, from_folder, from, to_folder, to);
  pthread_mutex_unlock(&turn);
  return done(action, result);
}

int rename(const char *from, const char *to) { return change_name(AT_FDCWD, from, AT_FDCWD, to); }

int renameat(int from_folder, const char *from, int to_folder, const char *to) {
  return change_name(from_folder, from, to_folder, to);
}

static int remove_name(int folder, const char *name, int flags) {
  char path[PATH_MAX];
  if (!resolve(folder, name, path)) return syscall(SYS_unlinkat, folder, name, flags);
  int action = count(NAME);
  if (action == FAIL || action == FAIL_SHORT) return failed();
  pthread_mutex_lock(&turn);
  int is_folder = journal >= 0 && (flags & AT_REMOVEDIR) && is_empty(path);
  char other[PATH_MAX + 32];
  if (is_folder) name_next_kept(other);
  if (inode_of(path))
    note(REMOVED, parent_of(path), is_folder ? kept_count : keep(path), 0, inode_of(path), last_part(path),
         strlen(last_part(path)));
  /* A folder can't have two names: it is moved instead. */
  long result = is_folder ? syscall(SYS_renameat, AT_FDCWD, path, AT_FDCWD, other)
                          : syscall(SYS_unlinkat, folder, name, flags);
  pthread_mutex_unlock(&turn);
  return done(action, result);
}

int unlink(const char *name) { return remove_name(AT_FDCWD, name, 0); }

int unlinkat(int folder, const char *name, int flags) { return remove_name(folder, name, flags); }

int rmdir(const char *name) { return remove_name(AT_FDCWD, name, AT_REMOVEDIR); }

int mkdir(const char *name, mode_t mode) {
  char path[PATH_MAX];
  if (!resolve(AT_FDCWD, name, path)) return syscall(SYS_mkdirat, AT_FDCWD, name, mode);
  int action = count(NAME);
  if (action == FAIL || action == FAIL_SHORT) return failed();
  pthread_mutex_lock(&turn);
  if (!inode_of(path)) note(MADE, parent_of(path), 0, 1, 0, last_part(path), strlen(last_part(path)));
  long result = syscall(SYS_mkdirat, AT_FDCWD, name, mode);
  pthread_mutex_unlock(&turn);
  return done(action, result);
}
