/*
 * The optimizer step (clipping, AdamW for two groups of parameters) and its state on disk:
 * optimizer.safetensors with "m.<name>", "v.<name>" of every trained parameter and "seen.<name>" of
 * row-lazy ones, one byte a row.
 */
#ifndef CLOZE_TRAIN_OPTIMIZER_H
#define CLOZE_TRAIN_OPTIMIZER_H

#include "autograd/param.h"
#include "train/options.h"

typedef struct optimizer_rates {
    double model, prompt; /* learning rate of each group at this step */
} optimizer_rates;

/* Clips the gradient to o->max_grad_norm (0 = never), takes step number `step` (from 1) and clears
 * the gradient. A non-finite gradient is ERR_NONFINITE and names the step; the weights stay. */
cloze_status optimizer_step(param_block *b, const backend *be, backend_device *dev,
                            const options *o, const optimizer_rates *rates, int64_t step,
                            cloze_error *err);

cloze_status optimizer_save(const param_block *b, const char *dir, cloze_error *err);
/* Moments of exactly the parameters that are trained: a missing, surplus or differently shaped
 * tensor is ERR_MODEL and names it. */
cloze_status optimizer_load(param_block *b, const char *dir, cloze_error *err);

#endif
