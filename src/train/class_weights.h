/*
 * Weights of the labels in the training loss, as --class_weights gives them:
 *
 *   balanced              n / (k n_c): n examples, k labels that have any, n_c of this label
 *                         (scikit-learn's rule); 1 for a label without an example
 *   label=2,other=0.5     the others weigh 1
 *   FILE, or {"label": 2} the same as a JSON object
 */
#ifndef CLOZE_TRAIN_CLASS_WEIGHTS_H
#define CLOZE_TRAIN_CLASS_WEIGHTS_H

#include "prompt/dataset.h"

/* *out (C), mem_free; NULL when spec is NULL. train has its labels assigned. Errors in spec are
 * ERR_USAGE, those in a file ERR_DATA; an unknown label names the nearest one. */
cloze_status class_weights_make(const char *spec, const label_set *labels, const dataset *train,
                                float **out, cloze_error *err);

#endif
