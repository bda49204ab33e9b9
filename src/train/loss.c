/* The training loss; see loss.h. */
#include "train/loss.h"

double loss_weight(const loss_options *o, const int32_t *labels, int64_t n) {
    if (!o->class_weights) return (double)n;
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += (double)o->class_weights[labels[i]];
    return sum;
}

var *loss_from_logits(tape *t, const loss_options *o, var *logits, var *again,
                      const int32_t *labels, double step_weight) {
    cross_entropy_options ce = {.labels = labels,
                                .class_weights = o->class_weights,
                                .label_smoothing = o->label_smoothing,
                                .scale = step_weight > 0 ? (float)(1.0 / step_weight) : 0};
    if (!again) return op_cross_entropy(t, logits, &ce);
    ce.scale *= 0.5f;
    var *both = op_add(t, op_cross_entropy(t, logits, &ce), op_cross_entropy(t, again, &ce));
    var *p = op_log_softmax(t, logits), *q = op_log_softmax(t, again);
    float half = 0.5f * o->alpha_rdrop;
    return op_add(t, both, op_add(t, op_kl(t, p, q, half), op_kl(t, q, p, half)));
}
