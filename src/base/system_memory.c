/* Linux: /proc/meminfo, /proc/self/status, and the limit of a control group (version 2). */
#include "base/system_memory.h"

#include <stdio.h>
#include <string.h>

/* The number of kilobytes behind `key` in a file of "Key:  123 kB" lines, in bytes; -1 = none. */
static int64_t read_kilobytes(const char *path, const char *key) {
    char line[256];
    int64_t bytes = -1;
    FILE *f = fopen(path, "re");
    if (!f) return -1;
    while (bytes < 0 && fgets(line, sizeof line, f)) {
        long long kilobytes;
        size_t n = strlen(key);
        if (strncmp(line, key, n) == 0 && sscanf(line + n, ": %lld", &kilobytes) == 1)
            bytes = kilobytes * 1024;
    }
    fclose(f);
    return bytes;
}

/* -1 when the file is absent or holds no number ("max"). */
static int64_t read_number(const char *path) {
    long long value = -1;
    FILE *f = fopen(path, "re");
    if (!f) return -1;
    if (fscanf(f, "%lld", &value) != 1) value = -1;
    fclose(f);
    return value;
}

int64_t system_memory_available(void) {
    int64_t available = read_kilobytes("/proc/meminfo", "MemAvailable");
    int64_t limit = read_number("/sys/fs/cgroup/memory.max"),
            used = read_number("/sys/fs/cgroup/memory.current");
    if (limit < 0 || used < 0) return available;
    int64_t left = limit > used ? limit - used : 0;
    return available < 0 || left < available ? left : available;
}

int64_t process_memory(void) { return read_kilobytes("/proc/self/status", "VmRSS"); }
