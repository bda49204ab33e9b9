/*
 * The parser of typed templates: PaddleNLP's strings of Python dicts and sets, read as literals and
 * never evaluated. Errors give the column (in code points, from 1) and what was expected there.
 */
#include <stdio.h>
#include <string.h>

#include "base/utf8.h"
#include "prompt/template_literal.h"

#define TEMPLATE_MAX_BYTES ((size_t)64 << 10)
#define DEFAULT_TEMPLATE "{'soft'}{'text': 'text_a'}{'mask'}" /* PaddleNLP's, without --prompt */
#define LIST_MAX_ITEMS 1024
#define SHOWN_BYTES 24 /* of the template, behind the place of an error */

typedef struct parser {
    const char *text;
    size_t n, at;
    arena *memory;
    cloze_error *err;
} parser;

static cloze_status fail_at(const parser *p, size_t at, const char *message) {
    size_t column = utf8_count(p->text, at) + 1, shown = 0;
    while (at + shown < p->n && shown < SHOWN_BYTES) {
        uint32_t c;
        int step = utf8_decode(p->text + at + shown, p->n - at - shown, &c);
        shown += step > 0 ? (size_t)step : 1;
    }
    if (shown == 0)
        CLOZE_FAIL(p->err, USAGE, "template, column %zu: %s, but the template ends here", column,
                   message);
    CLOZE_FAIL(p->err, USAGE, "template, column %zu: %s, at: %.*s%s", column, message, (int)shown,
               p->text + at, at + shown < p->n ? "..." : "");
}

static void skip_space(parser *p) {
    while (p->at < p->n && strchr(" \t\r\n\f", p->text[p->at])) p->at++;
}

static bool take(parser *p, char c) {
    if (p->at >= p->n || p->text[p->at] != c) return false;
    p->at++;
    return true;
}

/* Typographic quotes and brackets, which come with copies from web pages and input methods. */
static const char *lookalike_of(const parser *p) {
    static const struct {
        const char *bytes, *advice;
    } table[] = {
        {"\xE2\x80\x98", "a typographic quote; type ' or \""},
        {"\xE2\x80\x99", "a typographic quote; type ' or \""},
        {"\xE2\x80\x9C", "a typographic quote; type ' or \""},
        {"\xE2\x80\x9D", "a typographic quote; type ' or \""},
        {"\xEF\xBC\x9A", "a full-width colon; type :"},
        {"\xEF\xBC\x8C", "a full-width comma; type ,"},
        {"\xEF\xBD\x9D", "a full-width bracket; type }"},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (p->n - p->at >= 3 && memcmp(p->text + p->at, table[i].bytes, 3) == 0)
            return table[i].advice;
    return NULL;
}

static cloze_status fail_expected(const parser *p, const char *message) {
    const char *lookalike = lookalike_of(p);
    return fail_at(p, p->at, lookalike ? lookalike : message);
}

/* ---- literals ---- */

static int hex_digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* \xhh, \uhhhh, \Uhhhhhhhh behind the letter. */
static cloze_status parse_hex_escape(parser *p, int digits, char *out, size_t *out_n) {
    size_t start = p->at - 2;
    uint32_t value = 0;
    for (int i = 0; i < digits; i++) {
        int digit = p->at < p->n ? hex_digit(p->text[p->at]) : -1;
        if (digit < 0) return fail_at(p, start, "an escape with too few hexadecimal digits");
        value = value << 4 | (uint32_t)digit;
        p->at++;
    }
    int bytes = value == 0 ? 0 : utf8_encode(value, out + *out_n);
    if (bytes == 0) return fail_at(p, start, "an escape that is no character");
    *out_n += (size_t)bytes;
    return CLOZE_OK;
}

/* One escape behind the backslash, as Python reads it; an unknown one keeps its backslash. */
static cloze_status parse_escape(parser *p, char *out, size_t *out_n) {
    static const char from[] = "\\'\"abfnrtv", to[] = "\\'\"\a\b\f\n\r\t\v";
    if (p->at >= p->n) return CLOZE_OK; /* the string is seen to be open then */
    char c = p->text[p->at++];
    if (c == '\n') return CLOZE_OK;
    if (c == 'x') return parse_hex_escape(p, 2, out, out_n);
    if (c == 'u') return parse_hex_escape(p, 4, out, out_n);
    if (c == 'U') return parse_hex_escape(p, 8, out, out_n);
    const char *known = c ? strchr(from, c) : NULL;
    if (!known) out[(*out_n)++] = '\\';
    out[(*out_n)++] = known ? to[known - from] : c;
    return CLOZE_OK;
}

static cloze_status parse_string(parser *p, const char **out) {
    size_t start = p->at, out_n = 0, end = ++p->at;
    char quote = p->text[start];
    while (end < p->n && p->text[end] != quote) end += p->text[end] == '\\' ? 2 : 1;
    char *copy = arena_alloc(p->memory, end - p->at + 1); /* escapes never grow */
    if (!copy) CLOZE_FAIL(p->err, MEMORY, "out of memory (template)");
    while (p->at < p->n && p->text[p->at] != quote && p->text[p->at] != '\n') {
        char c = p->text[p->at++];
        if (c == '\\')
            CLOZE_TRY(parse_escape(p, copy, &out_n));
        else
            copy[out_n++] = c;
    }
    if (!take(p, quote)) return fail_at(p, start, "this string has no closing quote");
    copy[out_n] = '\0';
    *out = copy;
    return CLOZE_OK;
}

static cloze_status parse_integer(parser *p, literal *out) {
    size_t start = p->at;
    bool negative = p->text[p->at] == '-';
    if (p->text[p->at] == '-' || p->text[p->at] == '+') p->at++;
    size_t first = p->at;
    out->kind = LITERAL_INT;
    while (p->at < p->n && p->text[p->at] >= '0' && p->text[p->at] <= '9') {
        out->number = out->number * 10 + (p->text[p->at++] - '0');
        if (out->number > INT32_MAX) return fail_at(p, start, "this number is too large");
    }
    bool broken =
        p->at < p->n && (p->text[p->at] == '.' || p->text[p->at] == 'e' || p->text[p->at] == '_');
    if (p->at == first || broken) return fail_at(p, start, "a whole number is expected");
    if (negative) out->number = -out->number;
    return CLOZE_OK;
}

static cloze_status parse_list(parser *p, literal *out) {
    char close = p->text[p->at++] == '[' ? ']' : ')';
    out->kind = LITERAL_LIST;
    out->items = arena_alloc(p->memory, sizeof *out->items * LIST_MAX_ITEMS);
    if (!out->items) CLOZE_FAIL(p->err, MEMORY, "out of memory (template)");
    for (;;) {
        skip_space(p);
        if (take(p, close)) return CLOZE_OK;
        if (p->at >= p->n || (p->text[p->at] != '\'' && p->text[p->at] != '"'))
            return fail_expected(p, close == ']' ? "a string or ] is expected"
                                                 : "a string or ) is expected");
        if (out->n_items >= LIST_MAX_ITEMS) return fail_at(p, p->at, "the list is too long");
        CLOZE_TRY(parse_string(p, &out->items[out->n_items++]));
        skip_space(p);
        if (take(p, ',')) continue;
        if (take(p, close)) return CLOZE_OK;
        return fail_expected(p, close == ']' ? ", or ] is expected" : ", or ) is expected");
    }
}

static bool take_word(parser *p, const char *word) {
    size_t n = strlen(word);
    if (p->n - p->at < n || memcmp(p->text + p->at, word, n) != 0) return false;
    p->at += n;
    return true;
}

static cloze_status parse_value(parser *p, literal *out) {
    char c = p->at < p->n ? p->text[p->at] : '\0';
    *out = (literal){0};
    if (c == '\'' || c == '"') {
        out->kind = LITERAL_STRING;
        return parse_string(p, &out->text);
    }
    if (c == '[' || c == '(') return parse_list(p, out);
    if ((c >= '0' && c <= '9') || c == '-' || c == '+') return parse_integer(p, out);
    if (take_word(p, "None")) return CLOZE_OK;
    out->kind = LITERAL_BOOL;
    out->number = take_word(p, "True");
    if (out->number || take_word(p, "False")) return CLOZE_OK;
    return fail_expected(p, "a value is expected ('...', a number, True, False, None or [...])");
}

/* ---- parts ---- */

/* Items of a dict or set, behind its "{". The first item says which of the two it is. */
static cloze_status parse_items(parser *p, size_t open, part_builder *b) {
    char message[400];
    bool is_set = false;
    for (int i = 0;; i++) {
        const char *key = NULL;
        literal value = {0};
        skip_space(p);
        if (i > 0 && take(p, '}')) return CLOZE_OK; /* a trailing comma */
        size_t key_at = p->at;
        if (p->at >= p->n) return fail_at(p, open, "this { is never closed");
        if (p->text[p->at] != '\'' && p->text[p->at] != '"')
            return fail_expected(p, "a quoted keyword such as 'text' is expected");
        CLOZE_TRY(parse_string(p, &key));
        skip_space(p);
        bool has_value = !is_set && take(p, ':');
        if (i == 0)
            is_set = !has_value;
        else if (!is_set && !has_value)
            return fail_expected(p, ": and a value are expected");
        bool ends = p->at >= p->n || p->text[p->at] == ',' || p->text[p->at] == '}';
        if (!has_value && !ends)
            return fail_expected(p, i == 0 ? "a colon, a comma or } is expected"
                                           : ", or } is expected");
        skip_space(p);
        if (has_value) CLOZE_TRY(parse_value(p, &value));
        if (!part_builder_set(b, key, &value, message, sizeof message))
            return fail_at(p, key_at, message);
        skip_space(p);
        if (take(p, '}')) return CLOZE_OK;
        if (p->at >= p->n) return fail_at(p, open, "this { is never closed");
        if (!take(p, ',')) return fail_expected(p, ", or } is expected");
    }
}

static cloze_status parse_part(parser *p, bool add_space, template_part *out) {
    part_builder b;
    size_t open = p->at++;
    part_builder_init(&b);
    b.part.add_space = add_space;
    CLOZE_TRY(parse_items(p, open, &b));
    if (!part_builder_finish(&b, out))
        return fail_at(p, open, "this part has no keyword such as 'text', 'hard' or 'mask'");
    return CLOZE_OK;
}

/* Bare text up to the next "{": a hard part. Spaces at its end are dropped. */
static cloze_status parse_plain(parser *p, bool add_space, template_part *out) {
    size_t start = p->at;
    while (p->at < p->n && p->text[p->at] != '{') {
        if (p->text[p->at] == '}') return fail_at(p, p->at, "this } has no { before it");
        p->at++;
    }
    size_t end = p->at;
    while (end > start && p->text[end - 1] == ' ') end--;
    char *copy = arena_alloc(p->memory, end - start + 1);
    if (!copy) CLOZE_FAIL(p->err, MEMORY, "out of memory (template)");
    memcpy(copy, p->text + start, end - start);
    *out = (template_part){.kind = TEMPLATE_HARD,
                           .value = copy,
                           .add_space = add_space,
                           .position = -1,
                           .token_type = -1,
                           .truncate = -1,
                           .soft_id = -1};
    return CLOZE_OK;
}

static cloze_status parse_parts(parser *p, template_part *parts, int32_t *n) {
    size_t valid = utf8_valid_prefix(p->text, p->n);
    if (valid < p->n)
        CLOZE_FAIL(p->err, USAGE, "template, column %zu: not UTF-8",
                   utf8_count(p->text, valid) + 1);
    while (p->at < p->n) {
        bool add_space = p->text[p->at] == ' ';
        while (p->at < p->n && p->text[p->at] == ' ') p->at++;
        if (p->at == p->n) break;
        if (*n == TEMPLATE_TYPED_PARTS) return fail_at(p, p->at, "too many parts");
        template_part *part = &parts[(*n)++];
        if (p->text[p->at] == '{')
            CLOZE_TRY(parse_part(p, add_space, part));
        else
            CLOZE_TRY(parse_plain(p, add_space, part));
    }
    return CLOZE_OK;
}

cloze_status template_parse(const char *text, template_t *out, cloze_error *err) {
    int32_t n = 0;
    if (!text) text = DEFAULT_TEMPLATE;
    *out = (template_t){0};
    if (strlen(text) > TEMPLATE_MAX_BYTES)
        CLOZE_FAIL(err, USAGE, "the template is longer than 64 KB");
    arena_init(&out->memory, 1 << 12);
    parser p = {.text = text, .n = strlen(text), .memory = &out->memory, .err = err};
    template_part *parts = arena_alloc(&out->memory, sizeof *parts * TEMPLATE_TYPED_PARTS);
    cloze_status status = parts ? parse_parts(&p, parts, &n)
                                : error_set(err, CLOZE_ERR_MEMORY, "out of memory (template)");
    if (status == CLOZE_OK) status = template_complete(out, parts, n, CLOZE_ERR_USAGE, err);
    if (status != CLOZE_OK) template_deinit(out);
    return status;
}
