/* Counts of words with a bound on memory, and byte-pair merges learnt from them. */
#ifndef CLOZE_TEXT_WORD_COUNTS_H
#define CLOZE_TEXT_WORD_COUNTS_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "text/vocab.h"

#define WORD_COUNTS_MAX_CHARS 40 /* longer words are no words: addresses, runs of signs */

typedef struct counted_word {
    char *text; /* (n) owned by the table */
    uint32_t n;
    uint64_t count;
    uint64_t hash;
} counted_word;

typedef struct word_counts {
    counted_word *slots; /* (mask + 1) open addressing; text NULL = free */
    size_t mask, used;
    size_t max_used; /* when so many words are in, the rarest go */
} word_counts;

cloze_status word_counts_init(word_counts *w, size_t max_words, cloze_error *err);
void word_counts_deinit(word_counts *w);
cloze_status word_counts_add(word_counts *w, const char *text, size_t n, cloze_error *err);
/* Moves the words to the front of slots, by falling count, then by bytes. Nothing may be added
 * afterwards; slots[0..used) are the words. */
void word_counts_sort(word_counts *w);

/* Learns merges over words (sorted; each character's token, ##-marked inside a word, is in v, or
 * the word is left out) and adds the merged tokens to v, most frequent first, until v has
 * vocab_size tokens or the best pair comes less often than min_count. */
cloze_status wordpiece_learn_merges(const word_counts *words, int32_t vocab_size, int64_t min_count,
                                    vocabulary *v, cloze_error *err);

#endif
