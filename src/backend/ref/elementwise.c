/* Kernels that treat every element by itself: activations, gates, dropout, rope, axpy, mul; and
 * sums. */
#include <math.h>

#include "backend/ref/ref.h"

#define SQRT_HALF 0.70710678118654752440
#define INV_SQRT_2PI 0.39894228040143267794
#define SQRT_2_OVER_PI 0.79788456080286535588
#define GELU_TANH_CUBIC 0.044715

static double sigmoid(double x) { return 1.0 / (1.0 + exp(-x)); }

double ref_activation(activation act, double x) {
    switch (act) {
    case ACT_NONE: return x;
    case ACT_GELU_ERF: return 0.5 * x * erfc(-x * SQRT_HALF); /* 1 + erf would cancel below zero */
    case ACT_GELU_TANH:
        return x * sigmoid(2.0 * SQRT_2_OVER_PI * (x + GELU_TANH_CUBIC * x * x * x));
    case ACT_RELU: return x > 0.0 || isnan(x) ? x : 0.0;
    case ACT_SILU: return x * sigmoid(x);
    case ACT_TANH: return tanh(x);
    }
    return x;
}

/* d act(x) / dx */
double ref_activation_slope(activation act, double x) {
    switch (act) {
    case ACT_NONE: return 1.0;
    case ACT_GELU_ERF: return 0.5 * erfc(-x * SQRT_HALF) + x * INV_SQRT_2PI * exp(-0.5 * x * x);
    case ACT_GELU_TANH: {
        double s = sigmoid(2.0 * SQRT_2_OVER_PI * (x + GELU_TANH_CUBIC * x * x * x));
        double inner = SQRT_2_OVER_PI * (1.0 + 3.0 * GELU_TANH_CUBIC * x * x);
        return s + 2.0 * x * s * (1.0 - s) * inner;
    }
    case ACT_RELU: return x > 0.0 ? 1.0 : 0.0;
    case ACT_SILU: return sigmoid(x) * (1.0 + x * (1.0 - sigmoid(x)));
    case ACT_TANH: return 1.0 - tanh(x) * tanh(x);
    }
    return 1.0;
}

cloze_status ref_activation_forward(backend_device *dev, activation act, const tensor *x, tensor *y,
                                    cloze_error *err) {
    REF_SHAPE(y, x->rows, x->cols);
    for (int64_t i = 0; i < x->rows; i++) {
        for (int64_t c = 0; c < x->cols; c++)
            ref_set(y, i, c, ref_activation(act, ref_get(x, i, c)));
    }
    return CLOZE_OK;
}

cloze_status ref_activation_backward(backend_device *dev, activation act, const tensor *x,
                                     const tensor *dy, bool accumulate, tensor *dx,
                                     cloze_error *err) {
    REF_SHAPE(dy, x->rows, x->cols);
    REF_SHAPE(dx, x->rows, x->cols);
    for (int64_t i = 0; i < x->rows; i++) {
        for (int64_t c = 0; c < x->cols; c++) {
            double slope = ref_activation_slope(act, ref_get(x, i, c));
            ref_put(dx, i, c, accumulate, slope * ref_get(dy, i, c));
        }
    }
    return CLOZE_OK;
}

cloze_status ref_glu_forward(backend_device *dev, activation act, const tensor *x, tensor *y,
                             cloze_error *err) {
    REF_SHAPE(x, y->rows, 2 * y->cols);
    for (int64_t i = 0; i < y->rows; i++) {
        for (int64_t c = 0; c < y->cols; c++) {
            ref_set(y, i, c, ref_activation(act, ref_get(x, i, c)) * ref_get(x, i, y->cols + c));
        }
    }
    return CLOZE_OK;
}

cloze_status ref_glu_backward(backend_device *dev, activation act, const tensor *x,
                              const tensor *dy, tensor *dx, cloze_error *err) {
    int64_t half = dy->cols; /* F */
    REF_SHAPE(x, dy->rows, 2 * half);
    REF_SHAPE(dx, dy->rows, 2 * half);
    for (int64_t i = 0; i < dy->rows; i++) {
        for (int64_t c = 0; c < half; c++) {
            double gate = ref_get(x, i, c), value = ref_get(x, i, half + c), g = ref_get(dy, i, c);
            ref_set(dx, i, c, g * value * ref_activation_slope(act, gate));
            ref_set(dx, i, half + c, g * ref_activation(act, gate));
        }
    }
    return CLOZE_OK;
}

cloze_status ref_dropout(backend_device *dev, const tensor *x, const dropout_spec *dropout,
                         bool accumulate, tensor *y, tensor *y_low, cloze_error *err) {
    REF_SHAPE(y, x->rows, x->cols);
    REF_SHAPE(y_low, x->rows, x->cols);
    for (int64_t i = 0; i < x->rows; i++) {
        for (int64_t c = 0; c < x->cols; c++) {
            ref_put(y, i, c, accumulate,
                    ref_get(x, i, c) * dropout_factor(dropout, i, (uint64_t)c));
            if (y_low) ref_set(y_low, i, c, ref_get(y, i, c));
        }
    }
    return CLOZE_OK;
}

cloze_status ref_rope(backend_device *dev, const tensor *x, const int32_t *positions,
                      int32_t n_heads, int32_t rotary_dim, float base, bool interleaved,
                      bool inverse, tensor *y, cloze_error *err) {
    int64_t dim = n_heads > 0 ? x->cols / n_heads : 0; /* D */
    REF_SHAPE(x, x->rows, n_heads * dim);
    REF_SHAPE(y, x->rows, x->cols);
    if (rotary_dim % 2 != 0 || rotary_dim > dim) {
        CLOZE_FAIL(err, INTERNAL, "rope: %d rotary columns of %lld", (int)rotary_dim,
                   (long long)dim);
    }
    for (int64_t i = 0; i < x->rows; i++) {
        for (int64_t head = 0; head < n_heads; head++) {
            for (int64_t p = 0; p < rotary_dim / 2; p++) {
                int64_t first = head * dim + (interleaved ? 2 * p : p);
                int64_t second = first + (interleaved ? 1 : rotary_dim / 2);
                double angle = positions[i] * pow(base, -2.0 * (double)p / rotary_dim);
                double c = cos(angle), s = inverse ? -sin(angle) : sin(angle);
                double u = ref_get(x, i, first), v = ref_get(x, i, second);
                ref_set(y, i, first, u * c - v * s);
                ref_set(y, i, second, u * s + v * c);
            }
            for (int64_t d = rotary_dim; d < dim; d++) {
                ref_set(y, i, head * dim + d, ref_get(x, i, head * dim + d));
            }
        }
    }
    return CLOZE_OK;
}

cloze_status ref_axpy(backend_device *dev, float alpha, const tensor *x, bool accumulate, tensor *y,
                      cloze_error *err) {
    REF_SHAPE(y, x->rows, x->cols);
    for (int64_t i = 0; i < x->rows; i++) {
        for (int64_t c = 0; c < x->cols; c++)
            ref_put(y, i, c, accumulate, alpha * ref_get(x, i, c));
    }
    return CLOZE_OK;
}

cloze_status ref_mul(backend_device *dev, const tensor *x, const tensor *y, bool accumulate,
                     tensor *z, cloze_error *err) {
    bool broadcast = y->rows == 1;
    REF_SHAPE(y, broadcast ? 1 : x->rows, x->cols);
    REF_SHAPE(z, x->rows, x->cols);
    for (int64_t i = 0; i < x->rows; i++) {
        for (int64_t c = 0; c < x->cols; c++) {
            ref_put(z, i, c, accumulate, ref_get(x, i, c) * ref_get(y, broadcast ? 0 : i, c));
        }
    }
    return CLOZE_OK;
}

cloze_status ref_sum_rows(backend_device *dev, const tensor *x, tensor *dst, cloze_error *err) {
    REF_SHAPE(dst, 1, x->cols);
    for (int64_t c = 0; c < x->cols; c++) {
        double sum = 0.0;
        for (int64_t i = 0; i < x->rows; i++) sum += ref_get(x, i, c);
        ref_put(dst, 0, c, true, sum);
    }
    return CLOZE_OK;
}

cloze_status ref_sum_all(backend_device *dev, float alpha, const tensor *x, bool accumulate,
                         tensor *dst, cloze_error *err) {
    double sum = 0.0;
    REF_SHAPE(dst, 1, 1);
    for (int64_t i = 0; i < x->rows; i++) {
        for (int64_t c = 0; c < x->cols; c++) sum += ref_get(x, i, c);
    }
    ref_put(dst, 0, 0, accumulate, alpha * sum);
    return CLOZE_OK;
}
