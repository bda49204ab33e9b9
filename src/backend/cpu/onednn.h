/*
 * Matrix products by oneDNN: the only door to that library (v2 and v3 have different C interfaces).
 *
 * A primitive is made once for each combination of shape, strides and dtypes and kept (at most
 * ONEDNN_CACHE_MAX, the least recently used goes); it works in a scratchpad owned here. So after
 * the first step a product costs one look-up and allocates nothing. One onednn belongs to one
 * device.
 */
#ifndef CLOZE_BACKEND_CPU_ONEDNN_H
#define CLOZE_BACKEND_CPU_ONEDNN_H

#include "backend/backend.h"
#include "base/cpu.h"

#define ONEDNN_CACHE_MAX 1024

typedef struct onednn onednn;

/* rows x cols elements; one of the strides (in elements) is 1. f32 or bf16. */
typedef struct matrix {
    void *data;
    cloze_dtype dtype;
    int64_t rows, cols;
    int64_t row_stride, col_stride;
} matrix;

static inline matrix matrix_of(const tensor *t, int64_t rows) {
    matrix m = {t->data, t->dtype, rows, t->cols, t->ld, 1};
    return m;
}

static inline matrix matrix_transposed(matrix m) {
    matrix t = {m.data, m.dtype, m.cols, m.rows, m.col_stride, m.row_stride};
    return t;
}

/*
 * Blocks: the layout that products like their second factor b (k,n) in, so that they need not copy
 * it first. Words of 32 bits (an f32, or the bf16 of rows 2i and 2i+1) stand in panels of
 * BLOCK_COLS columns, a panel row after row; k is padded to whole blocks of BLOCK_WORDS words, n to
 * whole panels, with zeros. (oneDNN's BA16a64b and BA16a64b2a.)
 */
#define BLOCK_COLS 64
#define BLOCK_WORDS 16

/* Words of a panel's column. */
static inline int64_t blocks_words(cloze_dtype dtype, int64_t k) {
    int64_t words = dtype == DTYPE_BF16 ? (k + 1) / 2 : k;
    return (words + BLOCK_WORDS - 1) / BLOCK_WORDS * BLOCK_WORDS;
}

static inline size_t blocks_bytes(cloze_dtype dtype, int64_t k, int64_t n) {
    return (size_t)(blocks_words(dtype, k) * ((n + BLOCK_COLS - 1) / BLOCK_COLS) * BLOCK_COLS) * 4;
}

/* c (m,n) = act(a (m,k) b (k,n) + bias (n)), or c += a b. a and b have one dtype. */
typedef struct matmul {
    matrix a, b, c;
    const tensor *bias; /* (1,n), or NULL */
    activation act;
    bool accumulate;
    bool b_blocks; /* b.data is in blocks; its strides mean nothing */
} matmul;

cloze_status onednn_open(cpu_isa isa, onednn **out, cloze_error *err);
void onednn_close(onednn *o);
/* Whether this processor multiplies bf16 matrices at all. */
bool onednn_has_bf16(const onednn *o);
/* Whether products take a second factor of this type in blocks. */
bool onednn_has_blocks(const onednn *o, cloze_dtype dtype);
cloze_status onednn_matmul(onednn *o, const matmul *p, cloze_error *err);

#endif
