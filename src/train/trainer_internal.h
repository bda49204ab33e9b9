/* What trainer.c and trainer_steps.c share. */
#ifndef CLOZE_TRAIN_TRAINER_INTERNAL_H
#define CLOZE_TRAIN_TRAINER_INTERNAL_H

#include "base/file.h"
#include "base/log.h"
#include "train/events.h"
#include "train/schedule.h"
#include "train/trainer.h"

typedef struct trainer {
    classifier **c;
    session *session;
    const options *o;
    const cloze_callbacks *callbacks;
    const trainer_data *data;
    encoded_views encoded; /* of the training set */
    param_block *block;    /* lives as long as *c */
    schedule schedule;
    trainer_state state;
    events_file events;
    progress bar;
    bool dropout;
    bool stop; /* early stopping has decided */
    double started;
    double loss_sum;    /* over all steps */
    double logged_loss; /* since the last log line */
    int64_t logged_steps, examples_done;
    int64_t evaluated_step, saved_step; /* the last ones, so that none is done twice */
} trainer;

bool trainer_done(const trainer *t);
/* Logging, evaluation, checkpoints and interruption that are due now. */
cloze_status trainer_after_step(trainer *t, bool end_of_epoch, cloze_error *err);
/* Best model, trainer_state.json. */
cloze_status trainer_finish(trainer *t, cloze_error *err);

#endif
