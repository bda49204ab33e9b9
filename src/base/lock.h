/*
 * A lock that one process at a time has: flock on a file. The kernel releases it when the process
 * ends, however it ends (kill -9 too); on NFS it holds across machines (Linux makes it a byte-range
 * lock there). The file names the holder for messages. It is removed at the release; one that a
 * killed process left behind locks nothing.
 */
#ifndef CLOZE_BASE_LOCK_H
#define CLOZE_BASE_LOCK_H

#include <stdbool.h>

#include "base/error.h"

/* Zeroed storage is free: file_lock_release takes it. */
typedef struct file_lock {
    int fd;
    char *path; /* NULL = not held */
} file_lock;

/* Does not wait. *held = false, with OK, when another process has it; `holder` (n bytes) gets what
 * that process wrote, "process 12 on host". A file system without locks counts as held. A file that
 * cannot be made is ERR_IO. */
cloze_status file_lock_take(file_lock *lock, const char *path, bool *held, char *holder, size_t n,
                            cloze_error *err);
void file_lock_release(file_lock *lock);

#endif
