/* Pre-training: vocabulary, model, word list and corpus, from a checkpoint, a model or the text. */
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "text/wordpiece_train.h"
#include "train/pretrain_internal.h"

#define SEGMENT_MAX_WORDS 60000
#define VOCAB_MIN_COUNT 5

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
        char *path = path_join(p->base_dir, PRETRAIN_WORDS_FILE);
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
    return model_train_begin(p->model, NULL, 0, &p->loop.block, err);
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

/* Training asks for keywords; held-out figures stay those of plain masks, and comparable. */
static cloze_status open_keywords(pretrain *p, cloze_error *err) {
    const options *o = p->o;
    p->train_mask = p->mask;
    if (o->keyword_probability <= 0) return CLOZE_OK;
    CLOZE_TRY(keyword_prompts_create(o->keyword_prompt, p->tok, &p->train, &p->keywords, err));
    p->train_mask.keywords = p->keywords;
    p->train_mask.keyword_probability = o->keyword_probability;
    log_line(p->callbacks, CLOZE_LOG_INFO, "%d words may be keywords",
             (int)keyword_prompts_word_count(p->keywords));
    return CLOZE_OK;
}

/* ---- all of it ---- */

cloze_status pretrain_open(pretrain *p, cloze_error *err) {
    CLOZE_TRY(open_tokenizer(p, err));
    CLOZE_TRY(set_mask_options(p, err));
    CLOZE_TRY(open_model(p, err));
    CLOZE_TRY(open_words(p, err));
    CLOZE_TRY(read_corpus(p, err));
    return open_keywords(p, err);
}

cloze_status pretrain_save_model(const pretrain *p, const char *dir, cloze_dtype dtype,
                                 cloze_error *err) {
    CLOZE_TRY(tokenizer_save(p->tok, dir, err));
    if (p->words) {
        char *path = path_join(dir, PRETRAIN_WORDS_FILE);
        cloze_status status = path ? segmenter_write(p->words, path, err)
                                   : error_set(err, CLOZE_ERR_MEMORY, "out of memory");
        mem_free(path);
        if (status != CLOZE_OK) return status;
    }
    return model_save(p->model, dir, dtype, err);
}
