/*
 * One direction of an LSTM layer over packed sequences. Time steps follow one another; within a
 * step the threads share the hidden units, and every row of the recurrent weight serves all
 * sequences that still run. State between steps is read back from the tensors h and cell, so that
 * backward sees the same numbers.
 */
#include <math.h>

#include "backend/cpu/kernels/kernel.h"
#include "backend/cpu/kernels/rows.h"
#include "backend/cpu/kernels/vmath.h"

#define UNIT_BLOCK 16 /* hidden units that one thread does at a time */

typedef struct lstm_call {
    int32_t n_seqs;
    const int32_t *offsets; /* (n_seqs + 1) */
    bool reverse;
    int64_t dim; /* D */
} lstm_call;

static int64_t longest_sequence(const lstm_call *call) {
    int64_t longest = 0;
    for (int32_t b = 0; b < call->n_seqs; b++) {
        int64_t len = call->offsets[b + 1] - call->offsets[b];
        if (len > longest) longest = len;
    }
    return longest;
}

/* The row of a sequence's time step in the order of reading; -1 before the first and after the
 * last. */
static int64_t step_row(const lstm_call *call, int32_t seq, int64_t t) {
    int64_t begin = call->offsets[seq], end = call->offsets[seq + 1];
    if (t < 0 || t >= end - begin) return -1;
    return call->reverse ? end - 1 - t : begin + t;
}

static float element(const tensor *t, int64_t row, int64_t col) {
    float value;
    row_copy(t, row, col, 1, &value);
    return value;
}

static float dot(const float *a, const float *b, int64_t n) {
    float sum = 0.0f;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < n; i++) sum += a[i] * b[i];
    return sum;
}

/* Unit d of one row: gates, cell and h. previous: the row of the step before, whose h is h_prev, or
 * -1. */
static void forward_unit(const lstm_call *call, const tensor *xproj, const tensor *w_hh, int64_t d,
                         int64_t row, int64_t previous, const float *h_prev, float *w_row,
                         tensor *h, tensor *cell, tensor *gates) {
    float gate[4];
    for (int g = 0; g < 4; g++) {
        float sum = element(xproj, row, g * call->dim + d);
        if (previous >= 0)
            sum += dot(row_load(w_hh, g * call->dim + d, 0, call->dim, w_row), h_prev, call->dim);
        gate[g] = g == 2 ? tanh_f32(sum) : sigmoid_f32(sum);
        row_store(gates, row, g * call->dim + d, 1, &gate[g]);
    }
    float c = gate[0] * gate[2];
    if (previous >= 0) c += gate[1] * element(cell, previous, d);
    row_store(cell, row, d, 1, &c);
    float out = gate[3] * tanh_f32(c);
    row_store(h, row, d, 1, &out);
}

cloze_status KFN(lstm_forward)(backend_device *dev, const tensor *xproj, const weight *w_hh,
                               int32_t n_seqs, const int32_t *offsets, bool reverse, tensor *h,
                               tensor *cell, tensor *gates, cloze_error *err) {
    lstm_call call = {n_seqs, offsets, reverse, h->cols};
    int64_t n_steps = longest_sequence(&call), n_blocks = (call.dim + UNIT_BLOCK - 1) / UNIT_BLOCK;
    int threads = device_threads(dev, 4 * call.dim * call.dim * n_seqs);
    row_scratch scratch;
    CLOZE_TRY(row_scratch_get(dev, threads, 2, 0, 0, call.dim, &scratch, err));
#pragma omp parallel num_threads(threads)
    for (int64_t t = 0; t < n_steps; t++) {
#pragma omp for schedule(static)
        for (int64_t block = 0; block < n_blocks; block++) {
            int64_t end = min_i64(call.dim, (block + 1) * UNIT_BLOCK);
            for (int32_t seq = 0; seq < n_seqs; seq++) {
                int64_t row = step_row(&call, seq, t), previous = step_row(&call, seq, t - 1);
                if (row < 0) continue;
                float *buffer = row_buffer(&scratch, 0);
                const float *h_prev =
                    previous >= 0 ? row_load(h, previous, 0, call.dim, buffer) : NULL;
                for (int64_t d = block * UNIT_BLOCK; d < end; d++) {
                    forward_unit(&call, xproj, &w_hh->t, d, row, previous, h_prev,
                                 row_buffer(&scratch, 1), h, cell, gates);
                }
            }
        }
    }
    return CLOZE_OK;
}

/* Unit d of one row: da (4D) from dh and dc; dc becomes the gradient of the previous cell. */
static void backward_unit(const lstm_call *call, const tensor *cell, const tensor *gates, int64_t d,
                          int64_t row, int64_t previous, float dh, float *dc, float *da) {
    int64_t dim = call->dim;
    float i = element(gates, row, d), f = element(gates, row, dim + d);
    float g = element(gates, row, 2 * dim + d), o = element(gates, row, 3 * dim + d);
    float tanh_c = tanh_f32(element(cell, row, d));
    float dcell = *dc + dh * o * (1.0f - tanh_c * tanh_c); /* h = o tanh(c) */
    float c_prev = previous >= 0 ? element(cell, previous, d) : 0.0f;
    da[d] = dcell * g * i * (1.0f - i); /* c = f c_prev + i g */
    da[dim + d] = dcell * c_prev * f * (1.0f - f);
    da[2 * dim + d] = dcell * i * (1.0f - g * g);
    da[3 * dim + d] = dh * tanh_c * o * (1.0f - o);
    *dc = dcell * f;
}

/* dh (D), columns [begin, end) = W_hh^T da: the gradient of the previous h */
static void backward_hidden(const lstm_call *call, const tensor *w_hh, const float *da,
                            int64_t begin, int64_t end, float *dh) {
    float in[UNIT_BLOCK], sum[UNIT_BLOCK] = {0};
    int64_t n = end - begin;
    for (int64_t m = 0; m < 4 * call->dim; m++) {
        const float *w = row_load(w_hh, m, begin, n, in);
        float factor = da[m];
#pragma omp simd
        for (int64_t k = 0; k < n; k++) sum[k] += factor * w[k];
    }
    memcpy(dh + begin, sum, (size_t)n * sizeof *sum);
}

/* dw_hh (4D,D) += dxproj^T h_prev, rows in reading order */
static void backward_weight(const backend_device *dev, const lstm_call *call, const tensor *h,
                            const tensor *dxproj, const row_scratch *scratch, const tensor *dw_hh) {
    int64_t dim = call->dim;
#pragma omp parallel for schedule(static) num_threads(device_threads(dev, 4 * h->rows * dim * dim))
    for (int64_t m = 0; m < 4 * dim; m++) {
        float *sum = row_target(dw_hh, m, 0, NULL);
        for (int32_t seq = 0; seq < call->n_seqs; seq++) {
            for (int64_t t = 1; step_row(call, seq, t) >= 0; t++) {
                float factor = element(dxproj, step_row(call, seq, t), m);
                const float *prev =
                    row_load(h, step_row(call, seq, t - 1), 0, dim, row_buffer(scratch, 0));
#pragma omp simd
                for (int64_t k = 0; k < dim; k++) sum[k] += factor * prev[k];
            }
        }
    }
}

cloze_status KFN(lstm_backward)(backend_device *dev, const tensor *dh, const tensor *h,
                                const tensor *cell, const tensor *gates, const weight *w_hh,
                                int32_t n_seqs, const int32_t *offsets, bool reverse,
                                tensor *dxproj, tensor *dw_hh, cloze_error *err) {
    lstm_call call = {n_seqs, offsets, reverse, h->cols};
    int64_t dim = call.dim, n_steps = longest_sequence(&call),
            n_blocks = (dim + UNIT_BLOCK - 1) / UNIT_BLOCK;
    int threads = device_threads(dev, 4 * dim * dim * n_seqs);
    row_scratch scratch;
    /* row buffers for all threads that any loop may use; and dh, dc, da (6D) of every sequence */
    CLOZE_TRY(row_scratch_get(dev, dev->n_threads, 1, 6 * n_seqs, ROW_BLOCK, dim, &scratch, err));
    memset(scratch.partials, 0, (size_t)(6 * n_seqs * scratch.stride) * sizeof(float));
#pragma omp parallel num_threads(threads)
    for (int64_t t = n_steps - 1; t >= 0; t--) {
        for (int phase = 0; phase < 2; phase++) {
#pragma omp for schedule(static)
            for (int64_t block = 0; block < n_blocks; block++) {
                int64_t begin = block * UNIT_BLOCK, end = min_i64(dim, begin + UNIT_BLOCK);
                for (int32_t seq = 0; seq < n_seqs; seq++) {
                    int64_t row = step_row(&call, seq, t), previous = step_row(&call, seq, t - 1);
                    float *dh_next = row_partial(&scratch, 0, 6 * seq),
                          *dc = dh_next + scratch.stride;
                    float *da = dc + scratch.stride;
                    if (row < 0) continue;
                    if (phase == 1) {
                        backward_hidden(&call, &w_hh->t, da, begin, end, dh_next);
                        continue;
                    }
                    for (int64_t d = begin; d < end; d++) {
                        backward_unit(&call, cell, gates, d, row, previous,
                                      dh_next[d] + element(dh, row, d), &dc[d], da);
                    }
                    for (int g = 0; g < 4; g++) {
                        row_store(dxproj, row, g * dim + begin, end - begin, da + g * dim + begin);
                    }
                }
            }
        }
    }
    if (has_data(dw_hh)) backward_weight(dev, &call, h, dxproj, &scratch, dw_hh);
    return CLOZE_OK;
}
