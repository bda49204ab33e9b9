/* Forecasts of training runs; see forecast.h. */
#include "train/forecast.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "base/system_memory.h"
#include "train/optimizer.h"
#include "train/schedule.h"

#define PAGE_BYTES 4096
#define PROBE_LAYERS 4 /* of the larger probe; the smaller has one */
#define PROBE_REPEATS 3
#define PLANNED_EPOCHS 8         /* that are looked at for the largest batch, */
#define PLANNED_EXAMPLES 1000000 /* and no more than so many examples */

/* ---- counting ---- */

/* Bytes of the pages that the marked rows of an array of `cols` floats a row lie on: what one of
 * the row-lazy arrays costs. */
static int64_t page_bytes(const uint8_t *marked, int64_t rows, int64_t cols) {
    int64_t pages = 0, next = 0; /* the first page that is not counted yet */
    for (int64_t r = 0; r < rows; r++) {
        if (!marked[r]) continue;
        int64_t begin = r * cols * 4 / PAGE_BYTES, end = ((r + 1) * cols * 4 - 1) / PAGE_BYTES + 1;
        if (begin < next) begin = next;
        if (end > begin) pages += end - begin;
        if (end > next) next = end;
    }
    return pages * PAGE_BYTES;
}

/* Sizes that grow by the same amount with each layer. */
typedef struct sizes {
    double parameters, trainable;
    double weights, gradients, lazy; /* bytes; lazy: of one array of a row-lazy parameter */
    double casts, activations;
    double micro_batch, optimizer, evaluation; /* seconds */
} sizes;

/* To n layers, from what a has and, with more, b; never less than b. */
static sizes extend(const sizes *a, int64_t layers_a, const sizes *b, int64_t layers_b, int64_t n) {
    sizes out = *a;
    const double *x = (const double *)a, *y = (const double *)b;
    for (size_t i = 0; i < sizeof out / sizeof(double); i++) {
        double each = (y[i] - x[i]) / (double)(layers_b - layers_a);
        ((double *)&out)[i] = fmax(y[i], x[i] + each * (double)(n - layers_a));
    }
    return out;
}

static void count_block(const param_block *block, sizes *s) {
    param *const *params;
    int n = param_block_params(block, &params);
    s->trainable = (double)param_block_count(block);
    for (int i = 0; i < n; i++) {
        const param *p = params[i];
        double bytes = 4.0 * (double)p->w.t.rows * (double)p->w.t.cols;
        s->weights += bytes;
        if (p->row_state)
            s->lazy += (double)page_bytes(p->row_state, p->w.t.rows, p->w.t.cols);
        else
            s->gradients += bytes;
    }
}

/* Bytes of the parameters that are not trained. */
static double count_frozen(classifier *c) {
    const nn_state *s = model_get_state(classifier_model(c));
    double bytes = 0;
    for (int i = 0; i < s->n_params; i++) {
        const tensor *t = &s->params[i]->w.t;
        if (!s->params[i]->requires_grad)
            bytes += (double)(t->rows * t->cols) * (double)dtype_size(t->dtype);
    }
    return bytes;
}

/* The bf16 copy that products have of every trained matrix but the embeddings. */
static double count_casts(const param_block *block, const options *o) {
    param *const *params;
    int n = param_block_params(block, &params);
    double bytes = 0;
    for (int i = 0; o->bf16 && i < n; i++)
        if (!params[i]->row_state && params[i]->rank == 2)
            bytes += 2.0 * (double)params[i]->w.t.rows * (double)params[i]->w.t.cols;
    return bytes;
}

/* Copies of weights that a probe's products left: in bf16, and of frozen ones in blocks. */
static double count_packs(classifier *c) {
    const nn_state *s = model_get_state(classifier_model(c));
    double bytes = 0;
    for (int i = 0; i < s->n_params; i++) bytes += (double)weight_packs_bytes(&s->params[i]->w);
    return bytes;
}

int64_t forecast_count(const param_block *block, const model_config *c, const options *o,
                       int64_t largest_batch_tokens) {
    sizes s = {0};
    count_block(block, &s);
    /* kept for the backward pass, a token and layer: query, key, value, context, both sublayers'
     * sums and outputs (8 H), the feed-forward's inside before and after its function (2 F) */
    double layer = (double)(8 * c->hidden_size + 2 * c->intermediate_size) * (o->bf16 ? 2 : 4);
    double kept = o->gradient_checkpointing
                      ? layer + 4.0 * (double)(c->num_hidden_layers * c->hidden_size)
                      : layer * (double)c->num_hidden_layers;
    double activations = kept * (double)largest_batch_tokens * (o->use_rdrop ? 2 : 1);
    return (int64_t)(3 * (s.gradients + s.lazy) + count_casts(block, o) + activations);
}

static int64_t tokens_of(const encoded_views *v, const batch_plan *plan, int64_t batch) {
    int64_t tokens = 0;
    for (int64_t i = plan->starts[batch]; i < plan->starts[batch + 1]; i++)
        for (int32_t k = 0; k < v->n_views; k++)
            tokens += v->sets[k].offsets[plan->order[i] + 1] - v->sets[k].offsets[plan->order[i]];
    return tokens;
}

cloze_status forecast_largest_batch(const options *o, const encoded_views *encoded,
                                    int64_t n_batches, int64_t *tokens, cloze_error *err) {
    *tokens = 0;
    for (int64_t epoch = 0; epoch < PLANNED_EPOCHS && n_batches > 0 &&
                            (epoch == 0 || (epoch + 1) * encoded->n <= PLANNED_EXAMPLES);
         epoch++) {
        batch_plan plan = {0};
        CLOZE_TRY(step_plan(o, &encoded->sets[0], epoch, &plan, err));
        for (int64_t i = 0; i < plan.n_batches && n_batches > 0; i++, n_batches--) {
            int64_t n = tokens_of(encoded, &plan, i);
            if (n > *tokens) *tokens = n;
        }
        batch_plan_deinit(&plan);
    }
    return CLOZE_OK;
}

/* ---- the probe ---- */

/* Batches whose tokens are nearest to the mean and to the largest count, in the plan of epoch 0. */
typedef struct probe_batches {
    int64_t typical, largest;
    double mean_tokens;
} probe_batches;

static probe_batches choose_batches(const encoded_views *v, const batch_plan *plan) {
    probe_batches b = {0};
    double nearest = INFINITY;
    int64_t most = 0;
    for (int64_t i = 0; i < plan->n_batches; i++)
        b.mean_tokens += (double)tokens_of(v, plan, i) / (double)plan->n_batches;
    for (int64_t i = 0; i < plan->n_batches; i++) {
        int64_t n = tokens_of(v, plan, i);
        double off = fabs((double)n - b.mean_tokens);
        if (off < nearest) b.typical = i;
        if (off < nearest) nearest = off;
        if (n > most) b.largest = i;
        if (n > most) most = n;
    }
    return b;
}

static int by_size(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

typedef struct probe {
    const forecast_source *from;
    session session;
    classifier *c;
    param_block *block;
    encoded_views train, dev;
    batch_plan plan, dev_plan;
    step_settings settings;
} probe;

static void probe_close(probe *p) {
    session_close(&p->session);
    encoded_views_deinit(&p->train);
    encoded_views_deinit(&p->dev);
    batch_plan_deinit(&p->plan);
    batch_plan_deinit(&p->dev_plan);
    classifier_destroy(p->c);
}

static cloze_status probe_open(probe *p, int32_t n_layers, cloze_error *err) {
    const forecast_source *f = p->from;
    const options *o = f->o;
    classifier_options co = f->classifier;
    co.n_layers = n_layers;
    co.callbacks = NULL; /* nothing of a probe is the user's */
    CLOZE_TRY(classifier_create(f->model_dir, &co, f->labels, &p->c, err));
    model_set_dropout(classifier_model(p->c), o->hidden_dropout_prob,
                      o->attention_probs_dropout_prob);
    p->settings = step_settings_make(o, f->class_weights);
    CLOZE_TRY(encoded_views_build(p->c, f->train->examples, f->train->n, &p->train, err));
    CLOZE_TRY(step_plan(o, &p->train.sets[0], 0, &p->plan, err));
    CLOZE_TRY(session_open_options(&p->session, o, err));
    if (f->dev) {
        batch_options bo = {.batch_size = (int32_t)o->per_device_eval_batch_size};
        CLOZE_TRY(encoded_views_build(p->c, f->dev->examples, f->dev->n, &p->dev, err));
        CLOZE_TRY(batch_plan_by_length(&p->dev.sets[0], &bo, &p->dev_plan, err));
    }
    return classifier_train_begin(p->c, o->freeze_plm, &p->block, err);
}

/* One step on one batch; rates of 0 leave the weights, at the cost of any others. */
static cloze_status probe_step(probe *p, int64_t batch, int64_t number, double *gradients,
                               double *optimizer, cloze_error *err) {
    const optimizer_rates still = {0, 0};
    double loss, started = clock_seconds();
    CLOZE_TRY(step_gradients(&p->session, p->c, &p->train, &p->settings, &p->plan, batch, batch + 1,
                             number, &loss, err));
    *gradients = clock_seconds() - started;
    CLOZE_TRY(optimizer_step(p->block, p->session.backend, p->session.device, p->from->o, &still,
                             number + 1, err));
    *optimizer = clock_seconds() - started - *gradients;
    return CLOZE_OK;
}

/* Seconds of the forward pass of the dev set's batch in the middle, by the set's tokens. */
static cloze_status probe_evaluation(probe *p, double *seconds, cloze_error *err) {
    int64_t n = p->dev_plan.n_batches, middle = n / 2, all = 0;
    const packed_batch *views[SESSION_MAX_VIEWS];
    classifier_run run = {0};
    double best = INFINITY;
    for (int64_t i = 0; i < n; i++) all += tokens_of(&p->dev, &p->dev_plan, i);
    for (int repeat = 0; repeat < PROBE_REPEATS; repeat++) {
        double started = clock_seconds();
        CLOZE_TRY(session_fill(&p->session, &p->dev, &p->dev_plan, middle, views, err));
        tape_begin_step(p->session.tape, false, 0, NULL, 0);
        classifier_logits(p->session.tape, p->c, views, &run);
        CLOZE_TRY(tape_status(p->session.tape, err));
        if (clock_seconds() - started < best) best = clock_seconds() - started;
    }
    *seconds = best * (double)all / (double)tokens_of(&p->dev, &p->dev_plan, middle);
    return CLOZE_OK;
}

/* Measures a model of n_layers; *resident is what the process held with it. */
static cloze_status probe_run(probe *p, int32_t n_layers, sizes *s, double *resident,
                              cloze_error *err) {
    double gradients[PROBE_REPEATS + 1], optimizer[PROBE_REPEATS + 1];
    CLOZE_TRY(probe_open(p, n_layers, err));
    probe_batches b = choose_batches(&p->train, &p->plan);
    CLOZE_TRY(probe_step(p, b.largest, 0, gradients, optimizer, err));
    for (int i = 0; i <= PROBE_REPEATS; i++) /* the first one only warms up */
        CLOZE_TRY(probe_step(p, b.typical, i + 1, &gradients[i], &optimizer[i], err));
    qsort(gradients + 1, PROBE_REPEATS, sizeof *gradients, by_size);
    qsort(optimizer + 1, PROBE_REPEATS, sizeof *optimizer, by_size);
    *s = (sizes){0};
    s->micro_batch = gradients[1 + PROBE_REPEATS / 2] * b.mean_tokens /
                     (double)tokens_of(&p->train, &p->plan, b.typical);
    s->optimizer = optimizer[1 + PROBE_REPEATS / 2];
    s->activations = (double)tape_pool_peak_bytes(p->session.tape);
    if (p->from->dev) CLOZE_TRY(probe_evaluation(p, &s->evaluation, err));
    s->parameters = (double)model_param_count(classifier_model(p->c));
    count_block(p->block, s);
    s->casts = count_packs(p->c);
    s->weights += count_frozen(p->c);
    *resident = (double)process_memory();
    return CLOZE_OK;
}

/* ---- the whole ---- */

static double sum_of(const sizes *s) {
    return s->weights + 3 * (s->gradients + s->lazy) + s->casts + s->activations;
}

/* Bytes for the rows of the vocabulary that the run will see and the probe did not. */
static cloze_status count_lazy_rows(const probe *p, double *bytes, cloze_error *err) {
    const param *words = model_embeddings(classifier_model(p->c))->tables[0];
    const encoded_set *set = &p->train.sets[0];
    uint8_t *seen;
    *bytes = 0;
    if (!words->row_state) return CLOZE_OK;
    MEM_NEW(err, seen, words->w.t.rows);
    memcpy(seen, words->row_state, (size_t)words->w.t.rows);
    for (int64_t i = 0; i < set->offsets[set->n]; i++) seen[set->input_ids[i]] = 1;
    *bytes = (double)(page_bytes(seen, words->w.t.rows, words->w.t.cols) -
                      page_bytes(words->row_state, words->w.t.rows, words->w.t.cols));
    mem_free(seen);
    return CLOZE_OK;
}

static int64_t count_evaluations(const forecast_source *f, const step_count *steps) {
    const options *o = f->o;
    if (!f->dev) return 0;
    int64_t n = 1; /* the one at the end */
    if (strcmp(o->evaluation_strategy, "steps") == 0) n += steps->max_steps / o->eval_steps;
    if (strcmp(o->evaluation_strategy, "epoch") == 0) n += (int64_t)steps->num_train_epochs;
    return n;
}

static int64_t count_checkpoints(const options *o, const step_count *steps) {
    int64_t n = strcmp(o->save_strategy, "steps") == 0   ? steps->max_steps / o->save_steps
                : strcmp(o->save_strategy, "epoch") == 0 ? (int64_t)steps->num_train_epochs
                                                         : 0;
    if (o->save_total_limit > 0 && n > o->save_total_limit) n = o->save_total_limit;
    return o->load_best_model_at_end ? n + 1 : n;
}

static void fill_in(const forecast_source *f, const sizes *s, double rest, const step_count *steps,
                    forecast *out) {
    const options *o = f->o;
    int64_t batches = o->gradient_accumulation_steps < steps->n_batches
                          ? o->gradient_accumulation_steps
                          : steps->n_batches;
    out->n_train = f->train->n;
    out->n_dev = f->dev ? f->dev->n : 0;
    out->n_parameters = (int64_t)(s->parameters + 0.5);
    out->n_trainable = (int64_t)(s->trainable + 0.5);
    out->max_steps = steps->max_steps;
    out->num_train_epochs = steps->num_train_epochs;
    out->n_evaluations = count_evaluations(f, steps);
    out->weights = (int64_t)s->weights;
    out->gradients = (int64_t)(s->gradients + s->lazy);
    out->moments = 2 * out->gradients;
    out->casts = (int64_t)s->casts;
    out->activations = (int64_t)s->activations;
    out->rest = (int64_t)rest;
    out->peak = (int64_t)(sum_of(s) + rest);
    out->seconds_per_step = (double)batches * s->micro_batch + s->optimizer;
    out->seconds_per_evaluation = s->evaluation;
    out->seconds = (double)steps->max_steps * out->seconds_per_step +
                   (double)out->n_evaluations * s->evaluation;
    out->n_checkpoints = count_checkpoints(o, steps);
    out->checkpoint_bytes = 4 * out->n_parameters + 8 * out->n_trainable;
}

/* What the probe of all layers that are probed tells of the data: *rest is memory that does not
 * grow with layers. */
static cloze_status probe_large(const forecast_source *f, int32_t n_layers, sizes *s, double *rest,
                                double *more_lazy, forecast *out, cloze_error *err) {
    probe p = {.from = f};
    double resident;
    cloze_status status = probe_run(&p, n_layers, s, &resident, err);
    if (status == CLOZE_OK) {
        probe_batches b = choose_batches(&p.train, &p.plan);
        out->batch_tokens = (int64_t)(b.mean_tokens + 0.5);
        out->largest_batch_tokens = tokens_of(&p.train, &p.plan, b.largest);
        *rest = resident > sum_of(s) ? resident - sum_of(s) : 0;
        status = count_lazy_rows(&p, more_lazy, err);
    }
    probe_close(&p);
    return status;
}

/* Probes of four layers and of one (of all alone, when there are no more), and what they tell. The
 * larger one comes first: memory that it leaves behind would count twice. */
static cloze_status probe_layers(const forecast_source *f, int64_t n_layers, forecast *out,
                                 cloze_error *err) {
    int32_t large = (int32_t)(n_layers < PROBE_LAYERS ? n_layers : PROBE_LAYERS);
    sizes large_sizes, small_sizes;
    double rest, more_lazy, unused;
    step_count steps;
    CLOZE_TRY(step_count_make(f->o, f->train->n, &steps, err));
    CLOZE_TRY(probe_large(f, large, &large_sizes, &rest, &more_lazy, out, err));
    if (n_layers > large) {
        probe p = {.from = f};
        cloze_status status = probe_run(&p, 1, &small_sizes, &unused, err);
        probe_close(&p);
        CLOZE_TRY(status);
        large_sizes = extend(&small_sizes, 1, &large_sizes, large, n_layers);
    }
    large_sizes.lazy += more_lazy;
    fill_in(f, &large_sizes, rest, &steps, out);
    return CLOZE_OK;
}

cloze_status forecast_make(const forecast_source *source, forecast *out, cloze_error *err) {
    model_config config;
    memset(out, 0, sizeof *out);
    CLOZE_TRY(model_config_read(source->model_dir, &config, err));
    int64_t n_layers = config.num_hidden_layers;
    model_config_deinit(&config);
    out->available = system_memory_available();
    log_line(source->callbacks, CLOZE_LOG_INFO, "Measuring some steps with a part of the model");
    return probe_layers(source, n_layers, out, err);
}
