/*
 * Checkpoints of a training run: OUTPUT_DIR/checkpoint-N/ with the classifier (classifier.h),
 * optimizer.safetensors ("m.<name>", "v.<name>" of every trained parameter, "seen.<name>" of
 * row-lazy ones), training_args.json and trainer_state.json. Data order and dropout are functions
 * of seed and step, so the step in trainer_state.json is the whole generator state.
 *
 * Written as checkpoint-N.tmp, synced, then renamed as a whole: a checkpoint-N is complete.
 */
#ifndef CLOZE_TRAIN_CHECKPOINT_H
#define CLOZE_TRAIN_CHECKPOINT_H

#include "train/classifier.h"
#include "train/options.h"
#include "train/state.h"

typedef struct checkpoint_source {
    const classifier *c;
    const param_block *block;
    const trainer_state *state;
    const options *options;
} checkpoint_source;

cloze_status checkpoint_save(const checkpoint_source *source, const char *output_dir,
                             cloze_error *err);
/* Renames a finished tmp directory to path; an earlier path goes only once the new one stands. */
cloze_status checkpoint_publish(const char *tmp, const char *path, cloze_error *err);
/* Of the checkpoints up to step `newest` keeps the last `limit`, and `keep` (may be NULL). */
cloze_status checkpoint_prune(const char *output_dir, int64_t limit, int64_t newest,
                              const char *keep, cloze_error *err);
/* True when the save schedule itself would have written this checkpoint-N. */
bool checkpoint_is_scheduled(const options *o, const char *path);

#endif
