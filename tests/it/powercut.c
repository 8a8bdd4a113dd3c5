/*
 * A disk that keeps only what was synced, for the test of power cuts. Preloaded into a process: each fsync or fdatasync
 * of a file in $POWERCUT_DIR copies that file as it is then to $POWERCUT_KEPT, whole or not at all. What the process
 * wrote after its last sync is in $POWERCUT_DIR alone, as in a page cache; the test decides which pages of it survive.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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
    int synced = next(fd);
    return keep(fd) ? -1 : synced;
}

int fdatasync(int fd) {
    static int (*next)(int);
    if (!next) next = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    int synced = next(fd);
    return keep(fd) ? -1 : synced;
}
