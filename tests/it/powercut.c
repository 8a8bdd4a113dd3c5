/*
 * A disk that keeps only what was synced, for the tests of power cuts. Preloaded into a process: each fsync or fdatasync
 * of a file in $POWERCUT_DIR copies that file as it is then to $POWERCUT_KEPT, whole or not at all. What the process
 * wrote after its last sync is in $POWERCUT_DIR alone, as in a page cache; the test decides which pages of it survive.
 *
 * $POWERCUT_ORDER: a file that tells what reached which file when, of all processes: `write NAME` before it is written,
 * `open` instead for a line that says the relay is energised, `sync NAME` when it is on disk.
 * $POWERCUT_AT: the process dies as by kill -9 just before the so-manyth change of a file in $POWERCUT_DIR.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

static int place(int fd, char *path, size_t size) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, size - 1);
    if (n <= 0) return 0;
    path[n] = 0;
    return 1;
}

static int is_inside(const char *path) {
    const char *dir = getenv("POWERCUT_DIR");
    return dir && strncmp(path, dir, strlen(dir)) == 0 && strcmp(path, dir) != 0;
}

static ssize_t plain_write(int fd, const void *bytes, size_t count) {
    static ssize_t (*next)(int, const void *, size_t);
    if (!next) next = (ssize_t(*)(int, const void *, size_t))dlsym(RTLD_NEXT, "write");
    return next(fd, bytes, count);
}

static void tell(const char *what, const char *path) {
    const char *order = getenv("POWERCUT_ORDER");
    char line[4200];
    if (!order) return;
    int out = open(order, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (out < 0) return;
    int n = snprintf(line, sizeof line, "%s %s\n", what, strrchr(path, '/') + 1);
    if (plain_write(out, line, n) != n) abort();
    close(out);
}

/* Before a change of a file: told, and perhaps the last thing that this process does. */
static void before(const char *path) {
    static long changes;
    const char *at = getenv("POWERCUT_AT");
    if (!is_inside(path) || strstr(path, "-shm")) return;
    if (at && __sync_add_and_fetch(&changes, 1) == atol(at)) kill(getpid(), SIGKILL);
    tell("write", path);
}

static void before_fd(int fd) {
    char path[4096];
    if (place(fd, path, sizeof path)) before(path);
}

static int keep(int fd) {
    const char *kept = getenv("POWERCUT_KEPT");
    char path[4096], to[4600], part[4700], block[65536];
    ssize_t n;
    if (!place(fd, path, sizeof path) || !is_inside(path)) return 0;
    tell("sync", path);
    if (!kept) return 0;
    snprintf(to, sizeof to, "%s/%s", kept, strrchr(path, '/') + 1);
    snprintf(part, sizeof part, "%s.part", to);
    int from = open(path, O_RDONLY | O_CLOEXEC);
    int out = open(part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (from < 0 || out < 0) return -1;
    while ((n = read(from, block, sizeof block)) > 0)
        if (plain_write(out, block, n) != n) return -1;
    close(from);
    close(out);
    return n < 0 ? -1 : rename(part, to);
}

int fsync(int fd) {
    static int (*next)(int);
    if (!next) next = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
    before_fd(fd);
    int synced = next(fd);
    return keep(fd) ? -1 : synced;
}

int fdatasync(int fd) {
    static int (*next)(int);
    if (!next) next = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    before_fd(fd);
    int synced = next(fd);
    return keep(fd) ? -1 : synced;
}

ssize_t write(int fd, const void *bytes, size_t count) {
    char path[4096];
    if (getenv("POWERCUT_ORDER") && memmem(bytes, count, "\"energised\":true", 16) && place(fd, path, sizeof path))
        tell("open", path);
    before_fd(fd);
    return plain_write(fd, bytes, count);
}

ssize_t pwrite(int fd, const void *bytes, size_t count, off_t at) {
    static ssize_t (*next)(int, const void *, size_t, off_t);
    if (!next) next = (ssize_t(*)(int, const void *, size_t, off_t))dlsym(RTLD_NEXT, "pwrite");
    before_fd(fd);
    return next(fd, bytes, count, at);
}

ssize_t pwrite64(int fd, const void *bytes, size_t count, off64_t at) {
    static ssize_t (*next)(int, const void *, size_t, off64_t);
    if (!next) next = (ssize_t(*)(int, const void *, size_t, off64_t))dlsym(RTLD_NEXT, "pwrite64");
    before_fd(fd);
    return next(fd, bytes, count, at);
}

int ftruncate(int fd, off_t length) {
    static int (*next)(int, off_t);
    if (!next) next = (int (*)(int, off_t))dlsym(RTLD_NEXT, "ftruncate");
    before_fd(fd);
    return next(fd, length);
}

int ftruncate64(int fd, off64_t length) {
    static int (*next)(int, off64_t);
    if (!next) next = (int (*)(int, off64_t))dlsym(RTLD_NEXT, "ftruncate64");
    before_fd(fd);
    return next(fd, length);
}

int unlink(const char *path) {
    static int (*next)(const char *);
    if (!next) next = (int (*)(const char *))dlsym(RTLD_NEXT, "unlink");
    before(path);
    return next(path);
}
