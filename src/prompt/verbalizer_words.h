/*
 * Label words as token ids: per label several words, per word several tokens. In a byte-level BPE
 * vocabulary a word gets a leading space (words in running text have one; the token of a bare word
 * is another one), unless word_starts_text says that the mask stands at the start of the text.
 */
#ifndef CLOZE_PROMPT_VERBALIZER_WORDS_H
#define CLOZE_PROMPT_VERBALIZER_WORDS_H

#include "base/error.h"
#include "prompt/labels.h"
#include "text/tokenizer.h"

/* Zeroed storage is valid and empty. Word w of label l: word_offsets[l] <= w < word_offsets[l+1];
 * its tokens: token_ids[token_offsets[w] .. token_offsets[w+1]). */
typedef struct verbalizer_words {
    int32_t n_labels, n_words, n_tokens;
    int32_t *word_offsets;  /* (n_labels+1) */
    int32_t *word_labels;   /* (n_words) label id of each word */
    int32_t *token_offsets; /* (n_words+1) */
    int32_t *token_ids;     /* (n_tokens) */
    /* Words by length: group g has words of group_lengths[g] tokens (rising), and lists
     * group_words[group_offsets[g] .. group_offsets[g+1]) in word order. */
    int32_t n_groups;
    int32_t *group_lengths; /* (n_groups) */
    int32_t *group_offsets; /* (n_groups+1) */
    int32_t *group_words;   /* (n_words) */
    int32_t max_length;     /* tokens of the longest word */
    arena memory;
} verbalizer_words;

typedef struct verbalizer_words_options {
    bool word_starts_text; /* no leading space (byte-level BPE) */
    bool allow_unknown;    /* keep [UNK] tokens (soft verbalizer: the word only starts a row) */
} verbalizer_words_options;

/* A word with an unknown token, or without any token, is CLOZE_ERR_DATA naming label and word.
 * opts NULL = zeroed. */
cloze_status verbalizer_words_build(const label_set *labels, const tokenizer *tok,
                                    const verbalizer_words_options *opts, verbalizer_words *out,
                                    cloze_error *err);
void verbalizer_words_deinit(verbalizer_words *words);

#endif
