/*
 * Lines of a file, of standard input or of memory, in constant memory: the one place where data
 * files meet the program. Strips the byte order mark and CR, checks UTF-8 and refuses NUL bytes,
 * UTF-16 files and absurdly long lines, naming file:line:column.
 *
 * Reads what is there and no more, so that an answer can follow each line of a pipe at once.
 */
#ifndef CLOZE_PROMPT_LINE_READER_H
#define CLOZE_PROMPT_LINE_READER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

#define LINE_READER_MAX ((size_t)64 << 20) /* bytes of the longest line */

typedef struct line_reader {
    const char *name;   /* for errors; borrowed */
    const char *memory; /* the source when not NULL */
    size_t memory_left;
    int fd; /* the source otherwise */
    bool owns_fd, at_end;
    char *buffer; /* [begin, end) is read and not handed out yet */
    size_t cap, begin, end;
    int64_t line; /* number of the last line handed out, from 1 */
} line_reader;

/* path "-" is standard input. A missing file is CLOZE_ERR_DATA. */
cloze_status line_reader_open(line_reader *r, const char *path, cloze_error *err);
cloze_status line_reader_open_memory(line_reader *r, const char *text, size_t n, const char *name,
                                     cloze_error *err);
void line_reader_close(line_reader *r); /* zeroed storage is accepted */

/* The next line without its end; borrowed until the next call, not NUL-terminated. *line NULL at
 * the end of the source. */
cloze_status line_reader_next(line_reader *r, const char **line, size_t *n, cloze_error *err);
/* Whether line_reader_next has something to look at at once, waiting up to timeout_ms for it; false
 * too when a signal came meanwhile. */
bool line_reader_ready(const line_reader *r, int timeout_ms);
/* The first line from here on that is not blank, unchecked and without using it up; borrowed until
 * the next call; *line NULL when there is none. */
cloze_status line_reader_peek(line_reader *r, const char **line, size_t *n, cloze_error *err);

/* Only spaces, tabs and other white space of ASCII, U+00A0 or U+3000. */
bool text_is_blank(const char *text, size_t n);
/* Cuts ASCII white space and U+3000 from both ends. */
void text_trim(const char **text, size_t *n);

#endif
