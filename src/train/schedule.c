/* transformers/optimization.py: get_{linear,cosine,...}_schedule... and their defaults. */
#include "train/schedule.h"

#include <math.h>
#include <string.h>

#define PI 3.14159265358979323846

schedule_kind schedule_from_name(const char *name) {
    static const char *const NAMES[SCHEDULE_COUNT] = {
        "linear",     "cosine",   "cosine_with_restarts", "cosine_with_min_lr",
        "polynomial", "constant", "constant_with_warmup", "inverse_sqrt"};
    for (int i = 0; i < SCHEDULE_COUNT; i++)
        if (strcmp(name, NAMES[i]) == 0) return (schedule_kind)i;
    return SCHEDULE_LINEAR;
}

/* An absolute rate as a share of the peak; 0 when there is no peak. */
static double share_of_peak(const options *o, double rate) {
    return o->learning_rate > 0 ? rate / o->learning_rate : 0;
}

schedule schedule_make(const options *o, int64_t total_steps) {
    schedule s = {.kind = schedule_from_name(o->lr_scheduler_type),
                  .total_steps = total_steps,
                  .warmup_steps = o->warmup_steps > 0
                                      ? o->warmup_steps
                                      : (int64_t)ceil(o->warmup_ratio * (double)total_steps),
                  .num_cycles = o->num_cycles,
                  .power = o->power,
                  .timescale = o->timescale};
    if (s.num_cycles == 0) s.num_cycles = s.kind == SCHEDULE_COSINE_WITH_RESTARTS ? 1 : 0.5;
    if (s.kind == SCHEDULE_POLYNOMIAL) s.end = share_of_peak(o, o->lr_end);
    if (s.kind == SCHEDULE_COSINE_WITH_MIN_LR)
        s.end = o->min_lr_rate > 0 ? o->min_lr_rate : share_of_peak(o, o->min_lr);
    if (s.timescale == 0) s.timescale = s.warmup_steps > 0 ? s.warmup_steps : 10000;
    return s;
}

/* done in [0,1]; transformers' cosine goes on behind the end, where no step is taken. */
static double cosine(const schedule *s, double done) {
    double wave = 0.5 * (1.0 + cos(PI * s->num_cycles * 2.0 * done));
    if (s->kind == SCHEDULE_COSINE_WITH_MIN_LR) wave = wave * (1.0 - s->end) + s->end;
    return wave > 0 ? wave : 0;
}

double schedule_multiplier(const schedule *s, int64_t step) {
    if (s->kind == SCHEDULE_CONSTANT) return 1.0;
    if (step < s->warmup_steps)
        return (double)step / (double)(s->warmup_steps > 1 ? s->warmup_steps : 1);
    int64_t span = s->total_steps - s->warmup_steps > 1 ? s->total_steps - s->warmup_steps : 1;
    double done = (double)(step - s->warmup_steps) / (double)span;
    double left = (double)(s->total_steps - step) / (double)span;
    if (done > 1) done = 1;
    if (left < 0) left = 0;
    switch (s->kind) {
    case SCHEDULE_COSINE:
    case SCHEDULE_COSINE_WITH_MIN_LR: return cosine(s, done);
    case SCHEDULE_COSINE_WITH_RESTARTS:
        return done < 1 ? 0.5 * (1.0 + cos(PI * fmod(s->num_cycles * done, 1.0))) : 0;
    case SCHEDULE_POLYNOMIAL: return (1.0 - s->end) * pow(left, s->power) + s->end;
    case SCHEDULE_INVERSE_SQRT:
        return 1.0 / sqrt((double)(step + s->timescale - s->warmup_steps) / (double)s->timescale);
    case SCHEDULE_LINEAR: return left;
    default: return 1.0; /* constant, after its warm-up */
    }
}

bool schedule_is_due(const char *strategy, int64_t every, int64_t step, bool end_of_epoch) {
    if (strcmp(strategy, "epoch") == 0) return end_of_epoch;
    return strcmp(strategy, "steps") == 0 && every > 0 && step % every == 0;
}
