/*
 * Packed batches: tokens of the examples one after another, no padding.
 *
 * encoded_set   all examples of a data set (or of a chunk of a stream), encoded once
 * batch_plan    which examples form which batch: by count or by token budget, shuffled as a
 *               function of (seed, epoch), or sorted by length for prediction
 * packed_batch  the arrays of one batch
 */
#ifndef CLOZE_PROMPT_BATCH_H
#define CLOZE_PROMPT_BATCH_H

#include "prompt/input_encoder.h"

/* Zeroed storage is valid and empty. */
typedef struct encoded_set {
    int64_t n;
    int64_t *offsets;      /* (n+1) into the token arrays */
    int64_t *mask_offsets; /* (n+1) into masked_positions */
    int32_t *input_ids, *token_type_ids, *position_ids, *soft_token_ids; /* (offsets[n]) */
    int32_t *masked_positions; /* (mask_offsets[n]) positions within their own example */
    int32_t *labels;           /* (n) -1 = unlabelled */
    int64_t n_cut_examples, n_cut_tokens;
    int32_t longest;
} encoded_set;

/* Encodes on all cores. The first failing example (in order) decides the error. */
cloze_status encoded_set_build(const input_encoder *encoder, const example *examples, int64_t n,
                               encoded_set *out, cloze_error *err);
/* Zeroed arrays of a zeroed set, for who fills one by hand; what was made before a failure goes with
 * encoded_set_deinit. */
cloze_status encoded_set_reserve(encoded_set *set, int64_t n, int64_t n_tokens, int64_t n_masks,
                                 cloze_error *err);
void encoded_set_deinit(encoded_set *set);

typedef struct batch_options {
    int32_t batch_size;   /* examples; 0 = no limit */
    int32_t token_budget; /* tokens; 0 = no limit. One example may exceed it alone. */
    bool drop_last;       /* leave out a last batch smaller than batch_size */
} batch_options;

/* Batch b holds examples order[starts[b] .. starts[b+1]). */
typedef struct batch_plan {
    int32_t *order;  /* (n) example indices */
    int64_t *starts; /* (n_batches+1) */
    int64_t n, n_batches;
} batch_plan;

/* In file order; shuffled for an epoch; by falling length (ties in order), so that the largest
 * batch, and with it any shortage of memory, comes first. */
cloze_status batch_plan_sequential(const encoded_set *set, const batch_options *opts,
                                   batch_plan *out, cloze_error *err);
cloze_status batch_plan_shuffled(const encoded_set *set, const batch_options *opts, uint64_t seed,
                                 int64_t epoch, batch_plan *out, cloze_error *err);
cloze_status batch_plan_by_length(const encoded_set *set, const batch_options *opts,
                                  batch_plan *out, cloze_error *err);
void batch_plan_deinit(batch_plan *plan);

/* Storage that is used again from batch to batch. Zeroed storage is valid and empty. */
typedef struct packed_batch {
    int32_t n_examples, n_tokens, n_masks, longest; /* B, N, M, tokens of the longest example */
    int32_t *offsets;                               /* (B+1) first row of each example */
    int32_t *mask_offsets;                          /* (B+1) first mask of each example */
    int32_t *input_ids, *token_type_ids, *position_ids, *soft_token_ids; /* (N) */
    int32_t *mask_rows;   /* (M) rows of the masks in the packed batch */
    int32_t *labels;      /* (B) -1 = unlabelled */
    int32_t *example_ids; /* (B) index in the encoded set: where results belong */
    int32_t example_cap, token_cap, mask_cap;
} packed_batch;

cloze_status packed_batch_fill(packed_batch *batch, const encoded_set *set, const batch_plan *plan,
                               int64_t i_batch, cloze_error *err);
/* From single encoded examples (fill, serving): example_ids are 0..n-1. labels may be NULL. */
cloze_status packed_batch_from_examples(packed_batch *batch,
                                        const encoded_example *const examples[],
                                        const int32_t *labels, int32_t n, cloze_error *err);
void packed_batch_deinit(packed_batch *batch);

#endif
