/* Finding added tokens in a text. There are a handful of them, usually with one first byte, so a
 * memchr for that byte decides for nearly every text that there is nothing to do. */
#include "text/added_tokens.h"

#include <string.h>

#include "base/mem.h"
#include "text/unicode.h"

void added_tokens_deinit(added_tokens *a) {
    for (int32_t i = 0; i < a->n; i++) mem_free(a->items[i].content);
    mem_free(a->items);
    memset(a, 0, sizeof *a);
}

const added_token *added_tokens_find(const added_tokens *a, const char *content, size_t n) {
    for (int32_t i = 0; i < a->n; i++)
        if (a->items[i].len == n && !memcmp(a->items[i].content, content, n)) return &a->items[i];
    return NULL;
}

const added_token *added_tokens_by_id(const added_tokens *a, int32_t id) {
    for (int32_t i = 0; i < a->n; i++)
        if (a->items[i].id == id) return &a->items[i];
    return NULL;
}

cloze_status added_tokens_put(added_tokens *a, const added_token *token, cloze_error *err) {
    if (!token->len) return CLOZE_OK; /* an empty one would match everywhere */
    added_token *old = (added_token *)added_tokens_find(a, token->content, token->len);
    if (old) {
        char *content = old->content;
        *old = *token;
        old->content = content;
        return CLOZE_OK;
    }
    if (a->n == a->cap) {
        int32_t cap = a->cap ? a->cap * 2 : 16;
        added_token *items =
            mem_realloc(a->items, (size_t)a->cap * sizeof *items, (size_t)cap * sizeof *items);
        if (!items) CLOZE_FAIL(err, MEMORY, "out of memory (%d added tokens)", cap);
        a->items = items;
        a->cap = cap;
    }
    added_token copy = *token;
    copy.content = mem_strndup(token->content, token->len);
    if (!copy.content) CLOZE_FAIL(err, MEMORY, "out of memory (added token)");
    a->items[a->n++] = copy;
    return CLOZE_OK;
}

void added_search_deinit(added_search *s) {
    for (int32_t i = 0; i < s->n; i++) mem_free(s->keys[i]);
    mem_free(s->keys);
    mem_free(s->key_lens);
    mem_free(s->order);
    memset(s, 0, sizeof *s);
}

cloze_status added_search_init(added_search *s, const added_tokens *a, bool normalized,
                               cloze_error *err) {
    memset(s, 0, sizeof *s);
    s->tokens = a;
    if (!a->n) return CLOZE_OK;
    MEM_NEW(err, s->order, a->n);
    MEM_NEW(err, s->key_lens, a->n);
    MEM_NEW(err, s->keys, a->n);
    for (int32_t i = 0; i < a->n; i++) {
        if (a->items[i].normalized != normalized) continue;
        s->keys[s->n] = mem_strndup(a->items[i].content, a->items[i].len);
        if (!s->keys[s->n]) CLOZE_FAIL(err, MEMORY, "out of memory (added tokens)");
        s->key_lens[s->n] = a->items[i].len;
        s->order[s->n++] = i;
    }
    added_search_finish(s);
    return CLOZE_OK;
}

cloze_status added_search_set_key(added_search *s, int32_t i, const char *key, size_t n,
                                  cloze_error *err) {
    char *copy = mem_strndup(key, n);
    if (!copy) CLOZE_FAIL(err, MEMORY, "out of memory (added tokens)");
    mem_free(s->keys[i]);
    s->keys[i] = copy;
    s->key_lens[i] = (uint32_t)n;
    return CLOZE_OK;
}

static void swap_entries(added_search *s, int32_t i, int32_t j) {
    int32_t order = s->order[i];
    char *key = s->keys[i];
    uint32_t len = s->key_lens[i];
    s->order[i] = s->order[j], s->keys[i] = s->keys[j], s->key_lens[i] = s->key_lens[j];
    s->order[j] = order, s->keys[j] = key, s->key_lens[j] = len;
}

void added_search_finish(added_search *s) {
    for (int32_t i = 1; i < s->n; i++) /* insertion sort, stable: the first added wins a tie */
        for (int32_t j = i; j > 0 && s->key_lens[j] > s->key_lens[j - 1]; j--)
            swap_entries(s, j, j - 1);
    memset(s->first, 0, sizeof s->first);
    s->n_first = 0;
    for (int32_t i = 0; i < s->n; i++) {
        uint8_t byte = (uint8_t)s->keys[i][0];
        if (!s->key_lens[i] || s->first[byte]) continue;
        s->first[byte] = true;
        s->first_bytes[s->n_first++] = byte;
    }
}

/* The next position from `from` on where some key may begin, or n. */
static size_t next_candidate(const added_search *s, const char *text, size_t from, size_t n) {
    if (s->n_first == 1) {
        const char *p = n > from ? memchr(text + from, s->first_bytes[0], n - from) : NULL;
        return p ? (size_t)(p - text) : n;
    }
    while (from < n && !s->first[(uint8_t)text[from]]) from++;
    return from;
}

static uint32_t code_point_before(const char *text, size_t end, size_t *begin) {
    size_t i = end - 1;
    while (i > 0 && end - i < 4 && ((uint8_t)text[i] & 0xC0) == 0x80) i--;
    uint32_t cp = UNICODE_REPLACEMENT;
    if (unicode_next((const uint8_t *)text + i, (const uint8_t *)text + end, &cp) !=
        (int)(end - i)) {
        i = end - 1;
        cp = UNICODE_REPLACEMENT;
    }
    *begin = i;
    return cp;
}

static bool is_boundary(const added_token *t, uint32_t cp) {
    return t->space_bounded ? unicode_is_space(cp) || unicode_is_cjk(cp) : !unicode_is_word(cp);
}

static bool boundaries_hold(const added_token *t, const char *text, size_t begin, size_t end,
                            size_t n) {
    uint32_t cp = 0;
    size_t i = 0;
    if (begin > 0 && !is_boundary(t, code_point_before(text, begin, &i))) return false;
    if (end == n) return true;
    unicode_next((const uint8_t *)text + end, (const uint8_t *)text + n, &cp);
    return is_boundary(t, cp);
}

/* Widens the match over whitespace as lstrip and rstrip ask. */
static void strip(const added_token *t, const char *text, size_t from, size_t n, added_match *m) {
    while (t->lstrip && m->begin > from) {
        size_t i = 0;
        if (!unicode_is_space(code_point_before(text, m->begin, &i)) || i < from) break;
        m->begin = i;
    }
    while (t->rstrip && m->end < n) {
        uint32_t cp = 0;
        int used = unicode_next((const uint8_t *)text + m->end, (const uint8_t *)text + n, &cp);
        if (!unicode_is_space(cp)) break;
        m->end += (size_t)used;
    }
}

bool added_search_next(const added_search *s, const char *text, size_t from, size_t n,
                       added_match *m) {
    if (!s->n) return false;
    size_t at = from;
    while ((at = next_candidate(s, text, at, n)) < n) {
        int32_t i = 0;
        while (i < s->n && (!s->key_lens[i] || s->key_lens[i] > n - at ||
                            memcmp(text + at, s->keys[i], s->key_lens[i])))
            i++;
        if (i == s->n) {
            at++;
            continue;
        }
        const added_token *t = &s->tokens->items[s->order[i]];
        size_t end = at + s->key_lens[i];
        if ((t->single_word || t->space_bounded) && !boundaries_hold(t, text, at, end, n)) {
            at = end; /* a rejected match still consumes its text, as in Hugging Face's search */
            continue;
        }
        *m = (added_match){at, end, at, t};
        strip(t, text, from, n, m);
        return true;
    }
    return false;
}
