/* Copies of weights in the dtype and layout of a matrix product. */
#ifndef CLOZE_BACKEND_CPU_WEIGHT_H
#define CLOZE_BACKEND_CPU_WEIGHT_H

#include "backend/cpu/device.h"

/* How a weight (M,K) is laid out for a product. */
typedef enum weight_layout {
    WEIGHT_ROWS,   /* as it is: M rows of K */
    WEIGHT_BLOCKS, /* in the blocks of onednn.h, for products with W (gradient of the input) */
    WEIGHT_BLOCKS_TRANSPOSED /* the same for products with W^T (forward) */
} weight_layout;

/*
 * *out = w (M,K) for a product of f32 or bf16 matrices: w itself where it serves, else a copy that
 * is kept and remade when w's version has moved on. round_bf16: the f32 numbers are rounded to bf16
 * (bf16 products on a processor that has none; not with blocks). With blocks out's data are they.
 * Any thread; the copy stays valid until weight_drop_packs or a new version.
 */
cloze_status weight_for_product(backend_device *dev, weight *w, cloze_dtype dtype, bool round_bf16,
                                weight_layout layout, tensor *out, cloze_error *err);
void weight_packs_free(weight *w);

#endif
