/*
 * The text that a masked LM learns from: tokenized once, cut into sequences, with word starts
 * marked for whole-word masking. Batches and masks are functions of (seed, epoch, sequence): every
 * epoch masks anew ("dynamic masking", Liu et al. 2019) and nothing depends on threads.
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

typedef struct mask_options {
    double probability; /* of a token to be chosen: 0.15 */
    bool whole_word;
    int32_t mask_id, cls_id, sep_id;
    int32_t vocab_size,
        first_ordinary_id; /* random replacements come from [first_ordinary_id, vocab_size) */
} mask_options;

/* One batch, packed, with [CLS] and [SEP]; storage is used again. Zeroed storage is valid. */
typedef struct masked_batch {
    int32_t n_seqs, n_tokens, n_masks;
    int32_t *offsets;   /* (B+1) */
    int32_t *input_ids; /* (N) after masking: 80 % [MASK], 10 % random, 10 % unchanged */
    int32_t *mask_rows; /* (M) chosen positions */
    int32_t *labels;    /* (M) their true ids */
    uint64_t *row_keys; /* (N) dropout keys */
    int64_t token_cap, seq_cap;
} masked_batch;
void masked_batch_deinit(masked_batch *b);

/* Sequences order[first..last) of c; masks are a function of key and the sequence's index. */
cloze_status masked_batch_fill(masked_batch *b, const corpus *c, const int32_t *order,
                               int64_t first, int64_t last, const mask_options *o, uint64_t key,
                               cloze_error *err);

#endif
