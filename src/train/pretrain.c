/* Masked-LM training: loop, checkpoints, results. Opening everything: pretrain_model.c. */
#include "train/pretrain.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/rng.h"
#include "model/locate.h"
#include "train/pretrain_internal.h"
#include "train/resume.h"

static void pretrain_close(pretrain *p) {
    mem_free(p->resume);
    mem_free(p->base_dir);
    session_close(&p->session);
    model_destroy(p->model);
    tokenizer_destroy(p->tok);
    segmenter_destroy(p->words);
    keyword_prompts_destroy(p->keywords);
    corpus_deinit(&p->train);
    corpus_deinit(&p->held);
    masked_batch_deinit(&p->batch);
    train_loop_deinit(&p->loop);
    output_dir_close(&p->out);
}

/* ---- a step ---- */

static cloze_status train_batch(pretrain *p, const int32_t *order, int64_t first, int64_t last,
                                uint64_t epoch_key, int64_t micro, int64_t n_masks, double *loss,
                                cloze_error *err) {
    tape *t = p->session.tape;
    float value = 0;
    CLOZE_TRY(masked_batch_fill(&p->batch, &p->train, order, first, last, &p->train_mask, epoch_key,
                                err));
    uint64_t key = rng_mix(rng_mix(rng_mix((uint64_t)p->o->seed, 0x7072657472ull),
                                   (uint64_t)p->loop.state.global_step),
                           (uint64_t)micro);
    tape_begin_step(t, true, key, p->batch.row_keys, p->batch.n_tokens);
    cross_entropy_options ce = {.labels = p->batch.labels, .scale = 1.0f / (float)n_masks};
    var *root = op_cross_entropy(t, pretrain_batch_logits(p), &ce);
    CLOZE_TRY(tape_status(t, err));
    CLOZE_TRY(tape_read(t, root, &value, err));
    if (!isfinite(value))
        CLOZE_FAIL(err, NONFINITE, "the loss became %g at step %lld; try a smaller --learning_rate",
                   (double)value, (long long)p->loop.state.global_step + 1);
    *loss += (double)value;
    p->loop.state.tokens_done += p->batch.n_tokens;
    return tape_backward(t, &root, NULL, 1, err);
}

static void log_loss(pretrain *p) {
    char speed[64];
    double seconds = clock_seconds() - p->loop.started;
    double tokens = (double)(p->loop.state.tokens_done - p->tokens_before);
    snprintf(speed, sizeof speed, ", %.0f tokens/s", tokens / (seconds > 0 ? seconds : 1e-9));
    train_loop_log_loss(&p->loop, speed);
}

/* The finished weights are written at the end: the last step needs no checkpoint. */
static cloze_status after_step(pretrain *p, bool end_of_epoch, cloze_error *err) {
    const options *o = p->o;
    train_loop *l = &p->loop;
    int64_t step = l->state.global_step;
    bool last = step >= l->state.max_steps;
    held_out h;
    if (train_loop_logs_now(l, end_of_epoch)) log_loss(p);
    if (last) return CLOZE_OK;
    if (p->held.n_sequences && train_loop_is_unevaluated(l) &&
        schedule_is_due(o->evaluation_strategy, o->eval_steps, step, end_of_epoch)) {
        cloze_status status = pretrain_evaluate(p, &h, err);
        if (status == CLOZE_ERR_INTERRUPTED) return train_loop_interrupt(l, err);
        CLOZE_TRY(status);
    }
    if (schedule_is_due(o->save_strategy, o->save_steps, step, end_of_epoch))
        CLOZE_TRY(train_loop_save(l, err));
    return log_interrupted(p->callbacks) ? train_loop_interrupt(l, err) : CLOZE_OK;
}

/* Masked tokens of a whole step: its loss is their mean, however it is cut into batches. */
static cloze_status count_masks(pretrain *p, const int32_t *order, int64_t first, int64_t end,
                                uint64_t epoch_key, int64_t *n_masks, cloze_error *err) {
    CLOZE_TRY(
        masked_batch_fill(&p->batch, &p->train, order, first, end, &p->train_mask, epoch_key, err));
    *n_masks = p->batch.n_masks;
    return CLOZE_OK;
}

/* Batches of one step begin at state.data_position; its loss goes to *loss, its sequences to *n. */
static cloze_status run_batches(pretrain *p, const int32_t *order, uint64_t epoch_key, double *loss,
                                int64_t *n, cloze_error *err) {
    const corpus *c = &p->train;
    int64_t first = p->loop.state.data_position, budget = p->o->tokens_per_batch;
    int64_t end = first, n_masks = 0;
    for (int64_t i = 0; i < p->o->gradient_accumulation_steps && end < c->n_sequences; i++)
        end = pretrain_batch_end(c, order, end, budget);
    *n = end - first;
    CLOZE_TRY(count_masks(p, order, first, end, epoch_key, &n_masks, err));
    for (int64_t micro = 0; first < end; micro++) {
        int64_t last = pretrain_batch_end(c, order, first, budget);
        CLOZE_TRY(train_batch(p, order, first, last, epoch_key, micro, n_masks, loss, err));
        first = last;
    }
    return CLOZE_OK;
}

/* The rest of the pass over the text that the state is in; order (n_sequences) is scratch. */
static cloze_status run_epoch(pretrain *p, int32_t *order, cloze_error *err) {
    trainer_state *s = &p->loop.state;
    int64_t n = p->train.n_sequences;
    rng r;
    for (int64_t i = 0; i < n; i++) order[i] = (int32_t)i;
    uint64_t epoch_key =
        rng_mix(rng_mix_string((uint64_t)p->o->seed, "pretrain epoch"), (uint64_t)s->data_epoch);
    rng_init(&r, epoch_key);
    rng_shuffle_i32(&r, order, n);
    while (s->data_position < n && s->global_step < s->max_steps) {
        double loss = 0;
        int64_t n_sequences;
        CLOZE_TRY(run_batches(p, order, epoch_key, &loss, &n_sequences, err));
        CLOZE_TRY(train_loop_step(&p->loop, loss, n_sequences, err));
        s->data_position += n_sequences;
        s->epoch = (double)s->data_epoch + (double)s->data_position / (double)n;
        CLOZE_TRY(after_step(p, s->data_position == n, err));
    }
    return CLOZE_OK;
}

/* ---- the run ---- */

static void plan_steps(pretrain *p) {
    const options *o = p->o;
    double tokens = (double)p->train.n_tokens + 2.0 * (double)p->train.n_sequences;
    double per_epoch = tokens / (double)(o->tokens_per_batch * o->gradient_accumulation_steps);
    int64_t max_steps =
        o->max_steps > 0 ? o->max_steps : (int64_t)ceil(o->num_train_epochs * per_epoch);
    if (max_steps < 1) max_steps = 1;
    train_loop_plan(&p->loop, max_steps, (double)max_steps / per_epoch);
    log_line(p->callbacks, CLOZE_LOG_INFO,
             "%lld parameters, %lld steps of about %lld tokens (%.2f epochs)",
             (long long)model_param_count(p->model), (long long)max_steps,
             (long long)(o->tokens_per_batch * o->gradient_accumulation_steps),
             p->loop.state.num_train_epochs);
}

static uint64_t hash_corpus(const corpus *c) {
    uint64_t hash = hash_bytes(c->tokens, (size_t)c->n_tokens * sizeof *c->tokens);
    return rng_mix(hash, hash_bytes(c->offsets, (size_t)(c->n_sequences + 1) * sizeof *c->offsets));
}

static cloze_status begin(pretrain *p, cloze_error *err) {
    plan_steps(p);
    p->loop.state.train_hash = hash_corpus(&p->train);
    if (p->held.n_sequences) p->loop.state.dev_hash = hash_corpus(&p->held);
    p->loop.data_length = p->train.n_sequences;
    CLOZE_TRY(train_loop_begin(&p->loop, p->resume, err));
    p->tokens_before = p->loop.state.tokens_done;
    return CLOZE_OK;
}

static cloze_status train(pretrain *p, cloze_error *err) {
    int32_t *order;
    trainer_state *s = &p->loop.state;
    CLOZE_TRY(begin(p, err));
    MEM_NEW(err, order, p->train.n_sequences);
    train_loop_start(&p->loop, "pretrain");
    cloze_status status =
        p->resume ? after_step(p, s->data_position == p->train.n_sequences, err) : CLOZE_OK;
    while (status == CLOZE_OK && s->global_step < s->max_steps) {
        status = run_epoch(p, order, err);
        if (s->data_position < p->train.n_sequences) continue;
        s->data_epoch++;
        s->data_position = 0;
    }
    progress_end(&p->loop.bar);
    mem_free(order);
    return status;
}

static cloze_status write_results(pretrain *p, const held_out *h, buf *results, cloze_error *err) {
    buf_puts(results, "{\n  ");
    if (h->n) {
        pretrain_put_held_out(h, ",\n  ", results);
        buf_puts(results, ",\n  ");
    }
    buf_printf(results,
               "\"parameters\": %lld,\n  \"train_runtime\": %.1f,\n  \"train_steps\": %lld,\n  "
               "\"train_tokens\": %lld\n}\n",
               (long long)model_param_count(p->model), train_loop_seconds(&p->loop),
               (long long)p->loop.state.global_step, (long long)p->loop.state.tokens_done);
    CLOZE_TRY(state_write_file(p->o->output_dir, "pretrain_results.json", results, err));
    return trainer_state_write(&p->loop.state, p->o->output_dir, err);
}

/* A model that is gone on from has its shape and vocabulary: flags that ask for others are refused.
 */
static cloze_status check_shape_flags(const options *o, cloze_error *err) {
    const struct {
        bool given;
        const char *name;
    } flags[] = {
        {OPTION_IS_SET(o, vocab_file), "vocab_file"},
        {OPTION_IS_SET(o, vocab_size), "vocab_size"},
        {OPTION_IS_SET(o, hidden_size), "hidden_size"},
        {OPTION_IS_SET(o, num_hidden_layers), "num_hidden_layers"},
        {OPTION_IS_SET(o, num_attention_heads), "num_attention_heads"},
        {OPTION_IS_SET(o, intermediate_size), "intermediate_size"},
        {OPTION_IS_SET(o, max_position_embeddings), "max_position_embeddings"},
    };
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++)
        if (flags[i].given && OPTION_IS_SET(o, model_name_or_path))
            CLOZE_FAIL(
                err, USAGE,
                "--%s is the model's own with --model_name_or_path; leave out one of the two",
                flags[i].name);
    return CLOZE_OK;
}

static cloze_status check_flags(const options *o, cloze_error *err) {
    if (!o->train_file)
        CLOZE_FAIL(err, USAGE,
                   "--train_file FILE is missing: raw text, one sentence or paragraph a line");
    if (o->max_seq_length > 4096)
        CLOZE_FAIL(err, USAGE, "--max_seq_length %lld is more than pretrain takes (4096)",
                   (long long)o->max_seq_length);
    if (o->hidden_size % o->num_attention_heads != 0)
        CLOZE_FAIL(err, USAGE, "--hidden_size %lld is not a multiple of --num_attention_heads %lld",
                   (long long)o->hidden_size, (long long)o->num_attention_heads);
    CLOZE_TRY(corpus_check_files(o->train_file, err));
    if (o->dev_file) CLOZE_TRY(corpus_check_files(o->dev_file, err));
    return check_shape_flags(o, err);
}

/* Where the run is written, and what it begins from or goes on from. */
static cloze_status prepare(pretrain *p, cloze_error *err) {
    options *o = p->o;
    CLOZE_TRY(resume_find(o, &p->resume, err));
    if (p->resume) CLOZE_TRY(resume_adopt_options(o, p->resume, p->callbacks, err));
    CLOZE_TRY(check_flags(o, err));
    CLOZE_TRY(output_dir_open_existing(&p->out, o->output_dir, err));
    CLOZE_TRY(output_dir_check(o, p->resume, err));
    if (p->resume) {
        p->base_dir = mem_strdup(p->resume);
        return p->base_dir ? CLOZE_OK : error_set(err, CLOZE_ERR_MEMORY, "out of memory");
    }
    return OPTION_IS_SET(o, model_name_or_path)
               ? model_locate(o->model_name_or_path, &p->base_dir, err)
               : CLOZE_OK;
}

static cloze_status save_f32(void *p, const char *dir, cloze_error *err) {
    return pretrain_save_model(p, dir, DTYPE_F32, err);
}

static cloze_status evaluate_finished(pretrain *p, held_out *h, cloze_error *err) {
    cloze_status status = pretrain_evaluate(p, h, err);
    if (status == CLOZE_ERR_INTERRUPTED && err) {
        cloze_error first = *err;
        error_set(err, status, "%s; the trained model is in %s", first.message, p->o->output_dir);
    }
    return status;
}

static cloze_status run(pretrain *p, buf *results, cloze_error *err) {
    const options *o = p->o;
    held_out h = {0};
    cloze_dtype dtype = strcmp(o->save_dtype, "bfloat16") == 0  ? DTYPE_BF16
                        : strcmp(o->save_dtype, "float16") == 0 ? DTYPE_F16
                                                                : DTYPE_F32;
    CLOZE_TRY(prepare(p, err));
    CLOZE_TRY(output_dir_open(&p->out, o->output_dir, err));
    CLOZE_TRY(pretrain_open(p, err));
    CLOZE_TRY(session_open_options(&p->session, o, err));
    cloze_status status = train(p, err);
    if (status == CLOZE_OK) status = train_loop_check_weights(&p->loop, err);
    if (status == CLOZE_OK) status = train_loop_prune(&p->loop, err);
    if (status == CLOZE_ERR_NONFINITE) train_loop_tell_last_good(&p->loop, status, err);
    CLOZE_TRY(status);
    CLOZE_TRY(output_dir_forget_results(o->output_dir, err));
    /* before anything else can fail */
    CLOZE_TRY(pretrain_save_model(p, o->output_dir, dtype, err));
    if (p->held.n_sequences) CLOZE_TRY(evaluate_finished(p, &h, err));
    CLOZE_TRY(write_results(p, &h, results, err));
    return session_write_profile(&p->session, o, p->callbacks, err);
}

cloze_status pretrain_run(options *o, const cloze_callbacks *callbacks, buf *results,
                          cloze_error *err) {
    pretrain p = {.o = o, .callbacks = callbacks};
    p.loop = (train_loop){
        .o = o, .callbacks = callbacks, .session = &p.session, .save_model = save_f32, .model = &p};
    train_loop_init(&p.loop);
    cloze_status status = run(&p, results, err);
    pretrain_close(&p);
    return status;
}
