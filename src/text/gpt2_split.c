/* GPT-2's pattern by hand, on UTF-8: one class look-up a character instead of a regex engine. */
#include "text/pretokenizer.h"
#include "text/unicode.h"

enum { GPT2_OTHER, GPT2_LETTER, GPT2_NUMBER, GPT2_SPACE };

uint32_t gpt2_make_entry(const void *context, uint32_t cp, uint32_t *pool, uint32_t *n) {
    if (unicode_is_space(cp)) return GPT2_SPACE;
    if (unicode_is_letter(cp)) return GPT2_LETTER;
    return unicode_is_number(cp) ? GPT2_NUMBER : GPT2_OTHER;
}

/* The class of the character at p, whose bytes go to *len; -1 without memory. */
static inline int class_at(code_pages *classes, const uint8_t *p, const uint8_t *end, int *len) {
    uint32_t cp = 0;
    *len = unicode_next(p, end, &cp);
    const code_page *page = code_pages_get(classes, cp);
    return page ? (int)page[cp & 0xFF] : -1;
}

/* Bytes of 's 't 're 've 'm 'll 'd at p, or 0. */
static size_t contraction(const uint8_t *p, const uint8_t *end) {
    if (end - p < 2 || p[0] != '\'') return 0;
    if (p[1] == 's' || p[1] == 't' || p[1] == 'm' || p[1] == 'd') return 2;
    if (end - p < 3) return 0;
    bool two = (p[1] == 'r' && p[2] == 'e') || (p[1] == 'v' && p[2] == 'e') ||
               (p[1] == 'l' && p[2] == 'l');
    return two ? 3 : 0;
}

size_t gpt2_next_word(code_pages *classes, const char *text, size_t begin, size_t n) {
    const uint8_t *start = (const uint8_t *)text + begin, *end = (const uint8_t *)text + n;
    const uint8_t *p = start, *last = start; /* last: begin of the latest character */
    size_t short_form = contraction(p, end);
    if (short_form) return begin + short_form;
    int len = 0, class = class_at(classes, p, end, &len);
    if (class == GPT2_SPACE && *p == ' ' && end - p > 1) { /* one space goes with what follows */
        int next_len = 0, next = class_at(classes, p + 1, end, &next_len);
        if (next != GPT2_SPACE) {
            p++;
            class = next;
            len = next_len;
        }
    }
    int run = class;
    while (class == run && class >= 0) {
        last = p;
        p += len;
        if (p == end) return n;
        class = class_at(classes, p, end, &len);
    }
    if (class < 0) return 0;
    /* Spaces before a word leave their last one to it. */
    if (run == GPT2_SPACE && last > start) p = last;
    return begin + (size_t)(p - start);
}
