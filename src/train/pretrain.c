/* Masked-LM training: vocabulary, corpus, loop, held-out evaluation, saving. */
#include "train/pretrain.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/rng.h"
#include "model/locate.h"
#include "text/wordpiece_train.h"
#include "train/checkpoint.h"
#include "train/corpus.h"
#include "train/events.h"
#include "train/schedule.h"
#include "train/session.h"
#include "train/state.h"

#define WORDS_FILE "words.txt"
#define SEGMENT_MAX_WORDS 60000
#define VOCAB_MIN_COUNT 5

typedef struct pretrain {
    const options *o;
    const cloze_callbacks *callbacks;
    char *base_dir; /* the model to go on from, or NULL */
    tokenizer *tok;
    segmenter *words; /* NULL without whole-word masking */
    corpus train, held;
    model *model;
    session session;
    param_block *block;
    masked_batch batch;
    mask_options mask;
    schedule schedule;
    trainer_state state;
    events_file events;
    progress bar;
    double started, logged_loss;
    int64_t logged_steps, tokens_done;
    int64_t max_seq_length; /* as asked for, or what the model takes */
} pretrain;

typedef struct held_out {
    double loss, top1, top5;
    int64_t n;
} held_out;

static void pretrain_close(pretrain *p) {
    mem_free(p->base_dir);
    session_close(&p->session);
    model_destroy(p->model);
    tokenizer_destroy(p->tok);
    segmenter_destroy(p->words);
    corpus_deinit(&p->train);
    corpus_deinit(&p->held);
    masked_batch_deinit(&p->batch);
    trainer_state_deinit(&p->state);
    events_close(&p->events);
}

/* ---- vocabulary and words ---- */

static cloze_status feed_vocab(void *ctx, const char *text, size_t n, cloze_error *err) {
    return wordpiece_trainer_feed(ctx, text, n, err);
}

static cloze_status feed_words(void *ctx, const char *text, size_t n, cloze_error *err) {
    return segment_trainer_feed(ctx, text, n, err);
}

static cloze_status build_vocab(pretrain *p, const wordpiece_settings *settings, cloze_error *err) {
    wordpiece_trainer *t = NULL;
    buf vocab;
    buf_init(&vocab, (size_t)64 << 20);
    wordpiece_train_options o = {.vocab_size = (int32_t)p->o->vocab_size,
                                 .min_count = VOCAB_MIN_COUNT,
                                 .do_lower_case = settings->do_lower_case};
    log_line(p->callbacks, CLOZE_LOG_INFO, "Building a vocabulary of %lld tokens from %s",
             (long long)p->o->vocab_size, p->o->train_file);
    cloze_status status = wordpiece_trainer_create(&o, &t, err);
    if (status == CLOZE_OK) status = corpus_each_line(p->o->train_file, feed_vocab, t, err);
    if (status == CLOZE_OK) status = wordpiece_trainer_finish(t, &vocab, err);
    if (status == CLOZE_OK)
        status = tokenizer_create_wordpiece(vocab.data, vocab.len, settings, &p->tok, err);
    wordpiece_trainer_destroy(t);
    buf_deinit(&vocab);
    return status;
}

static cloze_status open_tokenizer(pretrain *p, cloze_error *err) {
    const options *o = p->o;
    wordpiece_settings settings = {.do_lower_case =
                                       OPTION_IS_SET(o, do_lower_case) ? o->do_lower_case : 1,
                                   .strip_accents = -1,
                                   .tokenize_chinese_chars = 1,
                                   .model_max_length = (int)o->max_position_embeddings};
    tokenizer_options t = {OPTION_IS_SET(o, do_lower_case) ? o->do_lower_case : -1};
    if (p->base_dir) return tokenizer_open(p->base_dir, &t, &p->tok, err);
    if (!o->vocab_file) return build_vocab(p, &settings, err);
    char *text;
    size_t n;
    CLOZE_TRY(file_read(o->vocab_file, (size_t)64 << 20, CLOZE_ERR_MODEL, &text, &n, err));
    cloze_status status = tokenizer_create_wordpiece(text, n, &settings, &p->tok, err);
    mem_free(text);
    return status;
}

/* The word list of the model that is gone on from, else one learnt from the text. */
static cloze_status open_words(pretrain *p, cloze_error *err) {
    if (!p->o->whole_word_mask) return CLOZE_OK;
    if (p->base_dir) {
        char *path = path_join(p->base_dir, WORDS_FILE);
        bool found = path && file_exists(path);
        cloze_status status = found ? segmenter_read(path, &p->words, err) : CLOZE_OK;
        mem_free(path);
        if (found) return status;
    }
    segment_trainer *t = NULL;
    segment_train_options o = {.max_words = SEGMENT_MAX_WORDS};
    log_line(p->callbacks, CLOZE_LOG_INFO, "Finding words in %s", p->o->train_file);
    cloze_status status = segment_trainer_create(&o, &t, err);
    if (status == CLOZE_OK) status = corpus_each_line(p->o->train_file, feed_words, t, err);
    if (status == CLOZE_OK) status = segment_trainer_finish(t, &p->words, err);
    segment_trainer_destroy(t);
    return status;
}

static cloze_status read_corpus(pretrain *p, cloze_error *err) {
    const options *o = p->o;
    corpus_options c = {.files = o->train_file,
                        .tok = p->tok,
                        .words = p->words,
                        .max_seq_length = (int32_t)p->max_seq_length,
                        .callbacks = p->callbacks};
    CLOZE_TRY(corpus_read(&c, &p->train, err));
    if (o->dev_file) {
        c.files = o->dev_file;
        CLOZE_TRY(corpus_read(&c, &p->held, err));
    } else if (o->eval_lines > 0) {
        CLOZE_TRY(corpus_hold_out(&p->train, &p->held, o->eval_lines, (uint64_t)o->seed, err));
    }
    log_line(p->callbacks, CLOZE_LOG_INFO, "%lld sequences, %lld tokens; %lld sequences held out",
             (long long)p->train.n_sequences, (long long)p->train.n_tokens,
             (long long)p->held.n_sequences);
    return CLOZE_OK;
}

/* ---- model ---- */

static cloze_status create_model(pretrain *p, cloze_error *err) {
    const options *o = p->o;
    model_config config;
    char text[1024];
    long long intermediate =
        o->intermediate_size ? (long long)o->intermediate_size : 4 * (long long)o->hidden_size;
    double hidden = o->hidden_dropout_prob < 0 ? 0.1 : o->hidden_dropout_prob;
    double attention = o->attention_probs_dropout_prob < 0 ? 0.1 : o->attention_probs_dropout_prob;
    int n = snprintf(text, sizeof text,
                     "{\"architectures\": [\"BertForMaskedLM\"], \"attention_probs_dropout_prob\": "
                     "%g, \"hidden_act\": \"gelu\", "
                     "\"hidden_dropout_prob\": %g, \"hidden_size\": %lld, \"initializer_range\": "
                     "0.02, \"intermediate_size\": %lld, "
                     "\"layer_norm_eps\": 1e-12, \"max_position_embeddings\": %lld, "
                     "\"model_type\": \"bert\", \"num_attention_heads\": %lld, "
                     "\"num_hidden_layers\": %lld, \"pad_token_id\": %d, \"tie_word_embeddings\": "
                     "true, \"type_vocab_size\": 2, \"vocab_size\": %d}",
                     attention, hidden, (long long)o->hidden_size, intermediate,
                     (long long)o->max_position_embeddings, (long long)o->num_attention_heads,
                     (long long)o->num_hidden_layers, tokenizer_special(p->tok)->pad,
                     tokenizer_vocab_size(p->tok));
    cloze_status status = model_config_parse(text, (size_t)n, "the flags", &config, err);
    if (status == CLOZE_ERR_MODEL) { /* no file said it */
        if (err) err->code = CLOZE_ERR_USAGE;
        return CLOZE_ERR_USAGE;
    }
    CLOZE_TRY(status);
    status = model_create(&config, MODEL_HEAD_MASKED_LM, (uint64_t)o->seed, &p->model, err);
    model_config_deinit(&config);
    return status;
}

/* Model, tokenizer and --max_seq_length belong together; without the flag the model decides. */
static cloze_status check_model(pretrain *p, cloze_error *err) {
    int64_t longest = model_max_length(p->model), rows = model_get_config(p->model)->vocab_size;
    p->max_seq_length = p->o->max_seq_length;
    if (p->max_seq_length > longest && OPTION_IS_SET(p->o, max_seq_length))
        CLOZE_FAIL(err, USAGE, "--max_seq_length %lld is more than the model's %lld positions",
                   (long long)p->max_seq_length, (long long)longest);
    if (p->max_seq_length > longest) p->max_seq_length = longest;
    if (tokenizer_vocab_size(p->tok) > rows)
        CLOZE_FAIL(err, MODEL,
                   "the vocabulary has %d tokens but the model's embedding only %lld rows: they do "
                   "not belong together",
                   tokenizer_vocab_size(p->tok), (long long)rows);
    return CLOZE_OK;
}

static cloze_status open_model(pretrain *p, cloze_error *err) {
    if (p->base_dir) {
        model_open_options mo = {
            .head = MODEL_HEAD_MASKED_LM, .seed = (uint64_t)p->o->seed, .callbacks = p->callbacks};
        CLOZE_TRY(model_open(p->base_dir, &mo, &p->model, err));
    } else {
        CLOZE_TRY(create_model(p, err));
    }
    model_set_dropout(p->model, p->o->hidden_dropout_prob, p->o->attention_probs_dropout_prob);
    CLOZE_TRY(check_model(p, err));
    model_set_requires_grad(p->model, true);
    return model_train_begin(p->model, NULL, 0, &p->block, err);
}

static cloze_status set_mask_options(pretrain *p, cloze_error *err) {
    const tokenizer_special_ids *ids = tokenizer_special(p->tok);
    if (ids->mask < 0 || ids->cls < 0 || ids->sep < 0)
        CLOZE_FAIL(err, MODEL, "the vocabulary has no [MASK], [CLS] or [SEP]");
    p->mask = (mask_options){.probability = p->o->mlm_probability,
                             .whole_word = p->o->whole_word_mask,
                             .mask_id = ids->mask,
                             .cls_id = ids->cls,
                             .sep_id = ids->sep,
                             .vocab_size = tokenizer_vocab_size(p->tok)};
    while (p->mask.first_ordinary_id < p->mask.vocab_size - 1 &&
           tokenizer_is_special(p->tok, p->mask.first_ordinary_id))
        p->mask.first_ordinary_id++;
    return CLOZE_OK;
}

/* ---- one batch ---- */

static var *batch_logits(pretrain *p) {
    masked_batch *b = &p->batch;
    nn_batch batch = {.n_seqs = b->n_seqs,
                      .n_tokens = b->n_tokens,
                      .offsets = b->offsets,
                      .input_ids = b->input_ids};
    tape *t = p->session.tape;
    var *hidden = model_encode(t, p->model, &batch, p->o->gradient_checkpointing);
    var *rows = op_gather_rows(t, hidden, b->mask_rows, b->n_masks); /* (M,H) */
    return model_masked_lm_logits(t, p->model, model_masked_lm_transform(t, p->model, rows), NULL,
                                  0); /* (M,V) */
}

static cloze_status train_batch(pretrain *p, const int32_t *order, int64_t first, int64_t last,
                                uint64_t epoch_key, int64_t micro, int64_t n_masks, double *loss,
                                cloze_error *err) {
    tape *t = p->session.tape;
    float value = 0;
    CLOZE_TRY(
        masked_batch_fill(&p->batch, &p->train, order, first, last, &p->mask, epoch_key, err));
    uint64_t key = rng_mix(
        rng_mix(rng_mix((uint64_t)p->o->seed, 0x7072657472ull), (uint64_t)p->state.global_step),
        (uint64_t)micro);
    tape_begin_step(t, true, key, p->batch.row_keys, p->batch.n_tokens);
    cross_entropy_options ce = {.labels = p->batch.labels, .scale = 1.0f / (float)n_masks};
    var *root = op_cross_entropy(t, batch_logits(p), &ce);
    CLOZE_TRY(tape_status(t, err));
    CLOZE_TRY(tape_read(t, root, &value, err));
    if (!isfinite(value))
        CLOZE_FAIL(err, NONFINITE, "the loss became %g at step %lld; try a smaller --learning_rate",
                   (double)value, (long long)p->state.global_step + 1);
    *loss += (double)value;
    p->tokens_done += p->batch.n_tokens;
    return tape_backward(t, &root, NULL, 1, err);
}

static cloze_status apply_gradient(pretrain *p, cloze_error *err) {
    const options *o = p->o;
    double norm = 0, scale = 1;
    if (o->max_grad_norm > 0) {
        CLOZE_TRY(
            param_block_grad_norm(p->block, p->session.backend, p->session.device, &norm, err));
        if (!isfinite(norm))
            CLOZE_FAIL(err, NONFINITE,
                       "the gradient became non-finite at step %lld; try a smaller --learning_rate",
                       (long long)p->state.global_step + 1);
        scale = o->max_grad_norm / (norm + 1e-6);
        if (scale > 1) scale = 1;
    }
    adamw_spec spec = {
        (float)(o->learning_rate * schedule_multiplier(&p->schedule, p->state.global_step)),
        (float)o->adam_beta1,
        (float)o->adam_beta2,
        (float)o->adam_epsilon,
        (float)o->weight_decay,
        (float)scale,
        p->state.global_step + 1};
    const adamw_spec specs[2] = {spec, spec};
    CLOZE_TRY(param_block_adamw(p->block, p->session.backend, p->session.device, specs, err));
    param_block_zero_grad(p->block);
    p->state.global_step++;
    return CLOZE_OK;
}

/* ---- held-out evaluation ---- */

static void score_row(const float *logits, int64_t vocab, int32_t label, held_out *h) {
    double max = -INFINITY, sum = 0;
    int64_t above = 0;
    for (int64_t v = 0; v < vocab; v++) {
        max = logits[v] > max ? logits[v] : max;
        above += logits[v] > logits[label];
    }
    for (int64_t v = 0; v < vocab; v++) sum += exp((double)logits[v] - max);
    h->loss += max + log(sum) - (double)logits[label];
    h->top1 += above < 1;
    h->top5 += above < 5;
    h->n++;
}

static int64_t batch_end(const corpus *c, const int32_t *order, int64_t first, int64_t budget) {
    int64_t tokens = 0, i = first;
    while (i < c->n_sequences) {
        tokens += c->offsets[order[i] + 1] - c->offsets[order[i]] + 2;
        if (tokens > budget && i > first) break;
        i++;
    }
    return i;
}

static cloze_status evaluate(pretrain *p, held_out *h, cloze_error *err) {
    const corpus *c = &p->held;
    tape *t = p->session.tape;
    int64_t vocab = model_get_config(p->model)->vocab_size;
    cloze_status status = CLOZE_OK;
    float *logits = NULL;
    int32_t *order;
    memset(h, 0, sizeof *h);
    MEM_NEW(err, order, c->n_sequences);
    for (int64_t i = 0; i < c->n_sequences; i++) order[i] = (int32_t)i;
    uint64_t key = rng_mix_string((uint64_t)p->o->seed,
                                  "held-out masks"); /* the same masks at every evaluation */
    for (int64_t first = 0, last; first < c->n_sequences && status == CLOZE_OK; first = last) {
        last = batch_end(c, order, first, p->o->tokens_per_batch);
        status = masked_batch_fill(&p->batch, c, order, first, last, &p->mask, key, err);
        if (status != CLOZE_OK) break;
        tape_begin_step(t, false, 0, NULL, 0);
        var *v = batch_logits(p);
        status = tape_status(t, err);
        mem_free(logits);
        logits = mem_alloc((size_t)(p->batch.n_masks * vocab) * sizeof *logits);
        if (status == CLOZE_OK && !logits)
            status = error_set(err, CLOZE_ERR_MEMORY, "out of memory for the held-out logits");
        if (status == CLOZE_OK) status = tape_read(t, v, logits, err);
        for (int32_t i = 0; status == CLOZE_OK && i < p->batch.n_masks; i++)
            score_row(logits + i * vocab, vocab, p->batch.labels[i], h);
    }
    mem_free(logits);
    mem_free(order);
    if (h->n) {
        h->loss /= (double)h->n;
        h->top1 /= (double)h->n;
        h->top5 /= (double)h->n;
    }
    return status;
}

static void put_held_out(const held_out *h, const char *separator, buf *b) {
    buf_puts(b, "\"eval_loss\": ");
    buf_json_double(b, h->loss);
    buf_printf(b, "%s\"eval_masked_tokens\": %lld%s\"eval_top1\": ", separator, (long long)h->n,
               separator);
    buf_json_double(b, h->top1);
    buf_printf(b, "%s\"eval_top5\": ", separator);
    buf_json_double(b, h->top5);
}

static cloze_status evaluate_now(pretrain *p, held_out *h, cloze_error *err) {
    buf b;
    CLOZE_TRY(evaluate(p, h, err));
    buf_init(&b, 4096);
    put_held_out(h, ",\n      ", &b);
    trainer_state_log(&p->state, &b);
    buf_deinit(&b);
    events_scalar(&p->events, "eval/loss", p->state.global_step, h->loss);
    log_line(p->callbacks, CLOZE_LOG_INFO, "step %lld: held-out loss %.4f, top-1 %.4f, top-5 %.4f",
             (long long)p->state.global_step, h->loss, h->top1, h->top5);
    return CLOZE_OK;
}

/* ---- saving ---- */

static cloze_status save_model(pretrain *p, const char *dir, cloze_dtype dtype, cloze_error *err) {
    CLOZE_TRY(dir_create(dir, err));
    CLOZE_TRY(tokenizer_save(p->tok, dir, err));
    if (p->words) {
        char *path = path_join(dir, WORDS_FILE);
        cloze_status status = path ? segmenter_write(p->words, path, err)
                                   : error_set(err, CLOZE_ERR_MEMORY, "out of memory");
        mem_free(path);
        if (status != CLOZE_OK) return status;
    }
    return model_save(p->model, dir, dtype, err);
}

/* checkpoint-N holds the weights in f32, written as a whole. */
static cloze_status save_checkpoint(pretrain *p, cloze_error *err) {
    char name[64];
    snprintf(name, sizeof name, "checkpoint-%lld", (long long)p->state.global_step);
    char *path = path_join(p->o->output_dir, name);
    snprintf(name, sizeof name, "checkpoint-%lld.tmp", (long long)p->state.global_step);
    char *tmp = path_join(p->o->output_dir, name);
    cloze_status status =
        path && tmp ? CLOZE_OK : error_set(err, CLOZE_ERR_MEMORY, "out of memory");
    if (status == CLOZE_OK) status = dir_remove(tmp, err);
    if (status == CLOZE_OK) status = save_model(p, tmp, DTYPE_F32, err);
    if (status == CLOZE_OK) status = trainer_state_write(&p->state, tmp, err);
    if (status == CLOZE_OK) status = dir_sync(tmp, err);
    if (status == CLOZE_OK) status = checkpoint_publish(tmp, path, err);
    mem_free(path);
    mem_free(tmp);
    if (status == CLOZE_OK && p->o->save_total_limit > 0)
        status = checkpoint_prune(p->o->output_dir, p->o->save_total_limit, p->state.global_step,
                                  NULL, err);
    return status;
}

/* ---- the loop ---- */

static void log_now(pretrain *p) {
    double loss = p->logged_loss / (double)p->logged_steps;
    double rate = p->o->learning_rate * schedule_multiplier(&p->schedule, p->state.global_step);
    double speed = (double)p->tokens_done / (clock_seconds() - p->started);
    buf b;
    buf_init(&b, 4096);
    buf_puts(&b, "\"learning_rate\": ");
    buf_json_double(&b, rate);
    buf_puts(&b, ",\n      \"loss\": ");
    buf_json_double(&b, loss);
    trainer_state_log(&p->state, &b);
    buf_deinit(&b);
    events_scalar(&p->events, "train/loss", p->state.global_step, loss);
    log_line(p->callbacks, CLOZE_LOG_INFO,
             "step %lld: loss %.4f, learning_rate %.3g, %.0f tokens/s (epoch %.2f)",
             (long long)p->state.global_step, loss, rate, speed, p->state.epoch);
    p->logged_loss = 0;
    p->logged_steps = 0;
}

static cloze_status after_step(pretrain *p, double loss, bool end_of_epoch, cloze_error *err) {
    const options *o = p->o;
    int64_t step = p->state.global_step;
    bool last = step >= p->state.max_steps;
    held_out h;
    p->logged_loss += loss;
    p->logged_steps++;
    p->bar.state.loss = p->logged_loss / (double)p->logged_steps;
    p->bar.state.rate = o->learning_rate * schedule_multiplier(&p->schedule, step - 1);
    progress_update(&p->bar, step);
    if (step % o->logging_steps == 0 || (step == 1 && o->logging_first_step)) log_now(p);
    if (p->held.n_sequences && !last &&
        schedule_is_due(o->evaluation_strategy, o->eval_steps, step, end_of_epoch))
        CLOZE_TRY(evaluate_now(p, &h, err));
    if (!last && schedule_is_due(o->save_strategy, o->save_steps, step, end_of_epoch))
        CLOZE_TRY(save_checkpoint(p, err));
    if (!last && log_interrupted(p->callbacks)) {
        CLOZE_TRY(save_checkpoint(p, err));
        CLOZE_FAIL(err, INTERRUPTED,
                   "interrupted at step %lld; %s/checkpoint-%lld was written (go on with "
                   "--model_name_or_path)",
                   (long long)step, o->output_dir, (long long)step);
    }
    return CLOZE_OK;
}

/* Masked tokens of a whole step: its loss is their mean, however it is cut into batches. */
static cloze_status count_masks(pretrain *p, const int32_t *order, int64_t first, int64_t end,
                                uint64_t epoch_key, int64_t *n_masks, cloze_error *err) {
    CLOZE_TRY(masked_batch_fill(&p->batch, &p->train, order, first, end, &p->mask, epoch_key, err));
    *n_masks = p->batch.n_masks;
    return CLOZE_OK;
}

static cloze_status run_epoch(pretrain *p, int64_t epoch, int32_t *order, cloze_error *err) {
    const corpus *c = &p->train;
    rng r;
    for (int64_t i = 0; i < c->n_sequences; i++) order[i] = (int32_t)i;
    uint64_t epoch_key =
        rng_mix(rng_mix_string((uint64_t)p->o->seed, "pretrain epoch"), (uint64_t)epoch);
    rng_init(&r, epoch_key);
    rng_shuffle_i32(&r, order, c->n_sequences);
    int64_t first = 0;
    while (first < c->n_sequences && p->state.global_step < p->state.max_steps) {
        double loss = 0;
        int64_t end = first, n_masks = 0, micro = 0;
        for (; micro < p->o->gradient_accumulation_steps && end < c->n_sequences; micro++)
            end = batch_end(c, order, end, p->o->tokens_per_batch);
        CLOZE_TRY(count_masks(p, order, first, end, epoch_key, &n_masks, err));
        for (micro = 0; first < end; micro++) {
            int64_t last = batch_end(c, order, first, p->o->tokens_per_batch);
            CLOZE_TRY(train_batch(p, order, first, last, epoch_key, micro, n_masks, &loss, err));
            first = last;
        }
        p->state.epoch = (double)epoch + (double)first / (double)c->n_sequences;
        CLOZE_TRY(apply_gradient(p, err));
        CLOZE_TRY(after_step(p, loss, first == c->n_sequences, err));
    }
    return CLOZE_OK;
}

static void plan_steps(pretrain *p) {
    const options *o = p->o;
    double tokens = (double)p->train.n_tokens + 2.0 * (double)p->train.n_sequences;
    double per_epoch = tokens / (double)(o->tokens_per_batch * o->gradient_accumulation_steps);
    p->state.max_steps =
        o->max_steps > 0 ? o->max_steps : (int64_t)ceil(o->num_train_epochs * per_epoch);
    if (p->state.max_steps < 1) p->state.max_steps = 1;
    p->state.num_train_epochs = (double)p->state.max_steps / per_epoch;
    p->state.logging_steps = o->logging_steps;
    p->state.save_steps = o->save_steps;
    p->schedule = (schedule){
        .kind = schedule_from_name(o->lr_scheduler_type),
        .total_steps = p->state.max_steps,
        .warmup_steps = o->warmup_steps > 0
                            ? o->warmup_steps
                            : (int64_t)ceil(o->warmup_ratio * (double)p->state.max_steps),
        .peak = o->learning_rate,
    };
    log_line(p->callbacks, CLOZE_LOG_INFO,
             "%lld parameters, %lld steps of about %lld tokens (%.2f epochs)",
             (long long)model_param_count(p->model), (long long)p->state.max_steps,
             (long long)(o->tokens_per_batch * o->gradient_accumulation_steps),
             p->state.num_train_epochs);
}

static cloze_status train(pretrain *p, cloze_error *err) {
    int32_t *order;
    plan_steps(p);
    MEM_NEW(err, order, p->train.n_sequences);
    p->started = clock_seconds();
    progress_begin(&p->bar, p->callbacks, "pretrain", "step", p->state.max_steps);
    cloze_status status = CLOZE_OK;
    for (int64_t epoch = 0; status == CLOZE_OK && p->state.global_step < p->state.max_steps;
         epoch++)
        status = run_epoch(p, epoch, order, err);
    progress_end(&p->bar);
    mem_free(order);
    return status;
}

static cloze_status write_results(pretrain *p, const held_out *h, buf *results, cloze_error *err) {
    buf_puts(results, "{\n  ");
    if (h->n) {
        put_held_out(h, ",\n  ", results);
        buf_puts(results, ",\n  ");
    }
    buf_printf(results,
               "\"parameters\": %lld,\n  \"train_runtime\": %.1f,\n  \"train_steps\": %lld,\n  "
               "\"train_tokens\": %lld\n}\n",
               (long long)model_param_count(p->model), clock_seconds() - p->started,
               (long long)p->state.global_step, (long long)p->tokens_done);
    CLOZE_TRY(state_write_file(p->o->output_dir, "pretrain_results.json", results, err));
    return trainer_state_write(&p->state, p->o->output_dir, err);
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

static cloze_status run(pretrain *p, buf *results, cloze_error *err) {
    const options *o = p->o;
    held_out h = {0};
    cloze_dtype dtype = strcmp(o->save_dtype, "bfloat16") == 0  ? DTYPE_BF16
                        : strcmp(o->save_dtype, "float16") == 0 ? DTYPE_F16
                                                                : DTYPE_F32;
    if (!o->train_file)
        CLOZE_FAIL(err, USAGE,
                   "--train_file FILE is missing: raw text, one sentence or paragraph a line");
    if (o->max_seq_length > 4096)
        CLOZE_FAIL(err, USAGE, "--max_seq_length %lld is more than pretrain takes (4096)",
                   (long long)o->max_seq_length);
    CLOZE_TRY(check_shape_flags(o, err));
    if (OPTION_IS_SET(o, model_name_or_path))
        CLOZE_TRY(model_locate(o->model_name_or_path, &p->base_dir, err));
    CLOZE_TRY(dir_create(o->output_dir, err));
    CLOZE_TRY(open_tokenizer(p, err));
    CLOZE_TRY(set_mask_options(p, err));
    CLOZE_TRY(open_model(p, err));
    CLOZE_TRY(open_words(p, err));
    CLOZE_TRY(read_corpus(p, err));
    CLOZE_TRY(session_open(&p->session, o->device, (int)o->num_threads, o->bf16, err));
    CLOZE_TRY(events_open(&p->events, o->output_dir, err));
    CLOZE_TRY(train(p, err));
    CLOZE_TRY(save_model(p, o->output_dir, dtype, err)); /* before anything else can fail */
    if (p->held.n_sequences) CLOZE_TRY(evaluate_now(p, &h, err));
    return write_results(p, &h, results, err);
}

cloze_status pretrain_run(const options *o, const cloze_callbacks *callbacks, buf *results,
                          cloze_error *err) {
    pretrain p = {.o = o, .callbacks = callbacks};
    trainer_state_init(&p.state);
    cloze_status status = run(&p, results, err);
    pretrain_close(&p);
    return status;
}
