/*
 * Model directories: what is written is read back, in every precision and under the names that
 * other programs give; what is mapped and what is copied; what wrong files are told. Numbers are
 * compared with transformers in tests/golden.
 */
#include <math.h>

#include "base/buf.h"
#include "model/load.h"
#include "unit/model/tiny_model.h"
#include "unit/tape_support.h"

#define ROBERTA                                                                                    \
    "{\"model_type\": \"roberta\", \"vocab_size\": 40, \"pad_token_id\": 1, " TINY_FIELDS "}"
#define ERNIE                                                                                      \
    "{\"model_type\": \"ernie\", \"vocab_size\": 40, \"use_task_id\": true, " TINY_FIELDS "}"
#define UNTIED                                                                                     \
    "{\"model_type\": \"bert\", \"vocab_size\": 40, \"tie_word_embeddings\": false, " TINY_FIELDS  \
    "}"
#define WORDS "bert.embeddings.word_embeddings.weight"

static const char *const CONFIGS[] = {TINY_BERT, ROBERTA, ERNIE, UNTIED};
enum { N_HEADS = 3 };

static model *open_ok(const char *dir, const model_open_options *o) {
    model *m = NULL;
    MUST(model_open(dir, o, &m, err));
    return m;
}

static void open_fails(const char *dir, const model_open_options *o, const char *fragment) {
    model *m = (model *)(uintptr_t)1;
    MUST_FAIL(CLOZE_ERR_MODEL, fragment, model_open(dir, o, &m, err));
    assert_null(m);
}

/* A parameter's numbers as f32, mem_free. */
static float *values_of(const param *p) {
    size_t n = (size_t)(p->w.t.rows * p->w.t.cols);
    float *out = mem_alloc(n * sizeof *out);
    assert_non_null(out);
    dtype_to_f32(out, p->w.t.data, p->w.t.dtype, n);
    return out;
}

/* Every parameter of both, to within rounding to `bits` of mantissa (10 = f16, whose smallest
 * numbers have fewer). */
static void assert_same_params(model *a, model *b, int bits) {
    nn_state *x = model_get_state(a), *y = model_get_state(b);
    assert_int_equal(x->n_params, y->n_params);
    for (int i = 0; i < x->n_params; i++) {
        assert_string_equal(x->params[i]->name, y->params[i]->name);
        float *u = values_of(x->params[i]), *v = values_of(y->params[i]);
        for (int64_t k = 0; k < x->params[i]->w.t.rows * x->params[i]->w.t.cols; k++)
            assert_near(x->params[i]->name, v[k], u[k],
                        ldexp(fabs((double)u[k]), -bits) + (bits == 10 ? 3e-8 : 0));
        mem_free(u);
        mem_free(v);
    }
}

/* ---- created models ---- */

static void creation_is_a_function_of_the_seed(void **unused) {
    model *a = tiny_model(TINY_BERT, MODEL_HEAD_MASKED_LM, 1),
          *b = tiny_model(TINY_BERT, MODEL_HEAD_MASKED_LM, 1),
          *c = tiny_model(TINY_BERT, MODEL_HEAD_MASKED_LM, 2);
    assert_same_params(a, b, 60);
    assert_memory_not_equal(find_param(a, WORDS)->w.t.data, find_param(c, WORDS)->w.t.data, 2560);
    const float *words = find_param(a, WORDS)->w.t.data;
    for (int i = 0; i < 16; i++) assert_true(words[i] == 0); /* the padding row */
    const float *gamma = find_param(a, "bert.embeddings.LayerNorm.weight")->w.t.data;
    assert_true(gamma[3] == 1.0f);
    model_destroy(a);
    model_destroy(b);
    model_destroy(c);
}

static void heads_and_counts(void **unused) {
    /* embeddings (40 + 24 + 2 + 2) x 16, a layer 4 x 16 x 16 + 2 x 16 x 24 + 13 x 16 + 24 - 16 ...
     */
    const int64_t layer = 4 * 16 * 16 + 4 * 16 + 2 * 16 * 24 + 24 + 16 + 4 * 16;
    const int64_t bare = (40 + 24 + 2) * 16 + 2 * 16 + 2 * layer;
    const struct {
        const char *config;
        model_head head;
        int64_t count;
        bool tied;
    } cases[] = {
        {TINY_BERT, MODEL_HEAD_NONE, bare, false},
        {TINY_BERT, MODEL_HEAD_MASKED_LM, bare + 16 * 16 + 16 + 2 * 16 + 40, true},
        {UNTIED, MODEL_HEAD_MASKED_LM, bare + 16 * 16 + 16 + 2 * 16 + 40 + 40 * 16, false},
        {TINY_BERT, MODEL_HEAD_SEQUENCE_CLASSIFICATION, bare + 16 * 16 + 16 + 2 * 16 + 2, false},
        {ERNIE, MODEL_HEAD_NONE, bare + 3 * 16, false},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        model *m = tiny_model(cases[i].config, cases[i].head, 1);
        assert_int_equal(model_param_count(m), cases[i].count);
        assert_int_equal(model_has_tied_decoder(m), cases[i].tied);
        assert_int_equal(model_get_head(m), cases[i].head);
        assert_int_equal(model_max_length(m), 24);
        model_destroy(m);
    }
}

/* What tuning methods go by: every linear with its name, every attention with its layer. */
typedef struct visited {
    const char *const *names;
    int linears, attentions;
} visited;

static void visit_linear(void *ctx, const char *name, nn_linear *l) {
    visited *v = ctx;
    assert_string_equal(name, v->names[v->linears++]);
    assert_true(l->weight && l->bias && !l->adapters && l->n_adapters == 0);
}

static void visit_attention(void *ctx, nn_attention *a) {
    visited *v = ctx;
    assert_int_equal(a->layer, v->attentions++);
    assert_true(a->n_heads == 2 && a->head_dim == 8 && !a->prefix);
}

static void every_slot_is_visited(void **unused) {
    static const char *const NAMES[] = {
        "encoder.layer.0.attention.self.qkv", "encoder.layer.0.attention.output.dense",
        "encoder.layer.0.intermediate.dense", "encoder.layer.0.output.dense",
        "encoder.layer.1.attention.self.qkv", "encoder.layer.1.attention.output.dense",
        "encoder.layer.1.intermediate.dense", "encoder.layer.1.output.dense"};
    for (size_t k = 0; k < COUNT(CONFIGS); k++) {
        visited v = {.names = NAMES};
        model *m = tiny_model(CONFIGS[k], MODEL_HEAD_NONE, 1);
        model_get_def(m)->visit_linears(model_get_self(m), visit_linear, &v);
        model_get_def(m)->visit_attentions(model_get_self(m), visit_attention, &v);
        assert_int_equal(v.linears, COUNT(NAMES));
        assert_int_equal(v.attentions, 2);
        assert_null(model_embeddings(m)->override);
        assert_int_equal(model_embeddings(m)->position_offset, k == 1 ? 2 : 0); /* RoBERTa */
        assert_int_equal(model_embeddings(m)->tables[3] != NULL, k == 2);       /* ERNIE */
        model_destroy(m);
    }
}

/* Dropout of the classifier: where each family has it, and only when asked for. */
static void heads_drop_out(void **unused) {
    static const int32_t ROWS[] = {0, 3};
    for (size_t k = 0; k < COUNT(CONFIGS); k++) {
        model *m = tiny_model(CONFIGS[k], MODEL_HEAD_SEQUENCE_CLASSIFICATION, 1);
        engine e = engine_open(&backend_ref, DTYPE_F32);
        uint64_t keys[4] = {1, 2, 3, 4};
        float *logits[3];
        for (int i = 0; i < 3; i++) { /* none wanted; keys but no rate; both */
            model_set_dropout(m, i == 2 ? 0.5 : 0, 0);
            tape_begin_step(e.tape, false, 7, i ? keys : NULL, i ? 4 : 0);
            var *first = op_gather_rows(e.tape, random_input(&e, 4, 16, 5), ROWS, 2);
            logits[i] = read_var(&e, model_classify(e.tape, m, first));
        }
        assert_memory_equal(logits[0], logits[1], 4 * sizeof(float));
        assert_memory_not_equal(logits[0], logits[2], 4 * sizeof(float));
        for (int i = 0; i < 3; i++) mem_free(logits[i]);
        engine_close(&e);
        model_destroy(m);
    }
}

/* ---- save and open ---- */

static void saved_models_open_again(void **unused) {
    static const struct {
        cloze_dtype dtype;
        const char *name;
        int bits;
    } dtypes[] = {
        {DTYPE_F32, "float32", 60}, {DTYPE_BF16, "bfloat16", 8}, {DTYPE_F16, "float16", 10}};
    for (size_t k = 0; k < COUNT(CONFIGS); k++) {
        for (int head = 0; head < N_HEADS; head++) {
            model *made = tiny_model(CONFIGS[k], (model_head)head, 4);
            for (size_t d = 0; d < COUNT(dtypes); d++) {
                MUST(model_save(made, test_dir, dtypes[d].dtype, err));
                model_open_options o = {.head = (model_head)head, .require_head = true};
                model *opened = open_ok(test_dir, &o);
                assert_same_params(made, opened, dtypes[d].bits);
                const cJSON *json = model_get_config(opened)->json;
                assert_string_equal(cJSON_GetObjectItem(json, "torch_dtype")->valuestring,
                                    dtypes[d].name);
                assert_string_equal(
                    cJSON_GetArrayItem(cJSON_GetObjectItem(json, "architectures"), 0)->valuestring,
                    model_get_def(made)->architectures[head]);
                /* and once more, from mapped 16-bit values: the same file */
                size_t n, n_again;
                char *first = get_file(at("model.safetensors"), &n);
                MUST(model_save(opened, test_dir, dtypes[d].dtype, err));
                char *again = get_file(at("model.safetensors"), &n_again);
                assert_int_equal(n, n_again);
                assert_memory_equal(first, again, n);
                mem_free(first);
                mem_free(again);
                model_destroy(opened);
            }
            model_destroy(made);
        }
    }
}

/* From mapped 16-bit values to every precision: nothing is lost on the way up. */
static void precisions_convert_into_each_other(void **unused) {
    const cloze_dtype dtypes[] = {DTYPE_F32, DTYPE_BF16, DTYPE_F16};
    const int bits[] = {60, 8, 10};
    model *made = tiny_model(TINY_BERT, MODEL_HEAD_MASKED_LM, 4);
    model_open_options o = {.head = MODEL_HEAD_MASKED_LM, .require_head = true};
    MUST(dir_create(at("from"), err));
    MUST(dir_create(at("to"), err));
    for (int from = 1; from < 3; from++) {
        MUST(model_save(made, at("from"), dtypes[from], err));
        model *half = open_ok(at("from"), &o);
        for (int to = 0; to < 3; to++) {
            MUST(model_save(half, at("to"), dtypes[to], err));
            model *again = open_ok(at("to"), &o);
            assert_same_params(half, again, to == from ? 60 : bits[to]);
            assert_int_equal(find_param(again, WORDS)->w.t.dtype, dtypes[to]);
            model_destroy(again);
        }
        model_destroy(half);
    }
    model_destroy(made);
}

static void unknown_keys_of_the_configuration_are_kept(void **unused) {
    model *m = tiny_model("{\"model_type\": \"bert\", \"vocab_size\": 40, \"dtype\": \"float16\", "
                          "\"their_own\": {\"a\": [1, 2.5]}, " TINY_FIELDS "}",
                          MODEL_HEAD_NONE, 1);
    MUST(model_save(m, test_dir, DTYPE_F32, err));
    model_destroy(m);
    cJSON *json = NULL;
    MUST(json_parse_file(at("config.json"), 1 << 20, CLOZE_ERR_MODEL, &json, err));
    const cJSON *own = cJSON_GetObjectItem(json, "their_own");
    assert_true(cJSON_GetArrayItem(cJSON_GetObjectItem(own, "a"), 1)->valuedouble == 2.5);
    assert_null(cJSON_GetObjectItem(json, "dtype")); /* torch_dtype says it */
    assert_string_equal(cJSON_GetObjectItem(json, "torch_dtype")->valuestring, "float32");
    json_destroy(json);
}

static void failing_to_write_names_the_path(void **unused) {
    model *m = tiny_model(TINY_BERT, MODEL_HEAD_NONE, 1);
    put_file(at("file"), "not a directory");
    MUST_FAIL(CLOZE_ERR_IO, at("file"), model_save(m, at("file"), DTYPE_F32, err));
    model_destroy(m);
}

/* ---- mapping ---- */

static bool is_mapped(const model *m, const param *p) {
    for (size_t i = 0; i < ckpt_count(m->checkpoint); i++)
        if (ckpt_at(m->checkpoint, i)->data == p->w.t.data)
            return ckpt_at(m->checkpoint, i)->mapped && !p->owned;
    return false;
}

/* Whole matrices are views of the file in every precision; training copies what it trains. */
static void frozen_matrices_are_mapped(void **unused) {
    const cloze_dtype dtypes[] = {DTYPE_F32, DTYPE_BF16, DTYPE_F16};
    static const struct {
        const char *name;
        bool mapped;
    } cases[] = {
        {WORDS, true},
        {"bert.encoder.layer.1.attention.output.dense.weight", true},
        {"bert.encoder.layer.0.intermediate.dense.weight", true},
        {"cls.predictions.transform.dense.weight", true},
        {"bert.encoder.layer.0.attention.self.key.weight", false}, /* a third of a fused one */
        {"bert.embeddings.LayerNorm.weight", false},               /* a vector */
    };
    model *made = tiny_model(TINY_BERT, MODEL_HEAD_MASKED_LM, 1);
    for (size_t d = 0; d < COUNT(dtypes); d++) {
        MUST(model_save(made, test_dir, dtypes[d], err));
        model_open_options o = {.head = MODEL_HEAD_MASKED_LM, .require_head = true};
        model *m = open_ok(test_dir, &o);
        for (size_t i = 0; i < COUNT(cases); i++) {
            const param *p = find_param(m, cases[i].name);
            if (is_mapped(m, p) != cases[i].mapped)
                fail_msg("%s is %s", cases[i].name, cases[i].mapped ? "copied" : "mapped");
            assert_int_equal(p->w.t.dtype, cases[i].mapped ? dtypes[d] : DTYPE_F32);
        }
        param *words = find_param(m, WORDS), *dense = find_param(m, cases[1].name);
        param_block *block = NULL;
        model_set_requires_grad(m, false);
        words->requires_grad = true;
        MUST(model_train_begin(m, NULL, 0, &block, err));
        assert_false(is_mapped(m, words));
        assert_true(is_mapped(m, dense));
        assert_int_equal(words->w.t.dtype, DTYPE_F32);
        assert_true(words->row_lazy && words->row_state && !dense->grad.data);
        assert_int_equal(param_block_count(block), 40 * 16);
        assert_same_params(made, m, d ? 8 : 60);
        model_destroy(m);
    }
    model_destroy(made);
}

static void training_begins_once(void **unused) {
    model *m = tiny_model(TINY_BERT, MODEL_HEAD_NONE, 1);
    param_block *block = NULL, *again = NULL;
    model_set_requires_grad(m, true);
    MUST(model_train_begin(m, NULL, 0, &block, err));
    MUST_FAIL(CLOZE_ERR_INTERNAL, "", model_train_begin(m, NULL, 0, &again, err));
    assert_int_equal(param_block_count(block), model_param_count(m)); /* the first is untouched */
    model_destroy(m);
}

/* ---- the names of others ---- */

typedef struct renaming {
    const char *from, *to;
} renaming;

/* Writes m's tensors with `from` (the first renaming whose `from` is in the name) replaced by `to`;
 * a NULL `to` leaves the tensor out. */
static void save_renamed(const model *m, const renaming *rules, size_t n_rules, const char *path) {
    const nn_state *s = &m->state;
    ckpt_item *items = mem_calloc((size_t)s->n_entries, sizeof *items);
    char(*names)[200] = mem_calloc((size_t)s->n_entries, sizeof *names);
    size_t n = 0;
    assert_true(items && names);
    for (int i = 0; i < s->n_entries; i++) {
        const nn_entry *e = &s->entries[i];
        const tensor *t = &e->param->w.t;
        const renaming *rule = NULL;
        for (size_t r = 0; r < n_rules && !rule; r++)
            if (strstr(e->name, rules[r].from)) rule = &rules[r];
        if (rule && !rule->to) continue;
        const char *where = rule ? strstr(e->name, rule->from) : NULL;
        if (where)
            snprintf(names[n], sizeof names[n], "%.*s%s%s", (int)(where - e->name), e->name,
                     rule->to, where + strlen(rule->from));
        else
            snprintf(names[n], sizeof names[n], "%s", e->name);
        bool vector = e->param->rank == 1;
        items[n] =
            (ckpt_item){.name = names[n],
                        .dtype = DTYPE_F32,
                        .rank = e->param->rank,
                        .shape = {e->rows, vector ? 0 : t->cols},
                        .data = (const float *)t->data + e->row_begin * (vector ? 1 : t->cols),
                        .from_f32 = true};
        n++;
    }
    MUST(safetensors_write(path, items, n, NULL, 0, err));
    mem_free(items);
    mem_free(names);
}

static void dialects_are_understood(void **unused) {
    static const struct {
        const char *name, *config;
        renaming rules[2];
        size_t n;
    } cases[] = {
        {"no prefix", TINY_BERT, {{"bert.", ""}}, 1},
        {"another base", TINY_BERT, {{"bert.", "ernie."}}, 1},
        {"gamma and beta",
         TINY_BERT,
         {{"LayerNorm.weight", "LayerNorm.gamma"}, {"LayerNorm.bias", "LayerNorm.beta"}},
         2},
        {"wrapped", TINY_BERT, {{"bert.", "module.bert."}, {"cls.", "module.cls."}}, 2},
        {"decoder bias elsewhere",
         TINY_BERT,
         {{"cls.predictions.bias", "cls.predictions.decoder.bias"}},
         1},
        {"RoBERTa without prefix", ROBERTA, {{"roberta.", ""}}, 1},
        {"ERNIE under bert", ERNIE, {{"ernie.", "bert."}}, 1},
        {"untied with one bias", UNTIED, {{"cls.predictions.decoder.bias", NULL}}, 1},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        model *made = tiny_model(cases[i].config, MODEL_HEAD_MASKED_LM, 1);
        MUST(model_save(made, test_dir, DTYPE_F32, err));
        save_renamed(made, cases[i].rules, cases[i].n, at("model.safetensors"));
        model_open_options o = {.head = MODEL_HEAD_MASKED_LM, .require_head = true};
        model *m = open_ok(test_dir, &o);
        assert_same_params(made, m, 60);
        model_destroy(m);
        model_destroy(made);
    }
}

/* ---- heads that a checkpoint has not ---- */

typedef struct log_lines {
    char text[4000];
} log_lines;

static void take_line(void *user, cloze_log_level level, const char *line) {
    log_lines *l = user;
    size_t n = strlen(l->text);
    if (level == CLOZE_LOG_INFO) snprintf(l->text + n, sizeof l->text - n, "%s\n", line);
}

static void absent_heads_are_initialised_and_named(void **unused) {
    tiny_model_dir(test_dir, TINY_BERT, MODEL_HEAD_NONE, 1);
    log_lines log = {{0}};
    cloze_callbacks cb = {.user = &log, .log = take_line};
    static const char *const LABELS[] = {"a", "b", "c"};
    model_open_options o = {.head = MODEL_HEAD_SEQUENCE_CLASSIFICATION,
                            .labels = LABELS,
                            .num_labels = 3,
                            .seed = 9,
                            .callbacks = &cb};
    model *a = open_ok(test_dir, &o), *b = open_ok(test_dir, &o);
    assert_non_null(strstr(log.text, "bert.pooler.dense.weight"));
    assert_non_null(strstr(log.text, "classifier.weight"));
    assert_null(strstr(log.text, "embeddings"));
    assert_same_params(a, b, 60);
    assert_int_equal(find_param(a, "classifier.weight")->w.t.rows, 3);
    o.seed = 10;
    model *c = open_ok(test_dir, &o);
    assert_memory_not_equal(find_param(a, "classifier.weight")->w.t.data,
                            find_param(c, "classifier.weight")->w.t.data, 16 * 4);
    assert_same_params(a, a, 60);
    o.require_head = true;
    open_fails(test_dir, &o, "classifier.weight");
    open_fails(test_dir, &o, test_dir);
    model_destroy(a);
    model_destroy(b);
    model_destroy(c);
}

/* Says what is not there, instead of doubting config.json. */
static void a_model_without_the_wanted_head_is_told(void **unused) {
    tiny_model_dir(test_dir, TINY_BERT, MODEL_HEAD_SEQUENCE_CLASSIFICATION, 1);
    model_open_options o = {.head = MODEL_HEAD_MASKED_LM, .require_head = true};
    open_fails(test_dir, &o,
               "there is no masked language model head in it (it lacks cls.predictions");
}

static void weights_that_are_not_finite_are_named(void **unused) {
    static const cloze_dtype DTYPES[] = {DTYPE_F32, DTYPE_BF16, DTYPE_F16};
    for (size_t i = 0; i < sizeof DTYPES / sizeof *DTYPES; i++) {
        model *made = tiny_model(TINY_BERT, MODEL_HEAD_MASKED_LM, 1);
        param *p = find_param(made, "bert.encoder.layer.1.output.dense.weight");
        ((float *)p->w.t.data)[p->w.t.cols + 3] = (float)NAN;
        MUST(model_save(made, test_dir, DTYPES[i], err));
        model_open_options o = {.head = MODEL_HEAD_MASKED_LM, .require_head = true};
        model *m = open_ok(test_dir, &o);
        MUST_FAIL(CLOZE_ERR_MODEL, "layer.1.output.dense.weight holds nan at (1, 3)",
                  model_check_finite(m, err));
        model_destroy(m);
        model_destroy(made);
    }
    model *good = tiny_model(TINY_BERT, MODEL_HEAD_MASKED_LM, 1);
    MUST(model_check_finite(good, err));
    model_destroy(good);
}

/* Another classifier's rows are replaced when labels are given, never without. */
static void a_classifier_of_other_labels(void **unused) {
    tiny_model_dir(test_dir, TINY_BERT, MODEL_HEAD_SEQUENCE_CLASSIFICATION, 1); /* two labels */
    model_open_options o = {.head = MODEL_HEAD_SEQUENCE_CLASSIFICATION, .num_labels = 5, .seed = 9};
    model *m = open_ok(test_dir, &o);
    assert_int_equal(find_param(m, "classifier.weight")->w.t.rows, 5);
    assert_int_equal(find_param(m, "classifier.bias")->w.t.cols, 5);
    model *made = tiny_model(TINY_BERT, MODEL_HEAD_SEQUENCE_CLASSIFICATION, 1);
    assert_memory_equal(find_param(m, "bert.pooler.dense.weight")->w.t.data,
                        find_param(made, "bert.pooler.dense.weight")->w.t.data, 16 * 16 * 4);
    model_destroy(made);
    model_destroy(m);
    o.require_head = true;
    open_fails(test_dir, &o, "classifier.weight has shape (2, 16)");
    o = (model_open_options){.head = MODEL_HEAD_SEQUENCE_CLASSIFICATION, .num_labels = 2};
    m = open_ok(test_dir, &o); /* as many labels: the classifier that is there */
    made = tiny_model(TINY_BERT, MODEL_HEAD_SEQUENCE_CLASSIFICATION, 1);
    assert_same_params(made, m, 60);
    model_destroy(made);
    model_destroy(m);
}

/* ---- what is wrong with a directory ---- */

static void missing_tensors_are_listed(void **unused) {
    model *made = tiny_model(TINY_BERT, MODEL_HEAD_NONE, 1);
    MUST(model_save(made, test_dir, DTYPE_F32, err));
    const renaming two[] = {{"layer.0.attention.self.key.weight", NULL},
                            {"layer.1.output.LayerNorm.bias", NULL}};
    save_renamed(made, two, 2, at("model.safetensors"));
    model_open_options o = {.head = MODEL_HEAD_NONE};
    open_fails(test_dir, &o, "bert.encoder.layer.0.attention.self.key.weight");
    open_fails(test_dir, &o, "bert.encoder.layer.1.output.LayerNorm.bias");
    open_fails(test_dir, &o, "missing");
    const renaming all[] = {{"encoder.", NULL}}; /* too many to list: the line stays one */
    save_renamed(made, all, 1, at("model.safetensors"));
    open_fails(test_dir, &o, " ...");
    model_destroy(made);
}

static void wrong_shapes_are_told(void **unused) {
    static const struct {
        const char *key, *fragment;
    } cases[] = {
        {"\"vocab_size\": 41",
         "word_embeddings.weight has shape (40, 16), config.json asks for (41, 16)"},
        {"\"vocab_size\": 40, \"max_position_embeddings\": 25", "position_embeddings.weight"},
        {"\"vocab_size\": 40, \"intermediate_size\": 23", "intermediate.dense.weight"},
        {"\"vocab_size\": 40, \"num_hidden_layers\": 3", "layer.2."},
        {"\"vocab_size\": 40, \"type_vocab_size\": 3", "token_type_embeddings"},
        {"\"vocab_size\": 40, \"use_task_id\": true", "task_type_embeddings"},
        {"\"vocab_size\": 40, \"hidden_size\": 32", "has shape (40, 16)"},
    };
    tiny_model_dir(test_dir, TINY_BERT, MODEL_HEAD_NONE, 1);
    for (size_t i = 0; i < COUNT(cases); i++) {
        char text[500];
        /* the first of two equal keys is the one that counts */
        snprintf(text, sizeof text, "{\"model_type\": \"bert\", %s, %s}", cases[i].key,
                 TINY_FIELDS);
        put_file(at("config.json"), text);
        model_open_options o = {.head = MODEL_HEAD_NONE};
        open_fails(test_dir, &o, cases[i].fragment);
    }
}

static void wrong_kinds_of_tensors_are_told(void **unused) {
    model *made = tiny_model(TINY_BERT, MODEL_HEAD_NONE, 1);
    MUST(model_save(made, test_dir, DTYPE_F32, err));
    const renaming none[] = {{"word_embeddings", NULL}};
    save_renamed(made, none, 1, at("rest.safetensors"));
    model_destroy(made);
    ckpt *rest = NULL;
    MUST(ckpt_open(at("rest.safetensors"), &rest, err));
    size_t n = ckpt_count(rest);
    ckpt_item *items = mem_calloc(n + 1, sizeof *items);
    assert_non_null(items);
    for (size_t i = 0; i < n; i++) {
        const ckpt_tensor *t = ckpt_at(rest, i);
        items[i] =
            (ckpt_item){.name = t->name, .dtype = t->dtype, .rank = t->rank, .data = t->data};
        memcpy(items[i].shape, t->shape, sizeof t->shape);
    }
    int32_t *ids = mem_calloc(40 * 16, sizeof *ids);
    assert_non_null(ids);
    items[n] =
        (ckpt_item){.name = WORDS, .dtype = DTYPE_I32, .rank = 2, .shape = {40, 16}, .data = ids};
    MUST(safetensors_write(at("model.safetensors"), items, n + 1, NULL, 0, err));
    model_open_options o = {.head = MODEL_HEAD_NONE};
    open_fails(test_dir, &o, "not floating-point");
    items[n].rank = 1;
    items[n].shape[0] = 640;
    MUST(safetensors_write(at("model.safetensors"), items, n + 1, NULL, 0, err));
    open_fails(test_dir, &o, "has shape (640)");
    ckpt_close(rest);
    mem_free(items);
    mem_free(ids);
}

static void wrong_directories_are_told(void **unused) {
    model_open_options o = {.head = MODEL_HEAD_NONE};
    open_fails(at("nowhere"), &o, "nowhere: no such model directory");
    put_file(at("file"), "x");
    open_fails(at("file"), &o, "no such model directory");
    MUST(dir_create(at("empty"), err));
    open_fails(at("empty"), &o, "config.json");
    put_file(at("empty/config.json"), "{\"model_type\": \"t5\"}");
    open_fails(at("empty"), &o, "\"t5\"");
    put_file(at("empty/config.json"), TINY_BERT);
    open_fails(at("empty"), &o, "model.safetensors");
    put_file(at("empty/model.safetensors"), "garbage");
    open_fails(at("empty"), &o, "model.safetensors");
}

/* ---- memory ---- */

static cloze_status create(void *ctx, cloze_error *err) {
    model *m = NULL;
    cloze_status status = model_create(ctx, MODEL_HEAD_MASKED_LM, 1, &m, err);
    if (status == CLOZE_OK) status = model_save(m, test_dir, DTYPE_F32, err);
    model_destroy(m);
    return status;
}

static cloze_status open_and_train(void *ctx, cloze_error *err) {
    model *m = NULL;
    param_block *block = NULL;
    const model_open_options *o = ctx;
    cloze_status status = model_open(test_dir, o, &m, err);
    if (status == CLOZE_OK) {
        model_set_requires_grad(m, true);
        status = model_train_begin(m, NULL, 0, &block, err);
    }
    model_destroy(m);
    return status;
}

static void want_of_memory_is_survived(void **unused) {
    model_config config =
        tiny_config("{\"model_type\": \"ernie\", \"vocab_size\": 40, "
                    "\"num_hidden_layers\": 1, \"use_task_id\": true, " TINY_FIELDS "}");
    assert_true(fail_each_allocation(create, &config, 1) > 100);
    model_config_deinit(&config);
    model_open_options heads[] = {
        {.head = MODEL_HEAD_MASKED_LM, .require_head = true},
        {.head = MODEL_HEAD_SEQUENCE_CLASSIFICATION, .num_labels = 3},
    };
    for (size_t i = 0; i < COUNT(heads); i++)
        assert_true(fail_each_allocation(open_and_train, &heads[i], 1) > 100);
}

#define FILES_TEST(f) cmocka_unit_test_setup_teardown(f, dir_setup, dir_teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(creation_is_a_function_of_the_seed),
        cmocka_unit_test(heads_and_counts),
        cmocka_unit_test(every_slot_is_visited),
        cmocka_unit_test(heads_drop_out),
        FILES_TEST(saved_models_open_again),
        FILES_TEST(precisions_convert_into_each_other),
        FILES_TEST(unknown_keys_of_the_configuration_are_kept),
        FILES_TEST(failing_to_write_names_the_path),
        FILES_TEST(frozen_matrices_are_mapped),
        cmocka_unit_test(training_begins_once),
        FILES_TEST(dialects_are_understood),
        FILES_TEST(absent_heads_are_initialised_and_named),
        FILES_TEST(a_model_without_the_wanted_head_is_told),
        FILES_TEST(weights_that_are_not_finite_are_named),
        FILES_TEST(a_classifier_of_other_labels),
        FILES_TEST(missing_tensors_are_listed),
        FILES_TEST(wrong_shapes_are_told),
        FILES_TEST(wrong_kinds_of_tensors_are_told),
        FILES_TEST(wrong_directories_are_told),
        FILES_TEST(want_of_memory_is_survived),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
