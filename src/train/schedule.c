/* transformers/optimization.py: get_{linear,cosine,constant,polynomial}_schedule..., half a cosine
 * cycle. */
#include "train/schedule.h"

#include <math.h>
#include <string.h>

schedule_kind schedule_from_name(const char *name) {
    static const char *const NAMES[] = {"linear", "cosine", "constant", "constant_with_warmup",
                                        "polynomial"};
    for (int i = 0; i < 5; i++)
        if (strcmp(name, NAMES[i]) == 0) return (schedule_kind)i;
    return SCHEDULE_LINEAR;
}

double schedule_multiplier(const schedule *s, int64_t step) {
    const double pi = 3.14159265358979323846, end_rate = 1e-7;
    if (s->kind == SCHEDULE_CONSTANT) return 1.0;
    if (step < s->warmup_steps)
        return (double)step / (double)(s->warmup_steps > 1 ? s->warmup_steps : 1);
    if (s->kind == SCHEDULE_CONSTANT_WITH_WARMUP) return 1.0;
    int64_t span = s->total_steps - s->warmup_steps > 1 ? s->total_steps - s->warmup_steps : 1;
    double done = (double)(step - s->warmup_steps) / (double)span;
    double left = (double)(s->total_steps - step) / (double)span;
    if (left < 0) left = 0;
    /* transformers' cosine rises again behind the end, where no step is taken */
    if (s->kind == SCHEDULE_COSINE) return 0.5 * (1.0 + cos(pi * (done < 1 ? done : 1)));
    if (s->kind == SCHEDULE_POLYNOMIAL) {
        if (step > s->total_steps || !(s->peak > 0)) return s->peak > 0 ? end_rate / s->peak : 0.0;
        return ((s->peak - end_rate) * left + end_rate) / s->peak;
    }
    return left;
}

bool schedule_is_due(const char *strategy, int64_t every, int64_t step, bool end_of_epoch) {
    if (strcmp(strategy, "epoch") == 0) return end_of_epoch;
    return strcmp(strategy, "steps") == 0 && every > 0 && step % every == 0;
}
