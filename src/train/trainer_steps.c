/* What happens between steps: logging, evaluation, checkpoints, early stopping, the best model. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "train/checkpoint.h"
#include "train/trainer_internal.h"

/* ---- evaluation ---- */

static int32_t *labels_of(const dataset *data) {
    int32_t *labels = mem_calloc((size_t)data->n + 1, sizeof *labels);
    for (int64_t i = 0; labels && i < data->n; i++) labels[i] = data->examples[i].label;
    return labels;
}

static cloze_status evaluate(classifier *c, session *s, const dataset *data, int32_t batch_size,
                             const char *task, const cloze_callbacks *cb,
                             const encoded_views *encoded, float *logits, const int32_t *labels,
                             metrics *m, cloze_error *err) {
    progress bar;
    double started = clock_seconds();
    progress_begin(&bar, cb, task, "example", data->n);
    cloze_status status = session_predict(s, c, encoded, batch_size, logits, &bar, err);
    progress_end(&bar);
    if (status != CLOZE_OK) return status;
    CLOZE_TRY(metrics_compute(logits, labels, data->n, classifier_labels(c)->n, m, err));
    m->seconds = clock_seconds() - started;
    return CLOZE_OK;
}

cloze_status trainer_evaluate(classifier *c, session *s, const dataset *data, int32_t batch_size,
                              const char *task, const cloze_callbacks *cb, metrics *m,
                              float **logits_out, cloze_error *err) {
    encoded_views encoded = {0};
    CLOZE_TRY(encoded_views_build(c, data->examples, data->n, &encoded, err));
    float *logits = mem_calloc((size_t)data->n * (size_t)classifier_labels(c)->n, sizeof *logits);
    int32_t *labels = labels_of(data);
    cloze_status status =
        logits && labels
            ? evaluate(c, s, data, batch_size, task, cb, &encoded, logits, labels, m, err)
            : error_set(err, CLOZE_ERR_MEMORY, "out of memory for %lld examples",
                        (long long)data->n);
    encoded_views_deinit(&encoded);
    mem_free(labels);
    if (status == CLOZE_OK && logits_out)
        *logits_out = logits;
    else
        mem_free(logits);
    return status;
}

/* ---- checkpoints ---- */

static cloze_status save(trainer *t, cloze_error *err) {
    if (t->saved_step == t->state.global_step) return CLOZE_OK;
    checkpoint_source source = {*t->c, t->block, &t->state, t->o};
    CLOZE_TRY(checkpoint_save(&source, t->o->output_dir, err));
    t->saved_step = t->state.global_step;
    log_line(t->callbacks, CLOZE_LOG_INFO, "Saving model checkpoint to %s/checkpoint-%lld",
             t->o->output_dir, (long long)t->saved_step);
    if (t->o->save_total_limit > 0)
        return checkpoint_prune(t->o->output_dir, t->o->save_total_limit, t->saved_step,
                                t->state.best_model_checkpoint, err);
    return CLOZE_OK;
}

static bool smaller_is_better(const trainer *t) {
    return strstr(t->o->metric_for_best_model, "loss") != NULL;
}

/* Remembers the best evaluation and its checkpoint; a superseded one that nobody asked to keep
 * goes. */
static cloze_status note_best(trainer *t, double value, cloze_error *err) {
    double sign = smaller_is_better(t) ? -1 : 1;
    bool first = isnan(t->state.best_metric);
    bool better = first || sign * (value - t->state.best_metric) > 0;
    bool gained = first || sign * (value - t->state.best_metric) > t->o->early_stopping_threshold;
    t->state.evaluations_without_gain = gained ? 0 : t->state.evaluations_without_gain + 1;
    if (t->o->early_stop && t->state.evaluations_without_gain >= t->o->early_stopping_patience)
        t->stop = true;
    if (!better) return CLOZE_OK;
    t->state.best_metric = value;
    if (!t->o->load_best_model_at_end) return CLOZE_OK;
    char *old = t->state.best_model_checkpoint, name[64];
    snprintf(name, sizeof name, "checkpoint-%lld", (long long)t->state.global_step);
    t->state.best_model_checkpoint = path_join(t->o->output_dir, name);
    if (!t->state.best_model_checkpoint) {
        t->state.best_model_checkpoint = old;
        CLOZE_FAIL(err, MEMORY, "out of memory");
    }
    cloze_status status = save(t, err);
    if (status == CLOZE_OK && old && !checkpoint_is_scheduled(t->o, old))
        status = dir_remove(old, err);
    mem_free(old);
    return status;
}

static void log_metrics(trainer *t, const metrics *m) {
    buf b;
    buf_init(&b, 1 << 16);
    metrics_write_json(m, "eval", classifier_labels(*t->c),
                       (int32_t)t->o->per_device_eval_batch_size, false, &b);
    trainer_state_log(&t->state, &b);
    buf_deinit(&b);
    log_line(t->callbacks, CLOZE_LOG_INFO,
             "step %lld: eval_loss %.4f, eval_accuracy %.4f, eval_macro_f1 %.4f (epoch %.2f)",
             (long long)t->state.global_step, m->loss, m->accuracy, m->macro_f1, t->state.epoch);
    events_scalar(&t->events, "eval/loss", t->state.global_step, m->loss);
    events_scalar(&t->events, "eval/accuracy", t->state.global_step, m->accuracy);
    events_scalar(&t->events, "eval/macro_f1", t->state.global_step, m->macro_f1);
}

static cloze_status evaluate_now(trainer *t, cloze_error *err) {
    metrics m;
    double value = 0;
    if (t->evaluated_step == t->state.global_step) return CLOZE_OK;
    t->evaluated_step = t->state.global_step;
    CLOZE_TRY(trainer_evaluate(*t->c, t->session, t->data->dev,
                               (int32_t)t->o->per_device_eval_batch_size, "eval", t->callbacks, &m,
                               NULL, err));
    log_metrics(t, &m);
    cloze_status status = CLOZE_OK;
    if (metrics_get(&m, t->o->metric_for_best_model, &value)) status = note_best(t, value, err);
    metrics_deinit(&m);
    return status;
}

/* ---- after each step ---- */

static void log_now(trainer *t) {
    double loss = t->logged_loss / (double)t->logged_steps;
    double rate = t->o->learning_rate * schedule_multiplier(&t->schedule, t->state.global_step);
    buf b;
    buf_init(&b, 4096);
    buf_puts(&b, "\"learning_rate\": ");
    buf_json_double(&b, rate);
    buf_puts(&b, ",\n      \"loss\": ");
    buf_json_double(&b, loss);
    trainer_state_log(&t->state, &b);
    buf_deinit(&b);
    log_line(t->callbacks, CLOZE_LOG_INFO, "step %lld: loss %.4f, learning_rate %.3g (epoch %.2f)",
             (long long)t->state.global_step, loss, rate, t->state.epoch);
    events_scalar(&t->events, "train/loss", t->state.global_step, loss);
    events_scalar(&t->events, "train/learning_rate", t->state.global_step, rate);
    t->logged_loss = 0;
    t->logged_steps = 0;
}

cloze_status trainer_after_step(trainer *t, bool end_of_epoch, cloze_error *err) {
    const options *o = t->o;
    int64_t step = t->state.global_step;
    bool last = step >= t->state.max_steps, interrupted = false;
    if (step % o->logging_steps == 0 || (step == 1 && o->logging_first_step)) log_now(t);
    if (t->data->dev &&
        (schedule_is_due(o->evaluation_strategy, o->eval_steps, step, end_of_epoch) ||
         (last && o->load_best_model_at_end))) {
        cloze_status status = evaluate_now(t, err);
        interrupted = status == CLOZE_ERR_INTERRUPTED;
        if (!interrupted) CLOZE_TRY(status);
    }
    if (schedule_is_due(o->save_strategy, o->save_steps, step, end_of_epoch))
        CLOZE_TRY(save(t, err));
    if (interrupted || (!last && log_interrupted(t->callbacks))) {
        CLOZE_TRY(save(t, err));
        CLOZE_FAIL(err, INTERRUPTED, "interrupted at step %lld; %s/checkpoint-%lld was written",
                   (long long)step, o->output_dir, (long long)step);
    }
    return CLOZE_OK;
}

/* ---- the end ---- */

static cloze_status load_best(trainer *t, cloze_error *err) {
    const classifier_options *now = classifier_get_options(*t->c);
    classifier_options o = {.do_lower_case = -1, .callbacks = now->callbacks};
    classifier *best = NULL;
    CLOZE_TRY(classifier_open(t->state.best_model_checkpoint, &o, &best, err));
    log_line(t->callbacks, CLOZE_LOG_INFO, "Loading the best model from %s (%s %.4f)",
             t->state.best_model_checkpoint, t->o->metric_for_best_model, t->state.best_metric);
    classifier_destroy(*t->c);
    *t->c = best;
    t->block = NULL;
    return CLOZE_OK;
}

cloze_status trainer_finish(trainer *t, cloze_error *err) {
    if (t->logged_steps > 0 && t->state.global_step > 0) log_now(t);
    CLOZE_TRY(trainer_state_write(&t->state, t->o->output_dir, err));
    if (t->o->load_best_model_at_end && t->state.best_model_checkpoint) return load_best(t, err);
    return CLOZE_OK;
}
