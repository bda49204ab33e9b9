/* Kernels that look at one element at a time: activations, gates, dropout, sums and products of
 * tensors. Each is one parallel loop over chunks, and memory bandwidth is their limit. */
#include "backend/cpu/kernels/kernel.h"
#include "backend/cpu/kernels/philox.h"
#include "backend/cpu/kernels/vmath.h"

#define GELU_TANH_A 0.7978845608f /* sqrt(2/pi) */
#define GELU_TANH_B 0.044715f

/* y = act(x), n numbers; y may be x */
static void act_forward(activation act, const float *x, float *y, int64_t n) {
    switch (act) {
    case ACT_NONE:
        if (x != y) memcpy(y, x, (size_t)n * sizeof *y);
        break;
    case ACT_GELU_ERF:
#pragma omp simd
        for (int64_t i = 0; i < n; i++) {
            float cdf, density;
            normal_f32(x[i], &cdf, &density);
            y[i] = x[i] * cdf;
        }
        break;
    case ACT_GELU_TANH: /* x/2 (1 + tanh u) = x sigmoid(2u) */
#pragma omp simd
        for (int64_t i = 0; i < n; i++) {
            float u = GELU_TANH_A * (x[i] + GELU_TANH_B * x[i] * x[i] * x[i]);
            y[i] = x[i] * sigmoid_f32(2.0f * u);
        }
        break;
    case ACT_RELU:
#pragma omp simd
        for (int64_t i = 0; i < n; i++) y[i] = x[i] <= 0.0f ? 0.0f : x[i]; /* NaN passes */
        break;
    case ACT_SILU:
#pragma omp simd
        for (int64_t i = 0; i < n; i++) y[i] = x[i] * sigmoid_f32(x[i]);
        break;
    case ACT_TANH:
#pragma omp simd
        for (int64_t i = 0; i < n; i++) y[i] = tanh_f32(x[i]);
        break;
    }
}

/* slope = act'(x), n numbers; slope may be x */
static void act_slope(activation act, const float *x, float *slope, int64_t n) {
    switch (act) {
    case ACT_NONE:
        for (int64_t i = 0; i < n; i++) slope[i] = 1.0f;
        break;
    case ACT_GELU_ERF:
#pragma omp simd
        for (int64_t i = 0; i < n; i++) {
            float cdf, density;
            normal_f32(x[i], &cdf, &density);
            slope[i] = cdf + x[i] * density;
        }
        break;
    case ACT_GELU_TANH:
#pragma omp simd
        for (int64_t i = 0; i < n; i++) {
            float square = x[i] * x[i];
            float u = GELU_TANH_A * x[i] * (1.0f + GELU_TANH_B * square);
            float du = GELU_TANH_A * (1.0f + 3.0f * GELU_TANH_B * square);
            float s, ds;
            sigmoid_slope_f32(2.0f * u, &s, &ds);
            slope[i] = s + 2.0f * x[i] * ds * du;
        }
        break;
    case ACT_RELU:
#pragma omp simd
        for (int64_t i = 0; i < n; i++) slope[i] = x[i] > 0.0f ? 1.0f : 0.0f;
        break;
    case ACT_SILU:
#pragma omp simd
        for (int64_t i = 0; i < n; i++) {
            float s, ds;
            sigmoid_slope_f32(x[i], &s, &ds);
            slope[i] = s + x[i] * ds;
        }
        break;
    case ACT_TANH:
#pragma omp simd
        for (int64_t i = 0; i < n; i++) {
            float t = tanh_f32(x[i]);
            slope[i] = 1.0f - t * t;
        }
        break;
    }
}

/* Writes values (n floats of chunk c) to y, or adds them; values may be y's own memory only when
 * not accumulating. */
static inline void chunk_put(const tensor *y, chunk c, const float *values, bool accumulate,
                             float *buffer) {
    if (accumulate) {
        const float *old = row_load(y, c.row, c.col, c.n, buffer);
        float *sum = row_target(y, c.row, c.col, buffer);
#pragma omp simd
        for (int64_t i = 0; i < c.n; i++) sum[i] = old[i] + values[i];
        values = sum;
    }
    row_store(y, c.row, c.col, c.n, values);
}

/* Where a kernel that may accumulate computes its values. */
static inline float *chunk_work(const tensor *y, chunk c, bool accumulate, float *buffer) {
    return accumulate ? buffer : row_target(y, c.row, c.col, buffer);
}

cloze_status KFN(activation_forward)(backend_device *dev, activation act, const tensor *x,
                                     tensor *y, cloze_error *err) {
    int64_t n_chunks = chunk_count(x);
#pragma omp parallel for schedule(static) num_threads(device_threads(dev, 8 * x->rows * x->cols))
    for (int64_t i = 0; i < n_chunks; i++) {
        float in[CHUNK], out[CHUNK];
        chunk c = chunk_get(x, i);
        const float *src = row_load(x, c.row, c.col, c.n, in);
        float *dst = row_target(y, c.row, c.col, out);
        act_forward(act, src, dst, c.n);
        row_store(y, c.row, c.col, c.n, dst);
    }
    return CLOZE_OK;
}

cloze_status KFN(activation_backward)(backend_device *dev, activation act, const tensor *x,
                                      const tensor *dy, bool accumulate, tensor *dx,
                                      cloze_error *err) {
    int64_t n_chunks = chunk_count(x);
#pragma omp parallel for schedule(static) num_threads(device_threads(dev, 8 * x->rows * x->cols))
    for (int64_t i = 0; i < n_chunks; i++) {
        float in[CHUNK], grad_in[CHUNK], slope[CHUNK], old[CHUNK];
        chunk c = chunk_get(x, i);
        act_slope(act, row_load(x, c.row, c.col, c.n, in), slope, c.n);
        const float *grad = row_load(dy, c.row, c.col, c.n, grad_in);
#pragma omp simd
        for (int64_t j = 0; j < c.n; j++) slope[j] *= grad[j];
        chunk_put(dx, c, slope, accumulate, old);
    }
    return CLOZE_OK;
}

cloze_status KFN(glu_forward)(backend_device *dev, activation act, const tensor *x, tensor *y,
                              cloze_error *err) {
    int64_t n_chunks = chunk_count(y), half = y->cols;
#pragma omp parallel for schedule(static) num_threads(device_threads(dev, 8 * y->rows * y->cols))
    for (int64_t i = 0; i < n_chunks; i++) {
        float in[CHUNK], gated[CHUNK], gate_in[CHUNK];
        chunk c = chunk_get(y, i);
        act_forward(act, row_load(x, c.row, c.col, c.n, in), gated, c.n);
        const float *gate = row_load(x, c.row, half + c.col, c.n, gate_in);
#pragma omp simd
        for (int64_t j = 0; j < c.n; j++) gated[j] *= gate[j];
        row_store(y, c.row, c.col, c.n, gated);
    }
    return CLOZE_OK;
}

cloze_status KFN(glu_backward)(backend_device *dev, activation act, const tensor *x,
                               const tensor *dy, tensor *dx, cloze_error *err) {
    int64_t n_chunks = chunk_count(dy), half = dy->cols;
#pragma omp parallel for schedule(static) num_threads(device_threads(dev, 16 * dy->rows * dy->cols))
    for (int64_t i = 0; i < n_chunks; i++) {
        float in[CHUNK], gate_in[CHUNK], grad_in[CHUNK], value[CHUNK], slope[CHUNK];
        chunk c = chunk_get(dy, i);
        const float *src = row_load(x, c.row, c.col, c.n, in);
        const float *gate = row_load(x, c.row, half + c.col, c.n, gate_in);
        const float *grad = row_load(dy, c.row, c.col, c.n, grad_in);
        act_forward(act, src, value, c.n);
        act_slope(act, src, slope, c.n);
#pragma omp simd
        for (int64_t j = 0; j < c.n; j++) {
            slope[j] *= gate[j] * grad[j];
            value[j] *= grad[j];
        }
        row_store(dx, c.row, c.col, c.n, slope);
        row_store(dx, c.row, half + c.col, c.n, value);
    }
    return CLOZE_OK;
}

cloze_status KFN(dropout)(backend_device *dev, const tensor *x, const dropout_spec *dropout,
                          bool accumulate, tensor *y, tensor *y_low, cloze_error *err) {
    dropout_plan plan = dropout_plan_of(dropout);
    int64_t n_chunks = chunk_count(x);
#pragma omp parallel for schedule(static) num_threads(device_threads(dev, 4 * x->rows * x->cols))
    for (int64_t i = 0; i < n_chunks; i++) {
        float in[CHUNK], kept[CHUNK], old[CHUNK];
        chunk c = chunk_get(x, i);
        const float *src = row_load(x, c.row, c.col, c.n, in);
        if (plan.on) {
            dropout_row(&plan, c.row, c.col, c.n, kept);
#pragma omp simd
            for (int64_t j = 0; j < c.n; j++) kept[j] *= src[j];
            src = kept;
        }
        chunk_put(y, c, src, accumulate, old);
        if (has_data(y_low))
            row_store(y_low, c.row, c.col, c.n, row_load(y, c.row, c.col, c.n, old));
    }
    return CLOZE_OK;
}

cloze_status KFN(axpy)(backend_device *dev, float alpha, const tensor *x, bool accumulate,
                       tensor *y, cloze_error *err) {
    int64_t n_chunks = chunk_count(x);
#pragma omp parallel for schedule(static) num_threads(device_threads(dev, x->rows * x->cols))
    for (int64_t i = 0; i < n_chunks; i++) {
        float in[CHUNK], out[CHUNK];
        chunk c = chunk_get(x, i);
        const float *src = row_load(x, c.row, c.col, c.n, in);
        if (accumulate) {
            const float *old = row_load(y, c.row, c.col, c.n, out);
            float *dst = row_target(y, c.row, c.col, out);
#pragma omp simd
            for (int64_t j = 0; j < c.n; j++) dst[j] = old[j] + alpha * src[j];
            src = dst;
        } else if (alpha != 1.0f) {
            float *dst = row_target(y, c.row, c.col, out);
#pragma omp simd
            for (int64_t j = 0; j < c.n; j++) dst[j] = alpha * src[j];
            src = dst;
        }
        row_store(y, c.row, c.col, c.n, src);
    }
    return CLOZE_OK;
}

cloze_status KFN(mul)(backend_device *dev, const tensor *x, const tensor *y, bool accumulate,
                      tensor *z, cloze_error *err) {
    int64_t n_chunks = chunk_count(x);
    bool broadcast = y->rows == 1 && x->rows != 1;
#pragma omp parallel for schedule(static) num_threads(device_threads(dev, x->rows * x->cols))
    for (int64_t i = 0; i < n_chunks; i++) {
        float in_x[CHUNK], in_y[CHUNK], out[CHUNK], old[CHUNK];
        chunk c = chunk_get(x, i);
        const float *a = row_load(x, c.row, c.col, c.n, in_x);
        const float *b = row_load(y, broadcast ? 0 : c.row, c.col, c.n, in_y);
        float *product = chunk_work(z, c, accumulate, out);
#pragma omp simd
        for (int64_t j = 0; j < c.n; j++) product[j] = a[j] * b[j];
        chunk_put(z, c, product, accumulate, old);
    }
    return CLOZE_OK;
}
