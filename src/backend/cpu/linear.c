/*
 * Linear layers: oneDNN products between an activation and a weight, in f32 or bf16.
 *
 * Products run on a bucketed number of rows (the capacity, or less for a few rows), so that the set
 * of shapes, each of which needs a primitive, stays small. The rows of a result between the
 * tensor's own and the bucket are cleared afterwards: stale numbers would otherwise be multiplied
 * again from layer to layer and from step to step, until they overflow or crawl through denormals.
 */
#include <omp.h>
#include <string.h>

#include "backend/cpu/cpu_backend.h"
#include "backend/cpu/device.h"
#include "backend/cpu/onednn.h"
#include "backend/cpu/weight.h"
#include "base/error.h"

#define FEW_ROWS 8 /* up to here a product runs on exactly the rows there are */
/* From here on a product gains more than it costs to bring a changing weight into blocks for it
 * alone.
 */
#define REORDER_ROWS 256
/* The same for the factors of a weight gradient (M,K): K columns share the transposing of dy, and
 * below this they do not pay for it (measured: K = 256 is 30 % slower, 768 even, 3072 up to 30 %
 * faster). */
#define REORDER_COLS 2048

/* Rows of the product for a tensor: rows, rounded up as far as the capacity goes. Small products, a
 * single text's say, are rounded less: 37 rows as 64 would cost nearly twice. */
static int64_t bucket_rows(int64_t rows, int64_t capacity) {
    int64_t step = rows <= FEW_ROWS ? 1 : rows <= 32 ? 4 : rows <= 128 ? 8 : rows <= 512 ? 16 : 32;
    int64_t wanted = (rows + step - 1) / step * step;
    return wanted <= capacity ? wanted : rows;
}

static void clear_rows(const tensor *t, int64_t begin, int64_t end) {
    size_t size = dtype_size(t->dtype);
    for (int64_t row = begin; row < end; row++) {
        memset((char *)t->data + (size_t)(row * t->ld) * size, 0, (size_t)t->cols * size);
    }
}

static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

/* oneDNN asks OpenMP how many threads there are: the device's number, for the time of the call. It
 * leaves out the parts of threads that do not come, so OpenMP must not choose fewer by itself
 * (OMP_DYNAMIC). */
static cloze_status multiply(backend_device *dev, const matmul *p, cloze_error *err) {
    int threads = omp_get_max_threads(), dynamic = omp_get_dynamic();
    if (dynamic) omp_set_dynamic(0);
    if (threads != dev->n_threads) omp_set_num_threads(dev->n_threads);
    cloze_status status = onednn_matmul(dev->onednn, p, err);
    if (threads != dev->n_threads) omp_set_num_threads(threads);
    if (dynamic) omp_set_dynamic(dynamic);
    return status;
}

/* Scratch cut into matrices and rows; sizes are asked for first, all at once. */
typedef struct cutter {
    char *at;
} cutter;

static size_t cut_bytes(int64_t rows, int64_t cols) {
    return ((size_t)(rows * cols) * sizeof(float) + 63) / 64 * 64;
}

static tensor cut(cutter *c, int64_t rows, int64_t cols) {
    tensor t = tensor_of(c->at, DTYPE_F32, rows, cols);
    c->at += cut_bytes(rows, cols);
    return t;
}

/* t as f32 on `rows` rows: itself, or a copy in scratch. */
static cloze_status as_f32(backend_device *dev, cutter *c, const tensor *t, int64_t rows,
                           tensor *out, cloze_error *err) {
    *out = *t;
    if (t->dtype == DTYPE_F32) return CLOZE_OK;
    tensor from = *t;
    from.rows = rows;
    *out = cut(c, rows, t->cols);
    return dev->kernels->axpy(dev, 1.0f, &from, false, out, err);
}

/* Whether a product over `rows` rows takes w in blocks. */
static bool wants_blocks(const backend_device *dev, const weight *w, cloze_dtype dtype,
                         int64_t rows) {
    return onednn_has_blocks(dev->onednn, dtype) && w->t.rows >= BLOCK_COLS &&
           w->t.cols >= BLOCK_COLS && (!w->trained || rows >= REORDER_ROWS);
}

/* w as the product reads it: W^T (transpose) or W, kept, or made in scratch at c for this once. */
static cloze_status second_factor(backend_device *dev, weight *w, bool transpose, cloze_dtype dtype,
                                  bool round_bf16, int64_t rows, cutter *c, matmul *p,
                                  cloze_error *err) {
    tensor t;
    p->b_blocks = !(round_bf16 && dtype == DTYPE_F32) && wants_blocks(dev, w, dtype, rows);
    if (p->b_blocks && w->trained) {
        t = tensor_of(c->at, dtype, w->t.rows, w->t.cols);
        dev->kernels->make_blocks(dev->n_threads, &w->t, transpose, dtype, c->at);
        c->at += blocks_bytes(dtype, transpose ? w->t.cols : w->t.rows,
                              transpose ? w->t.rows : w->t.cols);
    } else {
        weight_layout layout = !p->b_blocks ? WEIGHT_ROWS
                               : transpose  ? WEIGHT_BLOCKS_TRANSPOSED
                                            : WEIGHT_BLOCKS;
        CLOZE_TRY(weight_for_product(dev, w, dtype, round_bf16, layout, &t, err));
    }
    p->b = matrix_of(&t, t.rows);
    if (transpose) p->b = matrix_transposed(p->b);
    return CLOZE_OK;
}

/* Scratch that second_factor may take: blocks of a weight, whichever way round. */
static size_t factor_bytes(const weight *w) {
    size_t one = blocks_bytes(DTYPE_F32, w->t.rows, w->t.cols);
    size_t other = blocks_bytes(DTYPE_F32, w->t.cols, w->t.rows);
    return !w->trained ? 0 : one > other ? one : other;
}

/*
 * out (+)= act(in W' + bias), W' being W^T (transpose) or W: the forward product and the gradient
 * of the input. An f32 product gives f32, so another dtype goes through scratch.
 */
static cloze_status product(backend_device *dev, const tensor *in, weight *w, bool transpose,
                            const tensor *bias, activation act, bool accumulate, tensor *out,
                            cloze_error *err) {
    int64_t rows = bucket_rows(in->rows, smaller(in->rows_capacity, out->rows_capacity));
    bool low = in->dtype == DTYPE_BF16 && onednn_has_bf16(dev->onednn);
    bool by_scratch = !low && out->dtype != DTYPE_F32;
    tensor x, b, result = *out;
    matmul p = {.act = act, .accumulate = accumulate && !by_scratch};
    void *memory;
    cutter c;
    CLOZE_TRY(device_scratch(dev,
                             factor_bytes(w) + cut_bytes(rows, in->cols) +
                                 cut_bytes(rows, out->cols) + cut_bytes(1, out->cols),
                             &memory, err));
    c.at = memory;
    CLOZE_TRY(second_factor(dev, w, transpose, low ? DTYPE_BF16 : DTYPE_F32,
                            in->dtype == DTYPE_BF16, rows, &c, &p, err));
    x = *in;
    if (!low) CLOZE_TRY(as_f32(dev, &c, in, rows, &x, err));
    if (bias) CLOZE_TRY(as_f32(dev, &c, bias, 1, &b, err));
    if (by_scratch) result = cut(&c, rows, out->cols);
    p.a = matrix_of(&x, rows);
    p.c = matrix_of(&result, rows);
    p.bias = bias ? &b : NULL;
    CLOZE_TRY(multiply(dev, &p, err));
    if (!by_scratch) {
        clear_rows(out, out->rows, rows);
        return CLOZE_OK;
    }
    result.rows = out->rows;
    return dev->kernels->axpy(dev, 1.0f, &result, accumulate, out, err);
}

static cloze_status check_shape(const char *what, const tensor *t, int64_t rows, int64_t cols,
                                cloze_error *err) {
    if (!t || !t->data || (t->rows == rows && t->cols == cols && t->ld >= cols)) return CLOZE_OK;
    CLOZE_FAIL(err, INTERNAL, "linear: %s is (%lld,%lld) with ld %lld, (%lld,%lld) was expected",
               what, (long long)t->rows, (long long)t->cols, (long long)t->ld, (long long)rows,
               (long long)cols);
}

cloze_status cpu_linear_forward(backend_device *dev, const tensor *x, weight *w, const tensor *bias,
                                activation act, tensor *pre, tensor *y, cloze_error *err) {
    if (bias && !bias->data) bias = NULL;
    CLOZE_TRY(check_shape("x", x, x->rows, w->t.cols, err));
    CLOZE_TRY(check_shape("bias", bias, 1, w->t.rows, err));
    CLOZE_TRY(check_shape("pre", pre, x->rows, w->t.rows, err));
    CLOZE_TRY(check_shape("y", y, x->rows, w->t.rows, err));
    if (x->rows == 0) return CLOZE_OK;
    if (!pre || !pre->data) return product(dev, x, w, true, bias, act, false, y, err);
    CLOZE_TRY(product(dev, x, w, true, bias, ACT_NONE, false, pre, err));
    return dev->kernels->activation_forward(dev, act, pre, y, err);
}

cloze_status cpu_linear_backward_input(backend_device *dev, const tensor *dy, weight *w,
                                       bool accumulate, tensor *dx, cloze_error *err) {
    CLOZE_TRY(check_shape("dy", dy, dy->rows, w->t.rows, err));
    CLOZE_TRY(check_shape("dx", dx, dy->rows, w->t.cols, err));
    if (dy->rows == 0) return CLOZE_OK;
    return product(dev, dy, w, false, NULL, ACT_NONE, accumulate, dx, err);
}

/* The factors of dw = dy^T x for many rows, in scratch: dy transposed, x in blocks. */
static cloze_status reordered_factors(backend_device *dev, const tensor *dy, const tensor *x,
                                      cloze_dtype dtype, matmul *p, cloze_error *err) {
    int64_t rows = p->a.cols;
    size_t left_bytes = cut_bytes(dy->cols, rows); /* enough for either type */
    void *memory;
    CLOZE_TRY(
        device_scratch(dev, left_bytes + blocks_bytes(DTYPE_F32, rows, x->cols), &memory, err));
    int64_t width = dtype == DTYPE_BF16 ? rows + rows % 2 : rows; /* whole words */
    tensor left = tensor_of(memory, dtype, dy->cols, width), from = *x, right;
    from.rows = rows; /* the tail is zeros */
    right = from;
    right.dtype = dtype;
    right.data = (char *)memory + left_bytes;
    dev->kernels->transpose(dev->n_threads, dy, &left);
    dev->kernels->make_blocks(dev->n_threads, &from, false, dtype, right.data);
    p->a = matrix_of(&left, dy->cols);
    p->a.cols = rows;
    p->b = matrix_of(&right, rows);
    p->b_blocks = true;
    return CLOZE_OK;
}

/* The same read where they lie, but for conversions to f32. */
static cloze_status plain_factors(backend_device *dev, const tensor *dy, const tensor *x,
                                  cloze_dtype dtype, matmul *p, cloze_error *err) {
    int64_t rows = p->a.cols;
    tensor left = *dy, right = *x;
    if (dtype == DTYPE_F32) {
        void *memory;
        CLOZE_TRY(device_scratch(dev, cut_bytes(rows, dy->cols) + cut_bytes(rows, x->cols), &memory,
                                 err));
        cutter c = {memory};
        CLOZE_TRY(as_f32(dev, &c, dy, rows, &left, err));
        CLOZE_TRY(as_f32(dev, &c, x, rows, &right, err));
    }
    p->a = matrix_transposed(matrix_of(&left, rows));
    p->b = matrix_of(&right, rows);
    return CLOZE_OK;
}

cloze_status cpu_linear_backward_weight(backend_device *dev, tensor *dy, tensor *x, bool accumulate,
                                        tensor *dw, tensor *dbias, cloze_error *err) {
    CLOZE_TRY(check_shape("x", x, dy->rows, x->cols, err));
    CLOZE_TRY(check_shape("dw", dw, dy->cols, x->cols, err));
    CLOZE_TRY(check_shape("dbias", dbias, 1, dy->cols, err));
    clear_rows(dy, dy->rows, dy->rows_capacity);
    clear_rows(x, x->rows, x->rows_capacity);
    if (dbias && dbias->data) CLOZE_TRY(dev->kernels->sum_rows(dev, dy, dbias, err));
    if (!dw || !dw->data) return CLOZE_OK;
    if (dy->rows == 0) {
        if (!accumulate) clear_rows(dw, 0, dw->rows);
        return CLOZE_OK;
    }
    int64_t rows = bucket_rows(dy->rows, smaller(dy->rows_capacity, x->rows_capacity));
    bool low = dy->dtype == DTYPE_BF16 && x->dtype == DTYPE_BF16 && onednn_has_bf16(dev->onednn);
    cloze_dtype dtype = low ? DTYPE_BF16 : DTYPE_F32;
    matmul p = {.a = {.cols = rows}, .c = matrix_of(dw, dw->rows), .accumulate = accumulate};
    bool many = rows >= REORDER_ROWS && dy->cols >= BLOCK_COLS && x->cols >= REORDER_COLS &&
                onednn_has_blocks(dev->onednn, dtype);
    CLOZE_TRY(many ? reordered_factors(dev, dy, x, dtype, &p, err)
                   : plain_factors(dev, dy, x, dtype, &p, err));
    return multiply(dev, &p, err);
}
