/*
 * Chinese words, for whole-word masking: a word list learnt from raw text without any dictionary,
 * and segmentation by the most probable path (unigram Viterbi).
 *
 * A run of 2 to 4 Han characters is a word when its ends are free and its inside is bound: when the
 * uncertainty about its neighbours (branching entropy) rises at its ends by more than it does for
 * other runs of that length. Only characters of the basic plane take part.
 */
#ifndef CLOZE_TEXT_SEGMENT_H
#define CLOZE_TEXT_SEGMENT_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

#define SEGMENT_MAX_CHARS 4

/* Immutable once made: any number of threads. */
typedef struct segmenter segmenter;

typedef struct segment_train_options {
    int32_t max_words; /* of two characters and more, the most frequent ones; 0 = 60000 */
    int32_t min_count; /* of a word in the text; 0 = 10 */
} segment_train_options;

/* Counts text fed to it. Memory is bounded: when its tables fill up, the rarest n-grams go. */
typedef struct segment_trainer segment_trainer;
cloze_status segment_trainer_create(const segment_train_options *o, segment_trainer **out,
                                    cloze_error *err);
cloze_status segment_trainer_feed(segment_trainer *t, const char *text, size_t n, cloze_error *err);
cloze_status segment_trainer_finish(segment_trainer *t, segmenter **out, cloze_error *err);
void segment_trainer_destroy(segment_trainer *t); /* NULL is accepted */

/* A text file, one `word<TAB>count` a line, by falling count. */
cloze_status segmenter_write(const segmenter *s, const char *path, cloze_error *err);
cloze_status segmenter_read(const char *path, segmenter **out, cloze_error *err);
void segmenter_destroy(segmenter *s); /* NULL is accepted */
int32_t segmenter_word_count(const segmenter *s);

/* *starts: one byte for each code point of text (bytes outside UTF-8 count as one), 1 where a word
 * starts; every code point that is not Han is 1. mem_free. */
cloze_status segmenter_word_starts(const segmenter *s, const char *text, size_t n, uint8_t **starts,
                                   cloze_error *err);

#endif
