/* For readers that take paths: one directory for the process, in memory, and inputs of several
 * files. */
#ifndef CLOZE_TESTS_FUZZ_FILES_H
#define CLOZE_TESTS_FUZZ_FILES_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char fuzz_dir[64];

static void fuzz_dir_remove(void) { dir_remove(fuzz_dir, NULL); }

/* fuzz_dir/name, in one of 16 buffers that are used in turn; makes the directory. */
static const char *fuzz_path(const char *name) {
    static char paths[16][160];
    static int next;
    if (!fuzz_dir[0]) {
        snprintf(fuzz_dir, sizeof fuzz_dir, "%s/cloze-fuzz-XXXXXX",
                 access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
        if (!mkdtemp(fuzz_dir)) abort();
        atexit(fuzz_dir_remove);
    }
    char *path = paths[next++ % 16];
    snprintf(path, sizeof paths[0], "%s/%s", fuzz_dir, name);
    return path;
}

/* Writes fuzz_dir/name; without bytes the file is absent. */
static void fuzz_put(const char *name, const void *bytes, size_t n) {
    const char *path = fuzz_path(name);
    if (n == 0) {
        unlink(path);
        return;
    }
    FILE *f = fopen(path, "wb");
    if (!f || fwrite(bytes, 1, n, f) != n || fclose(f) != 0) abort();
}

/* The next part of an input: up to the NUL, which no text file has, or to the end. */
static const char *fuzz_part(const uint8_t **data, size_t *size, size_t *n) {
    const char *part = *size ? (const char *)*data : "";
    const uint8_t *nul = *size ? memchr(*data, 0, *size) : NULL;
    *n = nul ? (size_t)(nul - *data) : *size;
    *data += nul ? *n + 1 : *n;
    *size -= nul ? *n + 1 : *n;
    return part;
}

static inline void fuzz_put_part(const char *name, const uint8_t **data, size_t *size) {
    size_t n;
    const char *part = fuzz_part(data, size, &n);
    fuzz_put(name, part, n);
}

#endif
