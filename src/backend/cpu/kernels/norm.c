/*
 * Layer norm (with the dropout and the residual sum before it) and RMS norm. Forward passes read a
 * row once and keep it in the first-level cache for mean, variance and result; backward passes form
 * the sums over rows for gamma and beta in fixed blocks of rows.
 */
#include <math.h>

#include "backend/cpu/kernels/kernel.h"
#include "backend/cpu/kernels/philox.h"
#include "backend/cpu/kernels/rows.h"

/* sum (cols) = dropout(x) + residual, for one row */
static void sum_residual(const tensor *x, const tensor *residual, const dropout_plan *plan,
                         int64_t row, float *sum) {
    float in[CHUNK], kept[CHUNK], other[CHUNK];
    for (int64_t col = 0; col < x->cols; col += CHUNK) {
        int64_t n = min_i64(CHUNK, x->cols - col);
        const float *src = row_load(x, row, col, n, in);
        float *dst = sum + col;
        if (plan->on) {
            dropout_row(plan, row, col, n, kept);
#pragma omp simd
            for (int64_t i = 0; i < n; i++) kept[i] *= src[i];
            src = kept;
        }
        if (has_data(residual)) {
            const float *r = row_load(residual, row, col, n, other);
#pragma omp simd
            for (int64_t i = 0; i < n; i++) dst[i] = src[i] + r[i];
        } else {
            memcpy(dst, src, (size_t)n * sizeof *dst);
        }
    }
}

/* s (n) becomes (s - mean)/sqrt(var + eps); returns the reciprocal deviation. */
static float normalise(float *s, int64_t n, float eps) {
    float sum = 0.0f, squares = 0.0f;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < n; i++) sum += s[i];
    float mean = sum / (float)n;
#pragma omp simd reduction(+ : squares)
    for (int64_t i = 0; i < n; i++) {
        float d = s[i] - mean;
        squares += d * d;
    }
    float rstd = 1.0f / sqrtf(squares / (float)n + eps);
#pragma omp simd
    for (int64_t i = 0; i < n; i++) s[i] = (s[i] - mean) * rstd;
    return rstd;
}

/* A (1,cols) parameter as floats, in the calling thread's buffer i when it is not f32. */
static const float *parameter_row(const tensor *t, const row_scratch *scratch, int i) {
    return row_load(t, 0, 0, t->cols, row_buffer(scratch, i));
}

static void scalar_store(const tensor *t, int64_t row, float value) {
    if (has_data(t)) *(float *)(void *)element_at(t, row, 0) = value;
}

cloze_status KFN(layer_norm_forward)(backend_device *dev, const tensor *x, const tensor *residual,
                                     const dropout_spec *dropout, const tensor *gamma,
                                     const tensor *beta, float eps, tensor *y, tensor *y_low,
                                     tensor *xhat, tensor *rstd, cloze_error *err) {
    dropout_plan plan = dropout_plan_of(dropout);
    int64_t cols = x->cols;
    int threads = device_threads(dev, 8 * x->rows * cols);
    row_scratch scratch;
    CLOZE_TRY(row_scratch_get(dev, threads, 4, 0, 0, cols, &scratch, err));
#pragma omp parallel num_threads(threads)
    {
        float *s = row_buffer(&scratch, 0), *out = row_buffer(&scratch, 1);
        const float *g = parameter_row(gamma, &scratch, 2), *b = parameter_row(beta, &scratch, 3);
#pragma omp for schedule(static)
        for (int64_t row = 0; row < x->rows; row++) {
            sum_residual(x, residual, &plan, row, s);
            scalar_store(rstd, row, normalise(s, cols, eps));
            float *dst = row_target(y, row, 0, out);
#pragma omp simd
            for (int64_t i = 0; i < cols; i++) dst[i] = s[i] * g[i] + b[i];
            row_store(y, row, 0, cols, dst);
            if (has_data(y_low)) row_store(y_low, row, 0, cols, dst);
            if (has_data(xhat)) row_store(xhat, row, 0, cols, s);
        }
    }
    return CLOZE_OK;
}

/* ds (cols) = r (g dy - mean(g dy) - xhat mean(g dy xhat)); sums for gamma and beta go to dgamma,
 * dbeta. */
static void layer_norm_slope(const float *dy, const float *xhat, const float *g, float r, int64_t n,
                             float *ds, float *dgamma, float *dbeta) {
    float sum = 0.0f, sum_x = 0.0f;
#pragma omp simd reduction(+ : sum, sum_x)
    for (int64_t i = 0; i < n; i++) {
        float scaled = dy[i] * g[i];
        ds[i] = scaled;
        sum += scaled;
        sum_x += scaled * xhat[i];
        dgamma[i] += dy[i] * xhat[i];
        dbeta[i] += dy[i];
    }
    float mean = sum / (float)n, mean_x = sum_x / (float)n;
#pragma omp simd
    for (int64_t i = 0; i < n; i++) ds[i] = r * (ds[i] - mean - xhat[i] * mean_x);
}

/* A row of t becomes values, or gains them; buffer is for rows that are not f32. */
static void row_put(const tensor *t, int64_t row, const float *values, bool accumulate,
                    float *buffer) {
    if (accumulate) {
        const float *old = row_load(t, row, 0, t->cols, buffer);
        float *sum = row_target(t, row, 0, buffer);
#pragma omp simd
        for (int64_t i = 0; i < t->cols; i++) sum[i] = old[i] + values[i];
        values = sum;
    }
    row_store(t, row, 0, t->cols, values);
}

/* values (cols) *= the dropout multipliers of a row */
static void row_drop(const dropout_plan *plan, int64_t row, int64_t cols, float *values) {
    float kept[CHUNK];
    for (int64_t col = 0; col < cols; col += CHUNK) {
        int64_t n = min_i64(CHUNK, cols - col);
        dropout_row(plan, row, col, n, kept);
#pragma omp simd
        for (int64_t i = 0; i < n; i++) values[col + i] *= kept[i];
    }
}

cloze_status KFN(layer_norm_backward)(backend_device *dev, const tensor *dy, const tensor *xhat,
                                      const tensor *rstd, const tensor *gamma,
                                      const dropout_spec *dropout, bool accumulate_dx, tensor *dx,
                                      bool accumulate_dresidual, tensor *dresidual, tensor *dgamma,
                                      tensor *dbeta, cloze_error *err) {
    dropout_plan plan = dropout_plan_of(dropout);
    int64_t rows = dy->rows, cols = dy->cols, n_blocks = (rows + ROW_BLOCK - 1) / ROW_BLOCK;
    int threads = device_threads(dev, 12 * rows * cols);
    row_scratch scratch;
    CLOZE_TRY(row_scratch_get(dev, threads, 5, 2, rows, cols, &scratch, err));
#pragma omp parallel num_threads(threads)
    {
        float *ds = row_buffer(&scratch, 0), *old = row_buffer(&scratch, 1);
        const float *g = parameter_row(gamma, &scratch, 2);
#pragma omp for schedule(static)
        for (int64_t block = 0; block < n_blocks; block++) {
            float *gamma_sum = row_partial(&scratch, block, 0),
                  *beta_sum = row_partial(&scratch, block, 1);
            memset(gamma_sum, 0, 2 * (size_t)scratch.stride * sizeof(float));
            for (int64_t row = block * ROW_BLOCK; row < min_i64(rows, (block + 1) * ROW_BLOCK);
                 row++) {
                const float *grad = row_load(dy, row, 0, cols, row_buffer(&scratch, 3));
                const float *normal = row_load(xhat, row, 0, cols, row_buffer(&scratch, 4));
                float r = *(const float *)(const void *)element_at(rstd, row, 0);
                layer_norm_slope(grad, normal, g, r, cols, ds, gamma_sum, beta_sum);
                if (has_data(dresidual)) row_put(dresidual, row, ds, accumulate_dresidual, old);
                if (!has_data(dx)) continue;
                if (plan.on) row_drop(&plan, row, cols, ds);
                row_put(dx, row, ds, accumulate_dx, old);
            }
        }
    }
    if (has_data(dgamma)) row_partials_add(dev, &scratch, rows, 0, dgamma);
    if (has_data(dbeta)) row_partials_add(dev, &scratch, rows, 1, dbeta);
    return CLOZE_OK;
}

cloze_status KFN(rms_norm_forward)(backend_device *dev, const tensor *x, const tensor *gamma,
                                   float eps, tensor *y, tensor *rstd, cloze_error *err) {
    int64_t cols = x->cols;
    int threads = device_threads(dev, 4 * x->rows * cols);
    row_scratch scratch;
    CLOZE_TRY(row_scratch_get(dev, threads, 3, 0, 0, cols, &scratch, err));
#pragma omp parallel num_threads(threads)
    {
        const float *g = parameter_row(gamma, &scratch, 2);
#pragma omp for schedule(static)
        for (int64_t row = 0; row < x->rows; row++) {
            const float *src = row_load(x, row, 0, cols, row_buffer(&scratch, 0));
            float *dst = row_target(y, row, 0, row_buffer(&scratch, 1));
            float squares = 0.0f;
#pragma omp simd reduction(+ : squares)
            for (int64_t i = 0; i < cols; i++) squares += src[i] * src[i];
            float r = 1.0f / sqrtf(squares / (float)cols + eps);
#pragma omp simd
            for (int64_t i = 0; i < cols; i++) dst[i] = src[i] * r * g[i];
            row_store(y, row, 0, cols, dst);
            scalar_store(rstd, row, r);
        }
    }
    return CLOZE_OK;
}

/* ds (cols) = r (g dy - r x mean(g dy r x)); the sum for gamma goes to dgamma. */
static void rms_norm_slope(const float *dy, const float *x, const float *g, float r, int64_t n,
                           float *ds, float *dgamma) {
    float sum_x = 0.0f;
#pragma omp simd reduction(+ : sum_x)
    for (int64_t i = 0; i < n; i++) {
        float scaled = dy[i] * g[i], normal = x[i] * r;
        sum_x += scaled * normal;
        dgamma[i] += dy[i] * normal;
    }
    float mean_x = sum_x / (float)n;
#pragma omp simd
    for (int64_t i = 0; i < n; i++) ds[i] = r * (dy[i] * g[i] - x[i] * r * mean_x);
}

cloze_status KFN(rms_norm_backward)(backend_device *dev, const tensor *dy, const tensor *x,
                                    const tensor *rstd, const tensor *gamma, bool accumulate,
                                    tensor *dx, tensor *dgamma, cloze_error *err) {
    int64_t rows = dy->rows, cols = dy->cols, n_blocks = (rows + ROW_BLOCK - 1) / ROW_BLOCK;
    int threads = device_threads(dev, 8 * rows * cols);
    row_scratch scratch;
    CLOZE_TRY(row_scratch_get(dev, threads, 5, 1, rows, cols, &scratch, err));
#pragma omp parallel num_threads(threads)
    {
        float *ds = row_buffer(&scratch, 0), *old = row_buffer(&scratch, 1);
        const float *g = parameter_row(gamma, &scratch, 2);
#pragma omp for schedule(static)
        for (int64_t block = 0; block < n_blocks; block++) {
            float *gamma_sum = row_partial(&scratch, block, 0);
            memset(gamma_sum, 0, (size_t)scratch.stride * sizeof(float));
            for (int64_t row = block * ROW_BLOCK; row < min_i64(rows, (block + 1) * ROW_BLOCK);
                 row++) {
                const float *grad = row_load(dy, row, 0, cols, row_buffer(&scratch, 3));
                const float *src = row_load(x, row, 0, cols, row_buffer(&scratch, 4));
                float r = *(const float *)(const void *)element_at(rstd, row, 0);
                rms_norm_slope(grad, src, g, r, cols, ds, gamma_sum);
                if (has_data(dx)) row_put(dx, row, ds, accumulate, old);
            }
        }
    }
    if (has_data(dgamma)) row_partials_add(dev, &scratch, rows, 0, dgamma);
    return CLOZE_OK;
}
