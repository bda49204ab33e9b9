/*
 * Sums and the optimizer's sweeps over flat arrays. Every sum is cut into blocks of fixed size,
 * formed in parallel and added in order: the bits do not depend on the number of threads.
 */
#include <math.h>

#include "backend/cpu/kernels/kernel.h"
#include "backend/cpu/kernels/rows.h"

#define SUM_BLOCK 4096 /* numbers whose sum is formed together */

cloze_status KFN(sum_rows)(backend_device *dev, const tensor *x, tensor *dst, cloze_error *err) {
    int64_t rows = x->rows, cols = x->cols, n_blocks = (rows + ROW_BLOCK - 1) / ROW_BLOCK;
    row_scratch scratch;
    CLOZE_TRY(row_scratch_get(dev, 0, 0, 1, rows, cols, &scratch, err));
#pragma omp parallel for schedule(static) num_threads(device_threads(dev, rows *cols))
    for (int64_t block = 0; block < n_blocks; block++) {
        float in[CHUNK];
        float *sum = row_partial(&scratch, block, 0);
        memset(sum, 0, (size_t)cols * sizeof *sum);
        for (int64_t row = block * ROW_BLOCK; row < min_i64(rows, (block + 1) * ROW_BLOCK); row++) {
            for (int64_t col = 0; col < cols; col += CHUNK) {
                int64_t n = min_i64(CHUNK, cols - col);
                const float *src = row_load(x, row, col, n, in);
#pragma omp simd
                for (int64_t i = 0; i < n; i++) sum[col + i] += src[i];
            }
        }
    }
    row_partials_add(dev, &scratch, rows, 0, dst);
    return CLOZE_OK;
}

cloze_status KFN(sum_all)(backend_device *dev, float alpha, const tensor *x, bool accumulate,
                          tensor *dst, cloze_error *err) {
    int64_t n_chunks = chunk_count(x);
    void *memory;
    CLOZE_TRY(device_scratch(dev, (size_t)(n_chunks + 1) * sizeof(double), &memory, err));
    double *partial = memory; /* (n_chunks) */
#pragma omp parallel for schedule(static) num_threads(device_threads(dev, x->rows * x->cols))
    for (int64_t i = 0; i < n_chunks; i++) {
        float in[CHUNK];
        chunk c = chunk_get(x, i);
        const float *src = row_load(x, c.row, c.col, c.n, in);
        double sum = 0.0;
#pragma omp simd reduction(+ : sum)
        for (int64_t j = 0; j < c.n; j++) sum += (double)src[j];
        partial[i] = sum;
    }
    double total = 0.0;
    for (int64_t i = 0; i < n_chunks; i++) total += partial[i];
    float *out = dst->data;
    *out = (float)(alpha * total + (accumulate ? *out : 0.0));
    return CLOZE_OK;
}

cloze_status KFN(sum_squares)(backend_device *dev, const float *x, int64_t n, double *out,
                              cloze_error *err) {
    int64_t n_blocks = (n + SUM_BLOCK - 1) / SUM_BLOCK;
    void *memory;
    CLOZE_TRY(device_scratch(dev, (size_t)(n_blocks + 1) * sizeof(double), &memory, err));
    double *partial = memory; /* (n_blocks) */
#pragma omp parallel for schedule(static) num_threads(device_threads(dev, n))
    for (int64_t block = 0; block < n_blocks; block++) {
        int64_t begin = block * SUM_BLOCK, end = min_i64(n, begin + SUM_BLOCK);
        double sum = 0.0;
#pragma omp simd reduction(+ : sum)
        for (int64_t i = begin; i < end; i++) sum += (double)x[i] * (double)x[i];
        partial[block] = sum;
    }
    double total = 0.0;
    for (int64_t block = 0; block < n_blocks; block++) total += partial[block];
    *out = total;
    return CLOZE_OK;
}

cloze_status KFN(adamw)(backend_device *dev, const adamw_spec *spec, int64_t n, const float *grad,
                        float *w, float *m, float *v, cloze_error *err) {
    float beta1 = spec->beta1, beta2 = spec->beta2, eps = spec->eps, grad_scale = spec->grad_scale;
    double correction1 = 1.0 - pow(beta1, (double)spec->step),
           correction2 = 1.0 - pow(beta2, (double)spec->step);
    float keep = (float)(1.0 - (double)spec->lr * spec->weight_decay);
    float rate = (float)(spec->lr / correction1), root = (float)(1.0 / sqrt(correction2));
    int64_t n_blocks = (n + SUM_BLOCK - 1) / SUM_BLOCK;
#pragma omp parallel for schedule(static) num_threads(device_threads(dev, 2 * n))
    for (int64_t block = 0; block < n_blocks; block++) {
        int64_t begin = block * SUM_BLOCK, end = min_i64(n, begin + SUM_BLOCK);
#pragma omp simd
        for (int64_t i = begin; i < end; i++) {
            float g = grad[i] * grad_scale;
            float first = beta1 * m[i] + (1.0f - beta1) * g;
            float second = beta2 * v[i] + (1.0f - beta2) * g * g;
            m[i] = first;
            v[i] = second;
            w[i] = keep * w[i] - rate * first / (sqrtf(second) * root + eps);
        }
    }
    return CLOZE_OK;
}
