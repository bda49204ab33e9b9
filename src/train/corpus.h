/*
 * The text that a masked LM learns from: tokenized once, cut into sequences, with word starts
 * marked for whole-word masking. masked_batch.h makes batches of it.
 */
#ifndef CLOZE_TRAIN_CORPUS_H
#define CLOZE_TRAIN_CORPUS_H

#include "base/log.h"
#include "text/segment.h"
#include "text/tokenizer.h"

/* Sequence s: tokens[offsets[s] .. offsets[s+1]), without special tokens. */
typedef struct corpus {
    int32_t *tokens;  /* (n_tokens) id * 2 + 1 when a word starts here */
    int64_t *offsets; /* (n_sequences+1) */
    int64_t n_tokens, n_sequences;
    int64_t token_cap, sequence_cap;
} corpus;

typedef struct corpus_options {
    const char *files; /* paths separated by commas */
    const tokenizer *tok;
    const segmenter *words; /* NULL: every token that is no continuation starts a word */
    int32_t
        max_seq_length; /* special tokens included; longer lines are cut into several sequences */
    const cloze_callbacks *callbacks;
} corpus_options;

/* Lines shorter than 2 tokens are left out. ERR_DATA names file and line; max_seq_length below 4 is
 * ERR_USAGE. */
cloze_status corpus_read(const corpus_options *o, corpus *out, cloze_error *err);
void corpus_deinit(corpus *c);
/* Moves n sequences, chosen by seed, from c to held (empty). */
cloze_status corpus_hold_out(corpus *c, corpus *held, int64_t n, uint64_t seed, cloze_error *err);

/* Calls line(ctx, text, n) for every non-blank line of the files. */
typedef cloze_status (*corpus_line)(void *ctx, const char *text, size_t n, cloze_error *err);
cloze_status corpus_each_line(const char *files, corpus_line line, void *ctx, cloze_error *err);
/* Whether every file can be read and has text: before hours of work are put into the first ones. */
cloze_status corpus_check_files(const char *files, cloze_error *err);

#endif
