/* Binary cross-entropy, Kullback-Leibler divergence, and the cosine of rows. Loss sums are formed
 * per chunk in double and added in order. */
#include <math.h>

#include "backend/cpu/kernels/kernel.h"
#include "backend/cpu/kernels/vmath.h"

/* Chunk c of t becomes values, or gains them. */
static void chunk_add(const tensor *t, chunk c, const float *values, bool accumulate) {
    float buffer[CHUNK];
    if (accumulate) {
        const float *old = row_load(t, c.row, c.col, c.n, buffer);
        float *sum = row_target(t, c.row, c.col, buffer);
#pragma omp simd
        for (int64_t i = 0; i < c.n; i++) sum[i] = old[i] + values[i];
        values = sum;
    }
    row_store(t, c.row, c.col, c.n, values);
}

/* Memory for one partial sum per chunk of x. */
static cloze_status partial_sums(backend_device *dev, const tensor *x, double **out,
                                 cloze_error *err) {
    void *memory;
    CLOZE_TRY(device_scratch(dev, (size_t)(chunk_count(x) + 1) * sizeof(double), &memory, err));
    *out = memory;
    return CLOZE_OK;
}

static double sum_in_order(const double *partial, int64_t n) {
    double total = 0.0;
    for (int64_t i = 0; i < n; i++) total += partial[i];
    return total;
}

cloze_status KFN(bce_forward)(backend_device *dev, const tensor *logits, const tensor *targets,
                              float scale, tensor *loss, cloze_error *err) {
    int64_t n_chunks = chunk_count(logits);
    double *partial;
    CLOZE_TRY(partial_sums(dev, logits, &partial, err));
#pragma omp parallel for schedule(static)                                                          \
    num_threads(device_threads(dev, 32 * logits->rows * logits->cols))
    for (int64_t i = 0; i < n_chunks; i++) {
        float in[CHUNK], target_in[CHUNK];
        chunk c = chunk_get(logits, i);
        const float *x = row_load(logits, c.row, c.col, c.n, in);
        const float *t = row_load(targets, c.row, c.col, c.n, target_in);
        partial[i] = 0.0;
        for (int64_t j = 0; j < c.n; j++) {
            partial[i] +=
                (double)fmaxf(x[j], 0.0f) - (double)x[j] * t[j] + log1pf(expf(-fabsf(x[j])));
        }
    }
    *(float *)loss->data = (float)(scale * sum_in_order(partial, n_chunks));
    return CLOZE_OK;
}

cloze_status KFN(bce_backward)(backend_device *dev, const tensor *logits, const tensor *targets,
                               float scale, const tensor *dloss, bool accumulate, tensor *dlogits,
                               cloze_error *err) {
    int64_t n_chunks = chunk_count(logits);
    float factor = scale * *(const float *)dloss->data;
#pragma omp parallel for schedule(static)                                                          \
    num_threads(device_threads(dev, 8 * logits->rows * logits->cols))
    for (int64_t i = 0; i < n_chunks; i++) {
        float in[CHUNK], target_in[CHUNK], out[CHUNK];
        chunk c = chunk_get(logits, i);
        const float *x = row_load(logits, c.row, c.col, c.n, in);
        const float *t = row_load(targets, c.row, c.col, c.n, target_in);
#pragma omp simd
        for (int64_t j = 0; j < c.n; j++) out[j] = (sigmoid_f32(x[j]) - t[j]) * factor;
        chunk_add(dlogits, c, out, accumulate);
    }
    return CLOZE_OK;
}

cloze_status KFN(kl_forward)(backend_device *dev, const tensor *p, const tensor *q, float scale,
                             tensor *loss, cloze_error *err) {
    int64_t n_chunks = chunk_count(p);
    double *partial;
    CLOZE_TRY(partial_sums(dev, p, &partial, err));
#pragma omp parallel for schedule(static) num_threads(device_threads(dev, 8 * p->rows * p->cols))
    for (int64_t i = 0; i < n_chunks; i++) {
        float in_p[CHUNK], in_q[CHUNK];
        chunk c = chunk_get(p, i);
        const float *lp = row_load(p, c.row, c.col, c.n, in_p),
                    *lq = row_load(q, c.row, c.col, c.n, in_q);
        double sum = 0.0;
#pragma omp simd reduction(+ : sum)
        for (int64_t j = 0; j < c.n; j++) {
            float probability = exp_f32(lq[j]); /* 0 where q is the log of zero: no term there */
            sum += probability > 0.0f ? (double)(probability * (lq[j] - lp[j])) : 0.0;
        }
        partial[i] = sum;
    }
    *(float *)loss->data = (float)(scale * sum_in_order(partial, n_chunks));
    return CLOZE_OK;
}

cloze_status KFN(kl_backward)(backend_device *dev, const tensor *p, const tensor *q, float scale,
                              const tensor *dloss, bool accumulate, tensor *dp, tensor *dq,
                              cloze_error *err) {
    int64_t n_chunks = chunk_count(p);
    float factor = scale * *(const float *)dloss->data;
#pragma omp parallel for schedule(static) num_threads(device_threads(dev, 8 * p->rows * p->cols))
    for (int64_t i = 0; i < n_chunks; i++) {
        float in_p[CHUNK], in_q[CHUNK], slope_p[CHUNK], slope_q[CHUNK];
        chunk c = chunk_get(p, i);
        const float *lp = row_load(p, c.row, c.col, c.n, in_p),
                    *lq = row_load(q, c.row, c.col, c.n, in_q);
#pragma omp simd
        for (int64_t j = 0; j < c.n; j++) {
            float g = factor * exp_f32(lq[j]);
            slope_p[j] = -g;
            slope_q[j] = g != 0.0f ? g * (lq[j] - lp[j] + 1.0f) : 0.0f;
        }
        if (has_data(dp)) chunk_add(dp, c, slope_p, accumulate);
        if (has_data(dq)) chunk_add(dq, c, slope_q, accumulate);
    }
    return CLOZE_OK;
}

static double row_dot(const tensor *a, int64_t i, const tensor *b, int64_t j) {
    float in_a[CHUNK], in_b[CHUNK];
    double total = 0.0;
    for (int64_t col = 0; col < a->cols; col += CHUNK) {
        int64_t n = min_i64(CHUNK, a->cols - col);
        const float *x = row_load(a, i, col, n, in_a), *y = row_load(b, j, col, n, in_b);
        double sum = 0.0;
#pragma omp simd reduction(+ : sum)
        for (int64_t c = 0; c < n; c++) sum += (double)x[c] * y[c];
        total += sum;
    }
    return total;
}

/* norms (rows) = max(|row|, eps) */
static void row_norms(const tensor *x, double eps, double *norms) {
    for (int64_t i = 0; i < x->rows; i++) norms[i] = fmax(sqrt(row_dot(x, i, x, i)), eps);
}

/* max(|row|, eps) of every row of a, then of b. */
static cloze_status cosine_norms(backend_device *dev, const tensor *a, const tensor *b, double eps,
                                 double **norm_a, double **norm_b, cloze_error *err) {
    void *memory;
    CLOZE_TRY(device_scratch(dev, (size_t)(a->rows + b->rows + 1) * sizeof(double), &memory, err));
    *norm_a = memory;
    *norm_b = *norm_a + a->rows;
    row_norms(a, eps, *norm_a);
    row_norms(b, eps, *norm_b);
    return CLOZE_OK;
}

cloze_status KFN(cosine_forward)(backend_device *dev, const tensor *a, const tensor *b, float eps,
                                 tensor *y, cloze_error *err) {
    double *norm_a, *norm_b; /* (R), (Q) */
    CLOZE_TRY(cosine_norms(dev, a, b, eps, &norm_a, &norm_b, err));
#pragma omp parallel for schedule(static)                                                          \
    num_threads(device_threads(dev, a->rows * b->rows * a->cols))
    for (int64_t i = 0; i < a->rows; i++) {
        for (int64_t j = 0; j < b->rows; j++) {
            float cosine = (float)(row_dot(a, i, b, j) / (norm_a[i] * norm_b[j]));
            row_store(y, i, j, 1, &cosine);
        }
    }
    return CLOZE_OK;
}

static float element(const tensor *t, int64_t row, int64_t col) {
    float value;
    row_copy(t, row, col, 1, &value);
    return value;
}

/* One side's gradient: dx = sum over z of g (z/|z| - cos x/|x|)/|x|, without the norm's part where
 * eps stands in for it. In double: where x and z are nearly parallel the two cancel. transposed: y,
 * dy are (rows of z, rows of x). */
static void cosine_side(backend_device *dev, const tensor *x, const double *norm_x, const tensor *z,
                        const double *norm_z, double eps, const tensor *y, const tensor *dy,
                        bool transposed, const tensor *dx) {
    int64_t n_chunks = chunk_count(x);
#pragma omp parallel for schedule(static)                                                          \
    num_threads(device_threads(dev, x->rows * z->rows * x->cols))
    for (int64_t i = 0; i < n_chunks; i++) {
        double sum[CHUNK] = {0};
        float in_x[CHUNK], in_z[CHUNK], out[CHUNK];
        chunk c = chunk_get(x, i);
        double norm = norm_x[c.row];
        const float *self = row_load(x, c.row, c.col, c.n, in_x);
        for (int64_t j = 0; j < z->rows; j++) {
            double g = transposed ? element(dy, j, c.row) : element(dy, c.row, j);
            double cosine = transposed ? element(y, j, c.row) : element(y, c.row, j);
            const float *other = row_load(z, j, c.col, c.n, in_z);
            double other_norm = norm_z[j], along = norm > eps ? cosine : 0.0;
#pragma omp simd
            for (int64_t k = 0; k < c.n; k++)
                sum[k] += g * (other[k] / other_norm - along * (self[k] / norm)) / norm;
        }
        for (int64_t k = 0; k < c.n; k++) out[k] = (float)sum[k];
        row_store(dx, c.row, c.col, c.n, out);
    }
}

cloze_status KFN(cosine_backward)(backend_device *dev, const tensor *a, const tensor *b, float eps,
                                  const tensor *y, const tensor *dy, tensor *da, tensor *db,
                                  cloze_error *err) {
    double *norm_a, *norm_b; /* (R), (Q) */
    CLOZE_TRY(cosine_norms(dev, a, b, eps, &norm_a, &norm_b, err));
    if (has_data(da)) cosine_side(dev, a, norm_a, b, norm_b, eps, y, dy, false, da);
    if (has_data(db)) cosine_side(dev, b, norm_b, a, norm_a, eps, y, dy, true, db);
    return CLOZE_OK;
}
