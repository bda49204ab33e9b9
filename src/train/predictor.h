/* Predictions: of a whole set with --do_predict, or of any number of lines in constant memory. */
#ifndef CLOZE_TRAIN_PREDICTOR_H
#define CLOZE_TRAIN_PREDICTOR_H

#include "train/metrics.h"
#include "train/options.h"
#include "train/session.h"

/* Logits of a data set, with metrics when it is labelled. */
typedef struct prediction_set {
    float *logits; /* (n,C) */
    metrics metrics;
} prediction_set;
cloze_status prediction_set_make(classifier *c, session *s, const dataset *data, int32_t batch_size,
                                 const cloze_callbacks *callbacks, prediction_set *out,
                                 cloze_error *err);
/* DIR/predictions.txt (text TAB label) and predictions.jsonl. */
cloze_status prediction_set_write(const prediction_set *p, const classifier *c, const dataset *data,
                                  const char *dir, cloze_error *err);
void prediction_set_deinit(prediction_set *p);

/* One prediction: `text TAB label` or {"text","label","probability","probabilities":{...}}, with a
 * newline. */
void prediction_write(buf *out, const example *ex, const label_set *labels, const float *logits,
                      bool json);

/* The predict command: one output line for each input line, in order, in constant memory. `write`
 * gets whole lines; non-zero from it ends the call with ERR_IO. --output is the caller's business.
 */
cloze_status predict_stream(const options *o, const cloze_callbacks *callbacks, cloze_write write,
                            void *write_user, cloze_error *err);

#endif
