/*
 * Row buffers for kernels that need a whole row as floats, and sums over rows in blocks of
 * ROW_BLOCK: each block has partial sums of its own, which are then added in block order, so that
 * the result is the same for any number of threads.
 */
#ifndef CLOZE_BACKEND_CPU_KERNELS_ROWS_H
#define CLOZE_BACKEND_CPU_KERNELS_ROWS_H

#include <omp.h>

#include "backend/cpu/kernels/kernel.h"

typedef struct row_scratch {
    float *buffers;  /* (n_threads, n_buffers, stride) */
    float *partials; /* (n_blocks, n_sums, stride), zeroed by whoever fills a block */
    int64_t stride;
    int n_buffers, n_sums;
} row_scratch;

/* Buffers of `cols` floats for each thread, and partial sums for each block of `rows`. */
static inline cloze_status row_scratch_get(backend_device *dev, int n_threads, int n_buffers,
                                           int n_sums, int64_t rows, int64_t cols, row_scratch *out,
                                           cloze_error *err) {
    int64_t n_blocks = (rows + ROW_BLOCK - 1) / ROW_BLOCK;
    void *memory;
    out->stride = round_up(cols, 16);
    out->n_buffers = n_buffers;
    out->n_sums = n_sums;
    int64_t n_rows = (int64_t)n_threads * n_buffers + n_blocks * n_sums;
    CLOZE_TRY(device_scratch(dev, (size_t)(n_rows * out->stride) * sizeof(float), &memory, err));
    out->buffers = memory;
    out->partials = out->buffers + (int64_t)n_threads * n_buffers * out->stride;
    return CLOZE_OK;
}

/* The calling thread's i-th buffer. */
static inline float *row_buffer(const row_scratch *s, int i) {
    return s->buffers + ((int64_t)omp_get_thread_num() * s->n_buffers + i) * s->stride;
}

static inline float *row_partial(const row_scratch *s, int64_t block, int i) {
    return s->partials + (block * s->n_sums + i) * s->stride;
}

/* dst (1,cols) f32 += the i-th partial sums of all blocks, in block order. */
static inline void row_partials_add(const backend_device *dev, const row_scratch *s, int64_t rows,
                                    int i, const tensor *dst) {
    int64_t n_blocks = (rows + ROW_BLOCK - 1) / ROW_BLOCK;
    int64_t n_strips = (dst->cols + 255) / 256;
    float *sum = dst->data;
#pragma omp parallel for schedule(static) num_threads(device_threads(dev, n_blocks * dst->cols))
    for (int64_t strip = 0; strip < n_strips; strip++) {
        int64_t begin = strip * 256, end = min_i64(begin + 256, dst->cols);
        float total[256] = {0};
        for (int64_t block = 0; block < n_blocks; block++) {
            const float *part = row_partial(s, block, i) + begin;
#pragma omp simd
            for (int64_t c = 0; c < end - begin; c++) total[c] += part[c];
        }
        for (int64_t c = begin; c < end; c++) sum[c] += total[c - begin];
    }
}

#endif
