/*
 * A growing byte buffer, and the two JSON scalars that need care: strings (escaped, never invalid
 * UTF-8) and doubles (the shortest text that reads back to the same bits, as Python's repr).
 */
#include "base/buf.h"

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/utf8.h"

#define BUF_FIRST_CAP 64

void buf_init(buf *b, size_t max) { *b = (buf){.max = max < SIZE_MAX ? max : SIZE_MAX - 1}; }

void buf_deinit(buf *b) {
    mem_free(b->data);
    *b = (buf){.max = b->max};
}

void buf_clear(buf *b) {
    b->len = 0;
    b->failed = false;
    if (b->data) b->data[0] = '\0';
}

bool buf_ok(const buf *b) { return !b->failed; }

/* Makes room for n more bytes and the NUL; sets failed when it cannot. */
static bool buf_reserve(buf *b, size_t n) {
    if (b->failed) return false;
    if (n > b->max - b->len) {
        b->failed = true;
        return false;
    }
    size_t need = b->len + n + 1;
    if (need <= b->cap) return true;
    size_t cap = b->cap ? b->cap : BUF_FIRST_CAP;
    while (cap < need) cap = cap > SIZE_MAX / 2 ? need : cap * 2;
    char *data = mem_realloc(b->data, b->data ? b->len + 1 : 0, cap);
    if (!data) {
        b->failed = true;
        return false;
    }
    b->data = data;
    b->cap = cap;
    return true;
}

void buf_append(buf *b, const void *data, size_t n) {
    if (!buf_reserve(b, n)) return;
    if (n) memcpy(b->data + b->len, data, n);
    b->len += n;
    b->data[b->len] = '\0';
}

void buf_puts(buf *b, const char *text) { buf_append(b, text, strlen(text)); }

void buf_putc(buf *b, char c) { buf_append(b, &c, 1); }

void buf_printf(buf *b, const char *fmt, ...) {
    va_list args, again;
    va_start(args, fmt);
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, fmt, args);
    if (n < 0) {
        b->failed = true;
    } else if (buf_reserve(b, (size_t)n)) {
        vsnprintf(b->data + b->len, (size_t)n + 1, fmt, again);
        b->len += (size_t)n;
    }
    va_end(again);
    va_end(args);
}

static void json_escape(buf *b, unsigned char c) {
    switch (c) {
    case '"': buf_puts(b, "\\\""); break;
    case '\\': buf_puts(b, "\\\\"); break;
    case '\n': buf_puts(b, "\\n"); break;
    case '\r': buf_puts(b, "\\r"); break;
    case '\t': buf_puts(b, "\\t"); break;
    case '\b': buf_puts(b, "\\b"); break;
    case '\f': buf_puts(b, "\\f"); break;
    default: buf_printf(b, "\\u%04x", c);
    }
}

void buf_json_string(buf *b, const char *text, size_t n) {
    buf_putc(b, '"');
    size_t plain = 0; /* start of the bytes that go out as they are */
    for (size_t at = 0; at < n;) {
        unsigned char c = (unsigned char)text[at];
        uint32_t code_point;
        int len = utf8_decode(text + at, n - at, &code_point);
        bool special = c < 0x20 || c == '"' || c == '\\';
        if (len > 0 && !special) {
            at += (size_t)len;
            continue;
        }
        buf_append(b, text + plain, at - plain);
        if (special) {
            json_escape(b, c);
        } else {
            buf_puts(b, "\xEF\xBF\xBD"); /* U+FFFD: a JSON text must be valid UTF-8 */
        }
        plain = ++at;
    }
    buf_append(b, text + plain, n - plain);
    buf_putc(b, '"');
}

/*
 * Raises the last digit of "d.ddde+xx". Below a power of two doubles lie twice as dense as above,
 * so there the nearest short decimal may miss while the next one up reads back.
 */
static bool next_decimal(char *text) {
    char *last = strchr(text, 'e') - 1;
    if (*last < '0' || *last >= '9') return false;
    ++*last;
    return true;
}

/*
 * Shortest digits of a positive finite value: value = 0.d1d2d3... x 10^*point. Every decimal of up
 * to 15 digits survives a double, so those are found by stripping zeros; subnormals have fewer
 * digits and are searched. The decimal point of the locale is stepped over.
 */
static int shortest_digits(double value, char digits[18], int *point) {
    char text[40];
    int count = 0;
    for (int precision = value < 0x1p-1022 ? 1 : 15; precision <= 17; precision++) {
        snprintf(text, sizeof text, "%.*e", precision - 1, value);
        if (precision == 17 || strtod(text, NULL) == value) break;
        if (next_decimal(text) && strtod(text, NULL) == value) break;
    }
    const char *p = text;
    for (; *p != 'e'; p++) {
        if (*p >= '0' && *p <= '9') digits[count++] = *p;
    }
    *point = (int)strtol(p + 1, NULL, 10) + 1;
    while (count > 1 && digits[count - 1] == '0') count--;
    return count;
}

void buf_json_double(buf *b, double value) {
    if (!isfinite(value)) {
        buf_puts(b, "null");
        return;
    }
    if (signbit(value)) buf_putc(b, '-');
    if (value == 0.0) {
        buf_puts(b, "0.0");
        return;
    }
    char digits[18];
    int point;
    int count = shortest_digits(fabs(value), digits, &point);
    if (point > 16 || point < -3) { /* Python writes an exponent here */
        buf_putc(b, digits[0]);
        if (count > 1) buf_putc(b, '.');
        buf_append(b, digits + 1, (size_t)count - 1);
        buf_printf(b, "e%c%02d", point < 1 ? '-' : '+', abs(point - 1));
        return;
    }
    if (point <= 0) {
        buf_puts(b, "0.");
        for (int i = point; i < 0; i++) buf_putc(b, '0');
        buf_append(b, digits, (size_t)count);
        return;
    }
    for (int i = 0; i < point; i++) buf_putc(b, i < count ? digits[i] : '0');
    buf_putc(b, '.');
    if (count > point) {
        buf_append(b, digits + point, (size_t)(count - point));
    } else {
        buf_putc(b, '0');
    }
}

char *buf_take(buf *b) {
    buf_append(b, "", 0); /* an empty buffer gives an empty string */
    if (b->failed) {
        buf_deinit(b);
        return NULL;
    }
    char *data = b->data;
    *b = (buf){.max = b->max};
    return data;
}
