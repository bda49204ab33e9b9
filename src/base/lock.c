/* flock on a file that names its holder. */
#include "base/lock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"

/* What stands in the file, up to its line's end. */
static void read_holder(int fd, char *holder, size_t n) {
    ssize_t got = pread(fd, holder, n - 1, 0);
    holder[got > 0 ? got : 0] = 0;
    holder[strcspn(holder, "\n")] = 0;
    if (!holder[0]) snprintf(holder, n, "another process");
}

static void write_holder(int fd) {
    char host[64] = "this machine", line[128];
    gethostname(host, sizeof host - 1);
    int n = snprintf(line, sizeof line, "process %ld on %s\n", (long)getpid(), host);
    /* only read for messages: a full disk may keep it empty */
    if (ftruncate(fd, 0) != 0 || pwrite(fd, line, (size_t)n, 0) != n) return;
}

/* True while the path still leads to the file that fd has open: its last holder may have removed it
 * between our open and our lock. */
static bool is_current(int fd, const char *path) {
    struct stat a, b;
    return fstat(fd, &a) == 0 && stat(path, &b) == 0 && a.st_dev == b.st_dev &&
           a.st_ino == b.st_ino;
}

cloze_status file_lock_take(file_lock *lock, const char *path, bool *held, char *holder, size_t n,
                            cloze_error *err) {
    *lock = (file_lock){0};
    *held = false;
    for (;;) {
        int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
        if (fd < 0) CLOZE_FAIL(err, IO, "%s: cannot create: %s", path, strerror(errno));
        if (flock(fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
            read_holder(fd, holder, n);
            close(fd);
            return CLOZE_OK;
        }
        if (!is_current(fd, path)) {
            close(fd);
            continue;
        }
        write_holder(fd);
        lock->path = mem_strdup(path);
        lock->fd = fd;
        if (!lock->path) {
            close(fd);
            CLOZE_FAIL(err, MEMORY, "out of memory");
        }
        *held = true;
        return CLOZE_OK;
    }
}

void file_lock_release(file_lock *lock) {
    if (!lock->path) return;
    unlink(lock->path); /* before the lock goes: nobody else can have it */
    close(lock->fd);
    mem_free(lock->path);
    *lock = (file_lock){0};
}
