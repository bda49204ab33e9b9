/*
 * Parameters: named weights, where their gradients and moments live, and which rows were touched.
 *
 * A loaded model's parameters are views of the mapped file. param_block_create copies the trainable
 * ones into one contiguous block, with gradients and AdamW moments in parallel blocks (zero pages
 * from the kernel), so that clipping, the optimizer, saving and zero_grad are flat loops. A
 * row-lazy parameter (an embedding) touches gradient, moments and optimizer work only for rows that
 * were seen: row_state bit 0 = gradient this step, bit 1 = ever seen. That is exact without weight
 * decay on it: a row never seen has zero moments; with decay the optimizer also walks the unseen
 * rows' weights.
 */
#ifndef CLOZE_AUTOGRAD_PARAM_H
#define CLOZE_AUTOGRAD_PARAM_H

#include <stdbool.h>

#include "backend/backend.h"

enum { PARAM_ROW_TOUCHED = 1, PARAM_ROW_SEEN = 2 };
/* Each has a learning rate of its own. */
typedef enum param_group { PARAM_GROUP_MODEL, PARAM_GROUP_PROMPT } param_group;

typedef struct param {
    char *name; /* canonical Hugging Face name */
    weight w;   /* value (rows, cols); a vector is (1, n) */
    int rank;   /* as stored in checkpoints: 1 or 2 (shape is (cols) or (rows, cols)) */
    bool requires_grad;
    bool row_lazy;
    bool no_decay; /* bias or norm: weight decay never applies */
    param_group group;
    tensor grad;        /* f32, data NULL while frozen */
    float *m, *v;       /* AdamW moments, parallel to w; NULL while frozen */
    uint8_t *row_state; /* (rows), row-lazy and trainable only */
    bool grad_empty; /* grad is all zeros, which are not in its memory yet: see param_grad_fill */
    bool dense_grad; /* row-lazy, but this step's gradient reached every row */
    void *owned;     /* value memory that belongs to the parameter itself (mem_free), or NULL */
} param;

/* Contiguous value, gradient and moment memory of a set of trainable parameters. */
typedef struct param_block param_block;
cloze_status param_block_create(param *const params[], int n, param_block **out, cloze_error *err);
/* Parameters keep pointing into the block: destroy it after them. */
void param_block_destroy(param_block *b);
int64_t param_block_count(const param_block *b); /* trainable numbers */
/* Touches only rows that have a gradient; of matrices it notes that they are empty. */
void param_block_zero_grad(param_block *b);
/* In block order (row-lazy ones last); *out is borrowed. Who restores moments of a row-lazy one
 * sets PARAM_ROW_SEEN in row_state for the rows that have any: the optimizer passes over the
 * others. */
int param_block_params(const param_block *b, param *const **out);

/* Marks rows of a row-lazy parameter as having a gradient (ids (n), host): ops, in backward. */
void param_touch_rows(param *p, const int32_t *ids, int64_t n);
void param_touch_all(param *p);

/* Writes the zeros of an empty gradient: for whoever reads or adds to it. Products that come first
 * overwrite instead. */
void param_grad_fill(param *p);

/* Square root of the sum of squared gradients over the block, in a fixed order (for clipping). */
cloze_status param_block_grad_norm(param_block *b, const backend *be, backend_device *dev,
                                   double *out, cloze_error *err);
/* Whether every value of the block is a number whose square is one. */
cloze_status param_block_is_finite(const param_block *b, const backend *be, backend_device *dev,
                                   bool *out, cloze_error *err);
/* One AdamW step with a learning rate and settings for each group; raises versions. grad_scale as
 * in adamw_spec. */
cloze_status param_block_adamw(param_block *b, const backend *be, backend_device *dev,
                               const adamw_spec group_specs[2], cloze_error *err);

void param_deinit(param *p);

#endif
