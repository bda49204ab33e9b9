/* Cases of the op harness: dropout, axpy and sums, moving rows, losses, the optimizer. */
#ifndef CLOZE_TESTS_OP_CASES_ROWS_H
#define CLOZE_TESTS_OP_CASES_ROWS_H

#include "unit/backend/op_call.h"

/* ---- dropout: variant 0 p = 0.1; 1 p = 0.5 and y_low; 2 no spec; 3 p = 0; 4 in place; 5 p = 1
 * ---- */

static inline void build_dropout(op_call *c) {
    static const float rates[] = {0.1f, 0.5f, 0.0f, 0.0f, 0.3f, 1.0f};
    const char *x = c->as_backward ? "dy" : "x", *y = c->as_backward ? "dx" : "y";
    bool in_place = c->variant == 4 && !c->exact;
    if (in_place) c->accumulate = false;
    if (c->variant != 2) op_dropout(c, rates[c->variant], c->rows);
    if (!in_place) op_rows(c, x, OP_IN, c->in, c->rows, c->cols, FILL_NORMAL);
    op_rows(c, y, op_out_role(c->accumulate || in_place), c->out, c->rows, c->cols, FILL_NORMAL);
    if (c->variant == 1) op_rows(c, "y_low", OP_OUT, DTYPE_BF16, c->rows, c->cols, FILL_NORMAL);
}

static inline cloze_status invoke_dropout(op_call *c, const backend *b, backend_device *dev,
                                          cloze_error *err) {
    tensor *y = c->as_backward ? T(dx) : T(y), *x = c->as_backward ? T(dy) : T(x);
    return b->dropout(dev, x ? x : y, op_dropout_of(c), c->accumulate, y, T(y_low), err);
}

/* ---- axpy: variant 0 alpha = 1 (copy, cast, add), 1 another alpha, 2 in place (scale) ---- */

static inline void build_axpy(op_call *c) {
    bool in_place = c->variant == 2;
    c->alpha = c->variant == 0 ? 1.0f : -0.37f;
    if (in_place) c->accumulate = false;
    if (!in_place) op_rows(c, "x", OP_IN, c->in, c->rows, c->cols, FILL_WIDE);
    op_rows(c, "y", op_out_role(c->accumulate || in_place), c->out, c->rows, c->cols, FILL_WIDE);
}

static inline cloze_status invoke_axpy(op_call *c, const backend *b, backend_device *dev,
                                       cloze_error *err) {
    return b->axpy(dev, c->alpha, T(x) ? T(x) : T(y), c->accumulate, T(y), err);
}

/* ---- mul: variant 0 full, 1 y broadcast, 2 in place ---- */

static inline void build_mul(op_call *c) {
    bool in_place = c->variant == 2;
    if (in_place) c->accumulate = false;
    if (!in_place) op_rows(c, "x", OP_IN, c->in, c->rows, c->cols, FILL_NORMAL);
    if (c->variant == 1)
        op_dense(c, "y", OP_IN, c->stat, 1, c->cols, FILL_NORMAL);
    else
        op_rows(c, "y", OP_IN, c->aux, c->rows, c->cols, FILL_NORMAL);
    op_rows(c, "z", op_out_role(c->accumulate || in_place), c->out, c->rows, c->cols, FILL_NORMAL);
}

static inline cloze_status invoke_mul(op_call *c, const backend *b, backend_device *dev,
                                      cloze_error *err) {
    return b->mul(dev, T(x) ? T(x) : T(z), T(y), c->accumulate, T(z), err);
}

/* ---- sums ---- */

static inline void build_sum_rows(op_call *c) {
    op_rows(c, "x", OP_IN, c->in, c->rows, c->cols, FILL_NORMAL);
    op_dense(c, "dst", OP_INOUT, c->stat, 1, c->cols, FILL_NORMAL)->terms = (double)c->rows;
}

static inline cloze_status invoke_sum_rows(op_call *c, const backend *b, backend_device *dev,
                                           cloze_error *err) {
    return b->sum_rows(dev, T(x), T(dst), err);
}

static inline void build_sum_all(op_call *c) {
    op_rows(c, "x", OP_IN, c->in, c->rows, c->cols, FILL_NORMAL);
    op_dense(c, "dst", op_out_role(c->accumulate), c->stat, 1, 1, FILL_NORMAL)->terms =
        (double)(c->rows * c->cols);
}

static inline cloze_status invoke_sum_all(op_call *c, const backend *b, backend_device *dev,
                                          cloze_error *err) {
    return b->sum_all(dev, 0.7f, T(x), c->accumulate, T(dst), err);
}

/* ---- rows: variant 0 random rows, 1 all the same ---- */

#define SOURCE_ROWS 37

static inline void build_gather_rows(op_call *c) {
    op_indices(c, "rows", c->rows, c->variant == 1 ? 1 : SOURCE_ROWS);
    op_rows(c, "x", OP_IN, c->in, SOURCE_ROWS, c->cols, FILL_NORMAL);
    op_rows(c, "y", OP_OUT, c->out, c->rows, c->cols, FILL_NORMAL);
}

static inline cloze_status invoke_gather_rows(op_call *c, const backend *b, backend_device *dev,
                                              cloze_error *err) {
    return b->gather_rows(dev, T(x), ARRAY(rows), T(y), err);
}

static inline void build_scatter_add_rows(op_call *c) {
    op_indices(c, "rows", c->rows, c->variant == 1 ? 1 : SOURCE_ROWS);
    op_rows(c, "dy", OP_IN, c->in, c->rows, c->cols, FILL_NORMAL);
    op_operand *dx = op_rows(c, "dx", OP_INOUT, c->out, SOURCE_ROWS, c->cols, FILL_NORMAL);
    dx->terms = (double)c->rows;
    /* A bf16 destination may round after each of the additions to a row. */
    if (c->out == DTYPE_BF16) dx->bf16_roundings = sqrt(dx->terms);
}

static inline cloze_status invoke_scatter_add_rows(op_call *c, const backend *b,
                                                   backend_device *dev, cloze_error *err) {
    return b->scatter_add_rows(dev, T(dy), ARRAY(rows), T(dx), err);
}

#define POOL_SEQUENCES 12

static inline int32_t pool_sequences(op_call *c) {
    int32_t *offsets = op_ints(c, "offsets", POOL_SEQUENCES + 1);
    return op_split(c->rows, offsets, POOL_SEQUENCES + 1);
}

static inline void build_mean_pool_forward(op_call *c) {
    int32_t n_seqs = pool_sequences(c);
    op_rows(c, "x", OP_IN, c->in, c->rows, c->cols, FILL_NORMAL);
    op_rows(c, "y", OP_OUT, c->out, n_seqs, c->cols, FILL_NORMAL)->terms = (double)c->rows;
}

static inline cloze_status invoke_mean_pool_forward(op_call *c, const backend *b,
                                                    backend_device *dev, cloze_error *err) {
    return b->mean_pool_forward(dev, T(x), ARRAY(offsets), T(y), err);
}

static inline void build_mean_pool_backward(op_call *c) {
    int32_t n_seqs = pool_sequences(c);
    op_rows(c, "dy", OP_IN, c->in, n_seqs, c->cols, FILL_NORMAL);
    op_rows(c, "dx", op_out_role(c->accumulate), c->out, c->rows, c->cols, FILL_NORMAL);
}

static inline cloze_status invoke_mean_pool_backward(op_call *c, const backend *b,
                                                     backend_device *dev, cloze_error *err) {
    return b->mean_pool_backward(dev, T(dy), ARRAY(offsets), c->accumulate, T(dx), err);
}

/* ---- log-softmax and log-sum-exp ---- */

static inline void build_log_softmax_forward(op_call *c) {
    op_rows(c, "x", OP_IN, c->in, c->rows, c->cols, FILL_WIDE);
    op_with_functions(op_rows(c, "y", OP_OUT, c->out, c->rows, c->cols, FILL_NORMAL))->terms =
        (double)c->cols;
}

static inline cloze_status invoke_log_softmax_forward(op_call *c, const backend *b,
                                                      backend_device *dev, cloze_error *err) {
    return b->log_softmax_forward(dev, T(x), T(y), err);
}

static inline void build_log_softmax_backward(op_call *c) {
    op_rows(c, "y", OP_IN, c->in, c->rows, c->cols, FILL_LOG_PROBABILITY);
    op_rows(c, "dy", OP_IN, c->aux, c->rows, c->cols, FILL_NORMAL);
    op_role role = op_out_role(c->accumulate);
    op_with_functions(op_rows(c, "dx", role, c->out, c->rows, c->cols, FILL_NORMAL))->terms =
        (double)c->cols;
}

static inline cloze_status invoke_log_softmax_backward(op_call *c, const backend *b,
                                                       backend_device *dev, cloze_error *err) {
    return b->log_softmax_backward(dev, T(y), T(dy), c->accumulate, T(dx), err);
}

/* Variant 0: one group of all columns; 1: groups of 1, 2, 3... columns; 2: the outer columns in
 * none. */
static inline int64_t logsumexp_groups(op_call *c) {
    int32_t *groups = op_ints(c, "groups", c->cols + 2);
    int64_t end = c->variant == 2 && c->cols > 4 ? c->cols - 2 : c->cols, n = 0;
    groups[0] = c->variant == 2 && c->cols > 4 ? 1 : 0;
    while (groups[n] < end) {
        int64_t next = c->variant == 0 ? end : groups[n] + n % 17 + 1;
        groups[n + 1] = (int32_t)(next < end ? next : end);
        n++;
    }
    return n;
}

static inline void build_logsumexp_forward(op_call *c) {
    int64_t n_groups = logsumexp_groups(c);
    op_rows(c, "x", OP_IN, c->in, c->rows, c->cols, FILL_WIDE);
    op_with_functions(op_rows(c, "y", OP_OUT, c->out, c->rows, n_groups, FILL_NORMAL))->terms =
        (double)c->cols;
}

static inline cloze_status invoke_logsumexp_forward(op_call *c, const backend *b,
                                                    backend_device *dev, cloze_error *err) {
    return b->logsumexp_forward(dev, T(x), ARRAY(groups), T(y), err);
}

static inline void build_logsumexp_backward(op_call *c) {
    int64_t n_groups = logsumexp_groups(c);
    op_rows(c, "x", OP_IN, c->in, c->rows, c->cols, FILL_NORMAL);
    op_rows(c, "y", OP_IN, c->aux, c->rows, n_groups, FILL_POSITIVE);
    op_rows(c, "dy", OP_IN, c->aux, c->rows, n_groups, FILL_NORMAL);
    op_with_functions(
        op_rows(c, "dx", op_out_role(c->accumulate), c->out, c->rows, c->cols, FILL_NORMAL));
}

static inline cloze_status invoke_logsumexp_backward(op_call *c, const backend *b,
                                                     backend_device *dev, cloze_error *err) {
    return b->logsumexp_backward(dev, T(x), T(y), ARRAY(groups), T(dy), c->accumulate, T(dx), err);
}

/*
 * ---- cross-entropy: variant 0 plain; 1 some rows ignored; 2 smoothing and class weights; 3 soft
 * labels; 4 soft labels, smoothing and weights; 5 all rows ignored; odd: no lse kept ----
 */

static inline void build_cross_entropy_inputs(op_call *c) {
    op_rows(c, "logits", OP_IN, c->in, c->rows, c->cols, FILL_NORMAL);
    bool soft = c->variant == 3 || c->variant == 4, fancy = c->variant == 2 || c->variant == 4;
    if (soft) {
        op_dense(c, "soft_labels", OP_IN, DTYPE_F32, c->rows, c->cols, FILL_PROBABILITY);
    } else {
        int32_t *labels = op_ints(c, "labels", c->rows);
        for (int64_t i = 0; i < c->rows; i++) {
            bool ignored = c->variant == 5 || (c->variant == 1 && i % 3 == 0);
            labels[i] = ignored ? LABEL_IGNORE : (int32_t)op_below(c, c->cols);
        }
    }
    if (fancy) op_dense(c, "weights", OP_IN, DTYPE_F32, 1, c->cols, FILL_POSITIVE);
    c->cross_entropy = (cross_entropy_spec){.label_smoothing = fancy ? 0.1f : 0.0f};
    c->cross_entropy.scale = 1.0f / (float)(c->rows > 0 ? c->rows : 1);
}

static inline const cross_entropy_spec *cross_entropy_of(op_call *c) {
    c->cross_entropy.labels = ARRAY(labels);
    c->cross_entropy.soft_labels = T(soft_labels);
    c->cross_entropy.class_weights = ARRAY(weights);
    return &c->cross_entropy;
}

static inline void build_cross_entropy_forward(op_call *c) {
    build_cross_entropy_inputs(c);
    if (c->variant % 2 == 0 || c->exact) {
        op_with_functions(op_dense(c, "lse", OP_OUT, c->stat, c->rows, 1, FILL_NORMAL))->terms =
            (double)c->cols;
    }
    op_with_functions(op_dense(c, "loss", OP_OUT, c->stat, 1, 1, FILL_NORMAL))->terms =
        (double)(c->rows + c->cols);
}

static inline cloze_status invoke_cross_entropy_forward(op_call *c, const backend *b,
                                                        backend_device *dev, cloze_error *err) {
    return b->cross_entropy_forward(dev, T(logits), cross_entropy_of(c), T(lse), T(loss), err);
}

static inline void build_cross_entropy_backward(op_call *c) {
    build_cross_entropy_inputs(c);
    op_dense(c, "lse", OP_IN, c->stat, c->rows, 1, FILL_NORMAL);
    op_dense(c, "dloss", OP_IN, c->stat, 1, 1, FILL_POSITIVE);
    op_role role = op_out_role(c->accumulate);
    op_with_functions(op_rows(c, "dlogits", role, c->out, c->rows, c->cols, FILL_NORMAL))->terms =
        (double)c->cols;
}

static inline cloze_status invoke_cross_entropy_backward(op_call *c, const backend *b,
                                                         backend_device *dev, cloze_error *err) {
    return b->cross_entropy_backward(dev, T(logits), cross_entropy_of(c), T(lse), T(dloss),
                                     c->accumulate, T(dlogits), err);
}

/* ---- binary cross-entropy and KL ---- */

#define LOSS_SCALE 0.25f

static inline void build_bce_forward(op_call *c) {
    op_rows(c, "logits", OP_IN, c->in, c->rows, c->cols, FILL_WIDE);
    op_dense(c, "targets", OP_IN, DTYPE_F32, c->rows, c->cols, FILL_UNIT);
    op_with_functions(op_dense(c, "loss", OP_OUT, c->stat, 1, 1, FILL_NORMAL))->terms =
        (double)(c->rows * c->cols);
}

static inline cloze_status invoke_bce_forward(op_call *c, const backend *b, backend_device *dev,
                                              cloze_error *err) {
    return b->bce_forward(dev, T(logits), T(targets), LOSS_SCALE, T(loss), err);
}

static inline void build_bce_backward(op_call *c) {
    op_rows(c, "logits", OP_IN, c->in, c->rows, c->cols, FILL_WIDE);
    op_dense(c, "targets", OP_IN, DTYPE_F32, c->rows, c->cols, FILL_UNIT);
    op_dense(c, "dloss", OP_IN, c->stat, 1, 1, FILL_POSITIVE);
    op_with_functions(
        op_rows(c, "dlogits", op_out_role(c->accumulate), c->out, c->rows, c->cols, FILL_NORMAL));
}

static inline cloze_status invoke_bce_backward(op_call *c, const backend *b, backend_device *dev,
                                               cloze_error *err) {
    return b->bce_backward(dev, T(logits), T(targets), LOSS_SCALE, T(dloss), c->accumulate,
                           T(dlogits), err);
}

static inline void build_kl_forward(op_call *c) {
    op_rows(c, "p", OP_IN, c->in, c->rows, c->cols, FILL_LOG_PROBABILITY);
    op_rows(c, "q", OP_IN, c->aux, c->rows, c->cols, FILL_LOG_PROBABILITY);
    op_with_functions(op_dense(c, "loss", OP_OUT, c->stat, 1, 1, FILL_NORMAL))->terms =
        (double)(c->rows * c->cols);
}

static inline cloze_status invoke_kl_forward(op_call *c, const backend *b, backend_device *dev,
                                             cloze_error *err) {
    return b->kl_forward(dev, T(p), T(q), LOSS_SCALE, T(loss), err);
}

/* variant 1: dq alone, 2: dp alone */
static inline void build_kl_backward(op_call *c) {
    op_rows(c, "p", OP_IN, c->in, c->rows, c->cols, FILL_LOG_PROBABILITY);
    op_rows(c, "q", OP_IN, c->aux, c->rows, c->cols, FILL_LOG_PROBABILITY);
    op_dense(c, "dloss", OP_IN, c->stat, 1, 1, FILL_POSITIVE);
    op_role role = op_out_role(c->accumulate);
    if (c->variant != 1)
        op_with_functions(op_rows(c, "dp", role, c->out, c->rows, c->cols, FILL_NORMAL));
    if (c->variant != 2)
        op_with_functions(op_rows(c, "dq", role, c->out, c->rows, c->cols, FILL_NORMAL));
}

static inline cloze_status invoke_kl_backward(op_call *c, const backend *b, backend_device *dev,
                                              cloze_error *err) {
    return b->kl_backward(dev, T(p), T(q), LOSS_SCALE, T(dloss), c->accumulate, T(dp), T(dq), err);
}

/* ---- cosine ---- */

#define COSINE_ROWS 5
#define COSINE_EPS 1e-8f

static inline void build_cosine_forward(op_call *c) {
    op_rows(c, "a", OP_IN, c->in, c->rows, c->cols, FILL_NORMAL);
    op_rows(c, "b", OP_IN, c->aux, COSINE_ROWS, c->cols, FILL_NORMAL);
    op_with_functions(op_rows(c, "y", OP_OUT, c->out, c->rows, COSINE_ROWS, FILL_NORMAL))->terms =
        (double)c->cols;
}

static inline cloze_status invoke_cosine_forward(op_call *c, const backend *b, backend_device *dev,
                                                 cloze_error *err) {
    return b->cosine_forward(dev, T(a), T(b), COSINE_EPS, T(y), err);
}

static inline void build_cosine_backward(op_call *c) {
    op_rows(c, "a", OP_IN, c->in, c->rows, c->cols, FILL_NORMAL);
    op_rows(c, "b", OP_IN, c->aux, COSINE_ROWS, c->cols, FILL_NORMAL);
    op_rows(c, "y", OP_IN, c->stat, c->rows, COSINE_ROWS, FILL_NORMAL);
    op_rows(c, "dy", OP_IN, c->aux, c->rows, COSINE_ROWS, FILL_NORMAL);
    static const char *const grads[] = {"da", "db"};
    for (int i = 0; i < 2; i++) {
        if (c->variant == 2 - i) continue; /* variant 1: da alone, 2: db alone */
        op_operand *d = op_rows(c, grads[i], OP_OUT, c->out, i == 0 ? c->rows : COSINE_ROWS,
                                c->cols, FILL_NORMAL);
        op_with_functions(d)->terms = (double)(c->rows + c->cols);
    }
}

static inline cloze_status invoke_cosine_backward(op_call *c, const backend *b, backend_device *dev,
                                                  cloze_error *err) {
    return b->cosine_backward(dev, T(a), T(b), COSINE_EPS, T(y), T(dy), T(da), T(db), err);
}

/* ---- the optimizer, over flat arrays of rows * cols numbers ---- */

static inline void build_sum_squares(op_call *c) {
    op_dense(c, "x", OP_IN, DTYPE_F32, 1, c->rows * c->cols, FILL_WIDE);
}

static inline cloze_status invoke_sum_squares(op_call *c, const backend *b, backend_device *dev,
                                              cloze_error *err) {
    return b->sum_squares(dev, ARRAY(x), c->rows * c->cols, &c->host_out, err);
}

/*
 * Second moments over many orders of magnitude, so that eps matters; weights of 0, so that a small
 * update is seen; gradients of 0 for 0/(0 + eps). At the first step the moments are 0.
 */
static inline void adamw_edges(op_operand *const operands[4], int64_t n, bool first_step) {
    tensor grad = op_view(operands[0], operands[0]->image),
           w = op_view(operands[1], operands[1]->image);
    tensor m = op_view(operands[2], operands[2]->image),
           v = op_view(operands[3], operands[3]->image);
    for (int64_t i = 0; i < n; i++) {
        if (i % 2 == 1) ref_set(&w, 0, i, 0.0);
        if (i % 5 == 0) ref_set(&grad, 0, i, 0.0);
        double second = ref_get(&m, 0, i) * ref_get(&m, 0, i);
        ref_set(&v, 0, i, first_step ? 0.0 : 0.1 * second);
        if (first_step) ref_set(&m, 0, i, 0.0);
    }
}

/* variant 0: the first step, 1: a late one, with clipping, 2: without decay */
static inline void build_adamw(op_call *c) {
    int64_t n = c->rows * c->cols;
    c->adamw = (adamw_spec){1e-3f, 0.9f, 0.999f, 1e-8f, 0.01f, 1.0f, 1};
    if (c->variant == 1) {
        c->adamw.grad_scale = 0.5f;
        c->adamw.step = 1234;
    }
    if (c->variant == 2) c->adamw.weight_decay = 0.0f;
    op_operand *operands[] = {op_dense(c, "grad", OP_IN, DTYPE_F32, 1, n, FILL_WIDE),
                              op_dense(c, "w", OP_INOUT, DTYPE_F32, 1, n, FILL_NORMAL),
                              op_dense(c, "m", OP_INOUT, DTYPE_F32, 1, n, FILL_WIDE),
                              op_dense(c, "v", OP_INOUT, DTYPE_F32, 1, n, FILL_WIDE)};
    for (int i = 1; i < 4; i++) op_with_functions(operands[i]);
    adamw_edges(operands, n, c->variant == 0);
}

static inline cloze_status invoke_adamw(op_call *c, const backend *b, backend_device *dev,
                                        cloze_error *err) {
    return b->adamw(dev, &c->adamw, c->rows * c->cols, ARRAY(grad), ARRAY(w), ARRAY(m), ARRAY(v),
                    err);
}

#endif
