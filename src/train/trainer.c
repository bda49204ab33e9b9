/* The training loop; see trainer.h. Evaluation and checkpoints of a run: trainer_steps.c. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/rng.h"
#include "train/trainer_internal.h"

/* ---- one optimizer step ---- */

/* Forward and backward of one micro-batch; adds its loss, already divided by the step's example
 * count. */
static cloze_status run_batch(trainer *t, const batch_plan *plan, int64_t i, int64_t micro,
                              int64_t n_examples, double *loss, cloze_error *err) {
    const packed_batch *views[SESSION_MAX_VIEWS];
    tape *tp = t->session->tape;
    float value = 0;
    CLOZE_TRY(session_fill(t->session, &t->encoded, plan, i, views, err));
    uint64_t key = rng_mix(
        rng_mix(rng_mix((uint64_t)t->o->seed, 0x7374657073ull), (uint64_t)t->state.global_step),
        (uint64_t)micro);
    classifier_run run = {.dropout = t->dropout, .checkpointing = t->o->gradient_checkpointing};
    cross_entropy_options ce = {.labels = views[0]->labels, .scale = 1.0f / (float)n_examples};
    tape_begin_step(tp, true, key, NULL, 0);
    var *logits = classifier_logits(tp, *t->c, views, &run);
    var *root = op_cross_entropy(tp, logits, &ce);
    CLOZE_TRY(tape_status(tp, err));
    CLOZE_TRY(tape_read(tp, root, &value, err));
    *loss += (double)value;
    if (!isfinite(value))
        CLOZE_FAIL(err, NONFINITE,
                   "the loss became %g at step %lld; try a smaller --learning_rate (now %g) or "
                   "without --bf16",
                   (double)value, (long long)t->state.global_step + 1, t->o->learning_rate);
    return tape_backward(tp, &root, NULL, 1, err);
}

static cloze_status apply_gradient(trainer *t, cloze_error *err) {
    const options *o = t->o;
    const backend *be = t->session->backend;
    double norm = 0, scale = 1;
    if (o->max_grad_norm > 0) {
        CLOZE_TRY(param_block_grad_norm(t->block, be, t->session->device, &norm, err));
        if (!isfinite(norm))
            CLOZE_FAIL(err, NONFINITE,
                       "the gradient became non-finite at step %lld; try a smaller --learning_rate "
                       "(now %g)",
                       (long long)t->state.global_step + 1, o->learning_rate);
        scale = o->max_grad_norm / (norm + 1e-6); /* torch.nn.utils.clip_grad_norm_ */
        if (scale > 1) scale = 1;
    }
    double m = schedule_multiplier(&t->schedule, t->state.global_step);
    const adamw_spec specs[2] = {
        {(float)(o->learning_rate * m), (float)o->adam_beta1, (float)o->adam_beta2,
         (float)o->adam_epsilon, (float)o->weight_decay, (float)scale, t->state.global_step + 1},
        {(float)(o->ppt_learning_rate * m), (float)o->ppt_adam_beta1, (float)o->ppt_adam_beta2,
         (float)o->ppt_adam_epsilon, (float)o->ppt_weight_decay, (float)scale,
         t->state.global_step + 1},
    };
    CLOZE_TRY(param_block_adamw(t->block, be, t->session->device, specs, err));
    param_block_zero_grad(t->block);
    return CLOZE_OK;
}

/* Batches [first, last) of the plan are one step. */
static cloze_status run_step(trainer *t, const batch_plan *plan, int64_t first, int64_t last,
                             cloze_error *err) {
    double loss = 0;
    int64_t n_examples = plan->starts[last] - plan->starts[first];
    for (int64_t i = first; i < last; i++)
        CLOZE_TRY(run_batch(t, plan, i, i - first, n_examples, &loss, err));
    CLOZE_TRY(apply_gradient(t, err));
    t->state.global_step++;
    t->loss_sum += loss;
    t->logged_loss += loss;
    t->logged_steps++;
    t->examples_done += n_examples;
    t->bar.state.loss = t->logged_loss / (double)t->logged_steps;
    t->bar.state.rate =
        t->o->learning_rate * schedule_multiplier(&t->schedule, t->state.global_step - 1);
    double elapsed = clock_seconds() - t->started;
    t->bar.state.samples_per_second = elapsed > 0 ? (double)t->examples_done / elapsed : NAN;
    progress_update(&t->bar, t->state.global_step);
    return CLOZE_OK;
}

/* ---- epochs ---- */

static cloze_status run_epoch(trainer *t, int64_t epoch, cloze_error *err) {
    batch_plan plan = {0};
    batch_options bo = {.batch_size = (int32_t)t->o->per_device_train_batch_size,
                        .drop_last = t->o->dataloader_drop_last};
    int64_t accumulate = t->o->gradient_accumulation_steps;
    CLOZE_TRY(
        batch_plan_shuffled(&t->encoded.sets[0], &bo, (uint64_t)t->o->seed, epoch, &plan, err));
    cloze_status status = CLOZE_OK;
    for (int64_t first = 0; first < plan.n_batches && status == CLOZE_OK && !trainer_done(t);
         first += accumulate) {
        int64_t last = first + accumulate < plan.n_batches ? first + accumulate : plan.n_batches;
        status = run_step(t, &plan, first, last, err);
        t->state.epoch = (double)epoch + (double)last / (double)plan.n_batches;
        if (status == CLOZE_OK) status = trainer_after_step(t, last == plan.n_batches, err);
    }
    batch_plan_deinit(&plan);
    return status;
}

bool trainer_done(const trainer *t) {
    return t->stop || t->state.global_step >= t->state.max_steps;
}

static cloze_status count_steps(trainer *t, cloze_error *err) {
    const options *o = t->o;
    int64_t n = t->encoded.n, size = o->per_device_train_batch_size;
    int64_t batches = o->dataloader_drop_last ? n / size : (n + size - 1) / size;
    if (batches == 0)
        CLOZE_FAIL(err, DATA,
                   "%lld training examples make no batch of %lld with --dataloader_drop_last",
                   (long long)n, (long long)size);
    int64_t per_epoch =
        (batches + o->gradient_accumulation_steps - 1) / o->gradient_accumulation_steps;
    t->state.max_steps =
        o->max_steps > 0 ? o->max_steps : (int64_t)ceil(o->num_train_epochs * (double)per_epoch);
    t->state.num_train_epochs =
        o->max_steps > 0 ? ceil((double)o->max_steps / (double)per_epoch) : o->num_train_epochs;
    t->schedule = (schedule){
        .kind = schedule_from_name(o->lr_scheduler_type),
        .total_steps = t->state.max_steps,
        .warmup_steps = o->warmup_steps > 0
                            ? o->warmup_steps
                            : (int64_t)ceil(o->warmup_ratio * (double)t->state.max_steps),
        .peak = o->learning_rate,
    };
    return CLOZE_OK;
}

static void announce(trainer *t) {
    const cloze_callbacks *cb = t->callbacks;
    log_line(cb, CLOZE_LOG_INFO, "***** Running training *****");
    log_line(cb, CLOZE_LOG_INFO,
             "  Num examples = %lld, batch size = %lld x %lld, total optimization steps = %lld "
             "(%.4g epochs)",
             (long long)t->encoded.n, (long long)t->o->per_device_train_batch_size,
             (long long)t->o->gradient_accumulation_steps, (long long)t->state.max_steps,
             t->state.num_train_epochs);
    log_line(cb, CLOZE_LOG_INFO, "  Trainable parameters = %lld of %lld",
             (long long)param_block_count(t->block),
             (long long)model_param_count(classifier_model(*t->c)));
    const encoded_set *set = &t->encoded.sets[0];
    if (set->n_cut_examples)
        log_line(
            cb, CLOZE_LOG_WARN,
            "%lld of %lld training texts were cut to fit --max_seq_length (%lld tokens left out)",
            (long long)set->n_cut_examples, (long long)set->n, (long long)set->n_cut_tokens);
}

static cloze_status prepare(trainer *t, const trainer_data *data, cloze_error *err) {
    const options *o = t->o;
    model *m = classifier_model(*t->c);
    t->dropout = !o->freeze_dropout;
    model_set_dropout(m, o->hidden_dropout_prob, o->attention_probs_dropout_prob);
    CLOZE_TRY(encoded_views_build(*t->c, data->train->examples, data->train->n, &t->encoded, err));
    t->state.logging_steps = o->logging_steps;
    t->state.eval_steps = o->eval_steps;
    t->state.save_steps = o->save_steps;
    t->state.train_batch_size = o->per_device_train_batch_size;
    CLOZE_TRY(count_steps(t, err));
    CLOZE_TRY(classifier_train_begin(*t->c, o->freeze_plm, &t->block, err));
    CLOZE_TRY(dir_create(o->output_dir, err));
    return events_open(&t->events, o->output_dir, err);
}

static cloze_status run(trainer *t, const trainer_data *data, cloze_error *err) {
    CLOZE_TRY(prepare(t, data, err));
    announce(t);
    t->started = clock_seconds();
    progress_begin(&t->bar, t->callbacks, "train", "step", t->state.max_steps);
    cloze_status status = CLOZE_OK;
    for (int64_t epoch = 0; status == CLOZE_OK && !trainer_done(t); epoch++)
        status = run_epoch(t, epoch, err);
    progress_end(&t->bar);
    return status == CLOZE_OK ? trainer_finish(t, err) : status;
}

cloze_status trainer_run(classifier **c, session *s, const options *o, const trainer_data *data,
                         const cloze_callbacks *callbacks, trainer_result *result,
                         cloze_error *err) {
    trainer t = {.c = c, .session = s, .o = o, .callbacks = callbacks, .data = data};
    memset(result, 0, sizeof *result);
    trainer_state_init(&t.state);
    cloze_status status = run(&t, data, err);
    result->steps = t.state.global_step;
    result->epoch = t.state.epoch;
    result->train_loss = t.state.global_step ? t.loss_sum / (double)t.state.global_step : 0;
    result->seconds = clock_seconds() - t.started;
    result->stopped_early = t.stop;
    if (status == CLOZE_OK && t.state.best_model_checkpoint)
        result->best_checkpoint = mem_strdup(t.state.best_model_checkpoint);
    events_close(&t.events);
    encoded_views_deinit(&t.encoded);
    trainer_state_deinit(&t.state);
    return status;
}
