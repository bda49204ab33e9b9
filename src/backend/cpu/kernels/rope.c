/* Rotary position embedding. Angles reach thousands of radians, so they and their sines are double.
 */
#include <math.h>

#include "backend/cpu/kernels/kernel.h"
#include "backend/cpu/kernels/rows.h"

/* Rotates one head's pairs: x and y are its D columns; turns (rotary_dim/2, 2) are cosine and sine.
 */
static void rotate_head(const float *x, float *y, const float *turns, int64_t dim,
                        int64_t rotary_dim, bool interleaved) {
    for (int64_t p = 0; p < rotary_dim / 2; p++) {
        int64_t first = interleaved ? 2 * p : p,
                second = interleaved ? 2 * p + 1 : p + rotary_dim / 2;
        float u = x[first], v = x[second], c = turns[2 * p], s = turns[2 * p + 1];
        y[first] = u * c - v * s;
        y[second] = u * s + v * c;
    }
    for (int64_t d = rotary_dim; d < dim; d++) y[d] = x[d];
}

cloze_status KFN(rope)(backend_device *dev, const tensor *x, const int32_t *positions,
                       int32_t n_heads, int32_t rotary_dim, float base, bool interleaved,
                       bool inverse, tensor *y, cloze_error *err) {
    int64_t cols = x->cols, dim = n_heads > 0 ? cols / n_heads : 0;
    if (rotary_dim % 2 != 0 || rotary_dim > dim) {
        CLOZE_FAIL(err, INTERNAL, "rope: %d rotary columns of %lld", (int)rotary_dim,
                   (long long)dim);
    }
    int threads = device_threads(dev, 8 * x->rows * cols);
    row_scratch scratch;
    CLOZE_TRY(row_scratch_get(dev, threads, 3, 0, 0, cols, &scratch, err));
#pragma omp parallel num_threads(threads)
    {
        float *turns = row_buffer(&scratch, 2); /* (rotary_dim/2, 2) */
#pragma omp for schedule(static)
        for (int64_t row = 0; row < x->rows; row++) {
            for (int64_t p = 0; p < rotary_dim / 2; p++) {
                double angle = positions[row] * pow(base, -2.0 * (double)p / rotary_dim);
                turns[2 * p] = (float)cos(angle);
                turns[2 * p + 1] = (float)(inverse ? -sin(angle) : sin(angle));
            }
            const float *src = row_load(x, row, 0, cols, row_buffer(&scratch, 0));
            float *dst = row_target(y, row, 0, row_buffer(&scratch, 1));
            for (int64_t head = 0; head < n_heads; head++) {
                rotate_head(src + head * dim, dst + head * dim, turns, dim, rotary_dim,
                            interleaved);
            }
            row_store(y, row, 0, cols, dst);
        }
    }
    return CLOZE_OK;
}
