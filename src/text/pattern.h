/*
 * Patterns of tokenizer.json: a literal string or a regular expression (PCRE2 with Unicode
 * properties, JIT where there is one), searched in the code points of a normalised text.
 */
#ifndef CLOZE_TEXT_PATTERN_H
#define CLOZE_TEXT_PATTERN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

typedef struct pattern pattern; /* immutable, any thread */

cloze_status pattern_create(const char *text, bool is_regex, pattern **out, cloze_error *err);
void pattern_destroy(pattern *p); /* NULL is accepted */

typedef struct pattern_range {
    int32_t begin, end;
} pattern_range; /* code points */

/* All matches in cp[0..n), left to right, empty ones left out; *ranges is a heap array (mem_free).
 */
cloze_status pattern_find_all(const pattern *p, const uint32_t *cp, int32_t n,
                              pattern_range **ranges, int32_t *count, cloze_error *err);

#endif
