/*
 * A growing byte buffer with a hard maximum. A failed append (no memory, over the maximum) makes
 * the buffer sticky-failed: later appends do nothing and buf_ok() is false, so one check at the end
 * is enough. data is always NUL-terminated once something was appended.
 */
#ifndef CLOZE_BASE_BUF_H
#define CLOZE_BASE_BUF_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

typedef struct buf {
    char *data; /* len bytes + NUL; NULL while empty */
    size_t len;
    size_t cap;
    size_t max; /* largest len allowed */
    bool failed;
} buf;

void buf_init(buf *b, size_t max);
void buf_deinit(buf *b);
void buf_clear(buf *b); /* len = 0, memory kept, failure forgotten */
bool buf_ok(const buf *b);
void buf_append(buf *b, const void *data, size_t n);
void buf_puts(buf *b, const char *text);
void buf_putc(buf *b, char c);
void buf_printf(buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void buf_json_string(buf *b, const char *text, size_t n); /* quoted and escaped; UTF-8 kept as it is */
/* Shortest text that reads back to the same double; null when not finite (JSON has no NaN). */
void buf_json_double(buf *b, double value);
char *buf_take(buf *b); /* the string, now the caller's (mem_free); NULL when failed */

#endif
