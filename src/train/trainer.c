/* The training loop; see trainer.h. Evaluation and checkpoints of a run: trainer_steps.c. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/hash.h"
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
    uint64_t key = rng_mix(rng_mix(rng_mix((uint64_t)t->o->seed, 0x7374657073ull),
                                   (uint64_t)t->loop.state.global_step),
                           (uint64_t)micro);
    classifier_run run = {.dropout = t->dropout, .checkpointing = t->o->gradient_checkpointing};
    cross_entropy_options ce = {.labels = views[0]->labels, .scale = 1.0f / (float)n_examples};
    tape_begin_step(tp, true, key, NULL, 0);
    var *logits = classifier_logits(tp, *t->c, views, &run);
    var *root = op_cross_entropy(tp, logits, &ce);
    CLOZE_TRY(tape_status(tp, err));
    CLOZE_TRY(tape_read(tp, root, &value, err));
    *loss += (double)value;
    if (!isfinite(value) && t->loop.state.global_step == 0) /* before any step: read like that? */
        CLOZE_TRY(model_check_finite(classifier_model(*t->c), err));
    if (!isfinite(value))
        CLOZE_FAIL(err, NONFINITE,
                   "the loss became %g at step %lld; try a smaller --learning_rate (now %g) or "
                   "without --bf16",
                   (double)value, (long long)t->loop.state.global_step + 1, t->o->learning_rate);
    return tape_backward(tp, &root, NULL, 1, err);
}

/* Batches [first, last) of the plan are one step. */
static cloze_status run_step(trainer *t, const batch_plan *plan, int64_t first, int64_t last,
                             cloze_error *err) {
    double loss = 0;
    int64_t n_examples = plan->starts[last] - plan->starts[first];
    for (int64_t i = first; i < last; i++)
        CLOZE_TRY(run_batch(t, plan, i, i - first, n_examples, &loss, err));
    return train_loop_step(&t->loop, loss, n_examples, err);
}

/* ---- epochs ---- */

/* The rest of the pass over the data that the state is in. */
static cloze_status run_epoch(trainer *t, cloze_error *err) {
    batch_plan plan = {0};
    batch_options bo = {.batch_size = (int32_t)t->o->per_device_train_batch_size,
                        .drop_last = t->o->dataloader_drop_last};
    int64_t accumulate = t->o->gradient_accumulation_steps;
    trainer_state *s = &t->loop.state;
    CLOZE_TRY(batch_plan_shuffled(&t->encoded.sets[0], &bo, (uint64_t)t->o->seed, s->data_epoch,
                                  &plan, err));
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
    int64_t max_steps =
        o->max_steps > 0 ? o->max_steps : (int64_t)ceil(o->num_train_epochs * (double)per_epoch);
    double epochs =
        o->max_steps > 0 ? ceil((double)o->max_steps / (double)per_epoch) : o->num_train_epochs;
    t->n_batches = batches;
    t->loop.state.train_batch_size = size;
    train_loop_plan(&t->loop, max_steps, epochs);
    return CLOZE_OK;
}

static void announce(trainer *t) {
    const cloze_callbacks *cb = t->callbacks;
    log_line(cb, CLOZE_LOG_INFO, "***** Running training *****");
    log_line(cb, CLOZE_LOG_INFO,
             "  Num examples = %lld, batch size = %lld x %lld, total optimization steps = %lld "
             "(%.4g epochs)",
             (long long)t->encoded.n, (long long)t->o->per_device_train_batch_size,
             (long long)t->o->gradient_accumulation_steps, (long long)t->loop.state.max_steps,
             t->loop.state.num_train_epochs);
    log_line(cb, CLOZE_LOG_INFO, "  Trainable parameters = %lld of %lld",
             (long long)param_block_count(t->loop.block),
             (long long)model_param_count(classifier_model(*t->c)));
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

static cloze_status save_classifier(void *c, const char *dir, cloze_error *err) {
    return classifier_save(*(classifier **)c, dir, err);
}

static cloze_status prepare(trainer *t, cloze_error *err) {
    const options *o = t->o;
    const dataset *train = t->data->train, *dev = t->data->dev;
    model *m = classifier_model(*t->c);
    t->dropout = !o->freeze_dropout;
    model_set_dropout(m, o->hidden_dropout_prob, o->attention_probs_dropout_prob);
    CLOZE_TRY(encoded_views_build(*t->c, train->examples, train->n, &t->encoded, err));
    CLOZE_TRY(count_steps(t, err));
    CLOZE_TRY(classifier_train_begin(*t->c, o->freeze_plm, &t->loop.block, err));
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
