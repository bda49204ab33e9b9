/*
 * Code point properties: utf8proc's data, corrected by the tables of unicode_exceptions.inc so that
 * they equal those of the `tokenizers` package (checked on all of 0..0x10FFFF when the tables were
 * made). The reason for most entries: the package's BERT classes are of Unicode 8, its regular
 * expressions of Unicode 16, and utf8proc 2.8 is of Unicode 15.
 */
#include "text/unicode.h"

#include <utf8proc.h>

typedef struct code_range {
    uint32_t first, last;
} code_range;

#include "text/unicode_exceptions.inc"

#define COUNT(table) (sizeof(table) / sizeof *(table))
#define IN_TABLE(cp, table) in_ranges((cp), (table), COUNT(table))
/* The property `name`: utf8proc's answer, unless a table says otherwise. */
#define CORRECTED(cp, name, answer)                                                                \
    ((answer) ? !IN_TABLE((cp), name##_remove) : IN_TABLE((cp), name##_add))

static bool in_ranges(uint32_t cp, const code_range *ranges, size_t n) {
    size_t low = 0, high = n;
    while (low < high) {
        size_t mid = (low + high) / 2;
        if (cp > ranges[mid].last)
            low = mid + 1;
        else
            high = mid;
    }
    return low < n && cp >= ranges[low].first;
}

static utf8proc_category_t category(uint32_t cp) { return utf8proc_category((utf8proc_int32_t)cp); }

static bool is_letter_category(utf8proc_category_t c) {
    return c >= UTF8PROC_CATEGORY_LU && c <= UTF8PROC_CATEGORY_LO;
}

static bool is_mark_category(utf8proc_category_t c) {
    return c >= UTF8PROC_CATEGORY_MN && c <= UTF8PROC_CATEGORY_ME;
}

static bool is_number_category(utf8proc_category_t c) {
    return c >= UTF8PROC_CATEGORY_ND && c <= UTF8PROC_CATEGORY_NO;
}

bool unicode_is_space(uint32_t cp) {
    if (cp < 0x80) return cp == ' ' || (cp >= 9 && cp <= 13);
    return cp == 0x85 || cp == 0xA0 || cp == 0x1680 || (cp >= 0x2000 && cp <= 0x200A) ||
           cp == 0x2028 || cp == 0x2029 || cp == 0x202F || cp == 0x205F || cp == 0x3000;
}

bool unicode_is_control(uint32_t cp) {
    if (cp == '\t' || cp == '\n' || cp == '\r') return false;
    utf8proc_category_t c = category(cp);
    bool answer =
        c == UTF8PROC_CATEGORY_CC || c == UTF8PROC_CATEGORY_CF || c == UTF8PROC_CATEGORY_CO;
    return CORRECTED(cp, control, answer);
}

bool unicode_is_punctuation(uint32_t cp) {
    if (cp < 0x80)
        return (cp >= 33 && cp <= 47) || (cp >= 58 && cp <= 64) || (cp >= 91 && cp <= 96) ||
               (cp >= 123 && cp <= 126);
    utf8proc_category_t c = category(cp);
    bool answer = c >= UTF8PROC_CATEGORY_PC && c <= UTF8PROC_CATEGORY_PO;
    return CORRECTED(cp, punctuation, answer);
}

bool unicode_is_cjk(uint32_t cp) {
    /* 0x2B920 and not 0x2B820: as the tokenizers package has it. */
    return (cp >= 0x4E00 && cp <= 0x9FFF) || (cp >= 0x3400 && cp <= 0x4DBF) ||
           (cp >= 0xF900 && cp <= 0xFAFF) || (cp >= 0x20000 && cp <= 0x2A6DF) ||
           (cp >= 0x2A700 && cp <= 0x2B81F) || (cp >= 0x2B920 && cp <= 0x2CEAF) ||
           (cp >= 0x2F800 && cp <= 0x2FA1F);
}

bool unicode_is_nonspacing(uint32_t cp) {
    return CORRECTED(cp, nonspacing, category(cp) == UTF8PROC_CATEGORY_MN);
}

bool unicode_is_mark(uint32_t cp) { return CORRECTED(cp, mark, is_mark_category(category(cp))); }

bool unicode_is_letter(uint32_t cp) {
    return CORRECTED(cp, letter, is_letter_category(category(cp)));
}

bool unicode_is_number(uint32_t cp) {
    return CORRECTED(cp, number, is_number_category(category(cp)));
}

bool unicode_is_numeric(uint32_t cp) {
    return CORRECTED(cp, numeric, is_number_category(category(cp)));
}

bool unicode_is_word(uint32_t cp) {
    utf8proc_category_t c = category(cp);
    bool answer = is_letter_category(c) || is_mark_category(c) || c == UTF8PROC_CATEGORY_ND ||
                  c == UTF8PROC_CATEGORY_NL || c == UTF8PROC_CATEGORY_PC;
    return CORRECTED(cp, word, answer);
}

int unicode_combining_class(uint32_t cp) {
    if (cp < 0x300) return 0;
    return utf8proc_get_property((utf8proc_int32_t)cp)->combining_class;
}

int unicode_lower(uint32_t cp, uint32_t out[2]) {
    if (cp == 0x130) { /* the one code point whose lower case is two */
        out[0] = 'i';
        out[1] = 0x307;
        return 2;
    }
    out[0] = (uint32_t)utf8proc_tolower((utf8proc_int32_t)cp);
    for (size_t i = 0; i < COUNT(lower_delta); i++)
        if (cp >= lower_delta[i].first && cp <= lower_delta[i].last)
            out[0] = (uint32_t)((int32_t)cp + lower_delta[i].delta);
    return 1;
}

int unicode_decompose(uint32_t cp, bool compat, uint32_t out[UNICODE_MAX_DECOMPOSITION]) {
    out[0] = cp;
    if (cp < 0xA0 || cp == 0x11938 || (compat && IN_TABLE(cp, compat_keep))) return 1;
    utf8proc_int32_t buffer[UNICODE_MAX_DECOMPOSITION];
    int last_boundary = 0;
    utf8proc_option_t options = UTF8PROC_DECOMPOSE | (compat ? UTF8PROC_COMPAT : 0);
    utf8proc_ssize_t n = utf8proc_decompose_char(
        (utf8proc_int32_t)cp, buffer, UNICODE_MAX_DECOMPOSITION, options, &last_boundary);
    if (n < 0 || n > UNICODE_MAX_DECOMPOSITION) return 1;
    for (utf8proc_ssize_t i = 0; i < n; i++) out[i] = (uint32_t)buffer[i];
    return (int)n;
}

uint32_t unicode_compose(uint32_t first, uint32_t second) {
    utf8proc_int32_t pair[2] = {(utf8proc_int32_t)first, (utf8proc_int32_t)second};
    utf8proc_ssize_t n = utf8proc_normalize_utf32(pair, 2, UTF8PROC_COMPOSE | UTF8PROC_STABLE);
    return n == 1 ? (uint32_t)pair[0] : 0;
}
