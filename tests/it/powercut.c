/*
 * A disk that keeps only what was synced, for the test of power cuts. Preloaded into a process: each fsync or fdatasync
 * of a file in $POWERCUT_DIR copies that file as it is then to $POWERCUT_KEPT, whole or not at all. What the process
 * wrote after its last sync is in $POWERCUT_DIR alone, as in a page cache; the test decides which pages of it survive.
 *
 * With $POWERCUT_AT the process is killed just before its so-manieth call that would change a file in $POWERCUT_DIR, for
 * the test that kills at every point of an operation.
 *
 * $POWERCUT_ORDER: a file that tells what reached which file when, of all processes: `write NAME` before it is written,
 * `open NAME` before a line that says the relay is energised, `sync NAME` when it is on disk.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int within(const char *path) {
    const char *dir = getenv("POWERCUT_DIR");
    return dir && strncmp(path, dir, strlen(dir)) == 0;
}

static int fd_within(int fd) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    if (n <= 0) return 0;
    path[n] = 0;
    return within(path);
}

/* Another change of a file is about to be made. */
static void point(int concerns) {
    static long points;
    const char *at = getenv("POWERCUT_AT");
    if (at && concerns && __atomic_add_fetch(&points, 1, __ATOMIC_SEQ_CST) == atol(at)) {
        kill(getpid(), SIGKILL);
        pause();
    }
}

/* Adds a line to the order, in one write: lines of two processes never mix. */
static void tell(const char *what, int fd) {
    static ssize_t (*plain)(int, const void *, size_t);
    const char *order = getenv("POWERCUT_ORDER");
    char link[64], path[4096], line[4200];
    if (!order) return;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    if (n <= 0) return;
    path[n] = 0;
    if (!plain) plain = (ssize_t(*)(int, const void *, size_t))dlsym(RTLD_NEXT, "write");
    int out = open(order, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    int length = snprintf(line, sizeof line, "%s %s\n", what, strrchr(path, '/') + 1);
    if (out < 0 || plain(out, line, length) != length) abort();
    close(out);
}

#define NEXT(type, name, ...) static type (*next)(__VA_ARGS__); if (!next) next = (type (*)(__VA_ARGS__))dlsym(RTLD_NEXT, #name)

ssize_t write(int fd, const void *from, size_t n) {
    NEXT(ssize_t, write, int, const void *, size_t);
    point(fd_within(fd));
    if (memmem(from, n, "\"energised\":true", 16)) tell("open", fd);
    return next(fd, from, n);
}

ssize_t pwrite(int fd, const void *from, size_t n, off_t at) {
    NEXT(ssize_t, pwrite, int, const void *, size_t, off_t);
    point(fd_within(fd));
    if (fd_within(fd)) tell("write", fd);
    return next(fd, from, n, at);
}

ssize_t pwrite64(int fd, const void *from, size_t n, off64_t at) {
    NEXT(ssize_t, pwrite64, int, const void *, size_t, off64_t);
    point(fd_within(fd));
    if (fd_within(fd)) tell("write", fd);
    return next(fd, from, n, at);
}

int ftruncate(int fd, off_t n) {
    NEXT(int, ftruncate, int, off_t);
    point(fd_within(fd));
    return next(fd, n);
}

int ftruncate64(int fd, off64_t n) {
    NEXT(int, ftruncate64, int, off64_t);
    point(fd_within(fd));
    return next(fd, n);
}

int rename(const char *from, const char *to) {
    NEXT(int, rename, const char *, const char *);
    point(within(to));
    return next(from, to);
}

int unlink(const char *path) {
    NEXT(int, unlink, const char *);
    point(within(path));
    return next(path);
}

int link(const char *from, const char *to) {
    NEXT(int, link, const char *, const char *);
    point(within(to));
    return next(from, to);
}

static int keep(int fd) {
    const char *dir = getenv("POWERCUT_DIR"), *kept = getenv("POWERCUT_KEPT");
    char link[64], path[4096], to[4600], part[4700], block[65536];
    ssize_t n;
    if (!dir || !kept) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    n = readlink(link, path, sizeof path - 1);
    if (n <= 0) return 0;
    path[n] = 0;
    if (strncmp(path, dir, strlen(dir)) != 0 || strcmp(path, dir) == 0) return 0;
    snprintf(to, sizeof to, "%s/%s", kept, strrchr(path, '/') + 1);
    snprintf(part, sizeof part, "%s.part", to);
    int from = open(path, O_RDONLY | O_CLOEXEC);
    int out = open(part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (from < 0 || out < 0) return -1;
    while ((n = read(from, block, sizeof block)) > 0)
        if (write(out, block, n) != n) return -1;
    close(from);
    close(out);
    return n < 0 ? -1 : rename(part, to);
}

int fsync(int fd) {
    static int (*next)(int);
    if (!next) next = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
    point(fd_within(fd));
    int synced = next(fd);
    if (fd_within(fd)) tell("sync", fd);
    return keep(fd) ? -1 : synced;
}

int fdatasync(int fd) {
    static int (*next)(int);
    if (!next) next = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    point(fd_within(fd));
    int synced = next(fd);
    if (fd_within(fd)) tell("sync", fd);
    return keep(fd) ? -1 : synced;
}
