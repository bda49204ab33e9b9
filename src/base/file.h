/*
 * Files: mapping, bounded reading, and writing that is never half done (a file is written beside
 * its place, synced and renamed into it). Errors name the path and the reason. "Does not exist"
 * and "is no file" are reported with `missing_code`, so that the caller decides between DATA and
 * MODEL; other failures are CLOZE_ERR_IO.
 */
#ifndef CLOZE_BASE_FILE_H
#define CLOZE_BASE_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/error.h"

typedef struct file_map { const uint8_t *data; size_t size; } file_map; /* read-only, private */

cloze_status file_map_open(const char *path, cloze_status missing_code, file_map *out, cloze_error *err);
void file_map_close(file_map *m);

/* The whole file as a NUL-terminated heap string (mem_free); more than max bytes is an error
 * with missing_code, as a missing file is. */
cloze_status file_read(const char *path, size_t max, cloze_status missing_code, char **data, size_t *n,
                       cloze_error *err);
cloze_status file_write_atomic(const char *path, const void *data, size_t n, cloze_error *err);

/* A file being written beside its place: fwrite to w->stream, then commit or abort. */
typedef struct file_writer { FILE *stream; char *path; char *tmp_path; } file_writer;
cloze_status file_writer_open(file_writer *w, const char *path, cloze_error *err);
cloze_status file_writer_commit(file_writer *w, cloze_error *err); /* checks every write, syncs, renames */
void file_writer_abort(file_writer *w);                            /* NULL stream is accepted */

bool file_exists(const char *path);
bool file_exists_in(const char *dir, const char *name); /* false without memory, too */
bool file_is_dir(const char *path);
cloze_status dir_create(const char *path, cloze_error *err); /* with its parents; existing is fine */
cloze_status dir_remove(const char *path, cloze_error *err); /* with all in it; missing is fine */
cloze_status dir_sync(const char *path, cloze_error *err);   /* every file in it, and itself */
cloze_status path_rename(const char *from, const char *to, cloze_error *err);
/* Both exist (files or directories of one file system) and change names, at once where the system can. */
cloze_status path_exchange(const char *a, const char *b, cloze_error *err);
/* dir + "/" + name, a heap string (mem_free), or NULL without memory. */
char *path_join(const char *dir, const char *name);
/* The directory that holds path ("." for a bare name), a heap string (mem_free), or NULL without memory. */
char *path_parent(const char *path);
bool path_is_same(const char *a, const char *b); /* both exist and are one file or directory */
const char *path_base(const char *path); /* borrowed: after the last slash */
/* Sorted names in a directory (without . and ..); end with dir_list_free. */
cloze_status dir_list(const char *path, char ***names, size_t *n, cloze_error *err);
void dir_list_free(char **names, size_t n);

#endif
