/* What segment.c and segment_train.c share: n-gram counts and the segmenter's inside. */
#ifndef CLOZE_TEXT_SEGMENT_IMPL_H
#define CLOZE_TEXT_SEGMENT_IMPL_H

#include <stdbool.h>

#include "base/mem.h"
#include "text/segment.h"

#define SEGMENT_RUN 256 /* characters that are segmented at once; longer runs are cut */

/* Up to four characters of 16 bits, the last one lowest; 0 = a free slot. */
typedef struct ngram {
    uint64_t key;
    uint32_t count;
} ngram;

/* Open addressing; n_slots is a power of two and never grows: rare n-grams go when it fills up. */
typedef struct ngram_table {
    ngram *slots;
    size_t n_slots, count;
} ngram_table;

struct segmenter {
    ngram_table words; /* and lone characters */
    double log_total;  /* log of the sum of counts */
};

bool segment_is_han(uint32_t cp);
uint64_t segment_key(const uint32_t *cps, int n);
cloze_status ngram_table_init(ngram_table *t, size_t n_slots, cloze_error *err);
void ngram_table_deinit(ngram_table *t);
const ngram *ngram_table_find(const ngram_table *t, uint64_t key); /* NULL: not there */
uint32_t ngram_table_get(const ngram_table *t, uint64_t key);
cloze_status ngram_table_add(ngram_table *t, uint64_t key, uint32_t count, cloze_error *err);
ngram *
ngram_table_sorted(const ngram_table *t); /* (count) by falling count; mem_free; NULL: no memory */

cloze_status segmenter_create(size_t n_words, segmenter **out, cloze_error *err);
void segmenter_update_total(segmenter *s);
/* Word starts of a run of n <= SEGMENT_RUN Han characters. */
void segment_run(const segmenter *s, const uint32_t *cps, int n, uint8_t *starts);

#endif
