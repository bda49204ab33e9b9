/* Lines from a descriptor or from memory: see line_reader.h. */
#include "prompt/line_reader.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/utf8.h"

#define BUFFER_BYTES ((size_t)64 << 10)

static cloze_status reader_init(line_reader *r, const char *name, cloze_error *err) {
    *r = (line_reader){.name = name, .fd = -1};
    r->buffer = mem_alloc(BUFFER_BYTES);
    if (!r->buffer) CLOZE_FAIL(err, MEMORY, "out of memory (reading %s)", name);
    r->cap = BUFFER_BYTES;
    return CLOZE_OK;
}

/* Appends what the source has now to the buffer, making room first. Sets at_end. */
static cloze_status reader_fill(line_reader *r, cloze_error *err) {
    if (r->begin > 0) {
        memmove(r->buffer, r->buffer + r->begin, r->end - r->begin);
        r->end -= r->begin;
        r->begin = 0;
    }
    if (r->end == r->cap) {
        if (r->cap >= LINE_READER_MAX)
            CLOZE_FAIL(err, DATA, "%s:%lld: the line is longer than %zu MB; is this a text file?",
                       r->name, (long long)r->line + 1, LINE_READER_MAX >> 20);
        char *grown = mem_realloc(r->buffer, r->cap, r->cap * 2);
        if (!grown) CLOZE_FAIL(err, MEMORY, "out of memory (reading %s)", r->name);
        r->buffer = grown;
        r->cap *= 2;
    }
    size_t room = r->cap - r->end;
    if (r->memory) {
        size_t n = room < r->memory_left ? room : r->memory_left;
        memcpy(r->buffer + r->end, r->memory, n);
        r->memory += n;
        r->memory_left -= n;
        r->end += n;
        r->at_end = r->memory_left == 0;
        return CLOZE_OK;
    }
    ssize_t got;
    do {
        got = read(r->fd, r->buffer + r->end, room);
    } while (got < 0 && errno == EINTR);
    if (got < 0 && errno == EISDIR) CLOZE_FAIL(err, DATA, "%s: is a directory, not a file", r->name);
    if (got < 0) CLOZE_FAIL(err, IO, "%s: cannot be read: %s", r->name, strerror(errno));
    r->end += (size_t)got;
    r->at_end = got == 0;
    return CLOZE_OK;
}

/* Drops a UTF-8 byte order mark; names a UTF-16 one. */
static cloze_status reader_start(line_reader *r, cloze_error *err) {
    while (r->end < 3 && !r->at_end) CLOZE_TRY(reader_fill(r, err));
    const unsigned char *p = (const unsigned char *)r->buffer;
    if (r->end >= 2 && ((p[0] == 0xFF && p[1] == 0xFE) || (p[0] == 0xFE && p[1] == 0xFF)))
        CLOZE_FAIL(err, DATA, "%s:1:1: the file is UTF-16; save it as UTF-8", r->name);
    if (r->end >= 3 && memcmp(p, "\xEF\xBB\xBF", 3) == 0) r->begin = 3;
    return CLOZE_OK;
}

cloze_status line_reader_open(line_reader *r, const char *path, cloze_error *err) {
    bool from_stdin = strcmp(path, "-") == 0;
    CLOZE_TRY(reader_init(r, from_stdin ? "standard input" : path, err));
    r->fd = from_stdin ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
    r->owns_fd = !from_stdin;
    if (r->fd >= 0) return CLOZE_OK;
    cloze_status code = CLOZE_ERR_IO;
    const char *reason = strerror(errno);
    if (errno == ENOENT || errno == ENOTDIR) {
        code = CLOZE_ERR_DATA;
        reason = "there is no such file";
    } else if (errno == EINTR) { /* a pipe that nobody writes to */
        code = CLOZE_ERR_INTERRUPTED;
        reason = "interrupted while it was opened";
    }
    r->owns_fd = false;
    error_set(err, code, "%s: %s", path, reason);
    line_reader_close(r);
    return code;
}

cloze_status line_reader_open_memory(line_reader *r, const char *text, size_t n, const char *name,
                                     cloze_error *err) {
    CLOZE_TRY(reader_init(r, name, err));
    r->memory = text;
    r->memory_left = n;
    return CLOZE_OK;
}

void line_reader_close(line_reader *r) {
    if (r->owns_fd) close(r->fd);
    mem_free(r->buffer);
    *r = (line_reader){.fd = -1};
}

/* UTF-8 without NUL, or an error with the column. */
static cloze_status check_line(const line_reader *r, const char *line, size_t n, cloze_error *err) {
    const char *nul = memchr(line, 0, n);
    size_t valid = utf8_valid_prefix(line, n);
    if (!nul && valid == n) return CLOZE_OK;
    size_t at = nul && (size_t)(nul - line) < valid ? (size_t)(nul - line) : valid;
    size_t column = utf8_count(line, at) + 1;
    if (at < valid)
        CLOZE_FAIL(err, DATA, "%s:%lld:%zu: a NUL byte; is this a UTF-8 text file?", r->name,
                   (long long)r->line, column);
    CLOZE_FAIL(err, DATA,
               "%s:%lld:%zu: not UTF-8 (byte 0x%02X); convert the file, for example with "
               "iconv -f GB18030 -t UTF-8",
               r->name, (long long)r->line, column, (unsigned)(unsigned char)line[at]);
}

/* Length of the line that starts `skip` bytes after begin, once it is wholly buffered: up to the
 * newline, or to the end of the source (*last). */
static cloze_status buffer_line(line_reader *r, size_t skip, size_t *n, bool *last,
                                cloze_error *err) {
    size_t searched = skip;
    for (;;) {
        size_t have = r->end - r->begin;
        const char *from = r->buffer + r->begin + searched;
        const char *newline = have > searched ? memchr(from, '\n', have - searched) : NULL;
        if (newline) {
            *n = (size_t)(newline - (r->buffer + r->begin)) - skip;
            *last = false;
            return CLOZE_OK;
        }
        searched = have;
        if (r->at_end) {
            *n = have - skip;
            *last = true;
            return CLOZE_OK;
        }
        CLOZE_TRY(reader_fill(r, err));
    }
}

cloze_status line_reader_next(line_reader *r, const char **line, size_t *n, cloze_error *err) {
    bool last = false;
    size_t length = 0;
    *line = NULL;
    *n = 0;
    if (r->line == 0 && r->begin == 0) CLOZE_TRY(reader_start(r, err));
    CLOZE_TRY(buffer_line(r, 0, &length, &last, err));
    if (last && length == 0) return CLOZE_OK;
    const char *text = r->buffer + r->begin;
    r->begin += length + (last ? 0 : 1);
    r->line++;
    if (length > 0 && text[length - 1] == '\r') length--;
    CLOZE_TRY(check_line(r, text, length, err));
    *line = text;
    *n = length;
    return CLOZE_OK;
}

bool line_reader_ready(const line_reader *r, int timeout_ms) {
    if (r->memory || r->at_end) return true;
    if (memchr(r->buffer + r->begin, '\n', r->end - r->begin)) return true;
    struct pollfd source = {.fd = r->fd, .events = POLLIN};
    int n = poll(&source, 1, timeout_ms);
    return n > 0 || (n < 0 && errno != EINTR);
}

cloze_status line_reader_peek(line_reader *r, const char **line, size_t *n, cloze_error *err) {
    *line = NULL;
    *n = 0;
    if (r->line == 0 && r->begin == 0) CLOZE_TRY(reader_start(r, err));
    for (size_t skip = 0;;) {
        bool last = false;
        size_t length = 0;
        CLOZE_TRY(buffer_line(r, skip, &length, &last, err));
        const char *text = r->buffer + r->begin + skip;
        if (!text_is_blank(text, length)) {
            *line = text;
            *n = length > 0 && text[length - 1] == '\r' ? length - 1 : length;
            return CLOZE_OK;
        }
        if (last) return CLOZE_OK;
        skip += length + 1;
    }
}

/* Bytes of white space at text[0..n), 0 when it starts with something else. */
static size_t blank_prefix(const char *text, size_t n) {
    if (n >= 1 && (text[0] == ' ' || (text[0] >= '\t' && text[0] <= '\r'))) return 1;
    if (n >= 2 && memcmp(text, "\xC2\xA0", 2) == 0) return 2;
    if (n >= 3 && memcmp(text, "\xE3\x80\x80", 3) == 0) return 3;
    return 0;
}

bool text_is_blank(const char *text, size_t n) {
    size_t step;
    while (n > 0 && (step = blank_prefix(text, n)) > 0) {
        text += step;
        n -= step;
    }
    return n == 0;
}

void text_trim(const char **text, size_t *n) {
    size_t step;
    while (*n > 0 && (step = blank_prefix(*text, *n)) > 0) {
        *text += step;
        *n -= step;
    }
    for (;;) {
        const char *p = *text;
        if (*n >= 1 && blank_prefix(p + *n - 1, 1) == 1)
            *n -= 1;
        else if (*n >= 2 && blank_prefix(p + *n - 2, 2) == 2)
            *n -= 2;
        else if (*n >= 3 && blank_prefix(p + *n - 3, 3) == 3)
            *n -= 3;
        else
            return;
    }
}
