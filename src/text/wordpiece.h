/*
 * WordPiece: greedy longest match of a word's pieces, and BERT's whole pipeline (cleaning, Chinese
 * characters, accents, lower case, splitting at spaces and punctuation, pieces) as one pass over
 * the bytes of a text.
 */
#ifndef CLOZE_TEXT_WORDPIECE_H
#define CLOZE_TEXT_WORDPIECE_H

#include "base/error.h"
#include "text/code_pages.h"
#include "text/encoding.h"
#include "text/vocab.h"

#define WORDPIECE_WORD_CHARS 256 /* the one-pass scan serves max_chars up to this */

typedef struct wordpiece_model {
    const vocabulary *vocab; /* borrowed; its continuation table is made */
    int32_t unk;             /* id; -1 = none: words that are not covered vanish */
    int32_t max_chars;       /* longer words are unk */
} wordpiece_model;

/* Pieces of word[0..n): ids[i] ends before byte ends[i]. Both have room for n. Returns how many,
 * 0 when some part is not in the vocabulary. hashes: scratch of n + 1. */
int wordpiece_match(const wordpiece_model *wp, const char *word, int n, int32_t *ids, int32_t *ends,
                    uint64_t *hashes);

/* BertNormalizer's switches, all resolved. */
typedef struct bert_switches {
    bool clean_text, handle_chinese_chars, strip_accents, lowercase;
} bert_switches;

typedef struct bert_scanner {
    wordpiece_model model;
    bert_switches on;
    code_pages *pages; /* owned */
    uint32_t ascii[128];
} bert_scanner;

cloze_status bert_scanner_init(bert_scanner *s, const wordpiece_model *model,
                               const bert_switches *on, cloze_error *err);
void bert_scanner_deinit(bert_scanner *s);

/* Appends the tokens of text[0..n), whose first code point has the number `base` in the source.
 * *done false: a code point needs the general path (rare combining marks); nothing was appended. */
cloze_status bert_scan(const bert_scanner *s, const char *text, size_t n, int32_t base,
                       encoding *out, bool *done, cloze_error *err);

#endif
