/*
 * Learning the word list. One pass counts n-grams of 1 to 4 Han characters, and of 5 only through
 * the neighbours of a kept sample; candidates are then judged by cohesion and by the entropy of
 * their neighbours, and two rounds of segmenting the sample put realistic counts on them.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "text/segment_impl.h"
#include "text/unicode.h"

#define SLOTS ((size_t)1 << 23)        /* of each table: 128 MB */
#define SAMPLE_BYTES ((size_t)8 << 20) /* text that is segmented again */
#define ROUNDS 2

struct segment_trainer {
    segment_train_options o;
    ngram_table grams[SEGMENT_MAX_CHARS]; /* by length - 1 */
    double n_chars;
    buf sample; /* Han runs separated by newlines */
};

/* Sums of c log c over the right (or left) neighbours of an n-gram: its entropy, once divided. */
typedef struct company {
    double *sums[2]; /* (slots of the n-gram's table) */
    ngram_table *table;
} company;

void segment_trainer_destroy(segment_trainer *t) {
    if (!t) return;
    for (int i = 0; i < SEGMENT_MAX_CHARS; i++) ngram_table_deinit(&t->grams[i]);
    buf_deinit(&t->sample);
    mem_free(t);
}

cloze_status segment_trainer_create(const segment_train_options *o, segment_trainer **out,
                                    cloze_error *err) {
    segment_trainer *t;
    *out = NULL;
    MEM_NEW(err, t, 1);
    t->o = *o;
    if (t->o.max_words <= 0) t->o.max_words = 60000;
    if (t->o.min_count <= 0) t->o.min_count = 10;
    if (t->o.min_cohesion <= 0) t->o.min_cohesion = 2.5;
    if (t->o.min_entropy <= 0) t->o.min_entropy = 0.8;
    buf_init(&t->sample, SAMPLE_BYTES + 65536);
    for (int i = 0; i < SEGMENT_MAX_CHARS; i++) {
        cloze_status status = ngram_table_init(&t->grams[i], i == 0 ? (size_t)1 << 17 : SLOTS, err);
        if (status != CLOZE_OK) {
            segment_trainer_destroy(t);
            return status;
        }
    }
    *out = t;
    return CLOZE_OK;
}

static cloze_status count_run(segment_trainer *t, const uint32_t *cps, int n, cloze_error *err) {
    for (int i = 0; i < n; i++)
        for (int k = 1; k <= SEGMENT_MAX_CHARS && i + k <= n; k++)
            CLOZE_TRY(ngram_table_add(&t->grams[k - 1], segment_key(cps + i, k), 1, err));
    t->n_chars += n;
    if (n < 2 || t->sample.len > SAMPLE_BYTES) return CLOZE_OK;
    for (int i = 0; i < n; i++) {
        uint8_t utf8[4];
        buf_append(&t->sample, utf8, (size_t)unicode_put(cps[i], utf8));
    }
    buf_putc(&t->sample, '\n');
    return CLOZE_OK;
}

cloze_status segment_trainer_feed(segment_trainer *t, const char *text, size_t n,
                                  cloze_error *err) {
    const uint8_t *p = (const uint8_t *)text, *end = p + n;
    uint32_t cps[SEGMENT_RUN];
    int run = 0;
    while (p < end) {
        uint32_t cp;
        p += unicode_next(p, end, &cp);
        bool han = segment_is_han(cp);
        if (han) cps[run++] = cp;
        if (han && run < SEGMENT_RUN) continue;
        CLOZE_TRY(count_run(t, cps, run, err));
        run = 0;
    }
    return count_run(t, cps, run, err);
}

/* ---- judging ---- */

static double probability(const segment_trainer *t, uint64_t key, int n) {
    return ((double)ngram_table_get(&t->grams[n - 1], key) + 0.5) / t->n_chars;
}

/* The smallest pointwise mutual information over the places where the n-gram can be split. */
static double cohesion(const segment_trainer *t, uint64_t key, int n, uint32_t count) {
    double least = INFINITY, log_p = log((double)count / t->n_chars);
    for (int left = 1; left < n; left++) {
        int bits = 16 * (n - left);
        double pmi = log_p - log(probability(t, key >> bits, left)) -
                     log(probability(t, key & ((1ull << bits) - 1), n - left));
        if (pmi < least) least = pmi;
    }
    return least;
}

static cloze_status company_count(company *c, const segment_trainer *t, int n, cloze_error *err) {
    const ngram_table *longer = &t->grams[n];
    c->table = (ngram_table *)&t->grams[n - 1];
    for (int side = 0; side < 2; side++) MEM_NEW(err, c->sums[side], c->table->n_slots);
    uint64_t low = n == 4 ? ~0ull : (1ull << (16 * n)) - 1;
    for (size_t i = 0; i < longer->n_slots; i++) {
        if (!longer->slots[i].key) continue;
        uint64_t keys[2] = {longer->slots[i].key >> 16,
                            longer->slots[i].key & low}; /* neighbour right, left */
        double x = longer->slots[i].count;
        for (int side = 0; side < 2; side++) {
            const ngram *s = ngram_table_find(c->table, keys[side]);
            if (s) c->sums[side][s - c->table->slots] += x * log(x);
        }
    }
    return CLOZE_OK;
}

/* Entropy of the neighbours, where the end of a run counts as a neighbour of its own each time. */
static double company_entropy(const company *c, const ngram *s) {
    double least = INFINITY, count = s->count;
    for (int side = 0; side < 2; side++) {
        double entropy = log(count) - c->sums[side][s - c->table->slots] / count;
        if (entropy < least) least = entropy;
    }
    return least;
}

static cloze_status add_words(segment_trainer *t, int n, segmenter *s, cloze_error *err) {
    const ngram_table *table = &t->grams[n - 1];
    company c = {0};
    bool judged = n < SEGMENT_MAX_CHARS; /* neighbours of the longest n-grams were not counted */
    cloze_status status = judged ? company_count(&c, t, n, err) : CLOZE_OK;
    double needed = t->o.min_cohesion + (judged ? 0.0 : 2.0);
    for (size_t i = 0; i < table->n_slots && status == CLOZE_OK; i++) {
        const ngram *g = &table->slots[i];
        if (!g->key || g->count < (uint32_t)t->o.min_count) continue;
        if (cohesion(t, g->key, n, g->count) < needed) continue;
        if (judged && company_entropy(&c, g) < t->o.min_entropy) continue;
        status = ngram_table_add(&s->words, g->key, g->count, err);
    }
    mem_free(c.sums[0]);
    mem_free(c.sums[1]);
    return status;
}

/* ---- counts by segmenting ---- */

static cloze_status count_words(const segmenter *old, const uint32_t *cps, int n, segmenter *fresh,
                                cloze_error *err) {
    uint8_t starts[SEGMENT_RUN];
    segment_run(old, cps, n, starts);
    for (int i = 0; i < n;) {
        int k = 1;
        while (i + k < n && !starts[i + k]) k++;
        CLOZE_TRY(ngram_table_add(&fresh->words, segment_key(cps + i, k), 1, err));
        i += k;
    }
    return CLOZE_OK;
}

/* The words of `old` that the sample uses, with their counts there. */
static cloze_status recount(const segment_trainer *t, segmenter **s, cloze_error *err) {
    segmenter *fresh;
    const uint8_t *p = (const uint8_t *)t->sample.data, *end = p + t->sample.len;
    uint32_t cps[SEGMENT_RUN];
    int run = 0;
    segmenter_update_total(*s);
    CLOZE_TRY(segmenter_create((*s)->words.n_slots / 2, &fresh, err));
    cloze_status status = CLOZE_OK;
    while (p && p < end && status == CLOZE_OK) {
        uint32_t cp;
        p += unicode_next(p, end, &cp);
        if (cp != '\n') cps[run++] = cp;
        if (cp != '\n' && run < SEGMENT_RUN) continue;
        status = count_words(*s, cps, run, fresh, err);
        run = 0;
    }
    if (status != CLOZE_OK) {
        segmenter_destroy(fresh);
        return status;
    }
    segmenter_destroy(*s);
    *s = fresh;
    return CLOZE_OK;
}

static cloze_status keep_most_frequent(const segment_trainer *t, segmenter **s, cloze_error *err) {
    segmenter *kept;
    ngram *all = ngram_table_sorted(&(*s)->words);
    if (!all) CLOZE_FAIL(err, MEMORY, "out of memory for the word list");
    size_t n =
        (*s)->words.count < (size_t)t->o.max_words ? (*s)->words.count : (size_t)t->o.max_words;
    cloze_status status = segmenter_create(n, &kept, err);
    for (size_t i = 0; i < n && status == CLOZE_OK; i++)
        status = ngram_table_add(&kept->words, all[i].key, all[i].count, err);
    mem_free(all);
    if (status != CLOZE_OK) return status;
    segmenter_destroy(*s);
    *s = kept;
    return CLOZE_OK;
}

static cloze_status learn(segment_trainer *t, segmenter **s, cloze_error *err) {
    const ngram_table *single = &t->grams[0];
    for (size_t i = 0; i < single->n_slots; i++)
        if (single->slots[i].key)
            CLOZE_TRY(
                ngram_table_add(&(*s)->words, single->slots[i].key, single->slots[i].count, err));
    for (int n = 2; n <= SEGMENT_MAX_CHARS; n++) CLOZE_TRY(add_words(t, n, *s, err));
    for (int round = 0; round < ROUNDS; round++) CLOZE_TRY(recount(t, s, err));
    return keep_most_frequent(t, s, err);
}

cloze_status segment_trainer_finish(segment_trainer *t, segmenter **out, cloze_error *err) {
    segmenter *s;
    *out = NULL;
    if (!buf_ok(&t->sample)) CLOZE_FAIL(err, MEMORY, "out of memory for the word list");
    CLOZE_TRY(segmenter_create((size_t)1 << 19, &s, err));
    cloze_status status = learn(t, &s, err);
    if (status != CLOZE_OK) {
        segmenter_destroy(s);
        return status;
    }
    segmenter_update_total(s);
    *out = s;
    return CLOZE_OK;
}
