/*
 * What the trainer does again and again, and the forecast a few times: how many steps a run takes,
 * which data order it has, and the gradients of one step.
 */
#ifndef CLOZE_TRAIN_TRAIN_STEP_H
#define CLOZE_TRAIN_TRAIN_STEP_H

#include "train/loss.h"
#include "train/options.h"
#include "train/session.h"

/* How n examples make the steps of a run, as Hugging Face's Trainer counts them. */
typedef struct step_count {
    int64_t n_batches; /* of an epoch */
    int64_t max_steps; /* optimizer steps */
    double num_train_epochs;
} step_count;
/* ERR_DATA when the examples make no batch. */
cloze_status step_count_make(const options *o, int64_t n, step_count *out, cloze_error *err);

/* Batches of an epoch; end with batch_plan_deinit. */
cloze_status step_plan(const options *o, const encoded_set *set, int64_t epoch, batch_plan *out,
                       cloze_error *err);

typedef struct step_settings {
    loss_options loss;
    bool dropout, checkpointing;
    uint64_t seed;
    double learning_rate; /* for messages */
} step_settings;
/* class_weights (C) may be NULL, and is borrowed. */
step_settings step_settings_make(const options *o, const float *class_weights);

/* Forward and backward of batches [first, last) of the plan, the micro-batches of optimizer step
 * number `step` (from 0): adds to the gradients; *loss is the step's. ERR_NONFINITE names it. */
cloze_status step_gradients(session *s, classifier *c, const encoded_views *encoded,
                            const step_settings *settings, const batch_plan *plan, int64_t first,
                            int64_t last, int64_t step, double *loss, cloze_error *err);

#endif
