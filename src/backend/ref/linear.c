/*
 * Linear layers. A bf16 activation makes a bf16 product: the weight is rounded to bf16 first, then
 * multiplied and summed in double (bf16 products are exact there). With f32 activations the weight
 * is used as it is.
 */
#include "backend/ref/ref.h"

static double weight_get(const weight *w, int64_t m, int64_t k, cloze_dtype activations) {
    double value = ref_get(&w->t, m, k);
    return activations == DTYPE_BF16 ? ref_round_bf16(value) : value;
}

cloze_status ref_linear_forward(backend_device *dev, const tensor *x, weight *w, const tensor *bias,
                                activation act, tensor *pre, tensor *y, cloze_error *err) {
    int64_t n_out = w->t.rows; /* M */
    REF_SHAPE(x, x->rows, w->t.cols);
    REF_SHAPE(bias, 1, n_out);
    REF_SHAPE(pre, x->rows, n_out);
    REF_SHAPE(y, x->rows, n_out);
    for (int64_t i = 0; i < x->rows; i++) {
        for (int64_t m = 0; m < n_out; m++) {
            double sum = bias ? ref_get(bias, 0, m) : 0.0;
            for (int64_t k = 0; k < x->cols; k++)
                sum += ref_get(x, i, k) * weight_get(w, m, k, x->dtype);
            if (pre) ref_set(pre, i, m, sum);
            ref_set(y, i, m, ref_activation(act, sum));
        }
    }
    return CLOZE_OK;
}

cloze_status ref_linear_backward_input(backend_device *dev, const tensor *dy, weight *w,
                                       bool accumulate, tensor *dx, cloze_error *err) {
    REF_SHAPE(dy, dy->rows, w->t.rows);
    REF_SHAPE(dx, dy->rows, w->t.cols);
    double *sum; /* (K) */
    CLOZE_TRY(ref_scratch(dev, dx->cols, &sum, err));
    for (int64_t i = 0; i < dy->rows; i++) {
        for (int64_t k = 0; k < dx->cols; k++) sum[k] = 0.0;
        for (int64_t m = 0; m < dy->cols; m++) {
            double g = ref_get(dy, i, m);
            for (int64_t k = 0; k < dx->cols; k++) sum[k] += g * weight_get(w, m, k, dy->dtype);
        }
        for (int64_t k = 0; k < dx->cols; k++) ref_put(dx, i, k, accumulate, sum[k]);
    }
    return CLOZE_OK;
}

static void zero_tail(tensor *t) {
    for (int64_t i = t->rows; i < t->rows_capacity; i++) {
        for (int64_t c = 0; c < t->cols; c++) ref_set(t, i, c, 0.0);
    }
}

cloze_status ref_linear_backward_weight(backend_device *dev, tensor *dy, tensor *x, bool accumulate,
                                        tensor *dw, tensor *dbias, cloze_error *err) {
    REF_SHAPE(dw, dy->cols, x->cols);
    REF_SHAPE(dbias, 1, dy->cols);
    REF_SHAPE(x, dy->rows, x->cols);
    zero_tail(dy);
    zero_tail(x);
    double *sum; /* (K) */
    CLOZE_TRY(ref_scratch(dev, x->cols, &sum, err));
    for (int64_t m = 0; m < dy->cols; m++) {
        double bias_sum = 0.0;
        for (int64_t k = 0; k < x->cols; k++) sum[k] = 0.0;
        for (int64_t i = 0; i < dy->rows; i++) {
            double g = ref_get(dy, i, m);
            bias_sum += g;
            for (int64_t k = 0; dw && k < x->cols; k++) sum[k] += g * ref_get(x, i, k);
        }
        for (int64_t k = 0; dw && k < x->cols; k++) ref_put(dw, m, k, accumulate, sum[k]);
        if (dbias) ref_put(dbias, 0, m, true, bias_sum);
    }
    return CLOZE_OK;
}
