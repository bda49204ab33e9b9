/* Log-softmax, log-sum-exp and the losses, and the cosine of rows. */
#include <math.h>

#include "backend/ref/ref.h"

/* log of the sum of exp over columns [begin, end) of a row; -inf for no column. */
static double row_log_sum_exp(const tensor *x, int64_t row, int64_t begin, int64_t end) {
    double max = -INFINITY, sum = 0.0;
    for (int64_t c = begin; c < end; c++) max = fmax(max, ref_get(x, row, c));
    if (!isfinite(max)) return max;
    for (int64_t c = begin; c < end; c++) sum += exp(ref_get(x, row, c) - max);
    return max + log(sum);
}

cloze_status ref_log_softmax_forward(backend_device *dev, const tensor *x, tensor *y,
                                     cloze_error *err) {
    REF_SHAPE(y, x->rows, x->cols);
    for (int64_t i = 0; i < x->rows; i++) {
        double lse = row_log_sum_exp(x, i, 0, x->cols);
        for (int64_t c = 0; c < x->cols; c++) ref_set(y, i, c, ref_get(x, i, c) - lse);
    }
    return CLOZE_OK;
}

cloze_status ref_log_softmax_backward(backend_device *dev, const tensor *y, const tensor *dy,
                                      bool accumulate, tensor *dx, cloze_error *err) {
    REF_SHAPE(dy, y->rows, y->cols);
    REF_SHAPE(dx, y->rows, y->cols);
    for (int64_t i = 0; i < y->rows; i++) {
        double sum = 0.0;
        for (int64_t c = 0; c < y->cols; c++) sum += ref_get(dy, i, c);
        for (int64_t c = 0; c < y->cols; c++) {
            ref_put(dx, i, c, accumulate, ref_get(dy, i, c) - exp(ref_get(y, i, c)) * sum);
        }
    }
    return CLOZE_OK;
}

cloze_status ref_logsumexp_forward(backend_device *dev, const tensor *x, const int32_t *groups,
                                   tensor *y, cloze_error *err) {
    REF_SHAPE(y, x->rows, y->cols);
    CLOZE_TRY(ref_check_ids(__func__, groups, y->cols + 1, x->cols + 1, err));
    for (int64_t i = 0; i < x->rows; i++) {
        for (int64_t g = 0; g < y->cols; g++)
            ref_set(y, i, g, row_log_sum_exp(x, i, groups[g], groups[g + 1]));
    }
    return CLOZE_OK;
}

cloze_status ref_logsumexp_backward(backend_device *dev, const tensor *x, const tensor *y,
                                    const int32_t *groups, const tensor *dy, bool accumulate,
                                    tensor *dx, cloze_error *err) {
    REF_SHAPE(y, x->rows, dy->cols);
    REF_SHAPE(dy, x->rows, dy->cols);
    REF_SHAPE(dx, x->rows, x->cols);
    CLOZE_TRY(ref_check_ids(__func__, groups, y->cols + 1, x->cols + 1, err));
    for (int64_t i = 0; i < x->rows; i++) {
        int64_t g = 0; /* columns before the first and after the last group have no gradient */
        for (int64_t c = 0; c < x->cols; c++) {
            double value = 0.0;
            while (g < y->cols && c >= groups[g + 1]) g++;
            if (g < y->cols && c >= groups[g]) {
                value = ref_get(dy, i, g) * exp(ref_get(x, i, c) - ref_get(y, i, g));
            }
            ref_put(dx, i, c, accumulate, value);
        }
    }
    return CLOZE_OK;
}

static bool row_ignored(const cross_entropy_spec *spec, int64_t row) {
    return !spec->soft_labels && spec->labels[row] == LABEL_IGNORE;
}

/* Weight of class c's negative log-probability in a row's loss: w[c] ((1-e) target[c] + e/C). */
static double class_target(const cross_entropy_spec *spec, int64_t row, int64_t c,
                           int64_t n_classes) {
    double target = spec->soft_labels ? ref_get(spec->soft_labels, row, c)
                                      : (spec->labels[row] == c ? 1.0 : 0.0);
    double smoothed =
        (1.0 - spec->label_smoothing) * target + spec->label_smoothing / (double)n_classes;
    return smoothed * (spec->class_weights ? spec->class_weights[c] : 1.0);
}

static cloze_status check_cross_entropy(const tensor *logits, const cross_entropy_spec *spec,
                                        cloze_error *err) {
    REF_SHAPE(spec->soft_labels, logits->rows, logits->cols);
    for (int64_t i = 0; !spec->soft_labels && i < logits->rows; i++) {
        if (!row_ignored(spec, i))
            CLOZE_TRY(ref_check_ids(__func__, spec->labels + i, 1, logits->cols, err));
    }
    return CLOZE_OK;
}

cloze_status ref_cross_entropy_forward(backend_device *dev, const tensor *logits,
                                       const cross_entropy_spec *spec, tensor *lse, tensor *loss,
                                       cloze_error *err) {
    double total = 0.0;
    CLOZE_TRY(check_cross_entropy(logits, spec, err));
    REF_SHAPE(lse, logits->rows, 1);
    REF_SHAPE(loss, 1, 1);
    for (int64_t i = 0; i < logits->rows; i++) {
        double row_lse = row_log_sum_exp(logits, i, 0, logits->cols);
        if (lse) ref_set(lse, i, 0, row_lse);
        for (int64_t c = 0; c < logits->cols && !row_ignored(spec, i); c++) {
            double target = class_target(spec, i, c, logits->cols);
            if (target != 0.0) total += target * (row_lse - ref_get(logits, i, c));
        }
    }
    ref_set(loss, 0, 0, spec->scale * total);
    return CLOZE_OK;
}

cloze_status ref_cross_entropy_backward(backend_device *dev, const tensor *logits,
                                        const cross_entropy_spec *spec, const tensor *lse,
                                        const tensor *dloss, bool accumulate, tensor *dlogits,
                                        cloze_error *err) {
    CLOZE_TRY(check_cross_entropy(logits, spec, err));
    REF_SHAPE(lse, logits->rows, 1);
    REF_SHAPE(dloss, 1, 1);
    REF_SHAPE(dlogits, logits->rows, logits->cols);
    double scale = spec->scale * ref_get(dloss, 0, 0);
    for (int64_t i = 0; i < logits->rows; i++) {
        double row_lse = lse ? ref_get(lse, i, 0) : row_log_sum_exp(logits, i, 0, logits->cols);
        double target_sum = 0.0;
        bool ignored = row_ignored(spec, i);
        for (int64_t c = 0; c < logits->cols && !ignored; c++)
            target_sum += class_target(spec, i, c, logits->cols);
        for (int64_t c = 0; c < logits->cols; c++) {
            double value = 0.0;
            if (!ignored) {
                double probability = exp(ref_get(logits, i, c) - row_lse);
                value = scale * (target_sum * probability - class_target(spec, i, c, logits->cols));
            }
            ref_put(dlogits, i, c, accumulate, value);
        }
    }
    return CLOZE_OK;
}

cloze_status ref_bce_forward(backend_device *dev, const tensor *logits, const tensor *targets,
                             float scale, tensor *loss, cloze_error *err) {
    double total = 0.0;
    REF_SHAPE(targets, logits->rows, logits->cols);
    REF_SHAPE(loss, 1, 1);
    for (int64_t i = 0; i < logits->rows; i++) {
        for (int64_t c = 0; c < logits->cols; c++) {
            double x = ref_get(logits, i, c);
            total += fmax(x, 0.0) - x * ref_get(targets, i, c) + log1p(exp(-fabs(x)));
        }
    }
    ref_set(loss, 0, 0, scale * total);
    return CLOZE_OK;
}

cloze_status ref_bce_backward(backend_device *dev, const tensor *logits, const tensor *targets,
                              float scale, const tensor *dloss, bool accumulate, tensor *dlogits,
                              cloze_error *err) {
    REF_SHAPE(targets, logits->rows, logits->cols);
    REF_SHAPE(dloss, 1, 1);
    REF_SHAPE(dlogits, logits->rows, logits->cols);
    for (int64_t i = 0; i < logits->rows; i++) {
        for (int64_t c = 0; c < logits->cols; c++) {
            double sigmoid = 1.0 / (1.0 + exp(-ref_get(logits, i, c)));
            double value = (sigmoid - ref_get(targets, i, c)) * scale * ref_get(dloss, 0, 0);
            ref_put(dlogits, i, c, accumulate, value);
        }
    }
    return CLOZE_OK;
}

/* exp(q)(q - p), 0 where q is the log of zero. */
cloze_status ref_kl_forward(backend_device *dev, const tensor *p, const tensor *q, float scale,
                            tensor *loss, cloze_error *err) {
    double total = 0.0;
    REF_SHAPE(q, p->rows, p->cols);
    REF_SHAPE(loss, 1, 1);
    for (int64_t i = 0; i < p->rows; i++) {
        for (int64_t c = 0; c < p->cols; c++) {
            double probability = exp(ref_get(q, i, c));
            if (probability > 0.0) total += probability * (ref_get(q, i, c) - ref_get(p, i, c));
        }
    }
    ref_set(loss, 0, 0, scale * total);
    return CLOZE_OK;
}

cloze_status ref_kl_backward(backend_device *dev, const tensor *p, const tensor *q, float scale,
                             const tensor *dloss, bool accumulate, tensor *dp, tensor *dq,
                             cloze_error *err) {
    REF_SHAPE(q, p->rows, p->cols);
    REF_SHAPE(dloss, 1, 1);
    REF_SHAPE(dp, p->rows, p->cols);
    REF_SHAPE(dq, p->rows, p->cols);
    for (int64_t i = 0; i < p->rows; i++) {
        for (int64_t c = 0; c < p->cols; c++) {
            double g = scale * ref_get(dloss, 0, 0) * exp(ref_get(q, i, c));
            double slope = g != 0.0 ? g * (ref_get(q, i, c) - ref_get(p, i, c) + 1.0) : 0.0;
            if (dp) ref_put(dp, i, c, accumulate, -g);
            if (dq) ref_put(dq, i, c, accumulate, slope);
        }
    }
    return CLOZE_OK;
}

static double row_dot(const tensor *a, int64_t i, const tensor *b, int64_t j) {
    double sum = 0.0;
    for (int64_t c = 0; c < a->cols; c++) sum += ref_get(a, i, c) * ref_get(b, j, c);
    return sum;
}

static double row_norm(const tensor *x, int64_t i, double eps) {
    return fmax(sqrt(row_dot(x, i, x, i)), eps);
}

cloze_status ref_cosine_forward(backend_device *dev, const tensor *a, const tensor *b, float eps,
                                tensor *y, cloze_error *err) {
    REF_SHAPE(b, b->rows, a->cols);
    REF_SHAPE(y, a->rows, b->rows);
    for (int64_t i = 0; i < a->rows; i++) {
        for (int64_t j = 0; j < b->rows; j++) {
            ref_set(y, i, j, row_dot(a, i, b, j) / (row_norm(a, i, eps) * row_norm(b, j, eps)));
        }
    }
    return CLOZE_OK;
}

/*
 * dx (n,H) for one side: with u = x/|x| and v = z/|z|, d cos/dx = (v - cos u) / |x|, and the norm's
 * part (cos u) is absent where eps stands in for it. transposed: y, dy are (rows of z, rows of x).
 * z_norms: (rows of z).
 */
static void cosine_side(const tensor *x, const tensor *z, const double *z_norms, double eps,
                        const tensor *y, const tensor *dy, bool transposed, tensor *dx) {
    for (int64_t i = 0; i < x->rows; i++) {
        double norm = row_norm(x, i, eps);
        bool clamped = norm <= eps;
        for (int64_t c = 0; c < x->cols; c++) {
            double sum = 0.0;
            for (int64_t j = 0; j < z->rows; j++) {
                double g = transposed ? ref_get(dy, j, i) : ref_get(dy, i, j);
                double cosine = transposed ? ref_get(y, j, i) : ref_get(y, i, j);
                double u = clamped ? 0.0 : ref_get(x, i, c) / norm;
                sum += g * (ref_get(z, j, c) / z_norms[j] - cosine * u) / norm;
            }
            ref_set(dx, i, c, sum);
        }
    }
}

cloze_status ref_cosine_backward(backend_device *dev, const tensor *a, const tensor *b, float eps,
                                 const tensor *y, const tensor *dy, tensor *da, tensor *db,
                                 cloze_error *err) {
    REF_SHAPE(b, b->rows, a->cols);
    REF_SHAPE(y, a->rows, b->rows);
    REF_SHAPE(dy, a->rows, b->rows);
    REF_SHAPE(da, a->rows, a->cols);
    REF_SHAPE(db, b->rows, b->cols);
    double *a_norms; /* (R), then (Q) of b */
    CLOZE_TRY(ref_scratch(dev, a->rows + b->rows, &a_norms, err));
    double *b_norms = a_norms + a->rows;
    for (int64_t i = 0; i < a->rows; i++) a_norms[i] = row_norm(a, i, eps);
    for (int64_t j = 0; j < b->rows; j++) b_norms[j] = row_norm(b, j, eps);
    if (da) cosine_side(a, b, b_norms, eps, y, dy, false, da);
    if (db) cosine_side(b, a, a_norms, eps, y, dy, true, db);
    return CLOZE_OK;
}
