/* Building a vocabulary: counting characters and words, then choosing tokens. */
#include "text/wordpiece_train.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "text/normalizer.h"
#include "text/pretokenizer.h"
#include "text/unicode.h"
#include "text/word_counts.h"

#define MAX_WORDS 1000000 /* different words counted at a time: about 150 MB */
#define CODE_POINTS 0x110000

struct wordpiece_trainer {
    wordpiece_train_options o;
    normalizer normalizer;
    pretokenizer pretokenizer;
    word_counts words; /* of two characters and more */
    uint64_t *outer;   /* (CODE_POINTS) how often a character begins a word */
    uint64_t *inner;   /* (CODE_POINTS) how often it stands inside one */
};

void wordpiece_trainer_destroy(wordpiece_trainer *t) {
    if (!t) return;
    normalizer_deinit(&t->normalizer);
    pretokenizer_deinit(&t->pretokenizer);
    word_counts_deinit(&t->words);
    if (t->outer) mem_unmap(t->outer, CODE_POINTS * sizeof *t->outer);
    if (t->inner) mem_unmap(t->inner, CODE_POINTS * sizeof *t->inner);
    mem_free(t);
}

static cloze_status init_trainer(wordpiece_trainer *t, cloze_error *err) {
    bool lower = t->o.do_lower_case;
    normalizer_step clean = {.kind = NORMALIZER_BERT, .bert = {true, true, lower, lower}};
    pretokenizer_step split = {.kind = PRETOKENIZER_BERT};
    CLOZE_TRY(normalizer_add(&t->normalizer, &clean, err));
    CLOZE_TRY(pretokenizer_add(&t->pretokenizer, &split, err));
    CLOZE_TRY(word_counts_init(&t->words, MAX_WORDS, err));
    t->outer = mem_map_zero(CODE_POINTS * sizeof *t->outer);
    t->inner = mem_map_zero(CODE_POINTS * sizeof *t->inner);
    if (!t->outer || !t->inner) CLOZE_FAIL(err, MEMORY, "out of memory (character counts)");
    return CLOZE_OK;
}

cloze_status wordpiece_trainer_create(const wordpiece_train_options *o, wordpiece_trainer **out,
                                      cloze_error *err) {
    wordpiece_trainer *t;
    *out = NULL;
    MEM_NEW(err, t, 1);
    t->o = *o;
    if (t->o.min_count <= 0) t->o.min_count = 2;
    cloze_status status = init_trainer(t, err);
    if (status == CLOZE_OK)
        *out = t;
    else
        wordpiece_trainer_destroy(t);
    return status;
}

static cloze_status count_word(wordpiece_trainer *t, const uint32_t *cp, int32_t n,
                               cloze_error *err) {
    t->outer[cp[0]]++;
    for (int32_t i = 1; i < n; i++) t->inner[cp[i]]++;
    if (n < 2 || n > WORD_COUNTS_MAX_CHARS) return CLOZE_OK;
    char text[4 * WORD_COUNTS_MAX_CHARS];
    size_t len = 0;
    for (int32_t i = 0; i < n; i++) len += (size_t)unicode_put(cp[i], (uint8_t *)text + len);
    return word_counts_add(&t->words, text, len, err);
}

cloze_status wordpiece_trainer_feed(wordpiece_trainer *t, const char *text, size_t n,
                                    cloze_error *err) {
    norm_text normal = {0};
    word_list words = {0};
    if (n > INT32_MAX / 4) CLOZE_FAIL(err, DATA, "the text is too long: %zu bytes", n);
    cloze_status status = norm_text_set(&normal, text, n, 0, err);
    if (status == CLOZE_OK) status = normalizer_apply(&t->normalizer, &normal, err);
    if (status == CLOZE_OK) status = pretokenizer_apply(&t->pretokenizer, &normal, &words, err);
    for (int32_t i = 0; i < words.n && status == CLOZE_OK; i++)
        status = count_word(t, normal.cp + words.items[i].begin,
                            words.items[i].end - words.items[i].begin, err);
    word_list_deinit(&words);
    norm_text_deinit(&normal);
    return status;
}

/* ---- choosing ---- */

/* A character, or its ## form, as a candidate for the vocabulary. */
typedef struct candidate {
    uint64_t count;
    uint32_t cp;
    bool inside;
} candidate;

static int by_count(const void *a, const void *b) {
    const candidate *x = a, *y = b;
    if (x->count != y->count) return x->count < y->count ? 1 : -1;
    if (x->cp != y->cp) return x->cp < y->cp ? -1 : 1;
    return (int)x->inside - (int)y->inside;
}

static cloze_status add_token(vocabulary *v, const char *text, size_t n, cloze_error *err) {
    if (vocab_get(v, text, n) >= 0) return CLOZE_OK;
    return vocab_add(v, text, n, v->n_ids, err);
}

static cloze_status add_char(vocabulary *v, uint32_t cp, bool inside, cloze_error *err) {
    char text[6] = "##";
    int len = unicode_put(cp, (uint8_t *)text + 2);
    return inside ? add_token(v, text, (size_t)len + 2, err)
                  : add_token(v, text + 2, (size_t)len, err);
}

/* Special tokens, then ASCII whether it occurs or not: any text must stay readable. */
static cloze_status add_fixed(const wordpiece_trainer *t, vocabulary *v, cloze_error *err) {
    static const char *const specials[] = {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"};
    for (int i = 0; i < 5; i++) CLOZE_TRY(add_token(v, specials[i], strlen(specials[i]), err));
    for (int inside = 0; inside < 2; inside++)
        for (uint32_t cp = 33; cp < 127; cp++) {
            bool upper = cp >= 'A' && cp <= 'Z';
            if ((upper && t->o.do_lower_case) || (inside && unicode_is_punctuation(cp))) continue;
            CLOZE_TRY(add_char(v, cp, inside, err));
        }
    return CLOZE_OK;
}

/* Characters by falling count; an eighth of the vocabulary is left for pieces of words. */
static cloze_status add_chars(const wordpiece_trainer *t, vocabulary *v, cloze_error *err) {
    candidate *list;
    size_t n = 0;
    uint64_t least = (uint64_t)t->o.min_count;
    MEM_NEW(err, list, 2 * CODE_POINTS);
    for (uint32_t cp = 0; cp < CODE_POINTS; cp++) {
        if (t->outer[cp] >= least) list[n++] = (candidate){t->outer[cp], cp, false};
        if (t->inner[cp] >= least) list[n++] = (candidate){t->inner[cp], cp, true};
    }
    qsort(list, n, sizeof *list, by_count);
    int32_t limit = t->o.vocab_size - t->o.vocab_size / 8;
    cloze_status status = CLOZE_OK;
    for (size_t i = 0; i < n && v->n_ids < limit && status == CLOZE_OK; i++)
        status = add_char(v, list[i].cp, list[i].inside, err);
    mem_free(list);
    return status;
}

static cloze_status fill(wordpiece_trainer *t, vocabulary *v, buf *out, cloze_error *err) {
    CLOZE_TRY(add_fixed(t, v, err));
    if (v->n_ids > t->o.vocab_size)
        CLOZE_FAIL(err, USAGE, "a vocabulary of %d tokens is too small: %d are special or ASCII",
                   t->o.vocab_size, v->n_ids);
    CLOZE_TRY(add_chars(t, v, err));
    word_counts_sort(&t->words);
    CLOZE_TRY(wordpiece_learn_merges(&t->words, t->o.vocab_size, t->o.min_count, v, err));
    for (int32_t id = 0; id < v->n_ids; id++) {
        buf_puts(out, vocab_text(v, id, NULL));
        buf_putc(out, '\n');
    }
    if (!buf_ok(out)) CLOZE_FAIL(err, MEMORY, "out of memory (vocabulary of %d tokens)", v->n_ids);
    return CLOZE_OK;
}

cloze_status wordpiece_trainer_finish(wordpiece_trainer *t, buf *out, cloze_error *err) {
    vocabulary v = {0};
    cloze_status status = vocab_init(&v, 0, 32768, err);
    if (status == CLOZE_OK) status = fill(t, &v, out, err);
    vocab_deinit(&v);
    return status;
}
