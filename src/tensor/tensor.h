/*
 * A tensor is a typed (rows, cols) view of somebody else's memory.
 *
 * Batches are packed: the tokens of all sequences stand one after another, so nearly everything is a
 * matrix of rows. `rows` is what means something; `rows_capacity` (rows rounded up to ROW_BUCKET for
 * activations) is what is there, so that the matrix products see few distinct shapes. Kernels write
 * rows [0, rows) and ignore the tail; the tail's content is finite but otherwise unspecified, and
 * linear_backward_weight, the only reduction over rows by a matrix product, zeroes it first.
 *
 * Shapes are written with one alphabet: N packed tokens, B sequences, T query length, S key length,
 * H hidden, A heads, D head dim, F ffn, V vocabulary, L layers, R gathered (mask) rows, C classes,
 * M output features of a linear layer, K its input features, P prefix length.
 */
#ifndef CLOZE_TENSOR_TENSOR_H
#define CLOZE_TENSOR_TENSOR_H

#include <stddef.h>
#include <stdint.h>

#include "tensor/dtype.h"

#define ROW_BUCKET 32

typedef struct tensor {
    void *data;            /* first element (a device pointer on a device); NULL = no tensor */
    int64_t rows;          /* rows that mean something */
    int64_t rows_capacity; /* rows that are there, >= rows */
    int64_t cols;
    int64_t ld;            /* elements from one row to the next, >= cols */
    cloze_dtype dtype;
} tensor;

static inline int64_t rows_round_up(int64_t rows) {
    return rows <= 0 ? ROW_BUCKET : (rows + ROW_BUCKET - 1) / ROW_BUCKET * ROW_BUCKET;
}

/* A dense (rows, cols) view of data. */
static inline tensor tensor_of(void *data, cloze_dtype dtype, int64_t rows, int64_t cols) {
    tensor t = {data, rows, rows, cols, cols, dtype};
    return t;
}

/* Columns [begin, begin + n) of t: a part of a fused QKV, say. */
static inline tensor tensor_columns(const tensor *t, int64_t begin, int64_t n) {
    tensor view = *t;
    view.data = (char *)t->data + (size_t)begin * dtype_size(t->dtype);
    view.cols = n;
    return view;
}

/* Rows [begin, begin + n) of t. */
static inline tensor tensor_rows(const tensor *t, int64_t begin, int64_t n) {
    tensor view = *t;
    view.data = (char *)t->data + (size_t)(begin * t->ld) * dtype_size(t->dtype);
    view.rows = n;
    view.rows_capacity = n;
    return view;
}

#endif
