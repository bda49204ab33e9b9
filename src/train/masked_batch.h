/*
 * Masked batches of a corpus. Batches and masks are functions of (seed, epoch, sequence): every
 * epoch masks anew ("dynamic masking", Liu et al. 2019) and nothing depends on threads.
 */
#ifndef CLOZE_TRAIN_MASKED_BATCH_H
#define CLOZE_TRAIN_MASKED_BATCH_H

#include "train/corpus.h"
#include "train/keyword.h"

typedef struct mask_options {
    double probability; /* of a token to be chosen: 0.15 */
    bool whole_word;
    int32_t mask_id, cls_id, sep_id;
    int32_t vocab_size,
        first_ordinary_id; /* random replacements come from [first_ordinary_id, vocab_size) */
    const keyword_prompts *keywords; /* NULL = none */
    double keyword_probability;      /* of a sequence to become keyword prompts */
} mask_options;

/* One batch, packed, with [CLS] and [SEP]; storage is used again. Zeroed storage is valid. */
typedef struct masked_batch {
    int32_t n_seqs, n_tokens, n_masks;
    int32_t *offsets;      /* (B+1) */
    int32_t *input_ids;    /* (N) after masking: 80 % [MASK], 10 % random, 10 % unchanged */
    int32_t *position_ids; /* (N) running; the [SEP] behind a prompt has 0, as in prompt learning */
    int32_t *mask_rows;    /* (M) chosen positions */
    int32_t *labels;       /* (M) their true ids */
    uint64_t *row_keys;    /* (N) dropout keys */
    int64_t token_cap, seq_cap;
} masked_batch;
void masked_batch_deinit(masked_batch *b);

/* Sequences order[first..last) of c; masks are a function of key and the sequence's index. With
 * o->keywords a sequence may be cut into several keyword prompts (keyword.h), each with one keyword
 * of the sequence, all of it masked, and the ordinary masks in its text. */
cloze_status masked_batch_fill(masked_batch *b, const corpus *c, const int32_t *order,
                               int64_t first, int64_t last, const mask_options *o, uint64_t key,
                               cloze_error *err);

#endif
