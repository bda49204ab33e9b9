/*
 * The directory that a run writes into: one run at a time, and never a mixture of two. What happens
 * to an earlier run in it:
 *
 *   checkpoints, no flag            refused (exit 2): it would be lost or mixed
 *   --overwrite_output_dir          removed when the new run begins
 *   --resume_from_checkpoint        gone on from
 *   results but no checkpoints      they stay until the new run is finished, and are then replaced
 */
#ifndef CLOZE_TRAIN_OUTPUT_DIR_H
#define CLOZE_TRAIN_OUTPUT_DIR_H

#include "base/lock.h"
#include "train/options.h"

typedef struct output_dir {
    const char *path; /* borrowed; NULL = not open */
    file_lock lock;
    bool created; /* and to be removed again when nothing was written into it */
} output_dir;

/* Creates and locks it; a run of another process in it is ERR_IO that names the process. Zeroed
 * storage is valid for close. Called again it does nothing. */
cloze_status output_dir_open(output_dir *d, const char *path, cloze_error *err);
/* The same, but a directory that is not there is not made: nothing is left behind when a run is
 * refused for another reason. */
cloze_status output_dir_open_existing(output_dir *d, const char *path, cloze_error *err);
void output_dir_close(output_dir *d);

/* Before any work: ERR_USAGE when an earlier run's checkpoints are in the way of new training, or
 * ones that are newer than `resume` (the checkpoint to go on from, NULL = none). */
cloze_status output_dir_check(const options *o, const char *resume, cloze_error *err);
/* When training begins: an earlier run goes if it is to be overwritten; half-written files of
 * killed processes go in any case. */
cloze_status output_dir_begin(const options *o, const char *resume, cloze_error *err);
/* When it is finished: result files of an earlier run go, before new ones are written. */
cloze_status output_dir_forget_results(const char *path, cloze_error *err);

#endif
