/* Steps and their gradients; see train_step.h. */
#include "train/train_step.h"

#include <math.h>

#include "base/rng.h"

/* ---- how many ---- */

cloze_status step_count_make(const options *o, int64_t n, step_count *out, cloze_error *err) {
    int64_t size = o->per_device_train_batch_size, accumulate = o->gradient_accumulation_steps;
    int64_t batches = o->dataloader_drop_last ? n / size : (n + size - 1) / size;
    if (batches == 0)
        CLOZE_FAIL(err, DATA,
                   "%lld training examples make no batch of %lld with --dataloader_drop_last",
                   (long long)n, (long long)size);
    double per_epoch = (double)((batches + accumulate - 1) / accumulate);
    bool by_steps = o->max_steps > 0;
    *out = (step_count){
        .n_batches = batches,
        .max_steps = by_steps ? o->max_steps : (int64_t)ceil(o->num_train_epochs * per_epoch),
        .num_train_epochs = by_steps ? ceil((double)o->max_steps / per_epoch) : o->num_train_epochs,
    };
    return CLOZE_OK;
}

cloze_status step_plan(const options *o, const encoded_set *set, int64_t epoch, batch_plan *out,
                       cloze_error *err) {
    batch_options bo = {.batch_size = (int32_t)o->per_device_train_batch_size,
                        .drop_last = o->dataloader_drop_last};
    int64_t seed = o->data_seed >= 0 ? o->data_seed : o->seed;
    return batch_plan_shuffled(set, &bo, (uint64_t)seed, epoch, out, err);
}

/* ---- one step ---- */

step_settings step_settings_make(const options *o, const float *class_weights) {
    return (step_settings){.loss = {.label_smoothing = (float)o->label_smoothing_factor,
                                    .class_weights = class_weights,
                                    .rdrop = o->use_rdrop,
                                    .alpha_rdrop = (float)o->alpha_rdrop},
                           .dropout = !o->freeze_dropout,
                           .checkpointing = o->gradient_checkpointing,
                           .seed = (uint64_t)o->seed,
                           .learning_rate = o->learning_rate};
}

/* Forward and backward of one micro-batch; adds its part of the step's loss. */
static cloze_status run_batch(session *s, classifier *c, const packed_batch *const views[],
                              const step_settings *settings, uint64_t key, double step_weight,
                              int64_t step, double *loss, cloze_error *err) {
    tape *tp = s->tape;
    float value = 0;
    classifier_run run = {.dropout = settings->dropout, .checkpointing = settings->checkpointing};
    tape_begin_step(tp, true, key, NULL, 0);
    var *logits = classifier_logits(tp, c, views, &run), *again = NULL;
    run.pass = 1;
    if (settings->loss.rdrop) again = classifier_logits(tp, c, views, &run);
    var *root = loss_from_logits(tp, &settings->loss, logits, again, views[0]->labels, step_weight);
    CLOZE_TRY(tape_status(tp, err));
    CLOZE_TRY(tape_read(tp, root, &value, err));
    *loss += (double)value;
    if (!isfinite(value) && step == 0) /* before any step: were the weights read like that? */
        CLOZE_TRY(model_check_finite(classifier_model(c), err));
    if (!isfinite(value))
        CLOZE_FAIL(err, NONFINITE,
                   "the loss became %g at step %lld; try a smaller --learning_rate (now %g) or "
                   "without --bf16",
                   (double)value, (long long)step + 1, settings->learning_rate);
    return tape_backward(tp, &root, NULL, 1, err);
}

cloze_status step_gradients(session *s, classifier *c, const encoded_views *encoded,
                            const step_settings *settings, const batch_plan *plan, int64_t first,
                            int64_t last, int64_t step, double *loss, cloze_error *err) {
    const packed_batch *views[SESSION_MAX_VIEWS];
    double step_weight = 0;
    uint64_t key = rng_mix(rng_mix(settings->seed, 0x7374657073ull), (uint64_t)step);
    for (int64_t i = plan->starts[first]; i < plan->starts[last]; i++)
        step_weight += loss_weight(&settings->loss, &encoded->sets[0].labels[plan->order[i]], 1);
    *loss = 0;
    for (int64_t i = first; i < last; i++) {
        CLOZE_TRY(session_fill(s, encoded, plan, i, views, err));
        CLOZE_TRY(run_batch(s, c, views, settings, rng_mix(key, (uint64_t)(i - first)), step_weight,
                            step, loss, err));
    }
    return CLOZE_OK;
}
