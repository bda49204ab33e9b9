/* Learning-rate schedules: Hugging Face's, as multipliers of the peak rate. */
#ifndef CLOZE_TRAIN_SCHEDULE_H
#define CLOZE_TRAIN_SCHEDULE_H

#include "train/options.h"

typedef enum schedule_kind {
    SCHEDULE_LINEAR,
    SCHEDULE_COSINE,
    SCHEDULE_COSINE_WITH_RESTARTS,
    SCHEDULE_COSINE_WITH_MIN_LR,
    SCHEDULE_POLYNOMIAL,
    SCHEDULE_CONSTANT,
    SCHEDULE_CONSTANT_WITH_WARMUP,
    SCHEDULE_INVERSE_SQRT,
    SCHEDULE_COUNT
} schedule_kind;

typedef struct schedule {
    schedule_kind kind;
    int64_t warmup_steps, total_steps;
    double num_cycles; /* cosines */
    double power;      /* polynomial */
    double end;        /* polynomial, cosine_with_min_lr: the multiplier at the end */
    int64_t timescale; /* inverse_sqrt */
} schedule;

schedule_kind schedule_from_name(const char *name); /* names of options.def */
/* The schedule that the flags ask for over so many optimizer steps. */
schedule schedule_make(const options *o, int64_t total_steps);
/* Multiplier for the optimizer step `step`, counted from 0. */
double schedule_multiplier(const schedule *s, int64_t step);

/* Whether what happens by `strategy` (no, steps, epoch) is due after step `step`. */
bool schedule_is_due(const char *strategy, int64_t every, int64_t step, bool end_of_epoch);

#endif
