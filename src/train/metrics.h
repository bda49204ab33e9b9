/* Metrics of a labelled set: loss, accuracy, F1, per label, confusion matrix. */
#ifndef CLOZE_TRAIN_METRICS_H
#define CLOZE_TRAIN_METRICS_H

#include "base/buf.h"
#include "prompt/labels.h"

typedef struct label_metrics {
    double precision, recall, f1;
    int64_t support;
} label_metrics;

typedef struct metrics {
    int64_t n;        /* examples */
    int32_t n_labels; /* C */
    double loss;      /* mean cross-entropy */
    double accuracy;
    double macro_f1;       /* mean of f1 over the labels that are true or predicted somewhere, as
                              scikit-learn; 0 for one that is never right */
    double micro_f1;       /* equals accuracy in single-label classification */
    label_metrics *labels; /* (C) */
    int64_t *confusion;    /* (C,C) row = true label, column = predicted */
    double seconds;
    int64_t cut_examples, cut_tokens; /* texts that were shortened to fit, tokens left out */
} metrics;

/* From logits (n,C) and labels (n), all in [0,C). Ends with metrics_deinit. */
cloze_status metrics_compute(const float *logits, const int32_t *labels, int64_t n,
                             int32_t n_labels, metrics *out, cloze_error *err);
void metrics_deinit(metrics *m);
/* One of accuracy, macro_f1, micro_f1, loss; false when there is no such metric. */
bool metrics_get(const metrics *m, const char *name, double *value);
/* `"eval_accuracy": 0.5, ...` pairs without braces, per-label figures and the confusion matrix;
 * batch_size gives steps per second. */
void metrics_write_json(const metrics *m, const char *prefix, const label_set *labels,
                        int32_t batch_size, buf *out);
/* The pairs alone, as an entry of trainer_state.json's log_history has them. */
void metrics_write_log(const metrics *m, const char *prefix, int32_t batch_size, buf *out);
/* softmax of one row of logits (C) in double. */
void metrics_softmax(const float *logits, int32_t n_labels, double *probabilities);

#endif
