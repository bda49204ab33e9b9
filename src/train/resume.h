/* --resume_from_checkpoint: which checkpoint is meant, and whether the flags go with it. */
#ifndef CLOZE_TRAIN_RESUME_H
#define CLOZE_TRAIN_RESUME_H

#include "train/options.h"

/* "last", or a word for yes: the newest checkpoint of --output_dir. */
bool resume_is_last(const char *flag);

/* The checkpoint that o->resume_from_checkpoint names: a checkpoint, the newest one of a run
 * directory, or ("last", "true") of o->output_dir. Heap, mem_free; NULL when the flag is not given
 * (or "false"). ERR_MODEL when there is none. */
cloze_status resume_find(const options *o, char **checkpoint, cloze_error *err);

/* Options that were not given get the values that the checkpoint was trained with; without
 * --output_dir the run goes on where the checkpoint is. One that was
 * given with another value is ERR_USAGE where the run would become another one, a warning where it
 * is a legitimate wish, and nothing where it does not matter to what is learnt. */
cloze_status resume_adopt_options(options *o, const char *checkpoint,
                                  const cloze_callbacks *callbacks, cloze_error *err);

#endif
