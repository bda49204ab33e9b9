/* The optimizer's sweeps over flat f32 arrays. */
#include <math.h>

#include "backend/ref/ref.h"

cloze_status ref_sum_squares(backend_device *dev, const float *x, int64_t n, double *out,
                             cloze_error *err) {
    *out = 0.0;
    for (int64_t i = 0; i < n; i++) *out += (double)x[i] * x[i];
    return CLOZE_OK;
}

cloze_status ref_adamw(backend_device *dev, const adamw_spec *spec, int64_t n, const float *grad,
                       float *w, float *m, float *v, cloze_error *err) {
    double beta1 = spec->beta1, beta2 = spec->beta2;
    double correction1 = 1.0 - pow(beta1, (double)spec->step);
    double correction2 = 1.0 - pow(beta2, (double)spec->step);
    for (int64_t i = 0; i < n; i++) {
        double g = (double)grad[i] * spec->grad_scale;
        double first = beta1 * m[i] + (1.0 - beta1) * g;
        double second = beta2 * v[i] + (1.0 - beta2) * g * g;
        double decayed = w[i] * (1.0 - (double)spec->lr * spec->weight_decay);
        w[i] = (float)(decayed -
                       spec->lr * (first / correction1) / (sqrt(second / correction2) + spec->eps));
        m[i] = (float)first;
        v[i] = (float)second;
    }
    return CLOZE_OK;
}
