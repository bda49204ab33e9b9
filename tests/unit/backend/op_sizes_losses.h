/* Sizes of results, continued from op_sizes.h: softmax and losses, cosine, LSTM, the optimizer. */
#ifndef CLOZE_TESTS_OP_SIZES_LOSSES_H
#define CLOZE_TESTS_OP_SIZES_LOSSES_H

#include "unit/backend/op_cases_dense.h"
#include "unit/backend/op_cases_rows.h"
#include "unit/backend/op_sizes.h"

/* ---- log-softmax and log-sum-exp ---- */

/* The largest |x| of columns [begin, end): the log of a sum of exp errs by that, and by 1. */
static inline double largest_was(op_call *c, const char *name, int64_t row, int64_t begin,
                                 int64_t end) {
    double largest = 0.0;
    for (int64_t k = begin; k < end; k++) largest = fmax(largest, size_was(c, name, row, k));
    return largest;
}

static inline void sizes_log_softmax_forward(op_call *c) {
    double *y = sizes_of(c, "y");
    for (int64_t i = 0; i < c->rows; i++) {
        double top = largest_was(c, "x", i, 0, c->cols) + log((double)c->cols) + 1.0;
        for (int64_t k = 0; k < c->cols; k++)
            size_add(y, c->cols, i, k, size_was(c, "x", i, k) + top);
    }
}

static inline void sizes_log_softmax_backward(op_call *c) {
    double *dx = sizes_of(c, "dx");
    for (int64_t i = 0; i < c->rows; i++) {
        double sum = 0.0;
        for (int64_t k = 0; k < c->cols; k++) sum += size_was(c, "dy", i, k);
        for (int64_t k = 0; k < c->cols; k++) {
            double y = was(c, "y", i, k);
            size_add(dx, c->cols, i, k, size_was(c, "dy", i, k) + exp(y) * (1.0 + fabs(y)) * sum);
        }
    }
}

static inline void sizes_logsumexp_forward(op_call *c) {
    const int32_t *groups = ints_of(c, "groups");
    double *y = sizes_of(c, "y");
    int64_t n_groups = op_find(c, "y")->t.cols;
    for (int64_t i = 0; i < c->rows; i++)
        for (int64_t g = 0; g < n_groups; g++)
            size_add(y, n_groups, i, g,
                     largest_was(c, "x", i, groups[g], groups[g + 1]) + 1.0 +
                         log((double)(groups[g + 1] - groups[g])));
}

static inline void sizes_logsumexp_backward(op_call *c) {
    const int32_t *groups = ints_of(c, "groups");
    double *dx = sizes_of(c, "dx");
    int64_t n_groups = op_find(c, "y")->t.cols;
    for (int64_t i = 0; i < c->rows; i++) {
        for (int64_t g = 0; g < n_groups; g++) {
            for (int64_t k = groups[g]; k < groups[g + 1]; k++) {
                double x = was(c, "x", i, k), y = was(c, "y", i, g);
                size_add(dx, c->cols, i, k,
                         size_was(c, "dy", i, g) * exp(x - y) * (1.0 + fabs(x) + fabs(y)));
            }
        }
    }
}

/* ---- cross-entropy: rows of sum over classes of target (lse - x) ---- */

/* What class k weighs in a row's loss; 0 in an ignored row. */
static inline double target_of(op_call *c, int64_t row, int64_t k) {
    const int32_t *labels = ints_of(c, "labels");
    double smoothing = c->cross_entropy.label_smoothing, target;
    if (labels && labels[row] == LABEL_IGNORE) return 0.0;
    target = labels ? labels[row] == k : was(c, "soft_labels", row, k);
    target = (1.0 - smoothing) * target + smoothing / (double)c->cols;
    return target * (op_find(c, "weights") ? was(c, "weights", 0, k) : 1.0);
}

static inline void sizes_cross_entropy_forward(op_call *c) {
    double *lse = sizes_of(c, "lse"), *loss = sizes_of(c, "loss");
    for (int64_t i = 0; i < c->rows; i++) {
        double top = largest_was(c, "logits", i, 0, c->cols) + 1.0 + log((double)c->cols);
        size_add(lse, 1, i, 0, top);
        for (int64_t k = 0; k < c->cols; k++)
            size_add(loss, 1, 0, 0,
                     c->cross_entropy.scale * target_of(c, i, k) *
                         (top + size_was(c, "logits", i, k)));
    }
}

static inline void sizes_cross_entropy_backward(op_call *c) {
    double *d = sizes_of(c, "dlogits"), scale = c->cross_entropy.scale * was(c, "dloss", 0, 0);
    for (int64_t i = 0; i < c->rows; i++) {
        double targets = 0.0, sum = 0.0, top = largest_was(c, "logits", i, 0, c->cols), lse;
        for (int64_t k = 0; k < c->cols; k++) targets += target_of(c, i, k);
        for (int64_t k = 0; k < c->cols; k++) sum += exp(was(c, "logits", i, k) - top);
        lse = op_find(c, "lse") ? was(c, "lse", i, 0) : top + log(sum);
        for (int64_t k = 0; k < c->cols; k++) {
            double x = was(c, "logits", i, k);
            double p = exp(x - lse) * (1.0 + fabs(x) + fabs(lse));
            size_add(d, c->cols, i, k, scale * (targets * p + target_of(c, i, k)));
        }
    }
}

/* ---- binary cross-entropy and KL ---- */

static inline void sizes_bce_forward(op_call *c) {
    double *loss = sizes_of(c, "loss");
    for (int64_t i = 0; i < c->rows; i++) {
        for (int64_t k = 0; k < c->cols; k++) {
            double x = was(c, "logits", i, k);
            double terms = fmax(x, 0.0) + fabs(x * was(c, "targets", i, k)) + log1p(exp(-fabs(x)));
            size_add(loss, 1, 0, 0, LOSS_SCALE * terms);
        }
    }
}

static inline void sizes_bce_backward(op_call *c) {
    double *d = sizes_of(c, "dlogits"), scale = LOSS_SCALE * was(c, "dloss", 0, 0);
    for (int64_t i = 0; i < c->rows; i++) {
        for (int64_t k = 0; k < c->cols; k++) {
            double sigmoid = 1.0 / (1.0 + exp(-was(c, "logits", i, k)));
            size_add(d, c->cols, i, k, scale * (sigmoid + was(c, "targets", i, k)));
        }
    }
}

static inline void sizes_kl_forward(op_call *c) {
    double *loss = sizes_of(c, "loss");
    for (int64_t i = 0; i < c->rows; i++) {
        for (int64_t k = 0; k < c->cols; k++) {
            double p = size_was(c, "p", i, k), q = was(c, "q", i, k);
            size_add(loss, 1, 0, 0, LOSS_SCALE * exp(q) * (1.0 + fabs(q)) * (fabs(q) + p));
        }
    }
}

static inline void sizes_kl_backward(op_call *c) {
    double *dp = sizes_of(c, "dp"), *dq = sizes_of(c, "dq");
    for (int64_t i = 0; i < c->rows; i++) {
        for (int64_t k = 0; k < c->cols; k++) {
            double p = size_was(c, "p", i, k), q = was(c, "q", i, k);
            double g = LOSS_SCALE * was(c, "dloss", 0, 0) * exp(q) * (1.0 + fabs(q));
            size_add(dp, c->cols, i, k, g);
            size_add(dq, c->cols, i, k, g * (fabs(q) + p + 1.0));
        }
    }
}

/* ---- cosine ---- */

static inline double norm_was(op_call *c, const char *name, int64_t row) {
    double sum = 0.0;
    for (int64_t k = 0; k < c->cols; k++) sum += was(c, name, row, k) * was(c, name, row, k);
    return fmax(sqrt(sum), COSINE_EPS);
}

static inline void sizes_cosine_forward(op_call *c) {
    double *y = sizes_of(c, "y");
    for (int64_t i = 0; i < c->rows; i++) {
        for (int64_t j = 0; j < COSINE_ROWS; j++) {
            double sum = 0.0;
            for (int64_t k = 0; k < c->cols; k++)
                sum += size_was(c, "a", i, k) * size_was(c, "b", j, k);
            size_add(y, COSINE_ROWS, i, j, sum / (norm_was(c, "a", i) * norm_was(c, "b", j)));
        }
    }
}

static inline void sizes_cosine_backward(op_call *c) {
    double *da = sizes_of(c, "da"), *db = sizes_of(c, "db");
    for (int64_t i = 0; i < c->rows; i++) {
        double norm_a = norm_was(c, "a", i);
        for (int64_t j = 0; j < COSINE_ROWS; j++) {
            double norm_b = norm_was(c, "b", j), g = size_was(c, "dy", i, j);
            double cosine = size_was(c, "y", i, j);
            for (int64_t k = 0; k < c->cols; k++) {
                double u = size_was(c, "a", i, k) / norm_a, v = size_was(c, "b", j, k) / norm_b;
                size_add(da, c->cols, i, k, g * (v + cosine * u) / norm_a);
                size_add(db, c->cols, j, k, g * (u + cosine * v) / norm_b);
            }
        }
    }
}

/* ---- LSTM ---- */

/*
 * Errors of a step feed the next one, so sizes are carried along: each is what the step itself
 * adds, and what it makes of the sizes before. Errors that come over the D columns of w_hh are
 * independent: their sizes add as squares.
 */
static inline double slope_of(double gate, bool is_tanh) {
    return is_tanh ? 1.0 - gate * gate : gate * (1.0 - gate);
}

/* Row `previous` (-1: none) comes before `row`. */
static inline void lstm_row_sizes(op_call *c, int64_t row, int64_t previous, double *h,
                                  double *cell, double *gates) {
    int64_t dim = op_find(c, "h")->t.cols;
    for (int64_t m = 0; m < 4 * dim; m++) {
        double z = size_was(c, "xproj", row, m), carried = 0.0, gate = is_now(c, "gates", row, m);
        for (int64_t k = 0; previous >= 0 && k < dim; k++) {
            double w = size_was(c, "w_hh", m, k);
            z += w * fabs(is_now(c, "h", previous, k));
            carried += w * w * h[previous * dim + k] * h[previous * dim + k];
        }
        gates[row * 4 * dim + m] = fabs(gate) + slope_of(gate, m / dim == 2) * (z + sqrt(carried));
    }
    for (int64_t d = 0; d < dim; d++) {
        const double *size = gates + row * 4 * dim + d;
        double i = is_now(c, "gates", row, d), f = is_now(c, "gates", row, dim + d);
        double g = fabs(is_now(c, "gates", row, 2 * dim + d));
        double o = is_now(c, "gates", row, 3 * dim + d), tanh_c = tanh(is_now(c, "cell", row, d));
        double sum = i * size[2 * dim] + g * size[0];
        if (previous >= 0)
            sum += f * cell[previous * dim + d] + size[dim] * fabs(is_now(c, "cell", previous, d));
        cell[row * dim + d] = sum;
        h[row * dim + d] =
            size[3 * dim] * fabs(tanh_c) + o * (fabs(tanh_c) + (1.0 - tanh_c * tanh_c) * sum);
    }
}

static inline void sizes_lstm_forward(op_call *c) {
    double *h = sizes_of(c, "h"), *cell = sizes_of(c, "cell"), *gates = sizes_of(c, "gates");
    const int32_t *offsets = ints_of(c, "offsets");
    bool reverse = c->variant & 1;
    for (int32_t s = 0; s < c->n_heads; s++) {
        int64_t n = offsets[s + 1] - offsets[s];
        for (int64_t t = 0; t < n; t++) {
            int64_t row = reverse ? offsets[s + 1] - 1 - t : offsets[s] + t;
            lstm_row_sizes(c, row, t == 0 ? -1 : reverse ? row + 1 : row - 1, h, cell, gates);
        }
    }
}

/* The sizes of dh (D) and of dc (D), which go from a row to the one before it. */
typedef struct lstm_carry {
    double *dh, *dc;
} lstm_carry;

static inline void lstm_row_backward_sizes(op_call *c, int64_t row, int64_t previous,
                                           lstm_carry *carry, double *dx, double *dw) {
    int64_t dim = op_find(c, "h")->t.cols;
    double *da = dx + row * 4 * dim;
    for (int64_t d = 0; d < dim; d++) {
        double dh = size_was(c, "dh", row, d) + carry->dh[d];
        double i = was(c, "gates", row, d), f = was(c, "gates", row, dim + d);
        double g = size_was(c, "gates", row, 2 * dim + d), o = was(c, "gates", row, 3 * dim + d);
        double tanh_c = fabs(tanh(was(c, "cell", row, d)));
        double dcell = carry->dc[d] + dh * o; /* 1 - tanh^2 cancels from 1 */
        da[3 * dim + d] = dh * tanh_c * o;    /* 1 - o as well */
        da[d] = dcell * g * i;
        da[dim + d] = previous < 0 ? 0.0 : dcell * size_was(c, "cell", previous, d) * f;
        da[2 * dim + d] = dcell * i;
        carry->dc[d] = dcell * f;
    }
    for (int64_t k = 0; k < dim; k++) {
        double squares = 0.0;
        for (int64_t m = 0; m < 4 * dim; m++) {
            double term = size_was(c, "w_hh", m, k) * da[m];
            squares += term * term;
            if (previous >= 0) size_add(dw, dim, m, k, da[m] * size_was(c, "h", previous, k));
        }
        carry->dh[k] = sqrt(squares);
    }
}

static inline void sizes_lstm_backward(op_call *c) {
    double *dx = sizes_of(c, "dxproj"), *dw = sizes_of(c, "dw_hh");
    const int32_t *offsets = ints_of(c, "offsets");
    int64_t dim = op_find(c, "h")->t.cols;
    bool reverse = c->variant & 1;
    double *room = mem_calloc((size_t)(2 * dim), sizeof *room);
    lstm_carry carry = {room, room + dim};
    for (int32_t s = 0; s < c->n_heads; s++) {
        memset(room, 0, (size_t)(2 * dim) * sizeof *room);
        for (int64_t t = offsets[s + 1] - offsets[s] - 1; t >= 0; t--) {
            int64_t row = reverse ? offsets[s + 1] - 1 - t : offsets[s] + t;
            lstm_row_backward_sizes(c, row,
                                    t == 0    ? -1
                                    : reverse ? row + 1
                                              : row - 1,
                                    &carry, dx, dw);
        }
    }
    mem_free(room);
}

/* ---- the optimizer ---- */

static inline void sizes_adamw(op_call *c) {
    double *w = sizes_of(c, "w"), *m = sizes_of(c, "m"), *v = sizes_of(c, "v");
    const adamw_spec *spec = &c->adamw;
    double b1 = spec->beta1, b2 = spec->beta2;
    for (int64_t i = 0; i < c->rows * c->cols; i++) {
        double g = size_was(c, "grad", 0, i) * spec->grad_scale;
        m[i] = b1 * size_was(c, "m", 0, i) + (1.0 - b1) * g;
        v[i] = b2 * was(c, "v", 0, i) + (1.0 - b2) * g * g;
        double root = sqrt(v[i] / (1.0 - pow(b2, (double)spec->step))) + spec->eps;
        w[i] += spec->lr * m[i] / (1.0 - pow(b1, (double)spec->step)) / root;
    }
}

#endif
