/*
 * Building a BERT vocabulary from raw text: the special tokens, every frequent single character
 * (Chinese characters stand alone in BERT), then pieces of Latin words and numbers by repeatedly
 * joining the most frequent pair of neighbouring pieces (Sennrich et al. 2016), written as
 * WordPiece writes them (## inside a word). The same text gives the same vocabulary.
 */
#ifndef CLOZE_TEXT_WORDPIECE_TRAIN_H
#define CLOZE_TEXT_WORDPIECE_TRAIN_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"

typedef struct wordpiece_train_options {
    int32_t vocab_size; /* special tokens included; fewer when the text has not as many */
    int32_t min_count;  /* of a character or pair; 0 = 2 */
    bool do_lower_case; /* lower case and no accents, as the tokenizer will do */
} wordpiece_train_options;

typedef struct wordpiece_trainer wordpiece_trainer;

cloze_status wordpiece_trainer_create(const wordpiece_train_options *o, wordpiece_trainer **out,
                                      cloze_error *err);
cloze_status wordpiece_trainer_feed(wordpiece_trainer *t, const char *text, size_t n,
                                    cloze_error *err);
/* Appends the text of a vocab.txt, one token a line. */
cloze_status wordpiece_trainer_finish(wordpiece_trainer *t, buf *vocab, cloze_error *err);
void wordpiece_trainer_destroy(wordpiece_trainer *t); /* NULL is accepted */

#endif
