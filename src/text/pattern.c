/* Searching with PCRE2. It works on UTF-8, so the code points are encoded and the matches mapped
 * back. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "text/pattern.h"

#include <pcre2.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "text/unicode.h"

#define MATCH_LIMIT 10000000u /* a pattern from a file may be a bad one: bound its backtracking */

struct pattern {
    pcre2_code *code;
    pcre2_match_context *context;
};

/* Oniguruma, whose patterns these are, counts marks, connectors and circled letters into \w, and
 * PCRE2 does not. (Code points that are younger than PCRE2's Unicode remain unlike.) */
#define WORD_CLASS                                                                                 \
    "\\p{L}\\p{M}\\p{Nd}\\p{Nl}\\p{Pc}\\x{24B6}-\\x{24E9}\\x{1F130}-\\x{1F149}"                    \
    "\\x{1F150}-\\x{1F169}\\x{1F170}-\\x{1F189}"

/* The pattern with its \w and \W spelt out. (\W inside a class has no such spelling: it stays.) */
static void translate(const char *text, buf *out) {
    bool in_class = false;
    for (; *text; text++) {
        if (*text == '\\' && text[1]) {
            char c = *++text;
            if (c == 'w')
                buf_puts(out, in_class ? WORD_CLASS : "[" WORD_CLASS "]");
            else if (c == 'W' && !in_class)
                buf_puts(out, "[^" WORD_CLASS "]");
            else
                buf_printf(out, "\\%c", c);
            continue;
        }
        if (*text == '[') in_class = true;
        if (*text == ']') in_class = false;
        buf_putc(out, *text);
    }
}

static cloze_status compile(pattern *p, const char *text, bool is_regex, cloze_error *err) {
    int code = 0;
    PCRE2_SIZE at = 0;
    uint32_t options = is_regex ? PCRE2_UTF | PCRE2_UCP : PCRE2_UTF | PCRE2_LITERAL;
    buf spelt;
    buf_init(&spelt, 1 << 20);
    if (is_regex)
        translate(text, &spelt);
    else
        buf_puts(&spelt, text);
    if (buf_ok(&spelt) && spelt.data)
        p->code = pcre2_compile((PCRE2_SPTR)spelt.data, spelt.len, options, &code, &at, NULL);
    buf_deinit(&spelt);
    if (p->code) return CLOZE_OK;
    PCRE2_UCHAR message[160] = "it is empty or too long";
    if (code) pcre2_get_error_message(code, message, sizeof message);
    CLOZE_FAIL(err, MODEL, "the pattern \"%.200s\" is wrong at byte %zu: %s", text, (size_t)at,
               (const char *)message);
}

cloze_status pattern_create(const char *text, bool is_regex, pattern **out, cloze_error *err) {
    pattern *p;
    MEM_NEW(err, p, 1);
    cloze_status status = compile(p, text, is_regex, err);
    if (status == CLOZE_OK) {
        p->context = pcre2_match_context_create(NULL);
        if (!p->context) status = error_set(err, CLOZE_ERR_MEMORY, "out of memory (pattern)");
    }
    if (status != CLOZE_OK) {
        pattern_destroy(p);
        return status;
    }
    pcre2_set_match_limit(p->context, MATCH_LIMIT);
    pcre2_jit_compile(p->code, PCRE2_JIT_COMPLETE); /* without a JIT the matcher is used */
    *out = p;
    return CLOZE_OK;
}

void pattern_destroy(pattern *p) {
    if (!p) return;
    pcre2_code_free(p->code);
    pcre2_match_context_free(p->context);
    mem_free(p);
}

/* The text as UTF-8 with the code point number of each byte (and of the end). */
typedef struct utf8_text {
    uint8_t *bytes;  /* (n) */
    int32_t *number; /* (n + 1) */
    size_t n;
} utf8_text;

static cloze_status utf8_text_make(utf8_text *u, const uint32_t *cp, int32_t n, cloze_error *err) {
    memset(u, 0, sizeof *u);
    u->bytes = mem_alloc((size_t)n * 4 + 4);
    u->number = mem_alloc(((size_t)n * 4 + 1) * sizeof *u->number);
    if (!u->bytes || !u->number) {
        mem_free(u->bytes);
        mem_free(u->number);
        CLOZE_FAIL(err, MEMORY, "out of memory (%d code points)", n);
    }
    for (int32_t i = 0; i < n; i++) {
        int len = unicode_put(cp[i], u->bytes + u->n);
        for (int k = 0; k < len; k++) u->number[u->n + (size_t)k] = i;
        u->n += (size_t)len;
    }
    u->number[u->n] = n;
    return CLOZE_OK;
}

static cloze_status find_all(const pattern *p, const utf8_text *u, pcre2_match_data *data,
                             pattern_range *ranges, int32_t *count, cloze_error *err) {
    for (size_t at = 0; at <= u->n;) {
        int rc = pcre2_match(p->code, u->bytes, u->n, at, PCRE2_NO_UTF_CHECK, data, p->context);
        if (rc == PCRE2_ERROR_JIT_STACKLIMIT) /* the interpreter keeps its stack on the heap */
            rc = pcre2_match(p->code, u->bytes, u->n, at, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, data,
                             p->context);
        if (rc == PCRE2_ERROR_NOMATCH) return CLOZE_OK;
        if (rc == PCRE2_ERROR_NOMEMORY) CLOZE_FAIL(err, MEMORY, "out of memory (pattern)");
        if (rc < 0)
            CLOZE_FAIL(err, MODEL,
                       "a pattern of tokenizer.json needs too many steps (PCRE2 code %d)", rc);
        PCRE2_SIZE *ends = pcre2_get_ovector_pointer(data);
        size_t begin = ends[0], end = ends[1];
        if (end > begin) ranges[(*count)++] = (pattern_range){u->number[begin], u->number[end]};
        at = end > at ? end : at + 1;
        while (at < u->n && (u->bytes[at] & 0xC0) == 0x80) at++;
    }
    return CLOZE_OK;
}

cloze_status pattern_find_all(const pattern *p, const uint32_t *cp, int32_t n,
                              pattern_range **ranges, int32_t *count, cloze_error *err) {
    *ranges = NULL;
    *count = 0;
    utf8_text u;
    CLOZE_TRY(utf8_text_make(&u, cp, n, err));
    pcre2_match_data *data = pcre2_match_data_create_from_pattern(p->code, NULL);
    *ranges = mem_alloc(((size_t)n + 1) * sizeof **ranges);
    cloze_status status = data && *ranges
                              ? find_all(p, &u, data, *ranges, count, err)
                              : error_set(err, CLOZE_ERR_MEMORY, "out of memory (pattern)");
    pcre2_match_data_free(data);
    mem_free(u.bytes);
    mem_free(u.number);
    if (status != CLOZE_OK) {
        mem_free(*ranges);
        *ranges = NULL;
    }
    return status;
}
