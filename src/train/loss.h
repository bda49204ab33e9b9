/*
 * The loss that training descends, from class logits: cross-entropy, with label smoothing, class
 * weights and R-Drop when asked for. What evaluation reports as eval_loss is always the plain
 * cross-entropy.
 *
 *   label smoothing  torch's (and LabelSmoother's of transformers): target (1-e) onehot + e/C
 *   class weights    torch's: sum_i w[y_i] nll_i / sum_i w[y_i]
 *   R-Drop           Liang and others 2021 as PaddleNLP has it: two passes p, q with different
 *                    dropout; (CE(p) + CE(q)) / 2 + alpha (KL(p||q) + KL(q||p)) / 2, the
 *                    divergences summed over examples and classes, not averaged
 *
 * All sums run over the examples of a whole optimizer step, so that accumulation changes nothing
 * but rounding.
 */
#ifndef CLOZE_TRAIN_LOSS_H
#define CLOZE_TRAIN_LOSS_H

#include "autograd/ops.h"

typedef struct loss_options {
    float label_smoothing;
    const float *class_weights; /* (C), borrowed; NULL = all 1 */
    bool rdrop;
    float alpha_rdrop;
} loss_options;

/* The sum of the class weights of n examples, given by their labels [0,C): what a step's
 * cross-entropy is divided by. Without class weights it is n. */
double loss_weight(const loss_options *o, const int32_t *labels, int64_t n);

/* (1,1): a micro-batch's part of its step's loss. logits (B,C); again: the second pass's logits for
 * R-Drop, else NULL; labels (B); step_weight: loss_weight of the whole step (0: only divergences
 * are left). */
var *loss_from_logits(tape *t, const loss_options *o, var *logits, var *again,
                      const int32_t *labels, double step_weight);

#endif
