/*
 * The parameter block: four parallel arrays (values, gradients, first and second moments) in which
 * each trainable parameter has the same place. Parameters that are not row-lazy come first, so that
 * clipping and the optimizer run over them in long flat pieces; padding between parameters is zero
 * in all four arrays and stays so. Row-lazy parameters follow and are walked by runs of equal rows.
 */
#include "autograd/param.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"

#define ALIGN_FLOATS ((int64_t)(MEM_ALIGN / sizeof(float)))
#define ZERO_CHUNK ((int64_t)1 << 18) /* numbers that one thread clears at a time */
#define DECAY_CHUNK ((int64_t)16384)  /* numbers of unseen rows that decay in one call */

struct param_block {
    param **params;   /* (n) in block order: the first n_dense are not row-lazy */
    int64_t *offsets; /* (n) where each begins in the arrays */
    int n, n_dense;
    int64_t total; /* numbers in each array, padding included */
    int64_t count; /* numbers that belong to parameters */
    float *values, *grads, *m,
        *v;             /* (total) each; pages of grads, m and v come as they are touched */
    uint8_t *row_state; /* of all row-lazy parameters */
    float *zeros;       /* (3, DECAY_CHUNK): gradient and moments of rows never seen */
};

/* Where the row-lazy parameters begin. */
static int64_t dense_total(const param_block *b) {
    return b->n_dense < b->n ? b->offsets[b->n_dense] : b->total;
}

static int64_t param_size(const param *p) { return p->w.t.rows * p->w.t.cols; }

/* ---- creation ---- */

/* Sort key: dense before lazy, then equal optimizer settings together. */
static int param_kind(const param *p) {
    return (p->row_lazy ? 4 : 0) + (int)p->group * 2 + (p->no_decay ? 1 : 0);
}

static cloze_status check_param(const param *p, cloze_error *err) {
    const char *name = p->name ? p->name : "a parameter";
    if (p->grad.data) CLOZE_FAIL(err, INTERNAL, "%s is in a parameter block already", name);
    if (!p->w.t.data || p->w.t.rows <= 0 || p->w.t.cols <= 0)
        CLOZE_FAIL(err, INTERNAL, "%s has no value to train", name);
    if (!dtype_is_float(p->w.t.dtype))
        CLOZE_FAIL(err, MODEL, "%s is %s and cannot be trained", name, dtype_name(p->w.t.dtype));
    return CLOZE_OK;
}

/* Fills params and offsets in block order. */
static void place_params(param_block *b, param *const params[], int n) {
    for (int kind = 0; kind < 8; kind++) {
        for (int i = 0; i < n; i++) {
            if (!params[i]->requires_grad || param_kind(params[i]) != kind) continue;
            b->params[b->n] = params[i];
            b->offsets[b->n++] = b->total;
            b->count += param_size(params[i]);
            b->total += (param_size(params[i]) + ALIGN_FLOATS - 1) / ALIGN_FLOATS * ALIGN_FLOATS;
            if (!params[i]->row_lazy) b->n_dense++;
        }
    }
}

static cloze_status map_arrays(param_block *b, cloze_error *err) {
    float **arrays[4] = {&b->values, &b->grads, &b->m, &b->v};
    size_t bytes = (size_t)b->total * sizeof(float);
    for (int i = 0; i < 4; i++) {
        *arrays[i] = mem_map_zero(bytes);
        if (!*arrays[i])
            CLOZE_FAIL(err, MEMORY, "out of memory for %lld trainable numbers (4 x %zu MB)",
                       (long long)b->count, bytes >> 20);
    }
    size_t dense_bytes = (size_t)dense_total(b) * sizeof(float);
    for (int i = 0; i < 4; i++) mem_map_dense(*arrays[i], i == 0 ? bytes : dense_bytes);
    for (int i = 1; i < 4; i++)
        mem_map_sparse((char *)*arrays[i] + dense_bytes, bytes - dense_bytes);
    int64_t lazy_rows = 0;
    for (int i = b->n_dense; i < b->n; i++) lazy_rows += b->params[i]->w.t.rows;
    MEM_NEW(err, b->row_state, lazy_rows + 1);
    MEM_NEW(err, b->zeros, 3 * DECAY_CHUNK);
    return CLOZE_OK;
}

/* Converts p's value into the block and points p there. */
static void adopt_param(param_block *b, int i, uint8_t *row_state) {
    param *p = b->params[i];
    const tensor *from = &p->w.t;
    int64_t rows = from->rows, cols = from->cols;
    float *value = b->values + b->offsets[i];
    for (int64_t r = 0; r < rows; r++) {
        const char *row =
            (const char *)from->data + (size_t)(r * from->ld) * dtype_size(from->dtype);
        dtype_to_f32(value + r * cols, row, from->dtype, (size_t)cols);
    }
    mem_free(p->owned);
    p->owned = NULL;
    p->w.t = tensor_of(value, DTYPE_F32, rows, cols);
    p->w.version++;
    p->w.trained = true;
    p->grad = tensor_of(b->grads + b->offsets[i], DTYPE_F32, rows, cols);
    p->m = b->m + b->offsets[i];
    p->v = b->v + b->offsets[i];
    p->row_state = row_state;
    p->dense_grad = p->grad_empty = false;
}

cloze_status param_block_create(param *const params[], int n, param_block **out, cloze_error *err) {
    *out = NULL;
    for (int i = 0; i < n; i++) {
        if (params[i]->requires_grad) CLOZE_TRY(check_param(params[i], err));
        for (int j = 0; j < i; j++)
            if (params[j] == params[i])
                CLOZE_FAIL(err, INTERNAL, "%s is listed twice",
                           params[i]->name ? params[i]->name : "a parameter");
    }
    param_block *b;
    MEM_NEW(err, b, 1);
    b->params = mem_calloc((size_t)n + 1, sizeof *b->params);
    b->offsets = mem_calloc((size_t)n + 1, sizeof *b->offsets);
    cloze_status status = CLOZE_OK;
    if (b->params && b->offsets) {
        place_params(b, params, n);
        status = map_arrays(b, err);
    } else {
        status = error_set(err, CLOZE_ERR_MEMORY, "out of memory for %d parameters", n);
    }
    if (status != CLOZE_OK) {
        param_block_destroy(b);
        return status;
    }
    uint8_t *row_state = b->row_state;
    for (int i = 0; i < b->n; i++) {
        adopt_param(b, i, i < b->n_dense ? NULL : row_state);
        if (i >= b->n_dense) row_state += b->params[i]->w.t.rows;
    }
    *out = b;
    return CLOZE_OK;
}

void param_block_destroy(param_block *b) {
    if (!b) return;
    size_t bytes = (size_t)b->total * sizeof(float);
    mem_unmap(b->values, bytes);
    mem_unmap(b->grads, bytes);
    mem_unmap(b->m, bytes);
    mem_unmap(b->v, bytes);
    mem_free(b->row_state);
    mem_free(b->zeros);
    mem_free(b->params);
    mem_free(b->offsets);
    mem_free(b);
}

int64_t param_block_count(const param_block *b) { return b->count; }

int param_block_params(const param_block *b, param *const **out) {
    *out = b->params;
    return b->n;
}

void param_deinit(param *p) {
    if (!p) return;
    if (p->w.free_packs) p->w.free_packs(&p->w);
    mem_free(p->name);
    mem_free(p->owned);
    *p = (param){0};
}

/* ---- rows ---- */

void param_touch_rows(param *p, const int32_t *ids, int64_t n) {
    if (!p->row_state) return;
    for (int64_t i = 0; i < n; i++) p->row_state[ids[i]] = PARAM_ROW_TOUCHED | PARAM_ROW_SEEN;
}

void param_touch_all(param *p) {
    if (!p->row_state || p->dense_grad) return;
    p->dense_grad = true;
    memset(p->row_state, PARAM_ROW_TOUCHED | PARAM_ROW_SEEN, (size_t)p->w.t.rows);
}

/* The end of the run of rows from begin on that agree in `bit`. */
static int64_t run_end(const param *p, int64_t begin, uint8_t bit) {
    int64_t end = begin + 1;
    while (end < p->w.t.rows && ((p->row_state[end] ^ p->row_state[begin]) & bit) == 0) end++;
    return end;
}

/* ---- gradients ---- */

void param_grad_fill(param *p) {
    if (!p->grad_empty) return;
    float *grad = p->grad.data;
    int64_t n = param_size(p);
#pragma omp parallel for schedule(static) if (n > ZERO_CHUNK)
    for (int64_t at = 0; at < n; at += ZERO_CHUNK)
        memset(grad + at, 0, (size_t)(n - at < ZERO_CHUNK ? n - at : ZERO_CHUNK) * sizeof *grad);
    p->grad_empty = false;
}

void param_block_zero_grad(param_block *b) {
    for (int i = 0; i < b->n_dense; i++) {
        param *p = b->params[i];
        if (p->rank == 2)
            p->grad_empty = true;
        else
            memset(p->grad.data, 0, (size_t)param_size(p) * sizeof(float));
    }
    for (int i = b->n_dense; i < b->n; i++) {
        param *p = b->params[i];
        int64_t cols = p->w.t.cols;
        for (int64_t r = 0, end; r < p->w.t.rows; r = end) {
            end = run_end(p, r, PARAM_ROW_TOUCHED);
            if (!(p->row_state[r] & PARAM_ROW_TOUCHED)) continue;
            memset((float *)p->grad.data + r * cols, 0, (size_t)((end - r) * cols) * sizeof(float));
            for (int64_t k = r; k < end; k++) p->row_state[k] &= (uint8_t)~PARAM_ROW_TOUCHED;
        }
        p->dense_grad = false;
    }
}

/* Gradients that nothing reached in this step. */
static void fill_empty(param_block *b) {
    for (int i = 0; i < b->n_dense; i++) param_grad_fill(b->params[i]);
}

/* Frozen for a while: such a parameter has no part in clipping and updates, as without gradient. */
static bool takes_part(const param *p) { return p->requires_grad; }

/* The end of the run of dense parameters from `first` on that the optimizer treats alike. */
static int dense_run_end(const param_block *b, int first) {
    const param *p = b->params[first];
    int end = first + 1;
    while (end < b->n_dense && b->params[end]->group == p->group &&
           b->params[end]->no_decay == p->no_decay && takes_part(b->params[end]) == takes_part(p))
        end++;
    return end;
}

static int64_t param_end(const param_block *b, int i) {
    return i < b->n ? b->offsets[i] : b->total;
}

cloze_status param_block_grad_norm(param_block *b, const backend *be, backend_device *dev,
                                   double *out, cloze_error *err) {
    double sum = 0.0, part;
    fill_empty(b);
    for (int i = 0, end; i < b->n_dense; i = end) {
        end = dense_run_end(b, i);
        if (!takes_part(b->params[i])) continue;
        CLOZE_TRY(be->sum_squares(dev, b->grads + b->offsets[i], param_end(b, end) - b->offsets[i],
                                  &part, err));
        sum += part;
    }
    for (int i = b->n_dense; i < b->n; i++) {
        const param *p = b->params[i];
        const float *grad = p->grad.data;
        int64_t cols = p->w.t.cols;
        for (int64_t r = 0, end; takes_part(p) && r < p->w.t.rows; r = end) {
            end = run_end(p, r, PARAM_ROW_TOUCHED);
            if (!(p->row_state[r] & PARAM_ROW_TOUCHED)) continue;
            CLOZE_TRY(be->sum_squares(dev, grad + r * cols, (end - r) * cols, &part, err));
            sum += part;
        }
    }
    *out = sqrt(sum);
    return CLOZE_OK;
}

cloze_status param_block_is_finite(const param_block *b, const backend *be, backend_device *dev,
                                   bool *out, cloze_error *err) {
    double sum;
    CLOZE_TRY(be->sum_squares(dev, b->values, b->total, &sum, err));
    *out = isfinite(sum);
    return CLOZE_OK;
}

/* ---- AdamW ---- */

/* Decay of rows never seen: their gradient and moments are zero, so scratch zeros stand for them
 * and their pages stay untouched. */
static cloze_status decay_unseen(param_block *b, const backend *be, backend_device *dev,
                                 const adamw_spec *spec, float *w, int64_t n, cloze_error *err) {
    if (spec->weight_decay == 0.0f) return CLOZE_OK;
    for (int64_t at = 0; at < n; at += DECAY_CHUNK) {
        int64_t piece = n - at < DECAY_CHUNK ? n - at : DECAY_CHUNK;
        CLOZE_TRY(be->adamw(dev, spec, piece, b->zeros, w + at, b->zeros + DECAY_CHUNK,
                            b->zeros + 2 * DECAY_CHUNK, err));
    }
    return CLOZE_OK;
}

static cloze_status adamw_rows(param_block *b, param *p, const backend *be, backend_device *dev,
                               const adamw_spec *spec, cloze_error *err) {
    int64_t cols = p->w.t.cols;
    float *w = p->w.t.data;
    const float *grad = p->grad.data;
    for (int64_t r = 0, end; r < p->w.t.rows; r = end) {
        end = run_end(p, r, PARAM_ROW_SEEN);
        int64_t at = r * cols, n = (end - r) * cols;
        if (p->row_state[r] & PARAM_ROW_SEEN) {
            CLOZE_TRY(be->adamw(dev, spec, n, grad + at, w + at, p->m + at, p->v + at, err));
        } else {
            CLOZE_TRY(decay_unseen(b, be, dev, spec, w + at, n, err));
        }
    }
    return CLOZE_OK;
}

cloze_status param_block_adamw(param_block *b, const backend *be, backend_device *dev,
                               const adamw_spec group_specs[2], cloze_error *err) {
    fill_empty(b);
    for (int i = 0, end; i < b->n; i = end) {
        param *p = b->params[i];
        end = i < b->n_dense ? dense_run_end(b, i) : i + 1;
        if (!takes_part(p)) continue;
        adamw_spec spec = group_specs[p->group];
        if (p->no_decay) spec.weight_decay = 0.0f;
        if (i >= b->n_dense) {
            CLOZE_TRY(adamw_rows(b, p, be, dev, &spec, err));
        } else {
            int64_t at = b->offsets[i], n = param_end(b, end) - at;
            CLOZE_TRY(
                be->adamw(dev, &spec, n, b->grads + at, b->values + at, b->m + at, b->v + at, err));
        }
        for (int k = i; k < end; k++) b->params[k]->w.version++;
    }
    return CLOZE_OK;
}
