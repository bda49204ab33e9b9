/*
 * Where a training run stands and what it logged. trainer_state.json says it in Hugging Face's
 * keys; resume_state.json (checkpoint-N only) holds what those have no place for and a run needs to
 * go on to the same bits: running sums, the place in the data, hashes of the data. Numbers are
 * written so that they read back exactly.
 */
#ifndef CLOZE_TRAIN_STATE_H
#define CLOZE_TRAIN_STATE_H

#include "base/buf.h"
#include "base/error.h"

typedef struct trainer_state {
    int64_t global_step, max_steps;
    double epoch, num_train_epochs;
    int64_t logging_steps, eval_steps, save_steps, train_batch_size;
    double best_metric;               /* NAN = none yet */
    char *best_model_checkpoint;      /* heap, NULL = none yet */
    int64_t evaluations_without_gain; /* early stopping */
    buf log_history;                  /* JSON objects separated by commas */

    /* ---- resume_state.json ---- */
    double loss_sum;        /* of all steps */
    double logged_loss;     /* of the steps since the last log line */
    int64_t logged_steps;   /* how many those are */
    int64_t evaluated_step; /* the last step whose evaluation is done, 0 = none */
    int64_t data_epoch;     /* pass over the data, from 0 */
    int64_t data_position;  /* batches (pretrain: sequences) of it that are done */
    int64_t tokens_done;    /* pretrain */
    double seconds;         /* of training, all processes of the run together */
    uint64_t train_hash;    /* of the training data; 0 = there is none */
    uint64_t dev_hash;      /* of the data that it is evaluated on */
} trainer_state;

void trainer_state_init(trainer_state *s);
void trainer_state_deinit(trainer_state *s);
/* Adds an entry: `fields` is the inside of a JSON object; step and epoch are added. Fields that
 * failed for want of memory fail the state's writing. */
void trainer_state_log(trainer_state *s, const buf *fields);
/* trainer_state.json. */
cloze_status trainer_state_write(const trainer_state *s, const char *dir, cloze_error *err);
/* resume_state.json. */
cloze_status trainer_state_write_resume(const trainer_state *s, const char *dir, cloze_error *err);
/* Both files of a checkpoint into *s (initialised); log_history comes back byte by byte. What is
 * missing or wrong is ERR_MODEL and names file and key. */
cloze_status trainer_state_read(trainer_state *s, const char *dir, cloze_error *err);

/* Writes dir/name as a whole (b ends with a newline). */
cloze_status state_write_file(const char *dir, const char *name, const buf *b, cloze_error *err);

#endif
