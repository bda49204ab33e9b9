/*
 * Kernels that move rows: embedding, gather and scatter, mean pooling. Where rows may repeat in the
 * destination, threads share the columns and go through the rows in order, so that every sum has
 * one owner and one order.
 */
#include "backend/cpu/kernels/kernel.h"

static cloze_status check_ids(const char *kernel, const int32_t *ids, int64_t n, int64_t limit,
                              cloze_error *err) {
    bool wrong = false;
    for (int64_t i = 0; i < n; i++) wrong |= ids[i] < 0 || ids[i] >= limit;
    if (!wrong) return CLOZE_OK;
    int64_t i = 0;
    while (ids[i] >= 0 && ids[i] < limit) i++;
    CLOZE_FAIL(err, INTERNAL, "%s: index %lld is %d, outside [0, %lld)", kernel, (long long)i,
               (int)ids[i], (long long)limit);
}

cloze_status KFN(embedding_forward)(backend_device *dev, int n_tables, const tensor *const tables[],
                                    const int32_t *const ids[], tensor *out, cloze_error *err) {
    int64_t n_chunks = chunk_count(out);
    for (int t = 0; t < n_tables; t++)
        CLOZE_TRY(check_ids("embedding", ids[t], out->rows, tables[t]->rows, err));
#pragma omp parallel for schedule(static)                                                          \
    num_threads(device_threads(dev, n_tables * out->rows * out->cols))
    for (int64_t i = 0; i < n_chunks; i++) {
        float sum[CHUNK] = {0}, in[CHUNK];
        chunk c = chunk_get(out, i);
        for (int t = 0; t < n_tables; t++) {
            const float *src = row_load(tables[t], ids[t][c.row], c.col, c.n, in);
#pragma omp simd
            for (int64_t j = 0; j < c.n; j++) sum[j] += src[j];
        }
        row_store(out, c.row, c.col, c.n, sum);
    }
    return CLOZE_OK;
}

/* dst[ids[i]] += src[i] ; strips of columns are the threads' */
static void scatter_add(backend_device *dev, const tensor *src, const int32_t *ids,
                        const tensor *dst) {
    int threads = device_threads(dev, src->rows * src->cols);
    int64_t width = round_up((src->cols + threads - 1) / threads, 16);
    if (width > CHUNK) width = CHUNK;
    int64_t n_strips = (src->cols + width - 1) / width;
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t strip = 0; strip < n_strips; strip++) {
        float in[CHUNK], out[CHUNK];
        int64_t col = strip * width, n = min_i64(width, src->cols - col);
        for (int64_t i = 0; i < src->rows; i++) {
            const float *values = row_load(src, i, col, n, in);
            const float *old = row_load(dst, ids[i], col, n, out);
            float *sum = row_target(dst, ids[i], col, out);
#pragma omp simd
            for (int64_t j = 0; j < n; j++) sum[j] = old[j] + values[j];
            row_store(dst, ids[i], col, n, sum);
        }
    }
}

cloze_status KFN(embedding_backward)(backend_device *dev, const tensor *dout, const int32_t *ids,
                                     tensor *dtable, cloze_error *err) {
    CLOZE_TRY(check_ids("embedding_backward", ids, dout->rows, dtable->rows, err));
    scatter_add(dev, dout, ids, dtable);
    return CLOZE_OK;
}

cloze_status KFN(gather_rows)(backend_device *dev, const tensor *x, const int32_t *rows, tensor *y,
                              cloze_error *err) {
    int64_t n_chunks = chunk_count(y);
    CLOZE_TRY(check_ids("gather_rows", rows, y->rows, x->rows, err));
#pragma omp parallel for schedule(static) num_threads(device_threads(dev, y->rows * y->cols))
    for (int64_t i = 0; i < n_chunks; i++) {
        float in[CHUNK];
        chunk c = chunk_get(y, i);
        row_store(y, c.row, c.col, c.n, row_load(x, rows[c.row], c.col, c.n, in));
    }
    return CLOZE_OK;
}

cloze_status KFN(scatter_add_rows)(backend_device *dev, const tensor *dy, const int32_t *rows,
                                   tensor *dx, cloze_error *err) {
    CLOZE_TRY(check_ids("scatter_add_rows", rows, dy->rows, dx->rows, err));
    scatter_add(dev, dy, rows, dx);
    return CLOZE_OK;
}

cloze_status KFN(mean_pool_forward)(backend_device *dev, const tensor *x, const int32_t *offsets,
                                    tensor *y, cloze_error *err) {
    int64_t n_chunks = chunk_count(y);
#pragma omp parallel for schedule(static) num_threads(device_threads(dev, x->rows * x->cols))
    for (int64_t i = 0; i < n_chunks; i++) {
        float sum[CHUNK] = {0}, in[CHUNK];
        chunk c = chunk_get(y, i);
        int64_t begin = offsets[c.row], end = offsets[c.row + 1];
        for (int64_t row = begin; row < end; row++) {
            const float *src = row_load(x, row, c.col, c.n, in);
#pragma omp simd
            for (int64_t j = 0; j < c.n; j++) sum[j] += src[j];
        }
        float len = end > begin ? (float)(end - begin) : 1.0f;
        for (int64_t j = 0; j < c.n; j++) sum[j] /= len;
        row_store(y, c.row, c.col, c.n, sum);
    }
    return CLOZE_OK;
}

cloze_status KFN(mean_pool_backward)(backend_device *dev, const tensor *dy, const int32_t *offsets,
                                     bool accumulate, tensor *dx, cloze_error *err) {
    int64_t n_chunks = chunk_count(dy);
#pragma omp parallel for schedule(static) num_threads(device_threads(dev, dx->rows * dx->cols))
    for (int64_t i = 0; i < n_chunks; i++) {
        float in[CHUNK], share[CHUNK], out[CHUNK];
        chunk c = chunk_get(dy, i);
        int64_t begin = offsets[c.row], end = offsets[c.row + 1];
        const float *grad = row_load(dy, c.row, c.col, c.n, in);
        for (int64_t j = 0; j < c.n; j++) share[j] = grad[j] / (float)(end - begin);
        for (int64_t row = begin; row < end; row++) {
            const float *sum = share;
            if (accumulate) {
                const float *old = row_load(dx, row, c.col, c.n, out);
#pragma omp simd
                for (int64_t j = 0; j < c.n; j++) out[j] = old[j] + share[j];
                sum = out;
            }
            row_store(dx, row, c.col, c.n, sum);
        }
    }
    return CLOZE_OK;
}
