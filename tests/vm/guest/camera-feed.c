/* camera-feed DEVICE WIDTH HEIGHT PERIOD_MS LINK: plays JPEG pictures into a v4l2loopback device, so that it is a camera.
 *
 * LINK names a folder, whose files are shown in the order of their names, over and over. The folder that LINK points to
 * may change at any time: the next picture is then the first of the new one. SIGSTOP freezes the camera. */
#include <dirent.h>
#include <err.h>
#include <fcntl.h>
#include <linux/videodev2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

enum { LARGEST = 1 << 20, LONGEST = 512 };

static int is_picture(const struct dirent *entry) { return strstr(entry->d_name, ".jpg") != NULL; }

/* Reads the folder's picture of that number, counted round and round, into `to`; returns its size. */
static size_t picture_of(const char *folder, size_t number, char *to) {
    struct dirent **names;
    int count = scandir(folder, &names, is_picture, alphasort);
    if (count <= 0) errx(1, "%s: no pictures", folder);
    char path[2 * LONGEST];
    snprintf(path, sizeof path, "%s/%s", folder, names[number % (size_t)count]->d_name);
    for (int i = 0; i < count; i++) free(names[i]);
    free(names);
    int file = open(path, O_RDONLY);
    if (file < 0) err(1, "%s", path);
    ssize_t size = read(file, to, LARGEST);
    if (size <= 0 || size == LARGEST) errx(1, "%s: empty or too large", path);
    close(file);
    return (size_t)size;
}

int main(int argc, char **argv) {
    if (argc != 6) errx(2, "usage: camera-feed DEVICE WIDTH HEIGHT PERIOD_MS LINK");
    long period = atol(argv[4]);
    int device = open(argv[1], O_RDWR);
    if (device < 0) err(1, "%s", argv[1]);
    struct v4l2_format format = { .type = V4L2_BUF_TYPE_VIDEO_OUTPUT };
    format.fmt.pix.width = (unsigned)atoi(argv[2]);
    format.fmt.pix.height = (unsigned)atoi(argv[3]);
    format.fmt.pix.pixelformat = V4L2_PIX_FMT_MJPEG;
    format.fmt.pix.field = V4L2_FIELD_NONE;
    format.fmt.pix.sizeimage = format.fmt.pix.width * format.fmt.pix.height * 2;
    if (ioctl(device, VIDIOC_S_FMT, &format)) err(1, "%s: format", argv[1]);
    struct v4l2_streamparm speed = { .type = V4L2_BUF_TYPE_VIDEO_OUTPUT };
    speed.parm.output.timeperframe = (struct v4l2_fract){ (unsigned)period, 1000 };
    ioctl(device, VIDIOC_S_PARM, &speed);

    char *picture = malloc(LARGEST), showing[LONGEST] = "", target[LONGEST];
    if (!picture) err(1, "memory");
    for (size_t shown = 0;; shown++) {
        ssize_t length = readlink(argv[5], target, sizeof target - 1);
        if (length < 0) err(1, "%s", argv[5]);
        target[length] = 0;
        if (strcmp(target, showing)) {
            shown = 0;
            strcpy(showing, target);
            printf("showing %s\n", showing);
            fflush(stdout);
        }
        size_t size = picture_of(showing, shown, picture);
        if (write(device, picture, size) < 0) err(1, "%s: write", argv[1]);
        nanosleep(&(struct timespec){ .tv_sec = period / 1000, .tv_nsec = period % 1000 * 1000000 }, NULL);
    }
}
