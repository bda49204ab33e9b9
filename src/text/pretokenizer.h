/*
 * Cutting a text into words: the pre-tokenizers of tokenizer.json over normalised code points, and
 * GPT-2's pattern as a hand-written scanner.
 *
 *   's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
 */
#ifndef CLOZE_TEXT_PRETOKENIZER_H
#define CLOZE_TEXT_PRETOKENIZER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "text/code_pages.h"
#include "text/normalizer.h"
#include "text/pattern.h"

typedef enum pretokenizer_kind {
    PRETOKENIZER_BERT,   /* at spaces, and around each punctuation mark */
    PRETOKENIZER_SPACES, /* WhitespaceSplit */
    PRETOKENIZER_WORDS,  /* Whitespace: \w+|[^\w\s]+ */
    PRETOKENIZER_PUNCTUATION,
    PRETOKENIZER_DIGITS,
    PRETOKENIZER_DELIMITER, /* CharDelimiterSplit */
    PRETOKENIZER_SPLIT,
    PRETOKENIZER_BYTE_LEVEL,
} pretokenizer_kind;

typedef enum split_behavior {
    SPLIT_REMOVED,
    SPLIT_ISOLATED,
    SPLIT_MERGED_PREVIOUS,
    SPLIT_MERGED_NEXT,
    SPLIT_CONTIGUOUS,
} split_behavior;

typedef struct pretokenizer_step {
    pretokenizer_kind kind;
    split_behavior behavior;          /* PUNCTUATION, SPLIT */
    bool individual;                  /* DIGITS: each by itself */
    bool invert;                      /* SPLIT: the pattern says what stays */
    pattern *match;                   /* SPLIT; owned */
    uint32_t delimiter;               /* DELIMITER */
    bool add_prefix_space, use_regex; /* BYTE_LEVEL */
    code_pages *classes; /* BYTE_LEVEL: of GPT-2's pattern; owned, made by pretokenizer_add */
} pretokenizer_step;

typedef struct pretokenizer {
    pretokenizer_step *steps; /* (n) in order; owned */
    int32_t n;
} pretokenizer;

void pretokenizer_deinit(pretokenizer *z);
/* Appends a step, taking over what it owns (also on failure). */
cloze_status pretokenizer_add(pretokenizer *z, const pretokenizer_step *step, cloze_error *err);

/* Words as ranges of a text's code points. */
typedef struct word_list {
    pattern_range *items; /* (n) */
    int32_t n, cap;
} word_list;

void word_list_deinit(word_list *w);
/* Cuts t into words; spaces that BYTE_LEVEL puts in front are inserted into t. */
cloze_status pretokenizer_apply(const pretokenizer *z, norm_text *t, word_list *words,
                                cloze_error *err);

/* Entries of the class table of GPT-2's pattern (a code_entry_fn). */
uint32_t gpt2_make_entry(const void *context, uint32_t cp, uint32_t *pool, uint32_t *n);

/* End of the word that begins at text[begin] (begin < n; valid UTF-8), in bytes; 0 without memory.
 */
size_t gpt2_next_word(code_pages *classes, const char *text, size_t begin, size_t n);

#endif
