/* What happens between steps: logging, evaluation, checkpoints, early stopping, the best model. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
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
    m->cut_examples = encoded->sets[0].n_cut_examples;
    m->cut_tokens = encoded->sets[0].n_cut_tokens;
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

/* ---- the best ---- */

static bool smaller_is_better(const trainer *t) {
    if (OPTION_IS_SET(t->o, greater_is_better)) return !t->o->greater_is_better;
    return strstr(t->o->metric_for_best_model, "loss") != NULL;
}

bool trainer_lost_patience(const trainer *t) {
    return t->o->early_stop &&
           t->loop.state.evaluations_without_gain >= t->o->early_stopping_patience;
}

/* Keeps this step's checkpoint as the best; a superseded one that nobody asked to keep goes. */
static cloze_status save_best(trainer *t, cloze_error *err) {
    trainer_state *s = &t->loop.state;
    char *old = s->best_model_checkpoint, name[64];
    snprintf(name, sizeof name, "checkpoint-%lld", (long long)s->global_step);
    s->best_model_checkpoint = path_join(t->o->output_dir, name);
    if (!s->best_model_checkpoint) {
        s->best_model_checkpoint = old;
        CLOZE_FAIL(err, MEMORY, "out of memory");
    }
    cloze_status status = train_loop_save(&t->loop, err);
    if (status == CLOZE_OK && old && file_is_dir(old) && !checkpoint_is_scheduled(t->o, old) &&
        checkpoint_is_within(old, t->o->output_dir))
        status = checkpoint_remove(old, err);
    mem_free(old);
    return status;
}

static cloze_status note_best(trainer *t, double value, cloze_error *err) {
    trainer_state *s = &t->loop.state;
    bool first = isnan(s->best_metric);
    double gain = (smaller_is_better(t) ? -1 : 1) * (value - s->best_metric);
    bool gained = first || gain > t->o->early_stopping_threshold;
    s->evaluations_without_gain = gained ? 0 : s->evaluations_without_gain + 1;
    t->stop = trainer_lost_patience(t);
    if (!first && !(gain > 0)) return CLOZE_OK;
    s->best_metric = value;
    return t->o->load_best_model_at_end ? save_best(t, err) : CLOZE_OK;
}

static void put_metric_events(trainer *t, const metrics *m) {
    static const char *const NAMES[] = {"loss", "accuracy", "macro_f1", "micro_f1"};
    events_file *events = &t->loop.events;
    int64_t step = t->loop.state.global_step;
    for (size_t i = 0; i < sizeof NAMES / sizeof *NAMES; i++) {
        char tag[32];
        double value = 0;
        snprintf(tag, sizeof tag, "eval/%s", NAMES[i]);
        if (metrics_get(m, NAMES[i], &value)) events_scalar(events, tag, step, value);
    }
    double seconds = m->seconds > 0 ? m->seconds : 1e-9;
    events_scalar(events, "eval/runtime", step, m->seconds);
    events_scalar(events, "eval/samples_per_second", step, (double)m->n / seconds);
}

static void log_metrics(trainer *t, const metrics *m) {
    buf b;
    trainer_state *s = &t->loop.state;
    buf_init(&b, 1 << 16);
    metrics_write_log(m, "eval", (int32_t)t->o->per_device_eval_batch_size, &b);
    trainer_state_log(s, &b);
    buf_deinit(&b);
    log_line(t->callbacks, CLOZE_LOG_INFO,
             "step %lld: eval_loss %.4f, eval_accuracy %.4f, eval_macro_f1 %.4f (epoch %.2f)",
             (long long)s->global_step, m->loss, m->accuracy, m->macro_f1, s->epoch);
    put_metric_events(t, m);
}

static cloze_status evaluate_now(trainer *t, cloze_error *err) {
    metrics m;
    double value = 0;
    if (!train_loop_is_unevaluated(&t->loop)) return CLOZE_OK;
    CLOZE_TRY(trainer_evaluate(*t->c, t->session, t->data->dev,
                               (int32_t)t->o->per_device_eval_batch_size, "eval", t->callbacks, &m,
                               NULL, err));
    train_loop_note_evaluation(&t->loop);
    log_metrics(t, &m);
    cloze_status status = CLOZE_OK;
    if (metrics_get(&m, t->o->metric_for_best_model, &value)) status = note_best(t, value, err);
    metrics_deinit(&m);
    return status;
}

/* ---- after each step ---- */

static bool evaluation_is_due(const trainer *t, bool end_of_epoch) {
    const trainer_state *s = &t->loop.state;
    const options *o = t->o;
    bool by_epoch = strcmp(o->evaluation_strategy, "epoch") == 0;
    double stands = by_epoch ? s->epoch : (double)s->global_step;
    if (!t->data->dev) return false;
    return (stands >= o->eval_delay &&
            schedule_is_due(o->evaluation_strategy, o->eval_steps, s->global_step, end_of_epoch)) ||
           (s->global_step >= s->max_steps && o->load_best_model_at_end);
}

cloze_status trainer_after_step(trainer *t, bool end_of_epoch, cloze_error *err) {
    const options *o = t->o;
    train_loop *l = &t->loop;
    bool last = l->state.global_step >= l->state.max_steps, interrupted = false;
    if (train_loop_logs_now(l, end_of_epoch)) train_loop_log_loss(l, "");
    if (evaluation_is_due(t, end_of_epoch)) {
        cloze_status status = evaluate_now(t, err);
        interrupted = status == CLOZE_ERR_INTERRUPTED;
        if (!interrupted) CLOZE_TRY(status);
    }
    if (schedule_is_due(o->save_strategy, o->save_steps, l->state.global_step, end_of_epoch))
        CLOZE_TRY(train_loop_save(l, err));
    if (interrupted || (!last && log_interrupted(t->callbacks)))
        return train_loop_interrupt(l, err);
    return CLOZE_OK;
}

/* ---- the end ---- */

static cloze_status load_best(trainer *t, cloze_error *err) {
    const classifier_options *now = classifier_get_options(*t->c);
    classifier_options o = {.do_lower_case = -1, .callbacks = now->callbacks};
    classifier *best = NULL;
    CLOZE_TRY(classifier_open(t->loop.state.best_model_checkpoint, &o, &best, err));
    log_line(t->callbacks, CLOZE_LOG_INFO, "Loading the best model from %s (%s %.4f)",
             t->loop.state.best_model_checkpoint, t->o->metric_for_best_model,
             t->loop.state.best_metric);
    classifier_destroy(*t->c);
    *t->c = best;
    t->loop.block = NULL;
    return CLOZE_OK;
}

cloze_status trainer_finish(trainer *t, cloze_error *err) {
    train_loop_log_loss(&t->loop, "");
    CLOZE_TRY(train_loop_check_weights(&t->loop, err));
    CLOZE_TRY(train_loop_prune(&t->loop, err));
    CLOZE_TRY(trainer_state_write(&t->loop.state, t->o->output_dir, err));
    if (!t->o->load_best_model_at_end || !t->loop.state.best_model_checkpoint) return CLOZE_OK;
    return load_best(t, err);
}
