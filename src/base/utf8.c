/* UTF-8 after table 3-7 of the Unicode standard: the second byte's range depends on the first. */
#include "base/utf8.h"

#include <string.h>
#include <utf8proc.h>

/* Bytes of the sequence that `lead` begins and the range of its second byte; 0: no lead byte. */
static int sequence_length(uint8_t lead, uint8_t *low, uint8_t *high) {
    *low = 0x80;
    *high = 0xBF;
    if (lead < 0x80) return 1;
    if (lead < 0xC2) return 0; /* continuation, or an overlong form of ASCII */
    if (lead < 0xE0) return 2;
    if (lead < 0xF0) {
        if (lead == 0xE0) *low = 0xA0;  /* overlong below */
        if (lead == 0xED) *high = 0x9F; /* surrogates above */
        return 3;
    }
    if (lead > 0xF4) return 0;
    if (lead == 0xF0) *low = 0x90;  /* overlong below */
    if (lead == 0xF4) *high = 0x8F; /* over U+10FFFF above */
    return 4;
}

int utf8_decode(const char *text, size_t n, uint32_t *code_point) {
    if (n == 0) return 0;
    const uint8_t *s = (const uint8_t *)text;
    uint8_t low, high;
    int len = sequence_length(s[0], &low, &high);
    if (len == 0 || (size_t)len > n) return 0;
    if (len == 1) {
        *code_point = s[0];
        return 1;
    }
    if (s[1] < low || s[1] > high) return 0;
    uint32_t value = s[0] & (0x7Fu >> len);
    for (int i = 1; i < len; i++) {
        if ((s[i] & 0xC0) != 0x80) return 0;
        value = value << 6 | (s[i] & 0x3F);
    }
    *code_point = value;
    return len;
}

int utf8_encode(uint32_t code_point, char out[4]) {
    uint32_t c = code_point;
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    if (c < 0x800) {
        out[0] = (char)(0xC0 | c >> 6);
        out[1] = (char)(0x80 | (c & 0x3F));
        return 2;
    }
    if (c < 0x10000) {
        if (c >= 0xD800 && c <= 0xDFFF) return 0;
        out[0] = (char)(0xE0 | c >> 12);
        out[1] = (char)(0x80 | (c >> 6 & 0x3F));
        out[2] = (char)(0x80 | (c & 0x3F));
        return 3;
    }
    if (c > 0x10FFFF) return 0;
    out[0] = (char)(0xF0 | c >> 18);
    out[1] = (char)(0x80 | (c >> 12 & 0x3F));
    out[2] = (char)(0x80 | (c >> 6 & 0x3F));
    out[3] = (char)(0x80 | (c & 0x3F));
    return 4;
}

size_t utf8_valid_prefix(const char *text, size_t n) {
    size_t at = 0;
    while (at < n) {
        uint64_t word; /* eight ASCII bytes at once: most bytes of a corpus or JSON file */
        if (n - at >= sizeof word) {
            memcpy(&word, text + at, sizeof word);
            if (!(word & 0x8080808080808080u)) {
                at += sizeof word;
                continue;
            }
        }
        uint32_t code_point;
        int len = utf8_decode(text + at, n - at, &code_point);
        if (len == 0) return at;
        at += (size_t)len;
    }
    return n;
}

size_t utf8_count(const char *text, size_t n) {
    size_t count = 0;
    for (size_t i = 0; i < n; i++) count += ((uint8_t)text[i] & 0xC0) != 0x80;
    return count;
}

static int code_point_width(uint32_t code_point) {
    if (code_point < 0x300) return 1; /* before the first combining character */
    utf8proc_int32_t c = (utf8proc_int32_t)code_point;
    switch (utf8proc_category(c)) {
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_CF: return 0;
    default: return utf8proc_charwidth(c) == 2 ? 2 : 1;
    }
}

int utf8_width(const char *text, size_t n) {
    int width = 0;
    for (size_t at = 0; at < n;) {
        uint32_t code_point;
        int len = utf8_decode(text + at, n - at, &code_point);
        width += len ? code_point_width(code_point) : 1; /* a bad byte shows as one replacement */
        at += len ? (size_t)len : 1;
    }
    return width;
}
