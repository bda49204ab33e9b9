/*
 * Modules: parameters and forward passes over the tape. A module's fields are filled by nn_build_*,
 * which registers its parameters and the checkpoint tensors that they hold in an nn_state.
 *
 * Tuning methods reach a model through three slots and nowhere else: nn_linear.adapters (LoRA and
 * kin), nn_attention.prefix (prefix tuning, P-tuning v2) and nn_embeddings.override (soft tokens).
 * Without a method they are empty and cost nothing.
 */
#ifndef CLOZE_NN_NN_H
#define CLOZE_NN_NN_H

#include "autograd/ops.h"
#include "base/mem.h"

/* A checkpoint tensor: rows [row_begin, row_begin + rows) of a parameter (a fused QKV holds three).
 */
typedef struct nn_entry {
    char *name; /* canonical Hugging Face name */
    param *param;
    int64_t row_begin, rows;
    bool head; /* of a task head: may be missing in a checkpoint, and is then initialised */
} nn_entry;

/* How a parameter that no checkpoint gives starts. */
typedef enum nn_init { NN_INIT_NORMAL, NN_INIT_ZERO, NN_INIT_ONE } nn_init;

/* All parameters of a model and their state dict. Owns both. */
typedef struct nn_state {
    param **params;
    nn_init *inits; /* parallel to params */
    int n_params, cap_params;
    nn_entry *entries;
    int n_entries, cap_entries;
} nn_state;

void nn_state_deinit(nn_state *s);
/* Adds a parameter of (rows, cols) (rank 1: rows = 1) without entries or value. */
cloze_status nn_state_add_param(nn_state *s, const char *name, int rank, int64_t rows, int64_t cols,
                                nn_init init, param **out, cloze_error *err);
cloze_status nn_state_add_entry(nn_state *s, const char *name, param *p, int64_t row_begin,
                                int64_t rows, bool head, cloze_error *err);
const nn_entry *nn_state_find(const nn_state *s, const char *name); /* NULL when there is none */
/* Gives p fresh memory and its initial value, a function of (seed, name) alone: normal with sd std,
 * 0 or 1; row zero_row of a table (padding) is zeroed when >= 0. */
cloze_status nn_param_initialize(param *p, nn_init init, uint64_t seed, float std, int64_t zero_row,
                                 cloze_error *err);

/* What adds to a linear's output: columns [begin, begin + n) += forward(x). */
typedef struct nn_adapter {
    int64_t begin, n;
    var *(*forward)(tape *t, void *state, var *x); /* x (N,K) -> (N,n) */
    void *state;
} nn_adapter;

typedef struct nn_linear {
    param *weight, *bias; /* (M,K); (1,M) or NULL */
    nn_adapter *adapters; /* slot: owned by the tuning method */
    int n_adapters;
} nn_linear;

/* names: n_parts checkpoint names (without ".weight"/".bias") of equal output size, fused by rows.
 */
cloze_status nn_build_linear(nn_state *s, const char *const names[], int n_parts, int64_t in,
                             int64_t out, bool bias, bool head, nn_linear *out_linear,
                             cloze_error *err);
var *nn_linear_forward(tape *t, const nn_linear *l, var *x, activation act);

typedef struct nn_layer_norm {
    param *gamma, *beta;
    float eps;
} nn_layer_norm;
cloze_status nn_build_layer_norm(nn_state *s, const char *name, int64_t size, float eps, bool head,
                                 nn_layer_norm *out, cloze_error *err);
/* layer_norm(dropout(x) + residual); residual may be NULL. */
var *nn_layer_norm_forward(tape *t, const nn_layer_norm *n, var *x, var *residual, float dropout_p,
                           uint64_t site);

/* A packed batch, host memory, borrowed for the call. */
typedef struct nn_batch {
    int32_t n_seqs;                /* B */
    int32_t n_tokens;              /* N = offsets[B] */
    const int32_t *offsets;        /* (B+1) */
    const int32_t *input_ids;      /* (N) */
    const int32_t *token_type_ids; /* (N), NULL = all 0 */
    const int32_t
        *position_ids; /* (N) from 0, NULL = running; a model's own offset is added inside */
    const int32_t *task_type_ids; /* (N), NULL = all 0 */
} nn_batch;

/* Rows of a packed batch whose results somebody reads, those of one sequence together and sequences
 * in order (a row may repeat). Host memory, borrowed for the step. */
typedef struct nn_rows {
    const int32_t *rows;    /* (R) */
    const int32_t *offsets; /* (B+1) rows[offsets[b] .. offsets[b+1]) are sequence b's; R = offsets[B] */
} nn_rows;

typedef struct nn_embeddings {
    param *tables[4];        /* word, position, token type, task type; NULL = the model has none */
    int64_t position_offset; /* RoBERTa: padding index + 1 */
    nn_layer_norm norm;
    float dropout_p;
    uint64_t site;
    /* slot: rewrites the sum of embeddings (N,H), e.g. puts soft tokens in; NULL = none */
    var *(*override)(tape *t, void *state, const nn_batch *batch, var *embedded);
    void *override_state;
} nn_embeddings;
var *nn_embeddings_forward(tape *t, const nn_embeddings *e, const nn_batch *batch);

/* Keys and values in front of every sequence at one layer: (P or B*P, A*D) each. */
typedef struct nn_prefix {
    var *key, *value;
    int32_t n;
    bool per_seq;
} nn_prefix;

typedef struct nn_attention {
    nn_linear qkv, output; /* (3H,H), (H,H) */
    int32_t n_heads, head_dim;
    float dropout_p;
    uint64_t site;
    /* slot: fills *out for this layer and step; NULL = none */
    cloze_status (*prefix)(tape *t, void *state, int layer, const nn_batch *batch, nn_prefix *out);
    void *prefix_state;
    int layer;
} nn_attention;
/* x (N,H) -> (N,H), before dropout and residual; (R,H) with rows: only these ask, all answer. */
var *nn_attention_forward(tape *t, const nn_attention *a, const nn_batch *batch,
                          const nn_rows *rows, var *x);

/* A post-norm encoder layer, as BERT's. */
typedef struct nn_encoder_layer {
    nn_attention attention;
    nn_layer_norm attention_norm, output_norm;
    nn_linear intermediate, output; /* (F,H), (H,F) */
    activation act;
    float dropout_p;
    uint64_t attention_site, output_site;
} nn_encoder_layer;
/* x (N,H) -> (N,H). With rows (NULL: all): (R,H), the same numbers for these rows and no work for
 * the others but their keys and values: for a last layer of which few rows are read. */
var *nn_encoder_layer_forward(tape *t, const nn_encoder_layer *l, const nn_batch *batch,
                              const nn_rows *rows, var *x);

#endif
