/* The training loop; see trainer.h. Evaluation and checkpoints of a run: trainer_steps.c. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/hash.h"
#include "base/rng.h"
#include "base/system_memory.h"
#include "train/forecast.h"
#include "train/trainer_internal.h"

/* ---- one optimizer step ---- */

/* Batches [first, last) of the plan are one step. */
static cloze_status run_step(trainer *t, const batch_plan *plan, int64_t first, int64_t last,
                             cloze_error *err) {
    double loss;
    CLOZE_TRY(step_gradients(t->session, *t->c, &t->encoded, &t->settings, plan, first, last,
                             t->loop.state.global_step, &loss, err));
    return train_loop_step(&t->loop, loss, plan->starts[last] - plan->starts[first], err);
}

/* ---- epochs ---- */

/* The rest of the pass over the data that the state is in. */
static cloze_status run_epoch(trainer *t, cloze_error *err) {
    batch_plan plan = {0};
    int64_t accumulate = t->o->gradient_accumulation_steps;
    trainer_state *s = &t->loop.state;
    CLOZE_TRY(step_plan(t->o, &t->encoded.sets[0], s->data_epoch, &plan, err));
    cloze_status status = CLOZE_OK;
    while (s->data_position < plan.n_batches && status == CLOZE_OK && !trainer_done(t)) {
        int64_t first = s->data_position, last = first + accumulate;
        if (last > plan.n_batches) last = plan.n_batches;
        status = run_step(t, &plan, first, last, err);
        if (status != CLOZE_OK) break;
        s->data_position = last;
        s->epoch = (double)s->data_epoch + (double)last / (double)plan.n_batches;
        status = trainer_after_step(t, last == plan.n_batches, err);
    }
    batch_plan_deinit(&plan);
    return status;
}

bool trainer_done(const trainer *t) {
    return t->stop || t->loop.state.global_step >= t->loop.state.max_steps;
}

/* "news_car=汽车, ...": words that nobody gave are the labels themselves, and seldom good ones. */
static void announce_words(const trainer *t) {
    const label_set *labels = classifier_labels(*t->c);
    const int32_t shown = labels->n < 6 ? labels->n : 6;
    buf b;
    if (classifier_get_method(*t->c) != METHOD_PROMPT) return;
    buf_init(&b, 65536);
    for (int32_t i = 0; i < shown; i++)
        buf_printf(&b, "%s%s=%s", i ? ", " : "", labels->entries[i].name,
                   labels->entries[i].words[0]);
    if (buf_ok(&b))
        log_line(t->callbacks, CLOZE_LOG_INFO, "  Label words: %s%s", b.data,
                 shown < labels->n ? ", ..." : "");
    buf_deinit(&b);
}

static void announce(trainer *t) {
    const cloze_callbacks *cb = t->callbacks;
    log_line(cb, CLOZE_LOG_INFO, "***** Running training *****");
    log_line(cb, CLOZE_LOG_INFO,
             "  Num examples = %lld, batch size = %lld x %lld, optimization steps = %lld "
             "(%.4g epochs)",
             (long long)t->encoded.n, (long long)t->o->per_device_train_batch_size,
             (long long)t->o->gradient_accumulation_steps, (long long)t->loop.state.max_steps,
             t->loop.state.num_train_epochs);
    log_line(cb, CLOZE_LOG_INFO, "  Trainable parameters = %lld; the model has %lld",
             (long long)param_block_count(t->loop.block),
             (long long)model_param_count(classifier_model(*t->c)));
    announce_words(t);
    const encoded_set *set = &t->encoded.sets[0];
    if (set->n_cut_examples)
        log_line(
            cb, CLOZE_LOG_WARN,
            "%lld of %lld training texts were cut to fit --max_seq_length (%lld tokens left out)",
            (long long)set->n_cut_examples, (long long)set->n, (long long)set->n_cut_tokens);
}

/* Of everything in a data set that training looks at, in order. */
static uint64_t hash_data(const dataset *data, const label_set *labels) {
    uint64_t hash = rng_mix(0x636c6f7a65ull, (uint64_t)data->n);
    for (int64_t i = 0; i < data->n; i++) {
        const example *e = &data->examples[i];
        hash = rng_mix(hash, hash_bytes(e->text, e->text_len));
        if (e->text_b) hash = rng_mix(hash, hash_bytes(e->text_b, e->text_b_len));
        hash = rng_mix(hash, (uint64_t)e->label);
    }
    for (int32_t i = 0; i < labels->n; i++) {
        const label_entry *l = &labels->entries[i];
        hash = rng_mix_string(hash, l->name);
        for (int32_t k = 0; k < l->n_words; k++) hash = rng_mix_string(hash, l->words[k]);
    }
    return hash;
}

/* A run that does not fit is told before the machine swaps or the kernel ends it. */
static cloze_status warn_of_memory(const trainer *t, const step_count *steps, cloze_error *err) {
    const options *o = t->o;
    int64_t tokens, available = system_memory_available();
    CLOZE_TRY(forecast_largest_batch(
        o, &t->encoded, steps->max_steps * o->gradient_accumulation_steps, &tokens, err));
    int64_t need =
        forecast_count(t->loop.block, model_get_config(classifier_model(*t->c)), o, tokens);
    if (available >= 0 && need > available)
        log_line(t->callbacks, CLOZE_LOG_WARN,
                 "training takes about %.1f GB more memory and %.1f GB are free; "
                 "--gradient_checkpointing, --bf16 or a smaller --per_device_train_batch_size with "
                 "--gradient_accumulation_steps need less",
                 (double)need / 1e9, (double)available / 1e9);
    return CLOZE_OK;
}

static cloze_status save_classifier(void *c, const char *dir, cloze_error *err) {
    return classifier_save(*(classifier **)c, dir, err);
}

/* R-Drop compares two passes, which are one where nothing is dropped. */
static void tell_of_missing_dropout(const trainer *t) {
    const model_config *c = model_get_config(classifier_model(*t->c));
    const options *o = t->o;
    double hidden = o->hidden_dropout_prob < 0 ? c->hidden_dropout_prob : o->hidden_dropout_prob,
           attention = o->attention_probs_dropout_prob < 0 ? c->attention_probs_dropout_prob
                                                           : o->attention_probs_dropout_prob;
    if (!o->use_rdrop || hidden > 0 || attention > 0) return;
    log_line(t->callbacks, CLOZE_LOG_WARN,
             "--use_rdrop takes twice the time and changes nothing: this model has no dropout; add "
             "--hidden_dropout_prob 0.1");
}

static cloze_status prepare(trainer *t, cloze_error *err) {
    const options *o = t->o;
    const dataset *train = t->data->train, *dev = t->data->dev;
    step_count count;
    model *m = classifier_model(*t->c);
    model_set_dropout(m, o->hidden_dropout_prob, o->attention_probs_dropout_prob);
    t->settings = step_settings_make(o, t->data->class_weights);
    tell_of_missing_dropout(t);
    CLOZE_TRY(encoded_views_build(*t->c, train->examples, train->n, &t->encoded, err));
    CLOZE_TRY(step_count_make(o, train->n, &count, err));
    t->n_batches = count.n_batches;
    t->loop.state.train_batch_size = o->per_device_train_batch_size;
    train_loop_plan(&t->loop, count.max_steps, count.num_train_epochs);
    CLOZE_TRY(classifier_train_begin(*t->c, o->freeze_plm, &t->loop.block, err));
    CLOZE_TRY(warn_of_memory(t, &count, err));
    t->loop.state.train_hash = hash_data(train, classifier_labels(*t->c));
    if (dev) t->loop.state.dev_hash = hash_data(dev, classifier_labels(*t->c));
    t->loop.data_length = t->n_batches;
    CLOZE_TRY(train_loop_begin(&t->loop, t->data->resume, err));
    t->stop = trainer_lost_patience(t);
    return CLOZE_OK;
}

static cloze_status run(trainer *t, cloze_error *err) {
    trainer_state *s = &t->loop.state;
    CLOZE_TRY(prepare(t, err));
    announce(t);
    train_loop_start(&t->loop, "train");
    cloze_status status = CLOZE_OK;
    if (t->data->resume) status = trainer_after_step(t, s->data_position == t->n_batches, err);
    while (status == CLOZE_OK && !trainer_done(t)) {
        status = run_epoch(t, err);
        if (s->data_position < t->n_batches) continue;
        s->data_epoch++;
        s->data_position = 0;
    }
    progress_end(&t->loop.bar);
    return status == CLOZE_OK ? trainer_finish(t, err) : status;
}

cloze_status trainer_run(classifier **c, session *s, const options *o, const trainer_data *data,
                         const cloze_callbacks *callbacks, trainer_result *result,
                         cloze_error *err) {
    trainer t = {.c = c, .session = s, .o = o, .callbacks = callbacks, .data = data};
    t.loop = (train_loop){
        .o = o, .callbacks = callbacks, .session = s, .save_model = save_classifier, .model = c};
    memset(result, 0, sizeof *result);
    train_loop_init(&t.loop);
    const trainer_state *end = &t.loop.state;
    cloze_status status = run(&t, err);
    if (status == CLOZE_ERR_NONFINITE) train_loop_tell_last_good(&t.loop, status, err);
    result->steps = end->global_step;
    result->epoch = end->epoch;
    result->train_loss = end->global_step ? end->loss_sum / (double)end->global_step : 0;
    result->seconds = train_loop_seconds(&t.loop);
    result->stopped_early = t.stop;
    if (status == CLOZE_OK && end->best_model_checkpoint)
        result->best_checkpoint = mem_strdup(end->best_model_checkpoint);
    encoded_views_deinit(&t.encoded);
    train_loop_deinit(&t.loop);
    return status;
}
