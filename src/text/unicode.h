/*
 * Properties of code points as Hugging Face's tokenizers see them. utf8proc gives the Unicode data;
 * where the `tokenizers` package has other (mostly older) tables, unicode_exceptions.inc lists the
 * difference, so that every code point is treated alike. Pure functions, any thread.
 */
#ifndef CLOZE_TEXT_UNICODE_H
#define CLOZE_TEXT_UNICODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define UNICODE_REPLACEMENT 0xFFFDu
#define UNICODE_MAX_DECOMPOSITION 20 /* U+FDFA gives 18 */

bool unicode_is_space(uint32_t cp);   /* White_Space; also \s of the GPT-2 pattern */
bool unicode_is_control(uint32_t cp); /* what BERT's cleaning removes, besides U+0000 and U+FFFD */
bool unicode_is_punctuation(uint32_t cp); /* BERT's: category P and all ASCII symbols */
bool unicode_is_cjk(uint32_t cp);         /* the blocks that BERT puts spaces around */
bool unicode_is_nonspacing(uint32_t cp);  /* what BERT strips as accents */
bool unicode_is_mark(uint32_t cp);        /* what the StripAccents normalizer strips */
bool unicode_is_letter(uint32_t cp);      /* \p{L} of the GPT-2 pattern */
bool unicode_is_number(uint32_t cp);      /* \p{N} of the GPT-2 pattern */
bool unicode_is_numeric(uint32_t cp);     /* the Digits pre-tokenizer's */
bool unicode_is_word(uint32_t cp);        /* \w */
int unicode_combining_class(uint32_t cp);

/* Lower case of one code point: 1 or 2 code points, without context. Returns how many. */
int unicode_lower(uint32_t cp, uint32_t out[2]);
/* Full canonical (or compatibility) decomposition; returns how many. */
int unicode_decompose(uint32_t cp, bool compat, uint32_t out[UNICODE_MAX_DECOMPOSITION]);
/* The canonical composition of a pair, or 0. */
uint32_t unicode_compose(uint32_t first, uint32_t second);

/* Decodes one code point of [p,end), p < end: bytes used. A byte that is not part of valid UTF-8
 * is U+FFFD of one byte. */
static inline int unicode_next(const uint8_t *p, const uint8_t *end, uint32_t *cp) {
    uint32_t c = p[0];
    if (c < 0x80) {
        *cp = c;
        return 1;
    }
    *cp = UNICODE_REPLACEMENT;
    if (c >= 0xE0 && c < 0xF0 && end - p >= 3 && (p[1] & 0xC0) == 0x80 && (p[2] & 0xC0) == 0x80) {
        uint32_t v = (c & 0xF) << 12 | (uint32_t)(p[1] & 0x3F) << 6 | (p[2] & 0x3Fu);
        if (v < 0x800 || (v >= 0xD800 && v < 0xE000)) return 1;
        *cp = v;
        return 3;
    }
    if (c >= 0xC2 && c < 0xE0 && end - p >= 2 && (p[1] & 0xC0) == 0x80) {
        *cp = (c & 0x1F) << 6 | (p[1] & 0x3Fu);
        return 2;
    }
    if (c >= 0xF0 && c < 0xF5 && end - p >= 4 && (p[1] & 0xC0) == 0x80 && (p[2] & 0xC0) == 0x80 &&
        (p[3] & 0xC0) == 0x80) {
        uint32_t v = (c & 0x7) << 18 | (uint32_t)(p[1] & 0x3F) << 12 |
                     (uint32_t)(p[2] & 0x3F) << 6 | (p[3] & 0x3Fu);
        if (v < 0x10000 || v > 0x10FFFF) return 1;
        *cp = v;
        return 4;
    }
    return 1;
}

/* Writes a valid code point as UTF-8; bytes written (1..4). */
static inline int unicode_put(uint32_t cp, uint8_t *out) {
    if (cp < 0x80) {
        out[0] = (uint8_t)cp;
        return 1;
    }
    if (cp < 0x800) {
        out[0] = (uint8_t)(0xC0 | cp >> 6);
        out[1] = (uint8_t)(0x80 | (cp & 0x3F));
        return 2;
    }
    if (cp < 0x10000) {
        out[0] = (uint8_t)(0xE0 | cp >> 12);
        out[1] = (uint8_t)(0x80 | (cp >> 6 & 0x3F));
        out[2] = (uint8_t)(0x80 | (cp & 0x3F));
        return 3;
    }
    out[0] = (uint8_t)(0xF0 | cp >> 18);
    out[1] = (uint8_t)(0x80 | (cp >> 12 & 0x3F));
    out[2] = (uint8_t)(0x80 | (cp >> 6 & 0x3F));
    out[3] = (uint8_t)(0x80 | (cp & 0x3F));
    return 4;
}

#endif
