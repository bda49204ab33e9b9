/*
 * JSON reading over cJSON: bounded, UTF-8 checked, with typed getters that name the key in the
 * error. (cJSON looks keys up linearly: walk big objects, such as vocabularies, with child/next.)
 */
#ifndef CLOZE_BASE_JSON_H
#define CLOZE_BASE_JSON_H

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

/* Parses text[0..n); `what` names the source in errors, whose code is `code` (CLOZE_ERR_MODEL...).
 * Errors name line and column. End *out with json_destroy. */
cloze_status json_parse(const char *text, size_t n, const char *what, cloze_status code, cJSON **out,
                        cloze_error *err);
/* The same from a file of at most max_bytes. A missing file is `code`; *out NULL on failure. */
cloze_status json_parse_file(const char *path, size_t max_bytes, cloze_status code, cJSON **out,
                             cloze_error *err);
/* The same of dir/name, which has 64 MB at most: vocabularies, settings. */
cloze_status json_parse_file_in(const char *dir, const char *name, cloze_status code, cJSON **out,
                                cloze_error *err);
void json_destroy(cJSON *root);
/* Byte offset of the key of the index-th member of the object that text (valid JSON) is. */
size_t json_member_offset(const char *text, int index);
/* Line and column (in characters), from 1, of the byte text[at]. */
void json_place(const char *text, size_t at, size_t *line, size_t *column);

/* A missing or null key leaves *out as it is (the default); a wrong type or range is an error. */
cloze_status json_get_int(const cJSON *obj, const char *key, int64_t min, int64_t max, int64_t *out,
                          cloze_error *err);
cloze_status json_get_double(const cJSON *obj, const char *key, double *out, cloze_error *err);
cloze_status json_get_bool(const cJSON *obj, const char *key, bool *out, cloze_error *err);
/* Borrowed from the document. */
cloze_status json_get_string(const cJSON *obj, const char *key, const char **out, cloze_error *err);
/* Numbers printed as Python's json prints them (3e-05, 1.0); indent 2; ends with a newline.
 * A heap string (mem_free) or NULL. */
char *json_print(const cJSON *root);

#endif
