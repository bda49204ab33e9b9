/*
 * Checkpoints of a training run: OUTPUT_DIR/checkpoint-N/ with the model (a classifier, or what
 * pretrain makes), optimizer.safetensors (optimizer.h), training_args.json, trainer_state.json and
 * resume_state.json (state.h). Data order and dropout are functions of seed, epoch and step, so the
 * numbers in these two are the whole generator state.
 *
 * Written as checkpoint-N.tmp, synced, then renamed as a whole: a checkpoint-N is complete.
 */
#ifndef CLOZE_TRAIN_CHECKPOINT_H
#define CLOZE_TRAIN_CHECKPOINT_H

#include "train/optimizer.h"
#include "train/state.h"

/* Writes what the run trains into an existing directory. */
typedef cloze_status (*checkpoint_save_model)(void *model, const char *dir, cloze_error *err);

typedef struct checkpoint_source {
    checkpoint_save_model save_model;
    void *model;
    const param_block *block;
    const trainer_state *state;
    const options *options;
} checkpoint_source;

/* A failure leaves no checkpoint-N.tmp behind, and what was there before as it was. */
cloze_status checkpoint_save(const checkpoint_source *source, const char *output_dir,
                             cloze_error *err);
/* Gone at once: it has no name of a checkpoint while its files are removed. */
cloze_status checkpoint_remove(const char *path, cloze_error *err);
/* Of the checkpoints up to step `newest` keeps `limit` as Hugging Face does: the last ones, and
 * `keep` (the best; may be NULL) among them, so two with a limit of 1. */
cloze_status checkpoint_prune(const char *output_dir, int64_t limit, int64_t newest,
                              const char *keep, cloze_error *err);
/* True when the save schedule itself would have written this checkpoint-N. */
bool checkpoint_is_scheduled(const options *o, const char *path);
/* The N of a path that ends in checkpoint-N, -1 for another name (checkpoint-N.tmp too). */
int64_t checkpoint_step(const char *path);
/* True when the parent of `path` is `dir`. */
bool checkpoint_is_within(const char *path, const char *dir);
/* The newest checkpoint in a directory: heap, mem_free; NULL when there is none. */
cloze_status checkpoint_find_newest(const char *dir, char **path, cloze_error *err);
/* True for a directory that training can go on from. */
bool checkpoint_is(const char *path);

#endif
