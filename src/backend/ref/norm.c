/* Layer norm (with dropout and residual in front of it) and RMS norm. */
#include <math.h>

#include "backend/ref/ref.h"

cloze_status ref_layer_norm_forward(backend_device *dev, const tensor *x, const tensor *residual,
                                    const dropout_spec *dropout, const tensor *gamma,
                                    const tensor *beta, float eps, tensor *y, tensor *y_low,
                                    tensor *xhat, tensor *rstd, cloze_error *err) {
    int64_t n_rows = x->rows, width = x->cols; /* N, H */
    REF_SHAPE(residual, n_rows, width);
    REF_SHAPE(gamma, 1, width);
    REF_SHAPE(beta, 1, width);
    REF_SHAPE(y, n_rows, width);
    REF_SHAPE(y_low, n_rows, width);
    REF_SHAPE(xhat, n_rows, width);
    REF_SHAPE(rstd, n_rows, 1);
    double *s; /* (H) */
    CLOZE_TRY(ref_scratch(dev, width, &s, err));
    for (int64_t i = 0; i < n_rows; i++) {
        double mean = 0.0, var = 0.0;
        for (int64_t c = 0; c < width; c++) {
            s[c] = ref_get(x, i, c) * dropout_factor(dropout, i, (uint64_t)c);
            if (residual) s[c] += ref_get(residual, i, c);
            mean += s[c] / (double)width;
        }
        for (int64_t c = 0; c < width; c++) var += (s[c] - mean) * (s[c] - mean) / (double)width;
        double r = 1.0 / sqrt(var + eps);
        for (int64_t c = 0; c < width; c++) {
            double normal = (s[c] - mean) * r;
            double out = normal * ref_get(gamma, 0, c) + ref_get(beta, 0, c);
            ref_set(y, i, c, out);
            if (y_low) ref_set(y_low, i, c, out);
            if (xhat) ref_set(xhat, i, c, normal);
        }
        if (rstd) ref_set(rstd, i, 0, r);
    }
    return CLOZE_OK;
}

/* dgamma (1,H) += sum over rows of dy * xhat, dbeta (1,H) += sum over rows of dy */
static void layer_norm_backward_parameters(const tensor *dy, const tensor *xhat, tensor *dgamma,
                                           tensor *dbeta) {
    for (int64_t c = 0; c < dy->cols; c++) {
        double gamma_sum = 0.0, beta_sum = 0.0;
        for (int64_t i = 0; i < dy->rows; i++) {
            gamma_sum += ref_get(dy, i, c) * ref_get(xhat, i, c);
            beta_sum += ref_get(dy, i, c);
        }
        if (dgamma) ref_put(dgamma, 0, c, true, gamma_sum);
        if (dbeta) ref_put(dbeta, 0, c, true, beta_sum);
    }
}

cloze_status ref_layer_norm_backward(backend_device *dev, const tensor *dy, const tensor *xhat,
                                     const tensor *rstd, const tensor *gamma,
                                     const dropout_spec *dropout, bool accumulate_dx, tensor *dx,
                                     bool accumulate_dresidual, tensor *dresidual, tensor *dgamma,
                                     tensor *dbeta, cloze_error *err) {
    int64_t n_rows = dy->rows, width = dy->cols; /* N, H */
    REF_SHAPE(xhat, n_rows, width);
    REF_SHAPE(rstd, n_rows, 1);
    REF_SHAPE(gamma, 1, width);
    REF_SHAPE(dx, n_rows, width);
    REF_SHAPE(dresidual, n_rows, width);
    REF_SHAPE(dgamma, 1, width);
    REF_SHAPE(dbeta, 1, width);
    /* First, because dx may be the memory of dy. */
    layer_norm_backward_parameters(dy, xhat, dgamma, dbeta);
    for (int64_t i = 0; i < n_rows; i++) {
        double mean_g = 0.0, mean_gx = 0.0; /* means of g and of g * xhat, g = dy * gamma */
        for (int64_t c = 0; c < width; c++) {
            double g = ref_get(dy, i, c) * ref_get(gamma, 0, c);
            mean_g += g / (double)width;
            mean_gx += g * ref_get(xhat, i, c) / (double)width;
        }
        for (int64_t c = 0; c < width; c++) {
            double g = ref_get(dy, i, c) * ref_get(gamma, 0, c);
            double ds = ref_get(rstd, i, 0) * (g - mean_g - ref_get(xhat, i, c) * mean_gx);
            if (dresidual) ref_put(dresidual, i, c, accumulate_dresidual, ds);
            if (dx) ref_put(dx, i, c, accumulate_dx, ds * dropout_factor(dropout, i, (uint64_t)c));
        }
    }
    return CLOZE_OK;
}

cloze_status ref_rms_norm_forward(backend_device *dev, const tensor *x, const tensor *gamma,
                                  float eps, tensor *y, tensor *rstd, cloze_error *err) {
    REF_SHAPE(gamma, 1, x->cols);
    REF_SHAPE(y, x->rows, x->cols);
    REF_SHAPE(rstd, x->rows, 1);
    for (int64_t i = 0; i < x->rows; i++) {
        double mean_square = 0.0;
        for (int64_t c = 0; c < x->cols; c++)
            mean_square += ref_get(x, i, c) * ref_get(x, i, c) / (double)x->cols;
        double r = 1.0 / sqrt(mean_square + eps);
        for (int64_t c = 0; c < x->cols; c++)
            ref_set(y, i, c, ref_get(x, i, c) * r * ref_get(gamma, 0, c));
        if (rstd) ref_set(rstd, i, 0, r);
    }
    return CLOZE_OK;
}

cloze_status ref_rms_norm_backward(backend_device *dev, const tensor *dy, const tensor *x,
                                   const tensor *rstd, const tensor *gamma, bool accumulate,
                                   tensor *dx, tensor *dgamma, cloze_error *err) {
    int64_t n_rows = dy->rows, width = dy->cols; /* N, H */
    REF_SHAPE(x, n_rows, width);
    REF_SHAPE(rstd, n_rows, 1);
    REF_SHAPE(gamma, 1, width);
    REF_SHAPE(dx, n_rows, width);
    REF_SHAPE(dgamma, 1, width);
    for (int64_t c = 0; dgamma && c < width; c++) {
        double sum = 0.0;
        for (int64_t i = 0; i < n_rows; i++)
            sum += ref_get(dy, i, c) * ref_get(x, i, c) * ref_get(rstd, i, 0);
        ref_put(dgamma, 0, c, true, sum);
    }
    for (int64_t i = 0; dx && i < n_rows; i++) {
        double r = ref_get(rstd, i, 0), mean_gx = 0.0;
        for (int64_t c = 0; c < width; c++) {
            mean_gx +=
                ref_get(dy, i, c) * ref_get(gamma, 0, c) * ref_get(x, i, c) * r / (double)width;
        }
        for (int64_t c = 0; c < width; c++) {
            double g = ref_get(dy, i, c) * ref_get(gamma, 0, c);
            ref_put(dx, i, c, accumulate, r * (g - ref_get(x, i, c) * r * mean_gx));
        }
    }
    return CLOZE_OK;
}
