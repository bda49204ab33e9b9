/*
 * What an output element is made of: the sum of the absolute values of its terms. A kernel that
 * rounds each of n operations errs by at most about sqrt(n) u times that sum, whatever the order of
 * the sum and however much cancels in it (Higham and Mary 2019; u = 2^-24), so it is the measure of
 * an element's tolerance.
 *
 * Kernels that are sums of products (linear in each operand) get it from ref itself, run on
 * absolute values: see sizes_absolute in test_ops.c. For the others a function here derives it from
 * the formula, step by step: a sum has the sum of its terms' sizes, f(x) has |f(x)| + |f'(x)|
 * size(x). An error of u in x becomes u |x| e^x in e^x: hence the factors 1 + |x|.
 */
#ifndef CLOZE_TESTS_OP_SIZES_H
#define CLOZE_TESTS_OP_SIZES_H

#include "unit/backend/op_cases_dense.h"

/* Element of an operand as the kernel found it; 0 where the call has no such operand. */
static inline double was(op_call *c, const char *name, int64_t row, int64_t col) {
    op_operand *o = op_find(c, name);
    if (!o) return 0.0;
    tensor t = op_view(o, o->image);
    return ref_get(&t, row, col);
}

static inline double size_was(op_call *c, const char *name, int64_t row, int64_t col) {
    return fabs(was(c, name, row, col));
}

/* Element of an output as ref computed it. */
static inline double is_now(op_call *c, const char *name, int64_t row, int64_t col) {
    op_operand *o = op_find(c, name);
    tensor t = op_view(o, o->result);
    return ref_get(&t, row, col);
}

/* The sizes (rows, cols) of an output, begun with what it is added to; NULL: there is no such. */
static inline double *sizes_of(op_call *c, const char *name) {
    op_operand *o = op_find(c, name);
    if (!o) return NULL;
    o->sizes = mem_calloc((size_t)(o->t.rows * o->t.cols) + 1, sizeof *o->sizes);
    assert_non_null(o->sizes);
    for (int64_t i = 0; i < o->t.rows && o->role == OP_INOUT; i++)
        for (int64_t k = 0; k < o->t.cols; k++)
            o->sizes[i * o->t.cols + k] = size_was(c, name, i, k);
    return o->sizes;
}

/* Adds to the size of an element; sizes may be NULL. */
static inline void size_add(double *sizes, int64_t cols, int64_t row, int64_t col, double size) {
    if (sizes) sizes[row * cols + col] += size;
}

/* An output without cancellation: its own absolute value. */
static inline void sizes_own(op_call *c, const char *name) {
    op_operand *o = op_find(c, name);
    double *sizes = sizes_of(c, name);
    for (int64_t i = 0; sizes && i < o->t.rows; i++)
        for (int64_t k = 0; k < o->t.cols; k++)
            sizes[i * o->t.cols + k] = fabs(is_now(c, name, i, k));
}

static inline const int32_t *ints_of(op_call *c, const char *name) {
    op_operand *o = op_find(c, name);
    return o ? (const int32_t *)(const void *)(o->image + OP_GUARD) : NULL;
}

/* The factor of dropout at an element: 0, 1/(1-p), or 1 without dropout. */
static inline double drop_factor(op_call *c, int64_t row, uint64_t channel) {
    op_operand *keys = op_find(c, "row_keys");
    if (!keys) return 1.0;
    dropout_spec spec = c->dropout;
    spec.row_keys = (const uint64_t *)(const void *)(keys->image + OP_GUARD);
    return dropout_factor(&spec, row, channel);
}

/* ---- activations ---- */

/* Relative error of the tail in units of u: that of the exponent of e, which is -x^2/2 for gelu
 * with erf, 1.6 (x + 0.045 x^3) with tanh, x for silu. */
static inline void sizes_activation_forward(op_call *c) {
    double *y = sizes_of(c, "y");
    const char *in = op_find(c, "x") ? "x" : "y";
    for (int64_t i = 0; i < c->rows; i++) {
        for (int64_t k = 0; k < c->cols; k++) {
            double x = size_was(c, in, i, k), exponent = 0.0;
            if (c->act == ACT_GELU_ERF) exponent = 0.5 * x * x;
            if (c->act == ACT_GELU_TANH) exponent = 1.6 * (x + 0.045 * x * x * x);
            if (c->act == ACT_SILU) exponent = x;
            y[i * c->cols + k] = (1.0 + exponent) * fabs(is_now(c, "y", i, k));
        }
    }
}

/* ---- norms ---- */

/* s = dropout(x) + residual with terms of size t; relative error of the variance: that of s - mean
 * weighted by s - mean itself. */
static inline void sizes_layer_norm_forward(op_call *c) {
    int64_t h = c->cols;
    double *y = sizes_of(c, "y"), *low = sizes_of(c, "y_low"), *xhat = sizes_of(c, "xhat"),
           *rstd = sizes_of(c, "rstd"), *s = mem_calloc((size_t)(2 * h) + 1, sizeof *s), *t = s + h;
    for (int64_t i = 0; i < c->rows; i++) {
        double mean = 0.0, mean_t = 0.0, var = 0.0, spread = 0.0;
        for (int64_t k = 0; k < h; k++) {
            double x = was(c, "x", i, k) * drop_factor(c, i, (uint64_t)k);
            s[k] = x + was(c, "residual", i, k);
            t[k] = fabs(x) + size_was(c, "residual", i, k);
            mean += s[k] / (double)h;
            mean_t += t[k] / (double)h;
        }
        for (int64_t k = 0; k < h; k++) {
            var += (s[k] - mean) * (s[k] - mean) / (double)h;
            spread += fabs(s[k] - mean) * (t[k] + mean_t) / (double)h;
        }
        double r = 1.0 / sqrt(var + (double)NORM_EPS), amplified = 1.0 + r * r * spread;
        size_add(rstd, 1, i, 0, r * amplified);
        for (int64_t k = 0; k < h; k++) {
            double normal = r * (t[k] + mean_t) + fabs(s[k] - mean) * r * amplified;
            double out = normal * size_was(c, "gamma", 0, k) + size_was(c, "beta", 0, k);
            size_add(xhat, h, i, k, normal);
            size_add(y, h, i, k, out);
            size_add(low, h, i, k, out);
        }
    }
    mem_free(s);
}

/* ds = rstd (g - mean(g) - xhat mean(g xhat)), g = dy gamma */
static inline void sizes_layer_norm_backward(op_call *c) {
    int64_t h = c->cols;
    double *dx = sizes_of(c, "dx"), *dresidual = sizes_of(c, "dresidual"),
           *dgamma = sizes_of(c, "dgamma"), *dbeta = sizes_of(c, "dbeta");
    for (int64_t i = 0; i < c->rows; i++) {
        double mean_g = 0.0, mean_gx = 0.0;
        for (int64_t k = 0; k < h; k++) {
            double g = size_was(c, "dy", i, k) * size_was(c, "gamma", 0, k);
            mean_g += g / (double)h;
            mean_gx += g * size_was(c, "xhat", i, k) / (double)h;
        }
        for (int64_t k = 0; k < h; k++) {
            double dy = size_was(c, "dy", i, k), xhat = size_was(c, "xhat", i, k);
            double ds = size_was(c, "rstd", i, 0) *
                        (dy * size_was(c, "gamma", 0, k) + mean_g + xhat * mean_gx);
            size_add(dx, h, i, k, ds * drop_factor(c, i, (uint64_t)k));
            size_add(dresidual, h, i, k, ds);
            size_add(dgamma, h, 0, k, dy * xhat);
            size_add(dbeta, h, 0, k, dy);
        }
    }
}

static inline void sizes_rms_norm_forward(op_call *c) { /* a sum of squares: nothing cancels */
    sizes_own(c, "y");
    sizes_own(c, "rstd");
}

static inline void sizes_rms_norm_backward(op_call *c) {
    int64_t h = c->cols;
    double *dx = sizes_of(c, "dx"), *dgamma = sizes_of(c, "dgamma");
    for (int64_t i = 0; i < c->rows; i++) {
        double r = size_was(c, "rstd", i, 0), mean_gx = 0.0;
        for (int64_t k = 0; k < h; k++)
            mean_gx += size_was(c, "dy", i, k) * size_was(c, "gamma", 0, k) *
                       size_was(c, "x", i, k) * r / (double)h;
        for (int64_t k = 0; k < h; k++) {
            double dy = size_was(c, "dy", i, k), xhat = size_was(c, "x", i, k) * r;
            size_add(dx, h, i, k, r * (dy * size_was(c, "gamma", 0, k) + xhat * mean_gx));
            size_add(dgamma, h, 0, k, dy * xhat);
        }
    }
}

/* ---- attention ---- */

/* One head of one sequence. Its keys are those of the prefix, then its own. */
typedef struct head_sizes {
    op_call *c;
    int64_t head, q_begin, kv_begin, prefix_begin, n_q, n_kv;
    double *p, *e, *dp; /* (P + S) probabilities of a query, their errors' factors, sizes of dp */
} head_sizes;

static inline double key_was(const head_sizes *h, const char *own, const char *prefix, int64_t j,
                             int64_t d) {
    const attention_spec *spec = &h->c->attention;
    int64_t col = h->head * spec->head_dim + d;
    if (j < spec->n_prefix) return was(h->c, prefix, h->prefix_begin + j, col);
    return was(h->c, own, h->kv_begin + j - spec->n_prefix, col);
}

static inline void key_add(const head_sizes *h, const char *own, const char *prefix, int64_t j,
                           int64_t d, double size) {
    const attention_spec *spec = &h->c->attention;
    bool is_own = j >= spec->n_prefix;
    op_operand *o = op_find(h->c, is_own ? own : prefix);
    int64_t row = is_own ? h->kv_begin + j - spec->n_prefix : h->prefix_begin + j;
    if (o) size_add(o->sizes, o->t.cols, row, h->head * spec->head_dim + d, size);
}

/* Probabilities of query i and the factors of their errors; returns how many keys it sees. The
 * error of exp(s - m) is that of s, a sum of products, and that of m, the largest s. */
static inline int64_t query_sizes(head_sizes *h, int64_t i, double *lse_size) {
    const attention_spec *spec = &h->c->attention;
    int64_t own = spec->mask == ATTENTION_CAUSAL ? i + 1 + h->n_kv - h->n_q : h->n_kv;
    int64_t n = spec->n_prefix + (own < 0 ? 0 : own);
    double max = -INFINITY, sum = 0.0, top = 0.0, mean = 0.0;
    for (int64_t j = 0; j < n; j++) {
        h->p[j] = h->e[j] = 0.0;
        for (int64_t d = 0; d < spec->head_dim; d++) {
            double term = was(h->c, "q", h->q_begin + i, h->head * spec->head_dim + d) *
                          key_was(h, "k", "prefix_k", j, d) * spec->scale;
            h->p[j] += term;
            h->e[j] += fabs(term);
        }
        max = fmax(max, h->p[j]);
        top = fmax(top, h->e[j]);
    }
    for (int64_t j = 0; j < n; j++) sum += h->p[j] = exp(h->p[j] - max);
    for (int64_t j = 0; j < n; j++) {
        h->p[j] /= sum;
        mean += h->p[j] * h->e[j];
        h->e[j] += 1.0 + top;
    }
    *lse_size = 1.0 + top + mean + (n > 0 ? log((double)n) : 0.0);
    return n;
}

static inline void head_forward_sizes(head_sizes *h, double *ctx, double *lse) {
    const attention_spec *spec = &h->c->attention;
    for (int64_t i = 0; i < h->n_q; i++) {
        double lse_size;
        int64_t n = query_sizes(h, i, &lse_size), row = h->q_begin + i;
        size_add(lse, spec->n_heads, row, h->head, lse_size);
        for (int64_t j = 0; j < n; j++) {
            uint64_t channel = (uint64_t)(h->head * ATTENTION_DROPOUT_STRIDE + j);
            double p = h->p[j] * h->e[j] * drop_factor(h->c, row, channel);
            for (int64_t d = 0; d < spec->head_dim; d++)
                size_add(ctx, h->c->cols, row, h->head * spec->head_dim + d,
                         p * fabs(key_was(h, "v", "prefix_v", j, d)));
        }
    }
}

/* ds = scale p (dp - sum(p dp)), dp = dctx v */
static inline void head_backward_sizes(head_sizes *h, double *dq) {
    const attention_spec *spec = &h->c->attention;
    int64_t dim = spec->head_dim, col = h->head * dim;
    for (int64_t i = 0; i < h->n_q; i++) {
        double lse_size, mean = 0.0;
        int64_t n = query_sizes(h, i, &lse_size), row = h->q_begin + i;
        for (int64_t j = 0; j < n; j++) {
            double factor =
                drop_factor(h->c, row, (uint64_t)(h->head * ATTENTION_DROPOUT_STRIDE + j));
            double p = h->p[j] * (h->e[j] + lse_size);
            h->dp[j] = 0.0;
            for (int64_t d = 0; d < dim; d++) {
                double g = size_was(h->c, "dctx", row, col + d) * factor;
                h->dp[j] += g * fabs(key_was(h, "v", "prefix_v", j, d));
                key_add(h, "dv", "dprefix_v", j, d, p * g);
            }
            mean += p * h->dp[j];
        }
        for (int64_t j = 0; j < n; j++) {
            double ds = spec->scale * h->p[j] * ((h->e[j] + lse_size) * h->dp[j] + mean);
            for (int64_t d = 0; d < dim; d++) {
                size_add(dq, h->c->cols, row, col + d,
                         ds * fabs(key_was(h, "k", "prefix_k", j, d)));
                key_add(h, "dk", "dprefix_k", j, d, ds * size_was(h->c, "q", row, col + d));
            }
        }
    }
}

static inline void attention_sizes(op_call *c, bool backward) {
    static const char *const outputs[] = {"ctx", "lse", "dq", "dk", "dv", "dprefix_k", "dprefix_v"};
    const attention_spec *spec = &c->attention;
    const int32_t *q = ints_of(c, "q_offsets"), *kv = ints_of(c, "kv_offsets");
    int64_t n_keys = spec->n_prefix + spec->max_kv;
    double *room = mem_calloc((size_t)(3 * n_keys) + 1, sizeof *room);
    for (int i = backward ? 2 : 0; i < (backward ? 7 : 2); i++) sizes_of(c, outputs[i]);
    op_operand *ctx = op_find(c, "ctx"), *lse = op_find(c, "lse"), *dq = op_find(c, "dq");
    for (int64_t s = 0; s < spec->n_seqs; s++) {
        head_sizes h = {c,
                        0,
                        q[s],
                        kv[s],
                        spec->prefix_per_seq ? s * spec->n_prefix : 0,
                        q[s + 1] - q[s],
                        kv[s + 1] - kv[s],
                        room,
                        room + n_keys,
                        room + 2 * n_keys};
        for (h.head = 0; h.head < spec->n_heads; h.head++) {
            if (backward)
                head_backward_sizes(&h, dq ? dq->sizes : NULL);
            else
                head_forward_sizes(&h, ctx->sizes, lse ? lse->sizes : NULL);
        }
    }
    mem_free(room);
}

static inline void sizes_attention_forward(op_call *c) { attention_sizes(c, false); }
static inline void sizes_attention_backward(op_call *c) { attention_sizes(c, true); }

/* ---- rope ---- */

/* (a cos - b sin, a sin + b cos): at most |a| + |b| */
static inline void sizes_rope(op_call *c) {
    int64_t dim = c->cols / c->n_heads, half = c->rotary_dim / 2;
    double *y = sizes_of(c, "y");
    for (int64_t i = 0; i < c->rows; i++) {
        for (int64_t k = 0; k < c->cols; k++) {
            int64_t d = k % dim, partner = d;
            if (d < c->rotary_dim && c->interleaved) partner = d ^ 1;
            if (d < c->rotary_dim && !c->interleaved) partner = d < half ? d + half : d - half;
            size_add(y, c->cols, i, k, size_was(c, "x", i, k));
            if (partner != d) size_add(y, c->cols, i, k, size_was(c, "x", i, k - d + partner));
        }
    }
}

#endif
