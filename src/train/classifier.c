/* Classifiers: made from a pre-trained model, run over packed batches. Saving and opening:
 * classifier_io.c. */
#include "train/classifier_internal.h"

#include <string.h>

#include "base/log.h"
#include "base/rng.h"

void classifier_destroy(classifier *c) {
    if (!c) return;
    for (int32_t i = 0; i < c->n_views; i++) input_encoder_destroy(c->encoders[i]);
    mem_free(c->encoders);
    verbalizer_destroy(c->verbalizer);
    verbalizer_words_deinit(&c->words);
    template_deinit(&c->tmpl);
    model_destroy(c->model);
    tokenizer_destroy(c->tokenizer);
    label_set_deinit(&c->labels);
    mem_free(c->text_field);
    mem_free(c->text_b_field);
    mem_free(c);
}

/* A copy that owns its strings, in the same id order. */
static cloze_status copy_labels(const label_set *from, label_set *to, cloze_error *err) {
    buf text;
    buf_init(&text, (size_t)64 << 20);
    label_set_write_json(from, &text);
    cloze_status status =
        buf_ok(&text)
            ? label_set_parse_json(text.data, text.len, "labels", CLOZE_ERR_INTERNAL, to, NULL, err)
            : error_set(err, CLOZE_ERR_MEMORY, "out of memory for the labels");
    buf_deinit(&text);
    return status;
}

cloze_status classifier_set_fields(classifier *c, const char *text_field, const char *text_b_field,
                                   cloze_error *err) {
    if (text_field && !(c->text_field = mem_strdup(text_field)))
        CLOZE_FAIL(err, MEMORY, "out of memory");
    if (text_b_field && !(c->text_b_field = mem_strdup(text_b_field)))
        CLOZE_FAIL(err, MEMORY, "out of memory");
    c->options.text_field = c->text_field;
    c->options.text_b_field = c->text_b_field;
    return CLOZE_OK;
}

cloze_status classifier_check_length(classifier *c, cloze_error *err) {
    int64_t longest = model_max_length(c->model);
    if (c->options.max_seq_length <= 0)
        c->options.max_seq_length = (int32_t)(longest < 512 ? longest : 512);
    if (c->options.max_seq_length > longest)
        CLOZE_FAIL(err, USAGE, "--max_seq_length %d is more than the model's %lld positions",
                   c->options.max_seq_length, (long long)longest);
    int32_t vocab = tokenizer_vocab_size(c->tokenizer);
    if (vocab > model_get_config(c->model)->vocab_size)
        CLOZE_FAIL(err, MODEL,
                   "the vocabulary has %d tokens but the model's embedding only %lld rows: they do "
                   "not belong together",
                   vocab, (long long)model_get_config(c->model)->vocab_size);
    return CLOZE_OK;
}

cloze_status classifier_make_encoders(classifier *c, cloze_error *err) {
    bool prompt = c->options.method == METHOD_PROMPT;
    int32_t n_views = prompt ? verbalizer_n_views(c->verbalizer) : 1;
    MEM_NEW(err, c->encoders, n_views);
    c->n_views = n_views;
    for (int32_t i = 0; i < c->n_views; i++) {
        input_options o = {
            .max_seq_length = c->options.max_seq_length,
            .n_masks = prompt ? verbalizer_view_masks(c->verbalizer, i) : 0,
            .truncate_left = c->options.truncate_left,
            .natural_sep_position = c->options.first_generation,
            .cut_last_first = c->options.first_generation,
            .text_field = c->options.text_field,
            .text_b_field = c->options.text_b_field,
        };
        CLOZE_TRY(
            input_encoder_create(prompt ? &c->tmpl : NULL, c->tokenizer, &o, &c->encoders[i], err));
    }
    return CLOZE_OK;
}

cloze_status classifier_make_verbalizer(classifier *c, cloze_error *err) {
    verbalizer_words_options o = {.allow_unknown = c->options.verbalizer == VERBALIZER_SOFT};
    CLOZE_TRY(verbalizer_words_build(&c->labels, c->tokenizer, &o, &c->words, err));
    verbalizer_label_words words = {c->words.n_labels, c->words.word_offsets,
                                    c->words.token_offsets, c->words.token_ids};
    CLOZE_TRY(verbalizer_create(c->options.verbalizer, c->model, &words,
                                template_fixed_masks(&c->tmpl), &c->verbalizer, err));
    if (c->options.first_generation) verbalizer_pool_hidden_states(c->verbalizer);
    if (c->options.absolute_positions) model_embeddings(c->model)->position_offset = 0;
    return CLOZE_OK;
}

/* label names (C), borrowed from the set; mem_free. */
const char **classifier_label_names(const label_set *labels) {
    const char **names = mem_calloc((size_t)labels->n + 1, sizeof *names);
    for (int32_t i = 0; names && i < labels->n; i++) names[i] = labels->entries[i].name;
    return names;
}

static cloze_status open_model(classifier *c, const char *dir, cloze_error *err) {
    bool prompt = c->options.method == METHOD_PROMPT;
    const char **names = prompt ? NULL : classifier_label_names(&c->labels);
    model_open_options o = {
        .head = prompt ? MODEL_HEAD_MASKED_LM : MODEL_HEAD_SEQUENCE_CLASSIFICATION,
        .labels = names,
        .num_labels = prompt ? 0 : c->labels.n,
        .seed = c->options.seed,
        .callbacks = c->options.callbacks,
        .n_layers = c->options.n_layers,
        .require_head = prompt,
    };
    cloze_status status = model_open(dir, &o, &c->model, err);
    mem_free(names);
    return status;
}

bool classifier_reads_pairs(const classifier *c) {
    const classifier_options *o = &c->options;
    if (o->method == METHOD_FINETUNE) return o->has_text_b;
    return template_uses_field(&c->tmpl, "text_b") ||
           (o->text_b_field && template_uses_field(&c->tmpl, o->text_b_field));
}

/* What is allowed and as in PaddleNLP, but probably not what was meant. */
static void tell_odd_template(const classifier *c) {
    const cloze_callbacks *cb = c->options.callbacks;
    const char *mask = tokenizer_id_to_token(c->tokenizer, tokenizer_special(c->tokenizer)->mask);
    if (c->options.has_text_b && !classifier_reads_pairs(c))
        log_line(cb, CLOZE_LOG_WARN,
                 "the data has pairs of texts (%s), but the template reads only the first of each; "
                 "for both write {'text':'text_a'}{'text':'text_b'}...{'mask'}",
                 c->options.text_b_field ? c->options.text_b_field : "text_b");
    for (int32_t i = 0; mask && i < c->tmpl.n_parts; i++)
        if (c->tmpl.parts[i].kind == TEMPLATE_HARD && strstr(c->tmpl.parts[i].value, mask))
            log_line(cb, CLOZE_LOG_WARN,
                     "the template holds %s as text: that is one mask more; write {'mask'} for the "
                     "place of the label word",
                     mask);
}

static cloze_status create(classifier *c, const char *dir, const label_set *labels,
                           cloze_error *err) {
    tokenizer_options t = {c->options.do_lower_case};
    CLOZE_TRY(copy_labels(labels, &c->labels, err));
    if (c->labels.n < 2)
        CLOZE_FAIL(err, DATA, "there is only one label (%s); a classifier needs at least two",
                   c->labels.n ? c->labels.entries[0].name : "none");
    CLOZE_TRY(classifier_set_fields(c, c->options.text_field, c->options.text_b_field, err));
    CLOZE_TRY(tokenizer_open(dir, &t, &c->tokenizer, err));
    if (c->options.method == METHOD_PROMPT) {
        CLOZE_TRY(template_parse(c->options.prompt ? c->options.prompt : "", &c->tmpl, err));
        CLOZE_TRY(template_check(&c->tmpl, CLOZE_ERR_USAGE, err));
        tell_odd_template(c);
    }
    CLOZE_TRY(open_model(c, dir, err));
    CLOZE_TRY(classifier_check_length(c, err));
    if (c->options.method == METHOD_PROMPT) CLOZE_TRY(classifier_make_verbalizer(c, err));
    return classifier_make_encoders(c, err);
}

cloze_status classifier_create(const char *model_dir, const classifier_options *options,
                               const label_set *labels, classifier **out, cloze_error *err) {
    classifier *c;
    *out = NULL;
    MEM_NEW(err, c, 1);
    c->options = *options;
    cloze_status status = create(c, model_dir, labels, err);
    c->options.prompt = NULL; /* borrowed until here */
    if (status != CLOZE_OK) {
        classifier_destroy(c);
        return status;
    }
    *out = c;
    return CLOZE_OK;
}

model *classifier_model(classifier *c) { return c->model; }
const tokenizer *classifier_tokenizer(const classifier *c) { return c->tokenizer; }
const label_set *classifier_labels(const classifier *c) { return &c->labels; }
classifier_method classifier_get_method(const classifier *c) { return c->options.method; }
const classifier_options *classifier_get_options(const classifier *c) { return &c->options; }
int32_t classifier_n_views(const classifier *c) { return c->n_views; }
const input_encoder *classifier_encoder(const classifier *c, int32_t view) {
    return c->encoders[view];
}

cloze_status classifier_check_encoded(const classifier *c, const encoded_set *set,
                                      const example *examples, cloze_error *err) {
    int64_t positions = model_max_length(c->model);
    int64_t types = model_get_config(c->model)->type_vocab_size; /* 0: the model looks at none */
    for (int64_t i = 0; i < set->n; i++) {
        for (int64_t k = set->offsets[i]; k < set->offsets[i + 1]; k++) {
            if (set->position_ids[k] >= positions)
                CLOZE_FAIL(err, DATA,
                           "line %lld: with the template it has %lld tokens and reaches position "
                           "%d, but the model's positions end at %lld; let the template cut the "
                           "text ('truncate': True), or lower its 'position'",
                           (long long)examples[i].line,
                           (long long)(set->offsets[i + 1] - set->offsets[i]), set->position_ids[k],
                           (long long)positions - 1);
            if (types > 0 && set->token_type_ids[k] >= types)
                CLOZE_FAIL(err, DATA,
                           "line %lld: it has token type %d, but the model's token types end at "
                           "%lld; lower the template's 'token_type'",
                           (long long)examples[i].line, set->token_type_ids[k],
                           (long long)types - 1);
        }
    }
    return CLOZE_OK;
}

/* True for what the method never reaches: with a soft verbalizer the vocabulary head's bias, say.
 */
static bool is_unused(const classifier *c, const param *p) {
    if (c->options.method != METHOD_PROMPT || c->options.verbalizer != VERBALIZER_SOFT)
        return false;
    param *decoder, *bias;
    model_masked_lm_decoder(c->model, &decoder, &bias);
    return p == bias || (p == decoder && !model_has_tied_decoder(c->model));
}

cloze_status classifier_fail_nonfinite(classifier *c, double value, cloze_error *err) {
    if (!c->trained) CLOZE_TRY(model_check_finite(c->model, err));
    CLOZE_FAIL(err, NONFINITE, "the scores became %g%s", value,
               c->trained ? ": training has diverged; try a smaller --learning_rate"
                          : ", though every weight of the model is finite");
}

cloze_status classifier_train_begin(classifier *c, bool freeze_plm, param_block **out,
                                    cloze_error *err) {
    nn_state *s = model_get_state(c->model);
    c->trained = true;
    model_set_requires_grad(c->model, !freeze_plm);
    for (int i = 0; i < s->n_params; i++)
        if (is_unused(c, s->params[i])) s->params[i]->requires_grad = false;
    if (freeze_plm && c->options.method == METHOD_FINETUNE)
        for (int i = 0; i < s->n_entries; i++)
            if (s->entries[i].head) s->entries[i].param->requires_grad = true;
    param *soft = c->verbalizer ? verbalizer_param(c->verbalizer) : NULL;
    if (freeze_plm && c->options.method == METHOD_PROMPT && !soft)
        CLOZE_FAIL(err, USAGE,
                   "--freeze_plm leaves nothing to train: a manual verbalizer has no weights of "
                   "its own (use --verbalizer soft)");
    param *extra[2] = {soft, soft ? verbalizer_bias(c->verbalizer) : NULL};
    return model_train_begin(c->model, extra, !soft ? 0 : extra[1] ? 2 : 1, out, err);
}

/* Dropout keys (N) of a view's rows: functions of example id, view, pass and position. */
static void set_row_keys(tape *t, const packed_batch *b, int32_t view, int32_t pass) {
    uint64_t *keys = tape_alloc(t, (size_t)b->n_tokens * sizeof *keys);
    int64_t n = 0;
    if (!keys) return;
    for (int32_t s = 0; s < b->n_examples; s++) {
        uint64_t key =
            rng_mix(rng_mix((uint64_t)b->example_ids[s], (uint64_t)view), (uint64_t)pass);
        for (int32_t i = b->offsets[s]; i < b->offsets[s + 1]; i++)
            keys[n++] = rng_mix(key, (uint64_t)(i - b->offsets[s]));
    }
    tape_set_row_keys(t, keys, n);
}

static var *view_logits(tape *t, classifier *c, int32_t view, const packed_batch *b,
                        const classifier_run *run) {
    nn_batch batch = {
        .n_seqs = b->n_examples,
        .n_tokens = b->n_tokens,
        .offsets = b->offsets,
        .input_ids = b->input_ids,
        .token_type_ids = b->token_type_ids,
        .position_ids = b->position_ids,
    };
    if (run->dropout) set_row_keys(t, b, view, run->pass);
    if (c->options.method == METHOD_FINETUNE) {
        var *first = model_encode_rows(t, c->model, &batch, b->offsets, b->n_examples,
                                       run->checkpointing); /* (B,H) */
        return model_classify(t, c->model, first);
    }
    int32_t k = verbalizer_view_masks(c->verbalizer, view);
    var *masks = model_encode_rows(t, c->model, &batch, b->mask_rows, (int64_t)b->n_examples * k,
                                   run->checkpointing); /* (B*k,H) */
    return verbalizer_forward(t, c->verbalizer, c->model, view, b->n_examples, masks);
}

var *classifier_logits(tape *t, classifier *c, const packed_batch *const views[],
                       const classifier_run *run) {
    var *logits = NULL;
    for (int32_t i = 0; i < c->n_views; i++) {
        var *scores = view_logits(t, c, i, views[i], run);
        logits = i == 0 ? scores : op_add(t, logits, scores);
    }
    return logits;
}
