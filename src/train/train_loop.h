/*
 * What every training loop does besides its own batches, for the trainer and for pretrain: the
 * schedule, optimizer steps, running sums, log lines and events, checkpoints, interruption, and
 * going on from a checkpoint.
 */
#ifndef CLOZE_TRAIN_TRAIN_LOOP_H
#define CLOZE_TRAIN_TRAIN_LOOP_H

#include "base/log.h"
#include "train/checkpoint.h"
#include "train/events.h"
#include "train/schedule.h"
#include "train/session.h"

/* Zeroed storage with o, callbacks, session, save_model and model set, then train_loop_init. */
typedef struct train_loop {
    const options *o;
    const cloze_callbacks *callbacks;
    session *session;
    checkpoint_save_model save_model;
    void *model;
    param_block *block;  /* set before train_loop_begin */
    int64_t data_length; /* the end of state.data_position, too */
    trainer_state state;
    schedule schedule;
    events_file events;
    progress bar;
    double started;        /* clock of this process */
    double seconds_before; /* of training, by earlier processes of the run */
    int64_t examples_done; /* by this process */
    int64_t saved_step;    /* of the last checkpoint, so that none is written twice */
    int64_t good_step;     /* of the last one whose weights gave a finite loss since */
    bool prune_due;        /* older ones go when this one has shown to be good */
} train_loop;

void train_loop_init(train_loop *l);
void train_loop_deinit(train_loop *l);

/* State and schedule of a run of max_steps optimizer steps. */
void train_loop_plan(train_loop *l, int64_t max_steps, double num_train_epochs);
/* Restores state and moments from the checkpoint `resume` (NULL: a new run), once state.train_hash
 * and dev_hash are those of the data at hand: training data that differ are ERR_MODEL, evaluation
 * data that differ a warning. Then cleans the output directory and opens the events. */
cloze_status train_loop_begin(train_loop *l, const char *resume, cloze_error *err);
/* Clock and progress start. */
void train_loop_start(train_loop *l, const char *task);
/* Learning rate of the model's parameters for the optimizer step that follows `step` steps. */
double train_loop_rate(const train_loop *l, int64_t step);
/* One optimizer step with the gradients at hand; loss is the step's, n_examples what it was of. */
cloze_status train_loop_step(train_loop *l, double loss, int64_t n_examples, cloze_error *err);
/* Logs the mean loss since the last time, when something is there to log; `speed` ("" or ", 3
 * tokens/s") goes into the line. */
void train_loop_log_loss(train_loop *l, const char *speed);
bool train_loop_logs_now(const train_loop *l, bool end_of_epoch);
/* ERR_NONFINITE when the last step left weights that are no numbers: asked before they are written
 * anywhere, so that what is on the disk stays good. */
cloze_status train_loop_check_weights(const train_loop *l, cloze_error *err);
/* Adds to the message of a run that failed with `status` where its last good checkpoint is; returns
 * status. */
cloze_status train_loop_tell_last_good(const train_loop *l, cloze_status status, cloze_error *err);
/* Whether this step's evaluation is still to be done: that of a checkpoint that was written when its
 * evaluation was interrupted is done again. */
bool train_loop_is_unevaluated(const train_loop *l);
void train_loop_note_evaluation(train_loop *l);
/* A checkpoint of this step, unless there is one. Older ones are pruned after the next step: a loss
 * that is no number then leaves them. */
cloze_status train_loop_save(train_loop *l, cloze_error *err);
/* Prunes what is due, sparing the best: also at the end of a run. */
cloze_status train_loop_prune(train_loop *l, cloze_error *err);
/* Writes a checkpoint and fails with ERR_INTERRUPTED, which tells how to go on. */
cloze_status train_loop_interrupt(train_loop *l, cloze_error *err);
/* Seconds of training so far, of earlier processes of the run too. */
double train_loop_seconds(const train_loop *l);

#endif
