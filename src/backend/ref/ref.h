/*
 * The reference backend: plain C, double arithmetic, one thread, written to be obviously right. The
 * other backends are tested against it, and the tape's gradient checks run on it.
 *
 * Elements are read and written one at a time as doubles, so every mix of f32, bf16 and f16 works,
 * and f64 tensors too (they exist for gradient checks by central differences only). Kernels check
 * shapes and indices, because a wrong shape found here is one less found in a fast kernel.
 */
#ifndef CLOZE_BACKEND_REF_REF_H
#define CLOZE_BACKEND_REF_REF_H

#include "backend/backend.h"
#include "backend/dropout.h"

struct backend_device {
    double *scratch; /* grows to what the largest kernel asked for */
    size_t scratch_count;
};

#define KERNEL(name, parameters, ...)                                                              \
    cloze_status ref_##name(backend_device *dev, OPS_PLAIN parameters, cloze_error *err);
#include "backend/ops.def"
#undef KERNEL

cloze_status ref_device_open(int device_id, int n_threads, backend_device **out, cloze_error *err);
void ref_device_close(backend_device *dev);
cloze_status ref_mem_alloc(backend_device *dev, size_t bytes, void **out, cloze_error *err);
void ref_mem_free(backend_device *dev, void *p, size_t bytes);
cloze_status ref_copy(backend_device *dev, void *dst, const void *src, size_t bytes,
                      cloze_error *err);
cloze_status ref_zero(backend_device *dev, void *dst, size_t bytes, cloze_error *err);
cloze_status ref_sync(backend_device *dev, cloze_error *err);
void ref_weight_drop_packs(backend_device *dev, weight *w);

/* count zeroed doubles, valid until the next call. */
cloze_status ref_scratch(backend_device *dev, int64_t count, double **out, cloze_error *err);
/* ERR_INTERNAL when t is not (rows, cols); t NULL passes. */
cloze_status ref_check_shape(const char *kernel, const char *name, const tensor *t, int64_t rows,
                             int64_t cols, cloze_error *err);
/* ERR_INTERNAL when an index of ids (n) is outside [0, limit). */
cloze_status ref_check_ids(const char *kernel, const int32_t *ids, int64_t n, int64_t limit,
                           cloze_error *err);
/* dst[ids[i]] += src[i] over the rows of src, each sum of equal ids in double. */
void ref_scatter_add(const tensor *src, const int32_t *ids, tensor *dst);

#define REF_SHAPE(t, rows, cols) CLOZE_TRY(ref_check_shape(__func__, #t, (t), (rows), (cols), err))

double ref_activation(activation act, double x);
double ref_activation_slope(activation act, double x);

static inline double ref_get(const tensor *t, int64_t row, int64_t col) {
    int64_t i = row * t->ld + col;
    switch (t->dtype) {
    case DTYPE_F32: return ((const float *)t->data)[i];
    case DTYPE_BF16: return bf16_to_f32(((const uint16_t *)t->data)[i]);
    case DTYPE_F16: return f16_to_f32(((const uint16_t *)t->data)[i]);
    default: return ((const double *)t->data)[i];
    }
}

static inline void ref_set(tensor *t, int64_t row, int64_t col, double value) {
    int64_t i = row * t->ld + col;
    switch (t->dtype) {
    case DTYPE_F32: ((float *)t->data)[i] = (float)value; break;
    case DTYPE_BF16: ((uint16_t *)t->data)[i] = bf16_from_f32((float)value); break;
    case DTYPE_F16: ((uint16_t *)t->data)[i] = f16_from_f32((float)value); break;
    default: ((double *)t->data)[i] = value; break;
    }
}

static inline void ref_put(tensor *t, int64_t row, int64_t col, bool accumulate, double value) {
    ref_set(t, row, col, accumulate ? ref_get(t, row, col) + value : value);
}

static inline double ref_round_bf16(double value) {
    return bf16_to_f32(bf16_from_f32((float)value));
}

#endif
