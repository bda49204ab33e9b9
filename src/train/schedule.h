/* Learning-rate schedules: Hugging Face's, as multipliers of the peak rate. */
#ifndef CLOZE_TRAIN_SCHEDULE_H
#define CLOZE_TRAIN_SCHEDULE_H

#include <stdbool.h>
#include <stdint.h>

typedef enum schedule_kind {
    SCHEDULE_LINEAR,
    SCHEDULE_COSINE,
    SCHEDULE_CONSTANT,
    SCHEDULE_CONSTANT_WITH_WARMUP,
    SCHEDULE_POLYNOMIAL /* power 1, to 1e-7 */
} schedule_kind;

typedef struct schedule {
    schedule_kind kind;
    int64_t warmup_steps, total_steps;
    double peak; /* the peak rate: polynomial ends at 1e-7, an absolute rate */
} schedule;

schedule_kind schedule_from_name(const char *name); /* names of options.def */
/* Multiplier for the optimizer step `step`, counted from 0. */
double schedule_multiplier(const schedule *s, int64_t step);

/* Whether what happens by `strategy` (no, steps, epoch) is due after step `step`. */
bool schedule_is_due(const char *strategy, int64_t every, int64_t step, bool end_of_epoch);

#endif
