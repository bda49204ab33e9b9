/*
 * The ops of the tape: one file each in ops/, forward and backward side by side. Every function
 * returns a var of the current step, or NULL when the tape is poisoned (see tape.h). In bf16 the
 * products take `low` (or a bf16 value) and give bf16; norms, embeddings, logits, poolings and
 * losses give f32; other ops keep their input's type (f32 when the inputs differ). A `param` may be
 * f32, bf16 or f16 while it is frozen. Host arrays are copied.
 */
#ifndef CLOZE_AUTOGRAD_OPS_H
#define CLOZE_AUTOGRAD_OPS_H

#include "autograd/tape.h"

/* (N,H) sum of rows of up to 8 tables; ids[i] (N) host memory. f32 result. */
var *op_embedding(tape *t, param *const tables[], const int32_t *const ids[], int n_tables,
                  int64_t n);
/* act(x W^T + bias): x (N,K), w (M,K), bias (1,M) or NULL -> (N,M). */
var *op_linear(tape *t, var *x, param *w, param *bias, activation act);
/* x W^T + bias with an f32 result in both precisions: classifiers, verbalizers, vocabularies. */
var *op_linear_logits(tape *t, var *x, param *w, param *bias);
/* The same with the product in f32 in both precisions, for an f32 x: sums of scores. */
var *op_linear_exact(tape *t, var *x, param *w, param *bias);
/* The same over the weight rows rows[0..n_rows) (host) only: the label words' rows of a vocabulary
 * matrix. */
var *op_linear_rows(tape *t, var *x, param *w, param *bias, const int32_t *rows, int64_t n_rows);
var *op_activation(tape *t, var *x, activation act);
/* layer_norm(dropout(x) + residual); residual may be NULL; site = the dropout's module path key. */
var *op_layer_norm(tape *t, var *x, var *residual, float dropout_p, uint64_t site, param *gamma,
                   param *beta, float eps);
var *op_rms_norm(tape *t, var *x, param *gamma, float eps);
var *op_dropout(tape *t, var *x, float p, uint64_t site);
var *op_add(tape *t, var *a, var *b);
var *op_scale(tape *t, var *x, float alpha);
var *op_mul(tape *t, var *a, var *b);
var *op_glu(tape *t, var *x, activation act);
var *op_rope(tape *t, var *x, const int32_t *positions, int32_t n_heads, int32_t rotary_dim,
             float base, bool interleaved);

typedef struct attention_layout { /* host memory */
    int32_t n_seqs;
    const int32_t *q_offsets, *kv_offsets; /* (B+1); the same pointer for self-attention */
    int32_t n_heads, head_dim;
    float scale;
    attention_mask mask;
    float dropout_p;
    uint64_t site;
    int32_t n_prefix;
    bool prefix_per_seq;
} attention_layout;
/* qkv (N, 3*A*D): query, key and value side by side -> context (N, A*D). */
var *op_attention_qkv(tape *t, var *qkv, var *prefix_k, var *prefix_v,
                      const attention_layout *layout);
/* Separate q (Nq, A*D), k and v (Nkv, A*D): cross-attention, caches. */
var *op_attention(tape *t, var *q, var *k, var *v, var *prefix_k, var *prefix_v,
                  const attention_layout *layout);

var *op_gather_rows(tape *t, var *x, const int32_t *rows, int64_t n_rows);
var *op_concat_rows(tape *t, var *const parts[], int n);
var *op_concat_columns(tape *t, var *const parts[], int n);
var *op_slice_columns(tape *t, var *x, int64_t begin, int64_t n);
/* x plus a (x.rows, n) var in its columns [begin, begin + n): how adapters join a product. */
var *op_add_columns(tape *t, var *x, var *part, int64_t begin);
/* The same numbers as (rows, cols); x must be dense and rows * cols its size. */
var *op_reshape(tape *t, var *x, int64_t rows, int64_t cols);
var *op_mean_pool(tape *t, var *x, const int32_t *offsets, int32_t n_seqs);
var *op_log_softmax(tape *t, var *x);
var *op_logsumexp(tape *t, var *x, const int32_t *groups, int32_t n_groups);

/* spec's arrays are host memory, copied; soft_labels as (R,C) floats. -> (1,1) f32. */
typedef struct cross_entropy_options {
    const int32_t *labels;      /* (R) or NULL */
    const float *soft_labels;   /* (R,C) or NULL */
    const float *class_weights; /* (C) or NULL */
    float label_smoothing;
    float scale; /* 1/global count */
} cross_entropy_options;
var *op_cross_entropy(tape *t, var *logits, const cross_entropy_options *options);
var *op_bce(tape *t, var *logits, const float *targets, float scale);
/* scale * sum KL(q || p) of log-probabilities. */
var *op_kl(tape *t, var *p, var *q, float scale);
var *op_cosine(tape *t, var *a, var *b, float eps);
/* One direction; w_ih (4D,K), w_hh (4D,D), biases (1,4D). */
var *op_lstm(tape *t, var *x, param *w_ih, param *w_hh, param *b_ih, param *b_hh, int32_t n_seqs,
             const int32_t *offsets, bool reverse);
var *op_sum(tape *t, var *x, float alpha); /* (1,1) */

#endif
