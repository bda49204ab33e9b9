/* Segmentation by the most probable path, and the word list's file. Learning: segment_train.c. */
#include "text/segment_impl.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/file.h"
#include "text/unicode.h"

#define WORDS_FILE_MAX ((size_t)64 << 20)

bool segment_is_han(uint32_t cp) { return cp < 0x10000 && unicode_is_cjk(cp); }

uint64_t segment_key(const uint32_t *cps, int n) {
    uint64_t key = 0;
    for (int i = 0; i < n; i++) key = key << 16 | cps[i];
    return key;
}

/* ---- n-gram table ---- */

cloze_status ngram_table_init(ngram_table *t, size_t n_slots, cloze_error *err) {
    t->n_slots = n_slots;
    t->count = 0;
    MEM_NEW(err, t->slots, n_slots);
    return CLOZE_OK;
}

void ngram_table_deinit(ngram_table *t) {
    mem_free(t->slots);
    memset(t, 0, sizeof *t);
}

static size_t slot_of(const ngram_table *t, uint64_t key) {
    uint64_t h = key * 0x9e3779b97f4a7c15ull;
    size_t i = (size_t)(h >> 20) & (t->n_slots - 1);
    while (t->slots[i].key && t->slots[i].key != key) i = (i + 1) & (t->n_slots - 1);
    return i;
}

const ngram *ngram_table_find(const ngram_table *t, uint64_t key) {
    const ngram *s = &t->slots[slot_of(t, key)];
    return s->key ? s : NULL;
}

uint32_t ngram_table_get(const ngram_table *t, uint64_t key) {
    return t->slots[slot_of(t, key)].count;
}

/* Keeps only n-grams counted more than once: what a bounded table can afford to forget. */
static cloze_status forget_rare(ngram_table *t, cloze_error *err) {
    ngram_table fresh;
    uint32_t least = 2;
    size_t keep = t->n_slots;
    for (; keep > t->n_slots / 3; least++) {
        keep = 0;
        for (size_t i = 0; i < t->n_slots; i++)
            keep += t->slots[i].key && t->slots[i].count >= least;
    }
    CLOZE_TRY(ngram_table_init(&fresh, t->n_slots, err));
    for (size_t i = 0; i < t->n_slots; i++) {
        if (!t->slots[i].key || t->slots[i].count < least - 1) continue;
        fresh.slots[slot_of(&fresh, t->slots[i].key)] = t->slots[i];
        fresh.count++;
    }
    ngram_table_deinit(t);
    *t = fresh;
    return CLOZE_OK;
}

cloze_status ngram_table_add(ngram_table *t, uint64_t key, uint32_t count, cloze_error *err) {
    size_t i = slot_of(t, key);
    if (!t->slots[i].key) {
        if (t->count >= t->n_slots / 4 * 3) {
            CLOZE_TRY(forget_rare(t, err));
            i = slot_of(t, key);
        }
        t->slots[i].key = key;
        t->count++;
    }
    t->slots[i].count += count;
    return CLOZE_OK;
}

/* ---- segmenter ---- */

void segmenter_destroy(segmenter *s) {
    if (!s) return;
    ngram_table_deinit(&s->words);
    mem_free(s);
}

int32_t segmenter_word_count(const segmenter *s) { return (int32_t)s->words.count; }

cloze_status segmenter_create(size_t n_words, segmenter **out, cloze_error *err) {
    segmenter *s;
    size_t slots = 1024;
    while (slots < 2 * n_words + 2) slots *= 2;
    *out = NULL;
    MEM_NEW(err, s, 1);
    cloze_status status = ngram_table_init(&s->words, slots, err);
    if (status != CLOZE_OK) {
        segmenter_destroy(s);
        return status;
    }
    *out = s;
    return CLOZE_OK;
}

/* Log-probability of cps[0..n) as one word; -inf when it is none. A lone character always is. */
static double word_score(const segmenter *s, const uint32_t *cps, int n) {
    uint32_t count = ngram_table_get(&s->words, segment_key(cps, n));
    if (count == 0 && n > 1) return -INFINITY;
    return log((double)count + (n == 1 ? 1.0 : 0.0)) - s->log_total;
}

void segment_run(const segmenter *s, const uint32_t *cps, int n, uint8_t *starts) {
    double best[SEGMENT_RUN + 1];
    uint8_t length[SEGMENT_RUN + 1]; /* of the word that ends here */
    if (n <= 0) return;
    best[0] = 0;
    for (int end = 1; end <= n; end++) {
        best[end] = -INFINITY;
        for (int k = 1; k <= SEGMENT_MAX_CHARS && k <= end; k++) {
            double score = best[end - k] + word_score(s, cps + end - k, k);
            if (score <= best[end]) continue;
            best[end] = score;
            length[end] = (uint8_t)k;
        }
    }
    memset(starts, 0, (size_t)n);
    for (int end = n; end > 0; end -= length[end]) starts[end - length[end]] = 1;
}

cloze_status segmenter_word_starts(const segmenter *s, const char *text, size_t n, uint8_t **starts,
                                   cloze_error *err) {
    const uint8_t *p = (const uint8_t *)text, *end = p + n;
    uint32_t cps[SEGMENT_RUN];
    int run = 0;
    size_t at = 0; /* code points before the run */
    MEM_NEW(err, *starts, n + 1);
    while (p < end) {
        uint32_t cp;
        p += unicode_next(p, end, &cp);
        if (segment_is_han(cp)) {
            cps[run++] = cp;
            if (run < SEGMENT_RUN) continue;
        }
        segment_run(s, cps, run, *starts + at);
        at += (size_t)run;
        run = 0;
        if (!segment_is_han(cp)) (*starts)[at++] = 1;
    }
    segment_run(s, cps, run, *starts + at);
    return CLOZE_OK;
}

/* ---- the file ---- */

static int by_count(const void *a, const void *b) {
    const ngram *x = a, *y = b;
    if (x->count != y->count) return x->count < y->count ? 1 : -1;
    return (x->key > y->key) - (x->key < y->key);
}

ngram *ngram_table_sorted(const ngram_table *t) {
    ngram *all = mem_alloc((t->count + 1) * sizeof *all);
    size_t n = 0;
    for (size_t i = 0; all && i < t->n_slots; i++)
        if (t->slots[i].key) all[n++] = t->slots[i];
    if (all) qsort(all, n, sizeof *all, by_count);
    return all;
}

cloze_status segmenter_write(const segmenter *s, const char *path, cloze_error *err) {
    buf b;
    ngram *all = ngram_table_sorted(&s->words);
    if (!all) CLOZE_FAIL(err, MEMORY, "out of memory writing %s", path);
    buf_init(&b, WORDS_FILE_MAX);
    for (size_t i = 0; i < s->words.count; i++) {
        uint8_t utf8[16];
        int bytes = 0;
        for (int shift = 48; shift >= 0; shift -= 16) {
            uint32_t cp = (uint32_t)(all[i].key >> shift) & 0xffff;
            if (cp) bytes += unicode_put(cp, utf8 + bytes);
        }
        buf_append(&b, utf8, (size_t)bytes);
        buf_printf(&b, "\t%u\n", all[i].count);
    }
    mem_free(all);
    cloze_status status = buf_ok(&b)
                              ? file_write_atomic(path, b.data ? b.data : "", b.len, err)
                              : error_set(err, CLOZE_ERR_MEMORY, "out of memory writing %s", path);
    buf_deinit(&b);
    return status;
}

static cloze_status read_line(segmenter *s, const char *line, size_t n, const char *path,
                              int64_t number, cloze_error *err) {
    const char *tab = memchr(line, '\t', n);
    const uint8_t *p = (const uint8_t *)line;
    uint32_t cps[SEGMENT_MAX_CHARS];
    int chars = 0;
    size_t digits = tab ? strspn(tab + 1, "0123456789") : 0;
    bool ok = tab && digits > 0 && digits == (size_t)(line + n - tab) - 1;
    long count = ok ? strtol(tab + 1, NULL, 10) : 0;
    ok = ok && count > 0 && count < INT32_MAX;
    while (ok && p < (const uint8_t *)tab) {
        uint32_t cp;
        p += unicode_next(p, (const uint8_t *)tab, &cp);
        ok = chars < SEGMENT_MAX_CHARS && segment_is_han(cp);
        if (ok) cps[chars++] = cp;
    }
    if (!ok || chars == 0)
        CLOZE_FAIL(err, MODEL,
                   "%s:%lld: not a word of 1 to 4 Chinese characters, a tab and a count", path,
                   (long long)number);
    return ngram_table_add(&s->words, segment_key(cps, chars), (uint32_t)count, err);
}

void segmenter_update_total(segmenter *s) {
    double total = 1;
    for (size_t i = 0; i < s->words.n_slots; i++) total += s->words.slots[i].count;
    s->log_total = log(total);
}

cloze_status segmenter_read(const char *path, segmenter **out, cloze_error *err) {
    char *text;
    size_t n, lines = 1;
    segmenter *s = NULL;
    CLOZE_TRY(file_read(path, WORDS_FILE_MAX, CLOZE_ERR_MODEL, &text, &n, err));
    for (size_t i = 0; i < n; i++) lines += text[i] == '\n';
    cloze_status status = segmenter_create(lines, &s, err);
    int64_t number = 1;
    for (const char *line = text; line < text + n && status == CLOZE_OK; number++) {
        size_t length = strcspn(line, "\n"), end = length;
        if (end && line[end - 1] == '\r') end--;
        if (end) status = read_line(s, line, end, path, number, err);
        line += length + 1;
    }
    mem_free(text);
    if (status != CLOZE_OK) {
        segmenter_destroy(s);
        return status;
    }
    segmenter_update_total(s);
    *out = s;
    return CLOZE_OK;
}
