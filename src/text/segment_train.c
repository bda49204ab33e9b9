/*
 * Learning the word list. One pass counts n-grams of 1 to 4 Han characters and keeps an even sample
 * of the text. A word is a run whose ends are free and whose inside is bound: its autonomy is how
 * much the uncertainty about the next character grows with the run's last character, and about the
 * one before with its first, each against the mean of runs of that length (normalised variation of
 * branching entropy: Magistry and Sagot, ACL 2012). The sample is cut so that the sum of autonomy
 * times length is largest, and the words found are counted.
 */
#include <math.h>
#include <string.h>

#include "base/buf.h"
#include "text/segment_impl.h"
#include "text/unicode.h"

#define SLOTS ((size_t)1 << 23)         /* of each table: 128 MB */
#define SAMPLE_BYTES ((size_t)24 << 20) /* text that is cut into words at the end */
#define JUDGED 3                        /* n-grams up to here know their neighbours */

/* Measured on news titles and encyclopedia text as F1 of words against a segmenter with a
 * dictionary: 0.64 without a penalty on lone characters, 0.70 with 3 to 5. */
#define LONE_PENALTY 5.0
/* A run of four, whose neighbours are not counted, is a word when no cut of it looks like chance:
 * pointwise mutual information in nats. */
#define LONGEST_COHESION 4.5
#define NO_WORD (-1e9f)

struct segment_trainer {
    segment_train_options o;
    ngram_table grams[SEGMENT_MAX_CHARS]; /* by length - 1 */
    float *autonomy[SEGMENT_MAX_CHARS];   /* (slots of grams) NO_WORD = never a word */
    double n_chars;
    buf sample;              /* Han runs, each ended by a newline */
    uint64_t n_runs, stride; /* every stride-th run is in the sample */
};

void segment_trainer_destroy(segment_trainer *t) {
    if (!t) return;
    for (int i = 0; i < SEGMENT_MAX_CHARS; i++) {
        ngram_table_deinit(&t->grams[i]);
        mem_free(t->autonomy[i]);
    }
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
    t->stride = 1;
    buf_init(&t->sample, SAMPLE_BYTES + 8 * SEGMENT_RUN);
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

/* ---- counting ---- */

/* Drops every second run of a sample that is full: what stays is spread evenly over the text. */
static void thin_sample(segment_trainer *t) {
    char *data = t->sample.data;
    size_t kept = 0, i = 0;
    for (bool keep = true; i < t->sample.len; keep = !keep) {
        size_t n = (size_t)((char *)memchr(data + i, '\n', t->sample.len - i) - (data + i)) + 1;
        if (keep) {
            memmove(data + kept, data + i, n);
            kept += n;
        }
        i += n;
    }
    t->sample.len = kept;
    t->stride *= 2;
}

static cloze_status count_run(segment_trainer *t, const uint32_t *cps, int n, cloze_error *err) {
    for (int i = 0; i < n; i++)
        for (int k = 1; k <= SEGMENT_MAX_CHARS && i + k <= n; k++)
            CLOZE_TRY(ngram_table_add(&t->grams[k - 1], segment_key(cps + i, k), 1, err));
    t->n_chars += n;
    if (n == 0 || t->n_runs++ % t->stride) return CLOZE_OK;
    for (int i = 0; i < n; i++) {
        uint8_t utf8[4];
        buf_append(&t->sample, utf8, (size_t)unicode_put(cps[i], utf8));
    }
    buf_putc(&t->sample, '\n');
    if (!buf_ok(&t->sample)) CLOZE_FAIL(err, MEMORY, "out of memory for the word list");
    if (t->sample.len > SAMPLE_BYTES) thin_sample(t);
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

/* ---- autonomy ---- */

/* Branching entropies of the n-grams of one length, after them and before them. */
typedef struct branching {
    float *entropy[2]; /* (slots) nats */
} branching;

static void branching_deinit(branching *b) {
    mem_free(b->entropy[0]);
    mem_free(b->entropy[1]);
    memset(b, 0, sizeof *b);
}

static uint64_t low_chars(uint64_t key, int n) { return key & ((1ull << (16 * n)) - 1); }

/* The entropy of what follows (side 0) or precedes (side 1) each n-gram: log c - sum x log x / c
 * over its extensions. The end of a run counts as a neighbour of its own each time. */
static cloze_status measure_side(const segment_trainer *t, int n, int side, float *entropy,
                                 cloze_error *err) {
    const ngram_table *table = &t->grams[n - 1], *longer = &t->grams[n];
    double *sums;
    MEM_NEW(err, sums, table->n_slots);
    for (size_t i = 0; i < longer->n_slots; i++) {
        uint64_t key = longer->slots[i].key;
        if (!key) continue;
        double x = longer->slots[i].count;
        const ngram *s = ngram_table_find(table, side ? low_chars(key, n) : key >> 16);
        if (s) sums[s - table->slots] += x * log(x);
    }
    for (size_t i = 0; i < table->n_slots; i++) {
        double count = table->slots[i].count;
        if (table->slots[i].key) entropy[i] = (float)(log(count) - sums[i] / count);
    }
    mem_free(sums);
    return CLOZE_OK;
}

static double lone_entropy(const segment_trainer *t) {
    double entropy = 0;
    for (size_t i = 0; i < t->grams[0].n_slots; i++) {
        double p = t->grams[0].slots[i].count / t->n_chars;
        if (p > 0) entropy -= p * log(p);
    }
    return entropy;
}

/* How much the entropy grew with the n-gram's last (or first) character. */
static double variation(const segment_trainer *t, const branching *now, const branching *before,
                        double lone, int n, size_t slot, int side) {
    if (n == 1) return now->entropy[side][slot] - lone;
    const ngram_table *shorter = &t->grams[n - 2];
    uint64_t key = t->grams[n - 1].slots[slot].key;
    const ngram *s = ngram_table_find(shorter, side ? low_chars(key, n - 1) : key >> 16);
    return now->entropy[side][slot] - (s ? before->entropy[side][s - shorter->slots] : 0.0);
}

/* Autonomy of all n-grams of length n <= JUDGED. */
static void judge(segment_trainer *t, int n, const branching *now, const branching *before,
                  double lone) {
    const ngram_table *table = &t->grams[n - 1];
    float *out = t->autonomy[n - 1];
    double sum = 0, members = 0;
    for (size_t i = 0; i < table->n_slots; i++) {
        out[i] = NO_WORD;
        if (!table->slots[i].key || table->slots[i].count < (uint32_t)t->o.min_count) continue;
        double v =
            variation(t, now, before, lone, n, i, 0) + variation(t, now, before, lone, n, i, 1);
        out[i] = (float)v;
        sum += v;
        members++;
    }
    double mean = members > 0 ? sum / members : 0.0, penalty = n == 1 ? LONE_PENALTY : 0.0;
    for (size_t i = 0; i < table->n_slots; i++)
        if (out[i] != NO_WORD) out[i] -= (float)(mean + penalty);
}

static cloze_status judge_short(segment_trainer *t, cloze_error *err) {
    branching before = {0}, now = {0};
    double lone = lone_entropy(t);
    cloze_status status = CLOZE_OK;
    for (int n = 1; n <= JUDGED && status == CLOZE_OK; n++) {
        size_t slots = t->grams[n - 1].n_slots;
        t->autonomy[n - 1] = mem_alloc(slots * sizeof **t->autonomy);
        for (int side = 0; side < 2; side++) now.entropy[side] = mem_calloc(slots, sizeof(float));
        if (!t->autonomy[n - 1] || !now.entropy[0] || !now.entropy[1])
            status = error_set(err, CLOZE_ERR_MEMORY, "out of memory for the word list");
        for (int side = 0; side < 2 && status == CLOZE_OK; side++)
            status = measure_side(t, n, side, now.entropy[side], err);
        if (status == CLOZE_OK) judge(t, n, &now, &before, lone);
        branching_deinit(&before);
        before = now;
        memset(&now, 0, sizeof now);
    }
    branching_deinit(&before);
    return status;
}

static double probability(const segment_trainer *t, uint64_t key, int n) {
    return ((double)ngram_table_get(&t->grams[n - 1], key) + 0.5) / t->n_chars;
}

/* The smallest pointwise mutual information over the places where the n-gram can be split. */
static double cohesion(const segment_trainer *t, uint64_t key, int n, uint32_t count) {
    double least = INFINITY, log_p = log((double)count / t->n_chars);
    for (int left = 1; left < n; left++) {
        double pmi = log_p - log(probability(t, key >> (16 * (n - left)), left)) -
                     log(probability(t, low_chars(key, n - left), n - left));
        if (pmi < least) least = pmi;
    }
    return least;
}

static cloze_status judge_longest(segment_trainer *t, cloze_error *err) {
    int n = SEGMENT_MAX_CHARS;
    const ngram_table *table = &t->grams[n - 1];
    float *out = mem_alloc(table->n_slots * sizeof *out);
    if (!out) CLOZE_FAIL(err, MEMORY, "out of memory for the word list");
    t->autonomy[n - 1] = out;
    for (size_t i = 0; i < table->n_slots; i++) {
        const ngram *g = &table->slots[i];
        bool word = g->key && g->count >= (uint32_t)t->o.min_count &&
                    cohesion(t, g->key, n, g->count) >= LONGEST_COHESION;
        out[i] = word ? 0.0f : NO_WORD;
    }
    return CLOZE_OK;
}

/* ---- cutting the sample ---- */

static double word_autonomy(const segment_trainer *t, const uint32_t *cps, int n) {
    const ngram_table *table = &t->grams[n - 1];
    const ngram *g = ngram_table_find(table, segment_key(cps, n));
    double a = g ? t->autonomy[n - 1][g - table->slots] : NO_WORD;
    if (n == 1 && a < -100.0) return -100.0; /* any character may stand alone, if need be */
    return a;
}

/* Lengths of the words that end at each place of the best cut of a run. */
static void cut_run(const segment_trainer *t, const uint32_t *cps, int n, uint8_t *length) {
    double best[SEGMENT_RUN + 1];
    best[0] = 0;
    for (int end = 1; end <= n; end++) {
        best[end] = -INFINITY;
        for (int k = 1; k <= SEGMENT_MAX_CHARS && k <= end; k++) {
            double score = best[end - k] + k * word_autonomy(t, cps + end - k, k);
            if (score <= best[end]) continue;
            best[end] = score;
            length[end] = (uint8_t)k;
        }
    }
}

static cloze_status count_words(const segment_trainer *t, ngram_table *words, cloze_error *err) {
    const uint8_t *p = (const uint8_t *)t->sample.data, *end = p + t->sample.len;
    uint32_t cps[SEGMENT_RUN];
    uint8_t length[SEGMENT_RUN + 1] = {0};
    int n = 0;
    while (p < end) {
        uint32_t cp;
        p += unicode_next(p, end, &cp);
        if (cp != '\n') {
            cps[n++] = cp;
            continue;
        }
        cut_run(t, cps, n, length);
        for (int i = n; i > 0; i -= length[i])
            CLOZE_TRY(ngram_table_add(words, segment_key(cps + i - length[i], length[i]), 1, err));
        n = 0;
    }
    return CLOZE_OK;
}

/* The most frequent words, and every lone character. */
static cloze_status keep_most_frequent(const segment_trainer *t, const ngram_table *words,
                                       segmenter *out, cloze_error *err) {
    ngram *all = ngram_table_sorted(words);
    if (!all) CLOZE_FAIL(err, MEMORY, "out of memory for the word list");
    uint32_t least = (uint32_t)((uint64_t)t->o.min_count / t->stride);
    int32_t kept = 0;
    cloze_status status = CLOZE_OK;
    for (size_t i = 0; i < words->count && status == CLOZE_OK; i++) {
        bool lone = all[i].key <= 0xFFFF;
        if (!lone && (all[i].count < least || kept >= t->o.max_words)) continue;
        kept += !lone;
        status = ngram_table_add(&out->words, all[i].key, all[i].count, err);
    }
    mem_free(all);
    return status;
}

static cloze_status learn(segment_trainer *t, ngram_table *words, segmenter **out,
                          cloze_error *err) {
    CLOZE_TRY(judge_short(t, err));
    CLOZE_TRY(judge_longest(t, err));
    CLOZE_TRY(count_words(t, words, err));
    CLOZE_TRY(segmenter_create((size_t)t->o.max_words + 65536, out, err));
    CLOZE_TRY(keep_most_frequent(t, words, *out, err));
    segmenter_update_total(*out);
    return CLOZE_OK;
}

cloze_status segment_trainer_finish(segment_trainer *t, segmenter **out, cloze_error *err) {
    ngram_table words;
    *out = NULL;
    CLOZE_TRY(ngram_table_init(&words, (size_t)1 << 21, err));
    cloze_status status = learn(t, &words, out, err);
    ngram_table_deinit(&words);
    if (status == CLOZE_OK) return CLOZE_OK;
    segmenter_destroy(*out);
    *out = NULL;
    return status;
}
