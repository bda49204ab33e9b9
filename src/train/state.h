/* trainer_state.json: where a run stands and what it logged, in Hugging Face's keys. */
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
} trainer_state;

void trainer_state_init(trainer_state *s);
void trainer_state_deinit(trainer_state *s);
/* Adds an entry: `fields` is the inside of a JSON object; step and epoch are added. Fields that
 * failed for want of memory fail the state's writing. */
void trainer_state_log(trainer_state *s, const buf *fields);
cloze_status trainer_state_write(const trainer_state *s, const char *dir, cloze_error *err);

/* Writes dir/name as a whole (b ends with a newline). */
cloze_status state_write_file(const char *dir, const char *name, const buf *b, cloze_error *err);

#endif
