/*
 * Status codes and the caller-owned error. A message is always one line of valid length: line
 * breaks from foreign data become blanks, and a cut never splits a UTF-8 sequence.
 */
#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/utf8.h"

#define MESSAGE_MAX sizeof(((cloze_error *)0)->message)

const char *cloze_status_text(cloze_status status) {
    switch (status) {
#define STATUS_CASE(name, value, text)                                                             \
    case CLOZE_##name: return text;
        CLOZE_STATUS_LIST(STATUS_CASE)
#undef STATUS_CASE
    }
    return "unknown status";
}

void cloze_free(char *text) { mem_free(text); }

/* Makes text one line and cuts it to n bytes, not within a character. */
static void message_tidy(char *text, size_t n, bool cut) {
    for (size_t i = 0; i < n; i++) {
        if (text[i] == '\n' || text[i] == '\r' || text[i] == '\t') text[i] = ' ';
    }
    if (!cut) return;
    size_t back = 0; /* continuation bytes at the end */
    while (back < 3 && back < n && ((unsigned char)text[n - 1 - back] & 0xC0) == 0x80) back++;
    uint32_t code_point;
    size_t start = n > back ? n - 1 - back : 0;
    if (n > 0 && utf8_decode(text + start, n - start, &code_point) == 0) text[start] = '\0';
}

/* Formats into a message buffer: through a copy, because an argument may be the old message. */
static void message_format(char *out, const char *fmt, va_list args) {
    char text[MESSAGE_MAX];
    int n = vsnprintf(text, sizeof text, fmt, args);
    if (n < 0) text[0] = '\0';
    message_tidy(text, strlen(text), n >= (int)sizeof text);
    memcpy(out, text, strlen(text) + 1);
}

cloze_status error_set(cloze_error *err, cloze_status code, const char *fmt, ...) {
    if (!err) return code;
    err->code = code;
    va_list args;
    va_start(args, fmt);
    message_format(err->message, fmt, args);
    va_end(args);
    return code;
}

cloze_status error_prefix(cloze_error *err, const char *fmt, ...) {
    if (!err) return CLOZE_ERR_INTERNAL;
    char prefix[MESSAGE_MAX], old[MESSAGE_MAX];
    va_list args;
    va_start(args, fmt);
    message_format(prefix, fmt, args);
    va_end(args);
    memcpy(old, err->message, sizeof old);
    return error_set(err, err->code, "%s: %s", prefix, old);
}
