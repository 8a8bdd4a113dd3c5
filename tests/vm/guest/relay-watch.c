/* relay-watch VALUE LOG: writes each level that a line of gpio-sim takes to LOG, "SECONDS LEVEL" in seconds of the wall
 * clock, looking 500 times a second. The first line is the level it found. Tells systemd when it has looked once, so
 * that what starts after it is seen from its beginning. */
#include <err.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

static void tell_systemd(void) {
    const char *path = getenv("NOTIFY_SOCKET");
    if (!path) return;
    struct sockaddr_un at = { .sun_family = AF_UNIX };
    strncpy(at.sun_path, path, sizeof at.sun_path - 1);
    if (at.sun_path[0] == '@') at.sun_path[0] = 0;
    int line = socket(AF_UNIX, SOCK_DGRAM, 0);
    sendto(line, "READY=1", 7, 0, (struct sockaddr *)&at, sizeof(sa_family_t) + strlen(path));
    close(line);
}

int main(int argc, char **argv) {
    if (argc != 3) errx(2, "usage: relay-watch VALUE LOG");
    int value = open(argv[1], O_RDONLY);
    if (value < 0) err(1, "%s", argv[1]);
    FILE *log = fopen(argv[2], "a");
    if (!log) err(1, "%s", argv[2]);
    fprintf(log, "boot\n");
    for (char last = 0, now;;) {
        if (pread(value, &now, 1, 0) != 1) err(1, "%s", argv[1]);
        if (now != last) {
            struct timespec at;
            clock_gettime(CLOCK_REALTIME, &at);
            fprintf(log, "%lld.%03ld %c\n", (long long)at.tv_sec, at.tv_nsec / 1000000, now);
            fflush(log);
            fsync(fileno(log));
            if (!last) tell_systemd();
            last = now;
        }
        nanosleep(&(struct timespec){ .tv_nsec = 2000000 }, NULL);
    }
}
