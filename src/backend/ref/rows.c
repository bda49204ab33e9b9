/* Kernels that move or pool rows: embedding, gather and scatter, mean pooling. */
#include "backend/ref/ref.h"

void ref_scatter_add(const tensor *src, const int32_t *ids, tensor *dst) {
    for (int64_t i = 0; i < src->rows; i++) {
        int64_t first = 0;
        while (ids[first] != ids[i]) first++;
        if (first < i) continue; /* the sum was made when this id was met first */
        for (int64_t c = 0; c < src->cols; c++) {
            double sum = 0.0;
            for (int64_t k = i; k < src->rows; k++) {
                if (ids[k] == ids[i]) sum += ref_get(src, k, c);
            }
            ref_put(dst, ids[i], c, true, sum);
        }
    }
}

cloze_status ref_embedding_forward(backend_device *dev, int n_tables, const tensor *const tables[],
                                   const int32_t *const ids[], tensor *out, cloze_error *err) {
    for (int k = 0; k < n_tables; k++) {
        REF_SHAPE(tables[k], tables[k]->rows, out->cols);
        CLOZE_TRY(ref_check_ids(__func__, ids[k], out->rows, tables[k]->rows, err));
    }
    for (int64_t i = 0; i < out->rows; i++) {
        for (int64_t c = 0; c < out->cols; c++) {
            double sum = 0.0;
            for (int k = 0; k < n_tables; k++) sum += ref_get(tables[k], ids[k][i], c);
            ref_set(out, i, c, sum);
        }
    }
    return CLOZE_OK;
}

cloze_status ref_embedding_backward(backend_device *dev, const tensor *dout, const int32_t *ids,
                                    tensor *dtable, cloze_error *err) {
    REF_SHAPE(dtable, dtable->rows, dout->cols);
    CLOZE_TRY(ref_check_ids(__func__, ids, dout->rows, dtable->rows, err));
    ref_scatter_add(dout, ids, dtable);
    return CLOZE_OK;
}

cloze_status ref_gather_rows(backend_device *dev, const tensor *x, const int32_t *rows, tensor *y,
                             cloze_error *err) {
    REF_SHAPE(y, y->rows, x->cols);
    CLOZE_TRY(ref_check_ids(__func__, rows, y->rows, x->rows, err));
    for (int64_t i = 0; i < y->rows; i++) {
        for (int64_t c = 0; c < y->cols; c++) ref_set(y, i, c, ref_get(x, rows[i], c));
    }
    return CLOZE_OK;
}

cloze_status ref_scatter_add_rows(backend_device *dev, const tensor *dy, const int32_t *rows,
                                  tensor *dx, cloze_error *err) {
    REF_SHAPE(dx, dx->rows, dy->cols);
    CLOZE_TRY(ref_check_ids(__func__, rows, dy->rows, dx->rows, err));
    ref_scatter_add(dy, rows, dx);
    return CLOZE_OK;
}

cloze_status ref_mean_pool_forward(backend_device *dev, const tensor *x, const int32_t *offsets,
                                   tensor *y, cloze_error *err) {
    REF_SHAPE(y, y->rows, x->cols);
    for (int64_t b = 0; b < y->rows; b++) {
        int64_t len = offsets[b + 1] - offsets[b];
        for (int64_t c = 0; c < y->cols; c++) {
            double sum = 0.0;
            for (int64_t i = offsets[b]; i < offsets[b + 1]; i++) sum += ref_get(x, i, c);
            ref_set(y, b, c, len > 0 ? sum / (double)len : 0.0);
        }
    }
    return CLOZE_OK;
}

cloze_status ref_mean_pool_backward(backend_device *dev, const tensor *dy, const int32_t *offsets,
                                    bool accumulate, tensor *dx, cloze_error *err) {
    REF_SHAPE(dx, dx->rows, dy->cols);
    for (int64_t b = 0; b < dy->rows; b++) {
        double len = offsets[b + 1] - offsets[b];
        for (int64_t i = offsets[b]; i < offsets[b + 1]; i++) {
            for (int64_t c = 0; c < dy->cols; c++)
                ref_put(dx, i, c, accumulate, ref_get(dy, b, c) / len);
        }
    }
    return CLOZE_OK;
}
