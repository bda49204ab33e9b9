/* Cases of the op harness: embedding, linear, activations, norms, attention, rope, LSTM. */
#ifndef CLOZE_TESTS_OP_CASES_DENSE_H
#define CLOZE_TESTS_OP_CASES_DENSE_H

#include "unit/backend/op_call.h"

static const activation activations[] = {ACT_NONE, ACT_GELU_ERF, ACT_GELU_TANH,
                                         ACT_RELU, ACT_SILU,     ACT_TANH};
#define N_ACTIVATIONS 6

/* ---- embedding: variant 0..2 = 1..3 tables, of dtype f32, bf16, f16; variant 3 = all the same row
 * ---- */

#define VOCABULARY 50

static inline void build_embedding_forward(op_call *c) {
    static const cloze_dtype dtypes[] = {DTYPE_F32, DTYPE_BF16, DTYPE_F16, DTYPE_F32};
    static const char *const tables[] = {"table", "table1", "table2"}, *const ids[] = {
                                                                           "ids", "ids1", "ids2"};
    int n_tables = c->variant < 3 ? c->variant + 1 : 1;
    for (int i = 0; i < n_tables; i++) {
        cloze_dtype dtype = c->exact ? DTYPE_F64 : dtypes[c->variant];
        op_dense(c, tables[i], OP_IN, dtype, VOCABULARY, c->cols, FILL_NORMAL);
        op_indices(c, ids[i], c->rows, c->variant == 3 ? 1 : VOCABULARY);
    }
    op_rows(c, "out", OP_OUT, c->out, c->rows, c->cols, FILL_NORMAL);
}

static inline cloze_status invoke_embedding_forward(op_call *c, const backend *b,
                                                    backend_device *dev, cloze_error *err) {
    const tensor *tables[3] = {T(table), T(table1), T(table2)};
    const int32_t *ids[3] = {ARRAY(ids), ARRAY(ids1), ARRAY(ids2)};
    int n_tables = tables[2] ? 3 : tables[1] ? 2 : 1;
    return b->embedding_forward(dev, n_tables, tables, ids, T(out), err);
}

static inline void build_embedding_backward(op_call *c) {
    op_rows(c, "dout", OP_IN, c->in, c->rows, c->cols, FILL_NORMAL);
    op_indices(c, "ids", c->rows, c->variant == 3 ? 1 : VOCABULARY);
    op_dense(c, "dtable", OP_INOUT, c->stat, VOCABULARY, c->cols, FILL_NORMAL)->terms =
        (double)c->rows;
}

static inline cloze_status invoke_embedding_backward(op_call *c, const backend *b,
                                                     backend_device *dev, cloze_error *err) {
    return b->embedding_backward(dev, T(dout), ARRAY(ids), T(dtable), err);
}

/* ---- linear: variant = activation; weight f32, but bf16 in variant 4 and f16 in 5; no bias in 3
 * ---- */

static inline int64_t linear_outputs(const op_call *c) {
    static const int64_t outputs[] = {1, 16, 33, 130, 7, 64};
    return outputs[(c->variant + c->rows) % 6];
}

static inline cloze_dtype linear_weight_dtype(const op_call *c) {
    if (c->exact) return DTYPE_F64;
    return c->variant == 4 ? DTYPE_BF16 : c->variant == 5 ? DTYPE_F16 : DTYPE_F32;
}

static inline void build_linear_forward(op_call *c) {
    int64_t n_out = linear_outputs(c); /* M */
    c->act = c->exact ? ACT_NONE : activations[c->variant];
    op_rows(c, "x", OP_IN, c->in, c->rows, c->cols, FILL_NORMAL);
    op_dense(c, "w", OP_IN, linear_weight_dtype(c), n_out, c->cols, FILL_NORMAL);
    if (c->variant != 3) op_dense(c, "bias", OP_IN, c->stat, 1, n_out, FILL_NORMAL);
    if (c->variant % 2 == 1)
        op_rows(c, "pre", OP_OUT, c->aux, c->rows, n_out, FILL_NORMAL)->terms = (double)c->cols;
    op_operand *y = op_rows(c, "y", OP_OUT, c->out, c->rows, n_out, FILL_NORMAL);
    y->terms = (double)c->cols;
    if (c->act != ACT_NONE) op_with_functions(y);
    if (c->variant % 2 == 1 && c->aux == DTYPE_BF16)
        y->bf16_roundings = 1.13; /* it may be act of pre as stored; 1.13 is the largest slope */
}

static inline cloze_status invoke_linear_forward(op_call *c, const backend *b, backend_device *dev,
                                                 cloze_error *err) {
    weight w = {.t = *T(w), .version = 1, .trained = c->variant % 2 == 1};
    cloze_status status = b->linear_forward(dev, T(x), &w, T(bias), c->act, T(pre), T(y), err);
    b->weight_drop_packs(dev, &w);
    return status;
}

static inline void build_linear_backward_input(op_call *c) {
    int64_t n_out = linear_outputs(c); /* M */
    op_rows(c, "dy", OP_IN, c->in, c->rows, n_out, FILL_NORMAL);
    op_dense(c, "w", OP_IN, linear_weight_dtype(c), n_out, c->cols, FILL_NORMAL);
    op_rows(c, "dx", op_out_role(c->accumulate), c->out, c->rows, c->cols, FILL_NORMAL)->terms =
        (double)n_out;
}

static inline cloze_status invoke_linear_backward_input(op_call *c, const backend *b,
                                                        backend_device *dev, cloze_error *err) {
    weight w = {.t = *T(w), .version = 1, .trained = c->variant % 2 == 1};
    cloze_status status = b->linear_backward_input(dev, T(dy), &w, c->accumulate, T(dx), err);
    b->weight_drop_packs(dev, &w);
    return status;
}

/* variant 4: dbias alone, 5: dw alone */
static inline void build_linear_backward_weight(op_call *c) {
    int64_t n_out = linear_outputs(c); /* M */
    op_rows(c, "dy", OP_IN_TAIL, c->in, c->rows, n_out, FILL_NORMAL);
    op_rows(c, "x", OP_IN_TAIL, c->aux, c->rows, c->cols, FILL_NORMAL);
    if (c->variant != 4 || c->exact) {
        op_role role = op_out_role(c->accumulate);
        op_dense(c, "dw", role, c->stat, n_out, c->cols, FILL_NORMAL)->terms =
            (double)c->rows + 1.0;
    }
    if (c->variant != 5) {
        op_dense(c, "dbias", OP_INOUT, c->stat, 1, n_out, FILL_NORMAL)->terms =
            (double)c->rows + 1.0;
    }
}

static inline cloze_status invoke_linear_backward_weight(op_call *c, const backend *b,
                                                         backend_device *dev, cloze_error *err) {
    return b->linear_backward_weight(dev, T(dy), T(x), c->accumulate, T(dw), T(dbias), err);
}

/* ---- activations: variant = activation; in the forward 6 and in the backward 6 in place ---- */

static inline void build_activation_forward(op_call *c) {
    c->act = activations[c->variant % N_ACTIVATIONS];
    bool in_place = c->variant >= N_ACTIVATIONS && !c->exact;
    if (in_place) c->act = ACT_GELU_ERF;
    if (!in_place) op_rows(c, "x", OP_IN, c->in, c->rows, c->cols, FILL_WIDE);
    op_with_functions(op_rows(c, "y", op_out_role(in_place), c->out, c->rows, c->cols, FILL_WIDE));
}

static inline cloze_status invoke_activation_forward(op_call *c, const backend *b,
                                                     backend_device *dev, cloze_error *err) {
    return b->activation_forward(dev, c->act, T(x) ? T(x) : T(y), T(y), err);
}

static inline void build_activation_backward(op_call *c) {
    c->act = activations[c->variant % N_ACTIVATIONS];
    bool in_place = c->variant >= N_ACTIVATIONS && !c->exact;
    if (in_place) {
        c->act = ACT_GELU_ERF;
        c->accumulate = false;
    }
    op_rows(c, "x", OP_IN, c->in, c->rows, c->cols, FILL_WIDE);
    if (!in_place) op_rows(c, "dy", OP_IN, c->aux, c->rows, c->cols, FILL_NORMAL);
    op_with_functions(op_rows(c, "dx", op_out_role(c->accumulate || in_place), c->out, c->rows,
                              c->cols, FILL_NORMAL));
}

static inline cloze_status invoke_activation_backward(op_call *c, const backend *b,
                                                      backend_device *dev, cloze_error *err) {
    return b->activation_backward(dev, c->act, T(x), T(dy) ? T(dy) : T(dx), c->accumulate, T(dx),
                                  err);
}

/* ---- gated linear units: variant = activation ---- */

static inline void build_glu_forward(op_call *c) {
    c->act = activations[c->variant];
    op_rows(c, "x", OP_IN, c->in, c->rows, 2 * c->cols, FILL_NORMAL);
    op_with_functions(op_rows(c, "y", OP_OUT, c->out, c->rows, c->cols, FILL_NORMAL));
}

static inline cloze_status invoke_glu_forward(op_call *c, const backend *b, backend_device *dev,
                                              cloze_error *err) {
    return b->glu_forward(dev, c->act, T(x), T(y), err);
}

static inline void build_glu_backward(op_call *c) {
    c->act = activations[c->variant];
    op_rows(c, "x", OP_IN, c->in, c->rows, 2 * c->cols, FILL_NORMAL);
    op_rows(c, "dy", OP_IN, c->aux, c->rows, c->cols, FILL_NORMAL);
    op_with_functions(op_rows(c, "dx", OP_OUT, c->out, c->rows, 2 * c->cols, FILL_NORMAL));
}

static inline cloze_status invoke_glu_backward(op_call *c, const backend *b, backend_device *dev,
                                               cloze_error *err) {
    return b->glu_backward(dev, c->act, T(x), T(dy), T(dx), err);
}

/* ---- norms. Variants: 0 everything; 1 x alone; 2 residual, no dropout; 3 dropout, no residual
 * ---- */

#define NORM_EPS 1e-5f

static inline bool norm_has_dropout(const op_call *c) { return c->variant == 0 || c->variant == 3; }
static inline bool norm_has_residual(const op_call *c) {
    return c->variant == 0 || c->variant == 2;
}

/* A mean over the columns and a root enter it. */
static inline void norm_output(op_call *c, op_operand *o) {
    op_with_functions(o)->terms = (double)c->cols;
}

static inline void build_layer_norm_forward(op_call *c) {
    op_rows(c, "x", OP_IN, c->in, c->rows, c->cols, FILL_SPREAD);
    if (norm_has_residual(c)) op_rows(c, "residual", OP_IN, c->aux, c->rows, c->cols, FILL_SPREAD);
    if (norm_has_dropout(c)) op_dropout(c, c->variant == 0 ? 0.1f : 0.5f, c->rows);
    op_dense(c, "gamma", OP_IN, c->stat, 1, c->cols, FILL_POSITIVE);
    op_dense(c, "beta", OP_IN, c->stat, 1, c->cols, FILL_NORMAL);
    norm_output(c, op_rows(c, "y", OP_OUT, c->out, c->rows, c->cols, FILL_NORMAL));
    if (c->variant % 3 == 0)
        norm_output(c, op_rows(c, "y_low", OP_OUT, DTYPE_BF16, c->rows, c->cols, FILL_NORMAL));
    if (c->variant == 1 && !c->exact) return;
    norm_output(c, op_rows(c, "xhat", OP_OUT, c->aux, c->rows, c->cols, FILL_NORMAL));
    norm_output(c, op_dense(c, "rstd", OP_OUT, c->stat, c->rows, 1, FILL_NORMAL));
}

static inline cloze_status invoke_layer_norm_forward(op_call *c, const backend *b,
                                                     backend_device *dev, cloze_error *err) {
    return b->layer_norm_forward(dev, T(x), T(residual), op_dropout_of(c), T(gamma), T(beta),
                                 NORM_EPS, T(y), T(y_low), T(xhat), T(rstd), err);
}

static inline void build_layer_norm_backward(op_call *c) {
    op_rows(c, "dy", OP_IN, c->in, c->rows, c->cols, FILL_NORMAL);
    op_rows(c, "xhat", OP_IN, c->aux, c->rows, c->cols, FILL_NORMAL);
    op_dense(c, "rstd", OP_IN, c->stat, c->rows, 1, FILL_POSITIVE);
    op_dense(c, "gamma", OP_IN, c->stat, 1, c->cols, FILL_POSITIVE);
    if (norm_has_dropout(c)) op_dropout(c, c->variant == 0 ? 0.1f : 0.5f, c->rows);
    if (c->variant != 2 || c->exact) {
        norm_output(
            c, op_rows(c, "dx", op_out_role(c->accumulate), c->out, c->rows, c->cols, FILL_NORMAL));
    }
    if (norm_has_residual(c)) {
        op_role role = op_out_role(c->accumulate_too);
        norm_output(c, op_rows(c, "dresidual", role, c->aux, c->rows, c->cols, FILL_NORMAL));
    }
    if (c->variant == 1 && !c->exact) return;
    op_dense(c, "dgamma", OP_INOUT, c->stat, 1, c->cols, FILL_NORMAL)->terms = (double)c->rows;
    if (c->variant != 3)
        op_dense(c, "dbeta", OP_INOUT, c->stat, 1, c->cols, FILL_NORMAL)->terms = (double)c->rows;
}

static inline cloze_status invoke_layer_norm_backward(op_call *c, const backend *b,
                                                      backend_device *dev, cloze_error *err) {
    return b->layer_norm_backward(dev, T(dy), T(xhat), T(rstd), T(gamma), op_dropout_of(c),
                                  c->accumulate, T(dx), c->accumulate_too, T(dresidual), T(dgamma),
                                  T(dbeta), err);
}

/* variant 1: no rstd kept, and no dgamma wanted */
static inline void build_rms_norm_forward(op_call *c) {
    op_rows(c, "x", OP_IN, c->in, c->rows, c->cols, FILL_NORMAL);
    op_dense(c, "gamma", OP_IN, c->stat, 1, c->cols, FILL_POSITIVE);
    norm_output(c, op_rows(c, "y", OP_OUT, c->out, c->rows, c->cols, FILL_NORMAL));
    if (c->variant == 1 && !c->exact) return;
    norm_output(c, op_dense(c, "rstd", OP_OUT, c->stat, c->rows, 1, FILL_NORMAL));
}

static inline cloze_status invoke_rms_norm_forward(op_call *c, const backend *b,
                                                   backend_device *dev, cloze_error *err) {
    return b->rms_norm_forward(dev, T(x), T(gamma), NORM_EPS, T(y), T(rstd), err);
}

static inline void build_rms_norm_backward(op_call *c) {
    op_rows(c, "dy", OP_IN, c->in, c->rows, c->cols, FILL_NORMAL);
    op_rows(c, "x", OP_IN, c->aux, c->rows, c->cols, FILL_NORMAL);
    op_dense(c, "rstd", OP_IN, c->stat, c->rows, 1, FILL_POSITIVE);
    op_dense(c, "gamma", OP_IN, c->stat, 1, c->cols, FILL_POSITIVE);
    norm_output(
        c, op_rows(c, "dx", op_out_role(c->accumulate), c->out, c->rows, c->cols, FILL_NORMAL));
    if (c->variant == 1) return;
    op_dense(c, "dgamma", OP_INOUT, c->stat, 1, c->cols, FILL_NORMAL)->terms = (double)c->rows;
}

static inline cloze_status invoke_rms_norm_backward(op_call *c, const backend *b,
                                                    backend_device *dev, cloze_error *err) {
    return b->rms_norm_backward(dev, T(dy), T(x), T(rstd), T(gamma), c->accumulate, T(dx),
                                T(dgamma), err);
}

/* ---- heads ---- */

/* Heads and their width for a number of columns. */
static inline int32_t heads_of(int64_t cols) {
    return cols % 64 == 0   ? (int32_t)(cols / 64)
           : cols % 20 == 0 ? (int32_t)(cols / 20)
           : cols == 16     ? 2
                            : 1;
}

/*
 * Attention. Variants: 0 full; 1 causal; 2 causal, shared prefix; 3 prefix per sequence, dropout;
 * 4 more keys than queries (a cache), causal; 5 dropout; 6 keys of other lengths;
 * 7 fewer keys than queries, causal: the first queries see the prefix alone, or nothing; 8 (forward
 * only, for backward needs the lse that belongs to q and k) no lse kept.
 */
#define MAX_SEQUENCES 16

static inline void build_attention_layout(op_call *c) {
    int32_t *q_offsets = op_ints(c, "q_offsets", MAX_SEQUENCES + 1);
    int32_t n_seqs = op_split(c->rows, q_offsets, MAX_SEQUENCES + 1);
    int32_t *kv_offsets = op_ints(c, "kv_offsets", MAX_SEQUENCES + 1);
    attention_spec *spec = &c->attention;
    *spec =
        (attention_spec){.n_seqs = n_seqs, .n_heads = heads_of(c->cols), .mask = ATTENTION_FULL};
    spec->head_dim = (int32_t)(c->cols / spec->n_heads);
    spec->scale = 1.0f / sqrtf((float)spec->head_dim);
    bool causal = c->variant == 1 || c->variant == 2 || c->variant == 4 || c->variant == 7;
    if (causal) spec->mask = ATTENTION_CAUSAL;
    if (c->variant == 2) spec->n_prefix = 3;
    if (c->variant == 3) spec->n_prefix = 5;
    spec->prefix_per_seq = c->variant == 3;
    kv_offsets[0] = 0;
    for (int32_t s = 0; s < n_seqs; s++) {
        int32_t n_q = q_offsets[s + 1] - q_offsets[s], n_kv = n_q;
        if (c->variant == 4) n_kv = n_q + 3 * s;
        if (c->variant == 6) n_kv = (7 * s + 2) % 19;
        if (c->variant == 7) n_kv = n_q / 2;
        kv_offsets[s + 1] = kv_offsets[s] + n_kv;
        if (n_q > spec->max_q) spec->max_q = n_q;
        if (n_kv > spec->max_kv) spec->max_kv = n_kv;
    }
}

/* The array behind an operand, on the host, while building. */
static inline const int32_t *op_image_ints(op_call *c, const char *name) {
    return (const int32_t *)(const void *)(op_find(c, name)->image + OP_GUARD);
}

static inline void build_attention_inputs(op_call *c) {
    build_attention_layout(c);
    const attention_spec *spec = &c->attention;
    int64_t n_kv = op_image_ints(c, "kv_offsets")[spec->n_seqs];
    int64_t n_prefix =
        spec->prefix_per_seq ? (int64_t)spec->n_prefix * spec->n_seqs : spec->n_prefix;
    op_rows(c, "q", OP_IN, c->in, c->rows, c->cols, FILL_NORMAL);
    op_rows(c, "k", OP_IN, c->in, n_kv, c->cols, FILL_NORMAL);
    op_rows(c, "v", OP_IN, c->in, n_kv, c->cols, FILL_NORMAL);
    if (n_prefix > 0) {
        op_dense(c, "prefix_k", OP_IN, c->in, n_prefix, c->cols, FILL_NORMAL);
        op_dense(c, "prefix_v", OP_IN, c->in, n_prefix, c->cols, FILL_NORMAL);
    }
    if (c->variant == 3 || c->variant == 5) op_dropout(c, 0.1f, c->rows);
}

/* Sums over the columns of a head and over keys; with bf16 inputs the probabilities, and in
 * backward their gradients too, are rounded to bf16 before they are multiplied. */
static inline void attention_output(op_call *c, op_operand *o, double terms, double roundings) {
    op_with_functions(o)->terms = terms;
    if (c->in == DTYPE_BF16) o->bf16_roundings = roundings;
}

static inline void build_attention_forward(op_call *c) {
    build_attention_inputs(c);
    const attention_spec *spec = &c->attention;
    double terms = spec->max_kv + spec->n_prefix + spec->head_dim;
    attention_output(c, op_rows(c, "ctx", OP_OUT, c->in, c->rows, c->cols, FILL_NORMAL), terms,
                     1.0);
    if (c->variant == 8) return;
    op_operand *lse = op_dense(c, "lse", OP_OUT, c->stat, c->rows, spec->n_heads, FILL_NORMAL);
    attention_output(c, lse, terms, 0.0);
    lse->unspecified_inf = true;
}

static inline attention_inputs attention_inputs_of(op_call *c) {
    c->attention.q_offsets = ARRAY(q_offsets);
    c->attention.kv_offsets =
        c->variant == 4 || c->variant >= 6 ? ARRAY(kv_offsets) : ARRAY(q_offsets);
    c->attention.dropout = op_dropout_of(c);
    return (attention_inputs){T(q), T(k), T(v), T(prefix_k), T(prefix_v)};
}

static inline cloze_status invoke_attention_forward(op_call *c, const backend *b,
                                                    backend_device *dev, cloze_error *err) {
    attention_inputs in = attention_inputs_of(c);
    return b->attention_forward(dev, &c->attention, &in, T(ctx), T(lse), err);
}

/* variant 5: dq alone (frozen keys); 6: dk and dv alone */
static inline void build_attention_backward(op_call *c) {
    static const char *const grads[] = {"dq", "dk", "dv", "dprefix_k", "dprefix_v"};
    static const char *const inputs[] = {"q", "k", "v", "prefix_k", "prefix_v"};
    build_attention_inputs(c);
    const attention_spec *spec = &c->attention;
    op_rows(c, "ctx", OP_IN, c->in, c->rows, c->cols, FILL_NORMAL);
    op_dense(c, "lse", OP_IN, c->stat, c->rows, spec->n_heads, FILL_NORMAL);
    op_rows(c, "dctx", OP_IN, c->in, c->rows, c->cols, FILL_NORMAL);
    for (int i = 0; i < 5; i++) {
        op_operand *input = op_find(c, inputs[i]);
        if (!input || (!c->exact && ((c->variant == 5 && i > 0) || (c->variant == 6 && i == 0))))
            continue;
        op_operand *grad = op_rows(c, grads[i], OP_OUT, c->in, input->t.rows, c->cols, FILL_NORMAL);
        double terms = (i == 0 ? spec->max_kv : spec->max_q) + spec->n_prefix + 2 * spec->head_dim;
        attention_output(c, grad, i < 3 ? terms : terms + (double)c->rows, 2.0);
    }
}

static inline cloze_status invoke_attention_backward(op_call *c, const backend *b,
                                                     backend_device *dev, cloze_error *err) {
    attention_inputs in = attention_inputs_of(c);
    attention_grads grads = {T(dq), T(dk), T(dv), T(dprefix_k), T(dprefix_v)};
    return b->attention_backward(dev, &c->attention, &in, T(ctx), T(lse), T(dctx), &grads, err);
}

/* ---- rope: variant bit 0 interleaved, bit 1 inverse, bit 2 half of the columns only ---- */

static inline void build_rope(op_call *c) {
    int32_t *positions = op_ints(c, "positions", c->rows);
    for (int64_t i = 0; i < c->rows; i++) positions[i] = (int32_t)(i * 37 % 512);
    c->n_heads = heads_of(c->cols);
    int32_t dim = (int32_t)c->cols / c->n_heads;
    c->rotary_dim = (c->variant & 4 ? dim / 2 : dim) / 2 * 2;
    c->interleaved = c->variant & 1;
    c->inverse = ((c->variant & 2) != 0) != c->as_backward;
    op_rows(c, c->as_backward ? "dy" : "x", OP_IN, c->in, c->rows, c->cols, FILL_NORMAL);
    op_with_functions(
        op_rows(c, c->as_backward ? "dx" : "y", OP_OUT, c->out, c->rows, c->cols, FILL_NORMAL));
}

static inline cloze_status invoke_rope(op_call *c, const backend *b, backend_device *dev,
                                       cloze_error *err) {
    return b->rope(dev, c->as_backward ? T(dy) : T(x), ARRAY(positions), c->n_heads, c->rotary_dim,
                   10000.0f, c->interleaved, c->inverse, c->as_backward ? T(dx) : T(y), err);
}

/* ---- LSTM: variant bit 0 reverse; bit 1 no dw_hh ---- */

#define LSTM_WIDEST 48 /* the recurrence is quadratic in the width */

static inline int32_t lstm_sequences(op_call *c) {
    int32_t *offsets = op_ints(c, "offsets", MAX_SEQUENCES + 1);
    return op_split(c->rows, offsets, MAX_SEQUENCES + 1);
}

static inline int64_t lstm_width(const op_call *c) {
    return c->cols < LSTM_WIDEST ? c->cols : LSTM_WIDEST;
}

/* w_hh (4D,D), small enough for the recurrence to be stable */
static inline void build_lstm_weight(op_call *c, int64_t dim) {
    op_operand *o = op_dense(c, "w_hh", OP_IN, c->stat, 4 * dim, dim, FILL_NORMAL);
    tensor w = op_view(o, o->image);
    for (int64_t m = 0; m < 4 * dim; m++) {
        for (int64_t k = 0; k < dim; k++) ref_set(&w, m, k, ref_get(&w, m, k) / sqrt((double)dim));
    }
}

/* h, cell and gates are kept in their tensors' dtypes or in f32 between steps, as a backend likes.
 */
static inline void lstm_output(op_call *c, op_operand *o) {
    op_with_functions(o)->terms = 4.0 * (double)lstm_width(c);
    if (c->in == DTYPE_BF16 || c->out == DTYPE_BF16) o->bf16_roundings = 1.0;
}

static inline void build_lstm_forward(op_call *c) {
    int64_t dim = lstm_width(c); /* D */
    c->n_heads = lstm_sequences(c);
    build_lstm_weight(c, dim);
    op_rows(c, "xproj", OP_IN, c->in, c->rows, 4 * dim, FILL_NORMAL);
    lstm_output(c, op_rows(c, "h", OP_OUT, c->out, c->rows, dim, FILL_NORMAL));
    lstm_output(c, op_rows(c, "cell", OP_OUT, c->out, c->rows, dim, FILL_NORMAL));
    lstm_output(c, op_rows(c, "gates", OP_OUT, c->out, c->rows, 4 * dim, FILL_NORMAL));
}

static inline cloze_status invoke_lstm_forward(op_call *c, const backend *b, backend_device *dev,
                                               cloze_error *err) {
    weight w = {.t = *T(w_hh), .version = 1};
    cloze_status status = b->lstm_forward(dev, T(xproj), &w, c->n_heads, ARRAY(offsets),
                                          c->variant & 1, T(h), T(cell), T(gates), err);
    b->weight_drop_packs(dev, &w);
    return status;
}

static inline void build_lstm_backward(op_call *c) {
    int64_t dim = lstm_width(c); /* D */
    c->n_heads = lstm_sequences(c);
    build_lstm_weight(c, dim);
    op_rows(c, "dh", OP_IN, c->in, c->rows, dim, FILL_NORMAL);
    op_rows(c, "h", OP_IN, c->out, c->rows, dim, FILL_NORMAL);
    op_rows(c, "cell", OP_IN, c->out, c->rows, dim, FILL_NORMAL);
    op_rows(c, "gates", OP_IN, c->out, c->rows, 4 * dim, FILL_UNIT);
    lstm_output(c, op_rows(c, "dxproj", OP_OUT, c->in, c->rows, 4 * dim, FILL_NORMAL));
    if (c->variant & 2) return;
    op_operand *dw = op_dense(c, "dw_hh", OP_INOUT, c->stat, 4 * dim, dim, FILL_NORMAL);
    lstm_output(c, dw);
    dw->terms += (double)c->rows;
}

static inline cloze_status invoke_lstm_backward(op_call *c, const backend *b, backend_device *dev,
                                                cloze_error *err) {
    weight w = {.t = *T(w_hh), .version = 1};
    cloze_status status =
        b->lstm_backward(dev, T(dh), T(h), T(cell), T(gates), &w, c->n_heads, ARRAY(offsets),
                         c->variant & 1, T(dxproj), T(dw_hh), err);
    b->weight_drop_packs(dev, &w);
    return status;
}

#endif
