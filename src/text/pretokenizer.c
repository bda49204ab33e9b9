/* Pre-tokenizers: each step cuts every word so far into smaller ones. */
#include "text/pretokenizer.h"

#include <string.h>

#include "base/mem.h"
#include "text/unicode.h"

void word_list_deinit(word_list *w) {
    mem_free(w->items);
    memset(w, 0, sizeof *w);
}

static cloze_status word_list_push(word_list *w, int32_t begin, int32_t end, cloze_error *err) {
    if (begin >= end) return CLOZE_OK;
    if (w->n == w->cap) {
        int32_t cap = w->cap ? w->cap * 2 : 32;
        pattern_range *items =
            mem_realloc(w->items, (size_t)w->cap * sizeof *items, (size_t)cap * sizeof *items);
        if (!items) CLOZE_FAIL(err, MEMORY, "out of memory (%d words)", cap);
        w->items = items;
        w->cap = cap;
    }
    w->items[w->n++] = (pattern_range){begin, end};
    return CLOZE_OK;
}

void pretokenizer_deinit(pretokenizer *z) {
    for (int32_t i = 0; i < z->n; i++) {
        pattern_destroy(z->steps[i].match);
        if (z->steps[i].classes) code_pages_deinit(z->steps[i].classes);
        mem_free(z->steps[i].classes);
    }
    mem_free(z->steps);
    memset(z, 0, sizeof *z);
}

cloze_status pretokenizer_add(pretokenizer *z, const pretokenizer_step *step, cloze_error *err) {
    size_t size = sizeof *z->steps;
    pretokenizer_step *steps =
        mem_realloc(z->steps, (size_t)z->n * size, ((size_t)z->n + 1) * size);
    if (!steps) {
        pattern_destroy(step->match);
        CLOZE_FAIL(err, MEMORY, "out of memory (pre-tokenizer)");
    }
    z->steps = steps;
    pretokenizer_step *added = &z->steps[z->n++];
    *added = *step;
    if (step->kind != PRETOKENIZER_BYTE_LEVEL) return CLOZE_OK;
    MEM_NEW(err, added->classes, 1);
    code_pages_init(added->classes, gpt2_make_entry, NULL);
    return CLOZE_OK;
}

/* A stretch of a word, which is a delimiter or lies between delimiters. */
typedef struct split_piece {
    int32_t begin, end;
    bool delimiter;
} split_piece;

typedef struct piece_list {
    split_piece *items; /* (n) one after another */
    int32_t n, cap;
} piece_list;

static cloze_status piece_push(piece_list *list, int32_t begin, int32_t end, bool delimiter,
                               cloze_error *err) {
    if (begin >= end) return CLOZE_OK;
    if (list->n == list->cap) {
        int32_t cap = list->cap ? list->cap * 2 : 32;
        split_piece *items = mem_realloc(list->items, (size_t)list->cap * sizeof *items,
                                         (size_t)cap * sizeof *items);
        if (!items) CLOZE_FAIL(err, MEMORY, "out of memory (%d words)", cap);
        list->items = items;
        list->cap = cap;
    }
    list->items[list->n++] = (split_piece){begin, end, delimiter};
    return CLOZE_OK;
}

/* Makes words of pieces as `behavior` says about delimiters. */
static cloze_status join_pieces(word_list *out, const piece_list *list, split_behavior behavior,
                                cloze_error *err) {
    const split_piece *p = list->items;
    for (int32_t i = 0, end; i < list->n; i = end) {
        end = i + 1;
        if (behavior == SPLIT_REMOVED && p[i].delimiter) continue;
        if (behavior == SPLIT_CONTIGUOUS)
            while (end < list->n && p[end].delimiter == p[i].delimiter) end++;
        if (behavior == SPLIT_MERGED_PREVIOUS && !p[i].delimiter)
            end += end < list->n && p[end].delimiter;
        if (behavior == SPLIT_MERGED_NEXT && p[i].delimiter)
            end += end < list->n && !p[end].delimiter;
        CLOZE_TRY(word_list_push(out, p[i].begin, p[end - 1].end, err));
    }
    return CLOZE_OK;
}

/* What a pre-tokenizer by characters does with one. */
typedef enum char_role { ROLE_KEEP, ROLE_REMOVE, ROLE_ALONE, ROLE_OTHER_RUN } char_role;

static char_role role_of(const pretokenizer_step *step, uint32_t cp) {
    switch (step->kind) {
    case PRETOKENIZER_BERT:
        if (unicode_is_space(cp)) return ROLE_REMOVE;
        return unicode_is_punctuation(cp) ? ROLE_ALONE : ROLE_KEEP;
    case PRETOKENIZER_SPACES: return unicode_is_space(cp) ? ROLE_REMOVE : ROLE_KEEP;
    case PRETOKENIZER_WORDS:
        if (unicode_is_space(cp)) return ROLE_REMOVE;
        return unicode_is_word(cp) ? ROLE_KEEP : ROLE_OTHER_RUN;
    case PRETOKENIZER_DIGITS:
        if (!unicode_is_numeric(cp)) return ROLE_KEEP;
        return step->individual ? ROLE_ALONE : ROLE_OTHER_RUN;
    default: return cp == step->delimiter ? ROLE_REMOVE : ROLE_KEEP;
    }
}

static cloze_status split_by_role(const pretokenizer_step *step, const norm_text *t,
                                  pattern_range range, word_list *out, cloze_error *err) {
    int32_t from = range.begin;
    char_role run = ROLE_KEEP;
    for (int32_t i = range.begin; i < range.end; i++) {
        char_role role = role_of(step, t->cp[i]);
        if (role == run && (role == ROLE_KEEP || role == ROLE_OTHER_RUN)) continue;
        if (run != ROLE_REMOVE) CLOZE_TRY(word_list_push(out, from, i, err));
        from = i;
        run = role;
    }
    return run == ROLE_REMOVE ? CLOZE_OK : word_list_push(out, from, range.end, err);
}

static cloze_status punctuation_pieces(const norm_text *t, pattern_range range, piece_list *list,
                                       cloze_error *err) {
    int32_t from = range.begin;
    for (int32_t i = range.begin; i < range.end; i++) {
        if (!unicode_is_punctuation(t->cp[i])) continue;
        CLOZE_TRY(piece_push(list, from, i, false, err));
        CLOZE_TRY(piece_push(list, i, i + 1, true, err));
        from = i + 1;
    }
    return piece_push(list, from, range.end, false, err);
}

static cloze_status pattern_pieces(const pretokenizer_step *step, const norm_text *t,
                                   pattern_range range, piece_list *list, cloze_error *err) {
    pattern_range *found = NULL;
    int32_t n = 0, from = range.begin;
    CLOZE_TRY(pattern_find_all(step->match, t->cp + range.begin, range.end - range.begin, &found,
                               &n, err));
    cloze_status status = CLOZE_OK;
    for (int32_t i = 0; i < n && status == CLOZE_OK; i++) {
        int32_t begin = range.begin + found[i].begin, end = range.begin + found[i].end;
        status = piece_push(list, from, begin, step->invert, err);
        if (status == CLOZE_OK) status = piece_push(list, begin, end, !step->invert, err);
        from = end;
    }
    mem_free(found);
    return status == CLOZE_OK ? piece_push(list, from, range.end, step->invert, err) : status;
}

static cloze_status split_at_delimiters(const pretokenizer_step *step, const norm_text *t,
                                        pattern_range range, word_list *out, cloze_error *err) {
    piece_list list = {0};
    cloze_status status = step->kind == PRETOKENIZER_SPLIT
                              ? pattern_pieces(step, t, range, &list, err)
                              : punctuation_pieces(t, range, &list, err);
    if (status == CLOZE_OK) status = join_pieces(out, &list, step->behavior, err);
    mem_free(list.items);
    return status;
}

/* GPT-2's scanner works on bytes: encodes the range, and counts characters back. */
static cloze_status split_gpt2(const pretokenizer_step *step, const norm_text *t,
                               pattern_range range, word_list *out, cloze_error *err) {
    size_t n = 0, begin = 0;
    char *bytes = mem_alloc((size_t)(range.end - range.begin) * 4);
    if (!bytes) CLOZE_FAIL(err, MEMORY, "out of memory (%d code points)", range.end - range.begin);
    for (int32_t i = range.begin; i < range.end; i++)
        n += (size_t)unicode_put(t->cp[i], (uint8_t *)bytes + n);
    int32_t from = range.begin;
    cloze_status status = CLOZE_OK;
    while (begin < n && status == CLOZE_OK) {
        size_t end = gpt2_next_word(step->classes, bytes, begin, n);
        if (!end) status = error_set(err, CLOZE_ERR_MEMORY, "out of memory (code page)");
        int32_t to = from;
        for (; begin < end; begin++) to += ((uint8_t)bytes[begin] & 0xC0) != 0x80;
        if (status == CLOZE_OK) status = word_list_push(out, from, to, err);
        from = to;
    }
    mem_free(bytes);
    return status;
}

/* Inserts a space before every word that does not begin with one. */
static cloze_status prefix_spaces(norm_text *t, word_list *words, cloze_error *err) {
    norm_text out = {0};
    cloze_status status = CLOZE_OK;
    for (int32_t w = 0; w < words->n && status == CLOZE_OK; w++) {
        pattern_range *range = &words->items[w];
        int32_t begin = out.n;
        if (t->cp[range->begin] != ' ')
            status = norm_text_push(&out, ' ', t->source[range->begin], err);
        for (int32_t i = range->begin; i < range->end && status == CLOZE_OK; i++)
            status = norm_text_push(&out, t->cp[i], t->source[i], err);
        *range = (pattern_range){begin, out.n};
    }
    norm_text_deinit(t);
    *t = out;
    return status;
}

static cloze_status split_word(const pretokenizer_step *step, const norm_text *t,
                               pattern_range range, word_list *out, cloze_error *err) {
    switch (step->kind) {
    case PRETOKENIZER_PUNCTUATION:
    case PRETOKENIZER_SPLIT: return split_at_delimiters(step, t, range, out, err);
    case PRETOKENIZER_BYTE_LEVEL:
        if (step->use_regex) return split_gpt2(step, t, range, out, err);
        return word_list_push(out, range.begin, range.end, err);
    default: return split_by_role(step, t, range, out, err);
    }
}

cloze_status pretokenizer_apply(const pretokenizer *z, norm_text *t, word_list *words,
                                cloze_error *err) {
    words->n = 0;
    CLOZE_TRY(word_list_push(words, 0, t->n, err));
    for (int32_t s = 0; s < z->n; s++) {
        const pretokenizer_step *step = &z->steps[s];
        if (step->kind == PRETOKENIZER_BYTE_LEVEL && step->add_prefix_space)
            CLOZE_TRY(prefix_spaces(t, words, err));
        word_list out = {0};
        cloze_status status = CLOZE_OK;
        for (int32_t w = 0; w < words->n && status == CLOZE_OK; w++)
            status = split_word(step, t, words->items[w], &out, err);
        word_list_deinit(words);
        *words = out;
        CLOZE_TRY(status);
    }
    return CLOZE_OK;
}
