/*
 * The training loop: batches, two parameter groups, AdamW, schedule, clipping, logging, evaluation,
 * checkpoints, early stopping, best model. Semantics are Hugging Face Trainer's where there are
 * any.
 *
 * Random numbers and data order are functions of (seed, step, example), so that the same settings
 * give the same bits.
 */
#ifndef CLOZE_TRAIN_TRAINER_H
#define CLOZE_TRAIN_TRAINER_H

#include "train/metrics.h"
#include "train/options.h"
#include "train/session.h"

typedef struct trainer_data {
    const dataset *train; /* labels assigned */
    const dataset *dev;   /* NULL when nothing is evaluated */
    const char *resume;   /* the checkpoint that *c was opened from and training goes on from, or
                             NULL */
    const float *class_weights; /* (C) of the loss, or NULL */
} trainer_data;

typedef struct trainer_result {
    double train_loss; /* mean over all steps, of a resumed run too */
    double seconds;    /* of training, all processes of a resumed run together */
    int64_t steps;
    double epoch;
    char *best_checkpoint; /* NULL when no best model was kept; mem_free */
    bool stopped_early;
} trainer_result;

/* Trains *c in place. With data->resume the state of that checkpoint is restored, and the run ends
 * with the bits that it would have had without the break. When the best model is
 * asked for, *c is replaced by the classifier of the best checkpoint. Writes checkpoints,
 * trainer_state.json and events into options->output_dir. ERR_NONFINITE names the step;
 * ERR_INTERRUPTED comes after a checkpoint was written. */
cloze_status trainer_run(classifier **c, session *s, const options *o, const trainer_data *data,
                         const cloze_callbacks *callbacks, trainer_result *result,
                         cloze_error *err);

/* Evaluates on a labelled set; m ends with metrics_deinit. task names the progress ("eval",
 * "test"). logits_out (may be NULL) receives (n,C), mem_free. */
cloze_status trainer_evaluate(classifier *c, session *s, const dataset *data, int32_t batch_size,
                              const char *task, const cloze_callbacks *callbacks, metrics *m,
                              float **logits_out, cloze_error *err);

#endif
