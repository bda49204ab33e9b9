/*
 * Files and directories over POSIX. Nothing is ever half written: file_writer fills a file beside
 * the target, syncs it, renames it into place and syncs the directory. A target that is no regular
 * file (a pipe, a terminal, /dev/null) must not be renamed over, so it is written directly.
 */
#include "base/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#ifdef __linux__
#include <sys/syscall.h>
#endif
#include <unistd.h>

#include "base/mem.h"

#define READ_CHUNK ((size_t)1 << 16)
#define DIR_MAX_DEPTH 64

/* Sets "path: cannot <action>: <reason of errno>". */
static cloze_status fail_errno(const char *path, const char *action, cloze_status code,
                               cloze_error *err) {
    int number = errno;
    if (number == ENOMEM) code = CLOZE_ERR_MEMORY;
    return error_set(err, code, "%s: cannot %s: %s", path, action, strerror(number));
}

static cloze_status fail_memory(const char *path, cloze_error *err) {
    CLOZE_FAIL(err, MEMORY, "%s: out of memory", path);
}

/* Opens for reading; stat gives the size and the kind. */
static cloze_status open_read(const char *path, cloze_status missing_code, int *fd,
                              struct stat *info, cloze_error *err) {
    *fd = open(path, O_RDONLY | O_CLOEXEC);
    if (*fd < 0 && (errno == ENOENT || errno == ENOTDIR))
        return error_set(err, missing_code, "%s: there is no such file", path);
    if (*fd < 0 && errno == EINTR) /* a pipe that nobody writes to */
        CLOZE_FAIL(err, INTERRUPTED, "%s: interrupted while it was opened", path);
    if (*fd < 0) return fail_errno(path, "open", CLOZE_ERR_IO, err);
    if (fstat(*fd, info) != 0) {
        fail_errno(path, "read", CLOZE_ERR_IO, err);
        close(*fd);
        return CLOZE_ERR_IO;
    }
    if (S_ISDIR(info->st_mode)) {
        close(*fd);
        return error_set(err, missing_code, "%s: is a directory, not a file", path);
    }
    return CLOZE_OK;
}

/* ---- reading ---- */

cloze_status file_map_open(const char *path, cloze_status missing_code, file_map *out,
                           cloze_error *err) {
    static const uint8_t nothing[1]; /* what an empty file maps to */
    *out = (file_map){0};
    int fd;
    struct stat info;
    CLOZE_TRY(open_read(path, missing_code, &fd, &info, err));
    if (!S_ISREG(info.st_mode)) {
        close(fd);
        return error_set(err, missing_code, "%s: must be a regular file", path);
    }
    size_t size = (size_t)info.st_size;
    void *data = size ? mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0) : (void *)nothing;
    cloze_status status = CLOZE_OK;
    if (data == MAP_FAILED) status = fail_errno(path, "map", CLOZE_ERR_IO, err);
    close(fd);
    if (status == CLOZE_OK) *out = (file_map){data, size};
    return status;
}

void file_map_close(file_map *m) {
    if (m->size) munmap((void *)(uintptr_t)m->data, m->size);
    *m = (file_map){0};
}

/* Reads until the end: the size of a pipe is not known, and that of a file may change. */
static cloze_status read_all(int fd, const char *path, size_t max, cloze_status size_code,
                             size_t expected, char **data, size_t *n, cloze_error *err) {
    size_t cap = (expected < max ? expected : max) + 2; /* one byte to see too much, one for NUL */
    size_t len = 0;
    char *text = mem_alloc(cap);
    if (!text) return fail_memory(path, err);
    for (;;) {
        ssize_t got = read(fd, text + len, cap - 1 - len);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) {
            mem_free(text);
            return fail_errno(path, "read", CLOZE_ERR_IO, err);
        }
        if (got == 0) break;
        len += (size_t)got;
        if (len > max) {
            mem_free(text);
            return error_set(err, size_code, "%s: larger than the %zu bytes that are allowed here",
                             path, max);
        }
        if (len < cap - 1) continue;
        size_t grown_cap = cap + (cap > READ_CHUNK ? cap : READ_CHUNK);
        char *grown = mem_realloc(text, len, grown_cap);
        if (!grown) {
            mem_free(text);
            return fail_memory(path, err);
        }
        text = grown;
        cap = grown_cap;
    }
    text[len] = '\0';
    *data = text;
    *n = len;
    return CLOZE_OK;
}

cloze_status file_read(const char *path, size_t max, cloze_status missing_code, char **data,
                       size_t *n, cloze_error *err) {
    *data = NULL;
    *n = 0;
    if (max > SIZE_MAX / 4) max = SIZE_MAX / 4;
    int fd;
    struct stat info;
    CLOZE_TRY(open_read(path, missing_code, &fd, &info, err));
    size_t expected = S_ISREG(info.st_mode) ? (size_t)info.st_size : READ_CHUNK;
    cloze_status status = read_all(fd, path, max, missing_code, expected, data, n, err);
    close(fd);
    return status;
}

bool file_exists(const char *path) {
    struct stat info;
    return stat(path, &info) == 0;
}

bool file_exists_in(const char *dir, const char *name) {
    char *path = path_join(dir, name);
    bool found = path && file_exists(path);
    mem_free(path);
    return found;
}

bool file_is_dir(const char *path) {
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

/* ---- paths ---- */

char *path_join(const char *dir, const char *name) {
    size_t dir_len = strlen(dir), name_len = strlen(name);
    bool slash = dir_len > 0 && dir[dir_len - 1] != '/';
    char *path = mem_alloc(dir_len + slash + name_len + 1);
    if (!path) return NULL;
    memcpy(path, dir, dir_len);
    if (slash) path[dir_len] = '/';
    memcpy(path + dir_len + slash, name, name_len + 1);
    return path;
}

const char *path_base(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

char *path_parent(const char *path) {
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/') n--;
    while (n > 0 && path[n - 1] != '/') n--;
    while (n > 1 && path[n - 1] == '/') n--;
    return n ? mem_strndup(path, n) : mem_strdup(".");
}

/* ---- syncing ---- */

/* fsync; file systems that cannot sync this kind of file say EINVAL, which is no failure. */
static cloze_status sync_path(const char *path, int flags, cloze_error *err) {
    int fd = open(path, O_RDONLY | O_CLOEXEC | flags);
    if (fd < 0) return fail_errno(path, "open", CLOZE_ERR_IO, err);
    cloze_status status = CLOZE_OK;
    if (fsync(fd) != 0 && errno != EINVAL && errno != ENOTSUP && errno != EROFS) {
        status = fail_errno(path, "sync", CLOZE_ERR_IO, err);
    }
    close(fd);
    return status;
}

static cloze_status sync_parent(const char *path, cloze_error *err) {
    char *parent = path_parent(path);
    if (!parent) return fail_memory(path, err);
    cloze_status status = sync_path(parent, O_DIRECTORY, err);
    mem_free(parent);
    return status;
}

/* ---- writing ---- */

/* Creates a file beside w->path that nobody else has; w->tmp_path names it. */
static cloze_status create_beside(file_writer *w, int *fd, cloze_error *err) {
    static _Atomic unsigned counter;
    size_t size = strlen(w->path) + 48;
    w->tmp_path = mem_alloc(size);
    if (!w->tmp_path) return fail_memory(w->path, err);
    do {
        snprintf(w->tmp_path, size, "%s.%ld-%u.tmp", w->path, (long)getpid(),
                 atomic_fetch_add(&counter, 1));
        *fd = open(w->tmp_path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    } while (*fd < 0 && errno == EEXIST);
    if (*fd >= 0) return CLOZE_OK;
    fail_errno(w->path, "create", CLOZE_ERR_IO, err);
    char *parent = path_parent(w->path);
    if (parent && !file_is_dir(parent))
        error_set(err, CLOZE_ERR_IO, "%s: cannot create: there is no such directory", w->path);
    mem_free(parent);
    mem_free(w->tmp_path);
    w->tmp_path = NULL;
    return CLOZE_ERR_IO;
}

static cloze_status open_target(file_writer *w, int *fd, cloze_error *err) {
    struct stat info;
    bool exists = stat(w->path, &info) == 0;
    if (exists && S_ISDIR(info.st_mode)) CLOZE_FAIL(err, IO, "%s: is a directory", w->path);
    if (!exists || S_ISREG(info.st_mode)) return create_beside(w, fd, err);
    *fd = open(w->path, O_WRONLY | O_CLOEXEC);
    if (*fd < 0) return fail_errno(w->path, "open", CLOZE_ERR_IO, err);
    return CLOZE_OK;
}

cloze_status file_writer_open(file_writer *w, const char *path, cloze_error *err) {
    *w = (file_writer){0};
    int fd = -1;
    w->path = mem_strdup(path);
    if (!w->path) return fail_memory(path, err);
    cloze_status status = open_target(w, &fd, err);
    if (status == CLOZE_OK) {
        w->stream = fdopen(fd, "w");
        if (!w->stream) {
            status = fail_errno(path, "open", CLOZE_ERR_IO, err);
            close(fd);
        }
    }
    if (status != CLOZE_OK) file_writer_abort(w);
    return status;
}

static cloze_status commit_steps(file_writer *w, cloze_error *err) {
    bool failed = ferror(w->stream) != 0;
    if (fflush(w->stream) != 0) return fail_errno(w->path, "write", CLOZE_ERR_IO, err);
    if (failed) CLOZE_FAIL(err, IO, "%s: cannot write: the disk may be full", w->path);
    if (w->tmp_path && fsync(fileno(w->stream)) != 0 && errno != EINVAL) {
        return fail_errno(w->path, "sync", CLOZE_ERR_IO, err);
    }
    int closed = fclose(w->stream);
    w->stream = NULL;
    if (closed != 0) return fail_errno(w->path, "write", CLOZE_ERR_IO, err);
    if (!w->tmp_path) return CLOZE_OK;
    if (rename(w->tmp_path, w->path) != 0) {
        return fail_errno(w->path, "rename into", CLOZE_ERR_IO, err);
    }
    mem_free(w->tmp_path); /* it stands: nothing to take back */
    w->tmp_path = NULL;
    return sync_parent(w->path, err);
}

cloze_status file_writer_commit(file_writer *w, cloze_error *err) {
    cloze_status status = commit_steps(w, err);
    file_writer_abort(w);
    return status;
}

void file_writer_abort(file_writer *w) {
    if (w->stream) fclose(w->stream);
    if (w->tmp_path) unlink(w->tmp_path);
    mem_free(w->tmp_path);
    mem_free(w->path);
    *w = (file_writer){0};
}

cloze_status file_write_atomic(const char *path, const void *data, size_t n, cloze_error *err) {
    file_writer w;
    CLOZE_TRY(file_writer_open(&w, path, err));
    if (n) fwrite(data, 1, n, w.stream); /* the stream remembers a failure for commit */
    return file_writer_commit(&w, err);
}

/* ---- directories ---- */

static cloze_status make_dir(const char *path, cloze_error *err) {
    if (mkdir(path, 0777) == 0) return CLOZE_OK;
    if (errno == EEXIST || errno == EISDIR) {
        if (file_is_dir(path)) return CLOZE_OK;
        CLOZE_FAIL(err, IO, "%s: cannot create the directory: a file of that name stands there",
                   path);
    }
    return fail_errno(path, "create the directory", CLOZE_ERR_IO, err);
}

cloze_status dir_create(const char *path, cloze_error *err) {
    if (file_is_dir(path)) return CLOZE_OK;
    char *part = mem_strdup(path);
    if (!part) return fail_memory(path, err);
    cloze_status status = CLOZE_OK;
    for (char *p = part + 1; status == CLOZE_OK && part[0] && *p; p++) {
        if (*p != '/') continue;
        *p = '\0';
        if (!file_is_dir(part)) status = make_dir(part, err);
        *p = '/';
    }
    mem_free(part);
    return status == CLOZE_OK ? make_dir(path, err) : status;
}

static int compare_names(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Appends a copy of name; false without memory. */
static bool push_name(char ***names, size_t *n, size_t *cap, const char *name) {
    if (*n == *cap) {
        size_t grown_cap = *cap ? *cap * 2 : 16;
        char **grown = mem_realloc(*names, *n * sizeof **names, grown_cap * sizeof **names);
        if (!grown) return false;
        *names = grown;
        *cap = grown_cap;
    }
    (*names)[*n] = mem_strdup(name);
    if (!(*names)[*n]) return false;
    ++*n;
    return true;
}

cloze_status dir_list(const char *path, char ***names, size_t *n, cloze_error *err) {
    size_t cap = 0;
    *names = NULL;
    *n = 0;
    DIR *dir = opendir(path);
    if (!dir) return fail_errno(path, "list", CLOZE_ERR_IO, err);
    cloze_status status = CLOZE_OK;
    for (;;) {
        errno = 0;
        const struct dirent *entry = readdir(dir);
        if (!entry) {
            if (errno) status = fail_errno(path, "list", CLOZE_ERR_IO, err);
            break;
        }
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
        if (!push_name(names, n, &cap, entry->d_name)) {
            status = fail_memory(path, err);
            break;
        }
    }
    closedir(dir);
    if (status != CLOZE_OK) {
        dir_list_free(*names, *n);
        *names = NULL;
        *n = 0;
    } else if (*n) {
        qsort(*names, *n, sizeof **names, compare_names);
    }
    return status;
}

void dir_list_free(char **names, size_t n) {
    for (size_t i = 0; i < n; i++) mem_free(names[i]);
    mem_free(names);
}

/* Calls visit for path and, when it is a directory (no link to one), first for all within it. */
typedef cloze_status (*visit_fn)(const char *path, bool is_dir, cloze_error *err);
static cloze_status walk(const char *path, int depth, visit_fn visit, cloze_error *err) {
    struct stat info;
    if (lstat(path, &info) != 0) return fail_errno(path, "read", CLOZE_ERR_IO, err);
    if (!S_ISDIR(info.st_mode)) return visit(path, false, err);
    if (depth > DIR_MAX_DEPTH) CLOZE_FAIL(err, IO, "%s: directories are nested too deep", path);
    char **names;
    size_t n;
    CLOZE_TRY(dir_list(path, &names, &n, err));
    cloze_status status = CLOZE_OK;
    for (size_t i = 0; i < n && status == CLOZE_OK; i++) {
        char *child = path_join(path, names[i]);
        status = child ? walk(child, depth + 1, visit, err) : fail_memory(path, err);
        mem_free(child);
    }
    dir_list_free(names, n);
    return status == CLOZE_OK ? visit(path, true, err) : status;
}

static cloze_status visit_remove(const char *path, bool is_dir, cloze_error *err) {
    int failed = is_dir ? rmdir(path) : unlink(path);
    return failed && errno != ENOENT ? fail_errno(path, "remove", CLOZE_ERR_IO, err) : CLOZE_OK;
}

static cloze_status visit_sync(const char *path, bool is_dir, cloze_error *err) {
    struct stat info; /* links and pipes have no content of their own to sync */
    if (!is_dir && (lstat(path, &info) != 0 || !S_ISREG(info.st_mode))) return CLOZE_OK;
    return sync_path(path, is_dir ? O_DIRECTORY : 0, err);
}

cloze_status dir_remove(const char *path, cloze_error *err) {
    struct stat info;
    if (lstat(path, &info) != 0 && errno == ENOENT) return CLOZE_OK;
    return walk(path, 0, visit_remove, err);
}

cloze_status dir_sync(const char *path, cloze_error *err) { return walk(path, 0, visit_sync, err); }

cloze_status path_rename(const char *from, const char *to, cloze_error *err) {
    if (rename(from, to) != 0) {
        int number = errno;
        CLOZE_FAIL(err, IO, "%s: cannot rename to %s: %s", from, to, strerror(number));
    }
    return sync_parent(to, err);
}

/* renameat2's RENAME_EXCHANGE; errno is ENOSYS or EINVAL where the kernel or the file system has it
 * not. */
static int exchange_at_once(const char *a, const char *b) {
#if defined(__linux__) && defined(SYS_renameat2)
    const unsigned exchange = 1 << 1; /* RENAME_EXCHANGE of linux/fs.h */
    return (int)syscall(SYS_renameat2, AT_FDCWD, a, AT_FDCWD, b, exchange);
#else
    errno = ENOSYS;
    return -1;
#endif
}

/* By way of a third name; a failure puts b back. */
static cloze_status exchange_by_steps(const char *a, const char *b, cloze_error *err) {
    size_t size = strlen(b) + 16;
    char *aside = mem_alloc(size);
    if (!aside) return fail_memory(b, err);
    snprintf(aside, size, "%s.old.tmp", b);
    cloze_status status = dir_remove(aside, err);
    if (status == CLOZE_OK) status = path_rename(b, aside, err);
    if (status == CLOZE_OK) {
        status = path_rename(a, b, err);
        if (status != CLOZE_OK)
            path_rename(aside, b, NULL);
        else
            status = path_rename(aside, a, err);
    }
    mem_free(aside);
    return status;
}

cloze_status path_exchange(const char *a, const char *b, cloze_error *err) {
    if (exchange_at_once(a, b) == 0) return sync_parent(b, err);
    if (errno == ENOSYS || errno == EINVAL) return exchange_by_steps(a, b, err);
    int number = errno;
    CLOZE_FAIL(err, IO, "%s: cannot change places with %s: %s", a, b, strerror(number));
}

bool path_is_same(const char *a, const char *b) {
    struct stat x, y;
    return stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}
