/* What trainer.c and trainer_steps.c share. */
#ifndef CLOZE_TRAIN_TRAINER_INTERNAL_H
#define CLOZE_TRAIN_TRAINER_INTERNAL_H

#include "train/train_loop.h"
#include "train/train_step.h"
#include "train/trainer.h"

typedef struct trainer {
    classifier **c;
    session *session;
    const options *o;
    const cloze_callbacks *callbacks;
    const trainer_data *data;
    encoded_views encoded; /* of the training set */
    int64_t n_batches;     /* of an epoch */
    train_loop loop;       /* its block lives as long as *c */
    step_settings settings;
    bool stop; /* early stopping has decided */
} trainer;

bool trainer_done(const trainer *t);
/* Logging, evaluation, checkpoints and interruption that are due now and not done yet: after each
 * step, and again for the step of a checkpoint that is gone on from. */
cloze_status trainer_after_step(trainer *t, bool end_of_epoch, cloze_error *err);
/* Best model, trainer_state.json. */
cloze_status trainer_finish(trainer *t, cloze_error *err);
/* True when `evaluations_without_gain` has used up the patience. */
bool trainer_lost_patience(const trainer *t);

#endif
