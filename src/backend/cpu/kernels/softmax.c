/*
 * Log-softmax, log-sum-exp and the cross-entropy over classes or a whole vocabulary. Rows are the
 * threads'; a row is read in chunks that are summed in f32 and added in double.
 */
#include <math.h>

#include "backend/cpu/kernels/kernel.h"
#include "backend/cpu/kernels/rows.h"
#include "backend/cpu/kernels/vmath.h"

/* log of the sum of exp over columns [begin, end) of a row; -inf for no column. */
static float row_logsumexp(const tensor *x, int64_t row, int64_t begin, int64_t end) {
    float in[CHUNK], max = -INFINITY;
    for (int64_t col = begin; col < end; col += CHUNK) {
        int64_t n = min_i64(CHUNK, end - col);
        const float *src = row_load(x, row, col, n, in);
#pragma omp simd reduction(max : max)
        for (int64_t i = 0; i < n; i++) max = src[i] > max ? src[i] : max;
    }
    if (!isfinite(max)) {
        /* Nothing is larger than NaN: a row of NaN must not pass for an empty one. */
        for (int64_t col = begin; col < end; col++) max += *row_load(x, row, col, 1, in) * 0.0f;
        return max;
    }
    double total = 0.0;
    for (int64_t col = begin; col < end; col += CHUNK) {
        int64_t n = min_i64(CHUNK, end - col);
        const float *src = row_load(x, row, col, n, in);
        float sum = 0.0f;
#pragma omp simd reduction(+ : sum)
        for (int64_t i = 0; i < n; i++) sum += exp_f32(src[i] - max);
        total += sum;
    }
    return max + (float)log(total);
}

/* Columns [col, col + n) of a row become values, or gain them. */
static void span_put(const tensor *t, int64_t row, int64_t col, int64_t n, const float *values,
                     bool accumulate) {
    float buffer[CHUNK];
    if (accumulate) {
        const float *old = row_load(t, row, col, n, buffer);
        float *sum = row_target(t, row, col, buffer);
#pragma omp simd
        for (int64_t i = 0; i < n; i++) sum[i] = old[i] + values[i];
        values = sum;
    }
    row_store(t, row, col, n, values);
}

cloze_status KFN(log_softmax_forward)(backend_device *dev, const tensor *x, tensor *y,
                                      cloze_error *err) {
#pragma omp parallel for schedule(static) num_threads(device_threads(dev, 8 * x->rows * x->cols))
    for (int64_t row = 0; row < x->rows; row++) {
        float in[CHUNK], out[CHUNK];
        float lse = row_logsumexp(x, row, 0, x->cols);
        for (int64_t col = 0; col < x->cols; col += CHUNK) {
            int64_t n = min_i64(CHUNK, x->cols - col);
            const float *src = row_load(x, row, col, n, in);
            float *dst = row_target(y, row, col, out);
#pragma omp simd
            for (int64_t i = 0; i < n; i++) dst[i] = src[i] - lse;
            row_store(y, row, col, n, dst);
        }
    }
    return CLOZE_OK;
}

cloze_status KFN(log_softmax_backward)(backend_device *dev, const tensor *y, const tensor *dy,
                                       bool accumulate, tensor *dx, cloze_error *err) {
#pragma omp parallel for schedule(static) num_threads(device_threads(dev, 8 * y->rows * y->cols))
    for (int64_t row = 0; row < y->rows; row++) {
        float in[CHUNK], grad_in[CHUNK], out[CHUNK];
        double total = 0.0;
        for (int64_t col = 0; col < y->cols; col += CHUNK) {
            int64_t n = min_i64(CHUNK, y->cols - col);
            const float *grad = row_load(dy, row, col, n, grad_in);
            float sum = 0.0f;
#pragma omp simd reduction(+ : sum)
            for (int64_t i = 0; i < n; i++) sum += grad[i];
            total += sum;
        }
        float all = (float)total;
        for (int64_t col = 0; col < y->cols; col += CHUNK) {
            int64_t n = min_i64(CHUNK, y->cols - col);
            const float *value = row_load(y, row, col, n, in),
                        *grad = row_load(dy, row, col, n, grad_in);
#pragma omp simd
            for (int64_t i = 0; i < n; i++) out[i] = grad[i] - exp_f32(value[i]) * all;
            span_put(dx, row, col, n, out, accumulate);
        }
    }
    return CLOZE_OK;
}

/* Groups are spans of columns, in order, that do not overlap. */
static cloze_status check_groups(const int32_t *groups, int64_t n_groups, int64_t cols,
                                 cloze_error *err) {
    for (int64_t g = 0; g <= n_groups; g++) {
        if (groups[g] < 0 || groups[g] > cols || (g > 0 && groups[g] < groups[g - 1])) {
            CLOZE_FAIL(err, INTERNAL,
                       "logsumexp: bound %lld of the groups is %d, with %lld columns", (long long)g,
                       (int)groups[g], (long long)cols);
        }
    }
    return CLOZE_OK;
}

cloze_status KFN(logsumexp_forward)(backend_device *dev, const tensor *x, const int32_t *groups,
                                    tensor *y, cloze_error *err) {
    CLOZE_TRY(check_groups(groups, y->cols, x->cols, err));
#pragma omp parallel for schedule(static) num_threads(device_threads(dev, 8 * x->rows * x->cols))
    for (int64_t row = 0; row < x->rows; row++) {
        for (int64_t g = 0; g < y->cols; g++) {
            float lse = row_logsumexp(x, row, groups[g], groups[g + 1]);
            row_store(y, row, g, 1, &lse);
        }
    }
    return CLOZE_OK;
}

cloze_status KFN(logsumexp_backward)(backend_device *dev, const tensor *x, const tensor *y,
                                     const int32_t *groups, const tensor *dy, bool accumulate,
                                     tensor *dx, cloze_error *err) {
    CLOZE_TRY(check_groups(groups, y->cols, x->cols, err));
#pragma omp parallel for schedule(static) num_threads(device_threads(dev, 8 * x->rows * x->cols))
    for (int64_t row = 0; row < x->rows; row++) {
        float in[CHUNK], out[CHUNK] = {0};
        /* columns before the first and after the last group have no gradient */
        for (int64_t edge = 0; edge < 2 && !accumulate; edge++) {
            int64_t end = edge ? x->cols : groups[0];
            for (int64_t col = edge ? groups[y->cols] : 0; col < end; col += CHUNK) {
                span_put(dx, row, col, min_i64(CHUNK, end - col), out, false);
            }
        }
        for (int64_t g = 0; g < y->cols; g++) {
            float small[2];
            float lse = *row_load(y, row, g, 1, &small[0]),
                  grad = *row_load(dy, row, g, 1, &small[1]);
            for (int64_t col = groups[g]; col < groups[g + 1]; col += CHUNK) {
                int64_t n = min_i64(CHUNK, groups[g + 1] - col);
                const float *src = row_load(x, row, col, n, in);
#pragma omp simd
                for (int64_t i = 0; i < n; i++) out[i] = grad * exp_f32(src[i] - lse);
                span_put(dx, row, col, n, out, accumulate);
            }
        }
    }
    return CLOZE_OK;
}

static bool row_ignored(const cross_entropy_spec *spec, int64_t row) {
    return !spec->soft_labels && spec->labels[row] == LABEL_IGNORE;
}

/* targets (n) for columns [col, col + n): w[c] ((1-e) target[c] + e/C), what multiplies -log p[c]
 */
static void row_targets(const cross_entropy_spec *spec, int64_t row, int64_t col, int64_t n,
                        int64_t n_classes, float *targets) {
    float e = spec->label_smoothing, even = e / (float)n_classes;
    if (spec->soft_labels) {
        float in[CHUNK];
        const float *soft = row_load(spec->soft_labels, row, col, n, in);
#pragma omp simd
        for (int64_t i = 0; i < n; i++) targets[i] = (1.0f - e) * soft[i] + even;
    } else {
        for (int64_t i = 0; i < n; i++) targets[i] = even;
        int64_t label = spec->labels[row] - col;
        if (label >= 0 && label < n) targets[label] += 1.0f - e;
    }
    if (!spec->class_weights) return;
    const float *weights = spec->class_weights + col;
#pragma omp simd
    for (int64_t i = 0; i < n; i++) targets[i] *= weights[i];
}

/* True when only the label's own column has a target. */
static bool one_hot(const cross_entropy_spec *spec) {
    return !spec->soft_labels && spec->label_smoothing == 0.0f;
}

static cloze_status check_labels(const tensor *logits, const cross_entropy_spec *spec,
                                 cloze_error *err) {
    for (int64_t i = 0; !spec->soft_labels && i < logits->rows; i++) {
        if (row_ignored(spec, i) || (spec->labels[i] >= 0 && spec->labels[i] < logits->cols))
            continue;
        CLOZE_FAIL(err, INTERNAL, "cross_entropy: label %lld is %d, with %lld classes",
                   (long long)i, (int)spec->labels[i], (long long)logits->cols);
    }
    return CLOZE_OK;
}

/* The loss of one row whose log-sum-exp is lse. */
static double row_loss(const tensor *logits, const cross_entropy_spec *spec, int64_t row,
                       float lse) {
    float in[CHUNK], targets[CHUNK];
    int64_t begin = 0, end = logits->cols;
    if (one_hot(spec)) {
        begin = spec->labels[row];
        end = begin + 1;
    }
    double total = 0.0;
    for (int64_t col = begin; col < end; col += CHUNK) {
        int64_t n = min_i64(CHUNK, end - col);
        const float *src = row_load(logits, row, col, n, in);
        row_targets(spec, row, col, n, logits->cols, targets);
        double sum = 0.0;
#pragma omp simd reduction(+ : sum)
        for (int64_t i = 0; i < n; i++)
            sum += targets[i] != 0.0f ? (double)(targets[i] * (lse - src[i])) : 0.0;
        total += sum;
    }
    return total;
}

cloze_status KFN(cross_entropy_forward)(backend_device *dev, const tensor *logits,
                                        const cross_entropy_spec *spec, tensor *lse, tensor *loss,
                                        cloze_error *err) {
    CLOZE_TRY(check_labels(logits, spec, err));
    void *memory;
    CLOZE_TRY(device_scratch(dev, (size_t)(logits->rows + 1) * sizeof(double), &memory, err));
    double *losses = memory; /* (R) */
#pragma omp parallel for schedule(static)                                                          \
    num_threads(device_threads(dev, 8 * logits->rows * logits->cols))
    for (int64_t row = 0; row < logits->rows; row++) {
        float row_lse = row_logsumexp(logits, row, 0, logits->cols);
        if (has_data(lse)) row_store(lse, row, 0, 1, &row_lse);
        losses[row] = row_ignored(spec, row) ? 0.0 : row_loss(logits, spec, row, row_lse);
    }
    double total = 0.0;
    for (int64_t row = 0; row < logits->rows; row++) total += losses[row];
    *(float *)loss->data = (float)(spec->scale * total);
    return CLOZE_OK;
}

/* dlogits of one row: scale (sum(targets) softmax - targets), or 0 when it is ignored */
static void row_loss_slope(const tensor *logits, const cross_entropy_spec *spec, int64_t row,
                           float lse, float scale, bool accumulate, const tensor *dlogits) {
    float in[CHUNK], targets[CHUNK], out[CHUNK] = {0};
    bool ignored = row_ignored(spec, row);
    if (ignored && accumulate) return;
    double target_sum = 0.0;
    int64_t begin = one_hot(spec) && !ignored ? spec->labels[row] : 0;
    int64_t end = one_hot(spec) && !ignored ? begin + 1 : logits->cols;
    for (int64_t col = begin; col < end && !ignored; col += CHUNK) {
        int64_t n = min_i64(CHUNK, end - col);
        row_targets(spec, row, col, n, logits->cols, targets);
        for (int64_t i = 0; i < n; i++) target_sum += targets[i];
    }
    float all = (float)target_sum;
    for (int64_t col = 0; col < logits->cols; col += CHUNK) {
        int64_t n = min_i64(CHUNK, logits->cols - col);
        if (!ignored) {
            const float *src = row_load(logits, row, col, n, in);
            row_targets(spec, row, col, n, logits->cols, targets);
#pragma omp simd
            for (int64_t i = 0; i < n; i++)
                out[i] = scale * (all * exp_f32(src[i] - lse) - targets[i]);
        }
        span_put(dlogits, row, col, n, out, accumulate);
    }
}

cloze_status KFN(cross_entropy_backward)(backend_device *dev, const tensor *logits,
                                         const cross_entropy_spec *spec, const tensor *lse,
                                         const tensor *dloss, bool accumulate, tensor *dlogits,
                                         cloze_error *err) {
    CLOZE_TRY(check_labels(logits, spec, err));
    float scale = spec->scale * *(const float *)dloss->data;
#pragma omp parallel for schedule(static)                                                          \
    num_threads(device_threads(dev, 8 * logits->rows * logits->cols))
    for (int64_t row = 0; row < logits->rows; row++) {
        float row_lse;
        if (has_data(lse))
            row_copy(lse, row, 0, 1, &row_lse);
        else
            row_lse = row_logsumexp(logits, row, 0, logits->cols);
        row_loss_slope(logits, spec, row, row_lse, scale, accumulate, dlogits);
    }
    return CLOZE_OK;
}
