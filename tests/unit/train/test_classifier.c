/*
 * Classifiers of every method over a tiny BERT: views and logits, saving and opening again, what a
 * damaged or mixed-up run directory is told, and inputs that reach beyond the model.
 */
#include "train/classifier_internal.h"
#include "unit/train/train_support.h"

#define PROMPT "这条新闻是"

typedef struct method_case {
    const char *name;
    classifier_options options;
    const char *labels;
    int32_t views;
} method_case;

static const method_case METHODS[] = {
    {"soft", {.prompt = PROMPT, .max_seq_length = 20, .do_lower_case = -1}, ONE_TOKEN_LABELS, 1},
    {"soft, two masks",
     {.prompt = "{'mask': None, 'length': 2}{'text': 'text_a'}", .do_lower_case = 0},
     TWO_TOKEN_LABELS,
     1},
    {"manual",
     {.verbalizer = VERBALIZER_MANUAL, .prompt = PROMPT, .max_seq_length = 20},
     ONE_TOKEN_LABELS,
     1},
    {"manual, two tokens",
     {.verbalizer = VERBALIZER_MANUAL, .prompt = PROMPT, .do_lower_case = -1},
     TWO_TOKEN_LABELS,
     1},
    {"manual, three lengths",
     {.verbalizer = VERBALIZER_MANUAL, .prompt = PROMPT, .truncate_left = true},
     MIXED_LABELS,
     3},
    {"finetune", {.method = METHOD_FINETUNE, .max_seq_length = 12}, MIXED_LABELS, 1},
};

static const char TEXTS[] = "great film\nawful plot , very awful\nbook\n\n体育新闻 是 好 的 .\n"
                            "one two red blue green film book plot actor scene one two\n";

static classifier *create_method(const method_case *m) {
    label_set labels = make_labels(m->labels);
    classifier *c = create_ok(at("model"), &m->options, &labels);
    label_set_deinit(&labels);
    return c;
}

static int model_setup(void **state) {
    if (dir_setup(state) != 0) return -1;
    make_pretrained(at("model"), TOY_BERT, MODEL_HEAD_MASKED_LM);
    return dir_create(at("run"), NULL) == CLOZE_OK ? 0 : -1;
}

/* ---- logits ---- */

static void logits_do_not_depend_on_the_batch(void **unused) {
    dataset d = parse_data(TEXTS, NULL);
    for (size_t i = 0; i < COUNT(METHODS); i++) {
        classifier *c = create_method(&METHODS[i]);
        session s = open_session("ref"), fast = open_session("cpu");
        int64_t n = d.n * classifier_labels(c)->n;
        assert_int_equal(classifier_n_views(c), METHODS[i].views);
        assert_false(classifier_is_run_dir(at("model")));
        float *one = predict(&s, c, &d, 1), *all = predict(&s, c, &d, 100),
              *cpu = predict(&fast, c, &d, 3);
        for (int64_t k = 0; k < n; k++) {
            assert_near(METHODS[i].name, one[k], all[k], 1e-5);
            assert_near(METHODS[i].name, cpu[k], all[k], 2e-5);
        }
        mem_free(one);
        mem_free(all);
        mem_free(cpu);
        session_close(&s);
        session_close(&fast);
        classifier_destroy(c);
    }
    dataset_deinit(&d);
}

/* One view's logits of a batch of the given examples under dropout, mem_free. */
static float *dropped_logits(session *s, classifier *c, const encoded_views *v, int32_t batch_size,
                             int32_t pass) {
    int32_t n_labels = classifier_labels(c)->n;
    float *out = mem_alloc((size_t)(v->n * n_labels) * sizeof *out);
    assert_non_null(out);
    batch_plan plan;
    batch_options bo = {.batch_size = batch_size};
    classifier_run run = {.dropout = true, .pass = pass};
    MUST(batch_plan_sequential(&v->sets[0], &bo, &plan, err));
    for (int64_t i = 0; i < plan.n_batches; i++) {
        const packed_batch *views[SESSION_MAX_VIEWS];
        MUST(session_fill(s, v, &plan, i, views, err));
        tape_begin_step(s->tape, false, 1234, NULL, 0);
        var *logits = classifier_logits(s->tape, c, views, &run);
        MUST(tape_status(s->tape, err));
        MUST(tape_read(s->tape, logits, out + plan.starts[i] * n_labels, err));
    }
    batch_plan_deinit(&plan);
    return out;
}

/* An example's dropout is its own: the same in any batch, another one in another pass. */
static void dropout_belongs_to_the_example(void **unused) {
    dataset d = parse_data(TEXTS, NULL);
    for (size_t i = 0; i < COUNT(METHODS); i++) {
        classifier *c = create_method(&METHODS[i]);
        session s = open_session("ref");
        encoded_views v;
        model_set_dropout(classifier_model(c), 0.3, 0.3);
        MUST(encoded_views_build(c, d.examples, d.n, &v, err));
        int64_t n = d.n * classifier_labels(c)->n;
        float *one = dropped_logits(&s, c, &v, 1, 0), *all = dropped_logits(&s, c, &v, 100, 0),
              *other = dropped_logits(&s, c, &v, 100, 1), *plain = predict(&s, c, &d, 100);
        double differs[2] = {0};
        for (int64_t k = 0; k < n; k++) {
            assert_near(METHODS[i].name, one[k], all[k], 1e-5);
            differs[0] += fabs((double)other[k] - all[k]);
            differs[1] += fabs((double)plain[k] - all[k]);
        }
        assert_true(differs[0] > 0.01 && differs[1] > 0.01);
        mem_free(one);
        mem_free(all);
        mem_free(other);
        mem_free(plain);
        encoded_views_deinit(&v);
        session_close(&s);
        classifier_destroy(c);
    }
    dataset_deinit(&d);
}

/* ---- what is trained ---- */

static bool is_trained(classifier *c, const char *name) {
    return find_param(classifier_model(c), name)->requires_grad;
}

static void each_method_trains_its_parameters(void **unused) {
    static const struct {
        size_t method;
        bool freeze, encoder, decoder_bias, transform, soft, head;
    } cases[] = {
        {0, false, true, false, true, true, false},  {0, true, false, false, false, true, false},
        {2, false, true, true, true, false, false},  {5, false, true, false, false, false, true},
        {5, true, false, false, false, false, true},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        classifier *c = create_method(&METHODS[cases[i].method]);
        param_block *block = NULL;
        MUST(classifier_train_begin(c, cases[i].freeze, &block, err));
        bool prompt = classifier_get_method(c) == METHOD_PROMPT;
        assert_int_equal(is_trained(c, "bert.encoder.layer.0.output.dense.weight"),
                         cases[i].encoder);
        assert_int_equal(is_trained(c, "bert.embeddings.word_embeddings.weight"), cases[i].encoder);
        if (prompt) {
            assert_int_equal(is_trained(c, "cls.predictions.bias"), cases[i].decoder_bias);
            assert_int_equal(is_trained(c, "cls.predictions.transform.dense.weight"),
                             cases[i].transform);
            param *soft = verbalizer_param(c->verbalizer);
            assert_int_equal(soft && soft->grad.data, cases[i].soft);
        } else {
            assert_int_equal(is_trained(c, "classifier.weight"), cases[i].head);
            assert_int_equal(is_trained(c, "bert.pooler.dense.weight"), cases[i].head);
        }
        assert_int_equal(param_block_count(block) < 200, prompt && cases[i].freeze);
        classifier_destroy(c);
    }
    classifier *c = create_method(&METHODS[2]);
    param_block *block = NULL;
    MUST_FAIL(CLOZE_ERR_USAGE, "nothing to train", classifier_train_begin(c, true, &block, err));
    classifier_destroy(c);
}

/* ---- saving and opening ---- */

static void saved_classifiers_give_the_same_logits(void **unused) {
    dataset d = parse_data(TEXTS, NULL);
    for (size_t i = 0; i < COUNT(METHODS); i++) {
        classifier *c = create_method(&METHODS[i]);
        session s = open_session("cpu");
        param *soft = c->verbalizer ? verbalizer_param(c->verbalizer) : NULL;
        if (soft) ((float *)soft->w.t.data)[3] += 0.1f; /* as training leaves it */
        float *want = predict(&s, c, &d, 4);
        MUST(dir_remove(at("run"), err));
        MUST(dir_create(at("run"), err));
        MUST(classifier_save(c, at("run"), err));
        assert_true(classifier_is_run_dir(at("run")));
        classifier *opened = open_ok(at("run"));
        float *got = predict(&s, opened, &d, 4);
        assert_memory_equal(got, want, (size_t)(d.n * classifier_labels(c)->n) * sizeof *got);
        const classifier_options *a = classifier_get_options(c),
                                 *b = classifier_get_options(opened);
        assert_int_equal(a->method, b->method);
        assert_int_equal(a->max_seq_length, b->max_seq_length);
        assert_int_equal(a->do_lower_case, b->do_lower_case);
        assert_int_equal(a->truncate_left, b->truncate_left);
        if (a->method == METHOD_PROMPT) assert_int_equal(a->verbalizer, b->verbalizer);
        for (int32_t l = 0; l < classifier_labels(c)->n; l++)
            assert_string_equal(classifier_labels(c)->entries[l].name,
                                classifier_labels(opened)->entries[l].name);
        /* and saved once more: the same bytes */
        MUST(dir_create(at("again"), err));
        MUST(classifier_save(opened, at("again"), err));
        char **names;
        size_t n;
        MUST(dir_list(at("run"), &names, &n, err));
        for (size_t k = 0; k < n; k++) {
            char *x = path_join(at("run"), names[k]), *y = path_join(at("again"), names[k]);
            assert_same_file(x, y);
            mem_free(x);
            mem_free(y);
        }
        dir_list_free(names, n);
        mem_free(want);
        mem_free(got);
        session_close(&s);
        classifier_destroy(opened);
        classifier_destroy(c);
    }
    dataset_deinit(&d);
}

static void fields_and_lengths_come_back(void **unused) {
    label_set labels = make_labels(ONE_TOKEN_LABELS);
    classifier_options o = {.prompt = "{'text': 'headline'}是{'mask'}{'text': 'body'}",
                            .text_field = "headline",
                            .text_b_field = "body",
                            .has_text_b = true,
                            .max_seq_length = 15,
                            .do_lower_case = 0};
    classifier *c = create_ok(at("model"), &o, &labels);
    MUST(classifier_save(c, at("run"), err));
    classifier_destroy(c);
    c = open_ok(at("run"));
    const classifier_options *got = classifier_get_options(c);
    assert_string_equal(got->text_field, "headline");
    assert_string_equal(got->text_b_field, "body");
    assert_true(got->has_text_b);
    assert_int_equal(got->max_seq_length, 15);
    assert_int_equal(got->do_lower_case, 0);
    classifier_destroy(c);
    classifier_options other = {.max_seq_length = 18, .do_lower_case = 1};
    MUST(classifier_open(at("run"), &other, &c, err)); /* what is asked for goes before */
    assert_int_equal(classifier_get_options(c)->max_seq_length, 18);
    assert_int_equal(classifier_get_options(c)->do_lower_case, 1);
    classifier_destroy(c);
    other.max_seq_length = 25;
    MUST_FAIL(CLOZE_ERR_USAGE, "--max_seq_length 25", classifier_open(at("run"), &other, &c, err));
    other.max_seq_length = 3;
    MUST_FAIL(CLOZE_ERR_USAGE, "no room", classifier_open(at("run"), &other, &c, err));
    label_set_deinit(&labels);
}

/* Saving over a run of another method leaves nothing of it. */
static void nothing_of_an_older_run_remains(void **unused) {
    classifier *soft = create_method(&METHODS[0]), *fine = create_method(&METHODS[5]);
    MUST(classifier_save(soft, at("run"), err));
    MUST(classifier_save(fine, at("run"), err));
    assert_false(file_exists(at("run/prompt.safetensors")));
    assert_false(file_exists(at("run/template_config.json")));
    classifier *opened = open_ok(at("run"));
    assert_int_equal(classifier_get_method(opened), METHOD_FINETUNE);
    classifier_destroy(opened);
    /* and one that cannot be finished does not open as the older run */
    MUST(dir_create(at("run/vocab.txt.dir"), err));
    assert_int_equal(remove(at("run/vocab.txt")), 0);
    assert_int_equal(rename(at("run/vocab.txt.dir"), at("run/vocab.txt")), 0);
    MUST_FAIL(CLOZE_ERR_IO, "vocab.txt", classifier_save(soft, at("run"), err));
    assert_false(classifier_is_run_dir(at("run")));
    classifier_destroy(soft);
    classifier_destroy(fine);
}

/* ---- damaged run directories ---- */

static void save_method(size_t method, const char *dir) {
    classifier *c = create_method(&METHODS[method]);
    MUST(dir_create(dir, err));
    MUST(classifier_save(c, dir, err));
    classifier_destroy(c);
}

static void open_fails(const char *dir, const char *fragment) {
    classifier *c = (classifier *)(uintptr_t)1;
    MUST_FAIL(CLOZE_ERR_MODEL, fragment, classifier_open(dir, NULL, &c, err));
    assert_null(c);
}

static void missing_files_are_named(void **unused) {
    static const struct {
        size_t method;
        const char *file;
    } cases[] = {
        {0, "classifier.json"},        {0, "config.json"},          {0, "model.safetensors"},
        {0, "template_config.json"},   {0, "prompt.safetensors"},   {0, "vocab.txt"},
        {0, "verbalizer_config.json"}, {2, "template_config.json"}, {5, "classifier.json"},
        {5, "verbalizer_config.json"}, {5, "model.safetensors"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        MUST(dir_remove(at("run"), err));
        save_method(cases[i].method, at("run"));
        char *path = path_join(at("run"), cases[i].file);
        if (remove(path) != 0) fail_msg("%s was not written", cases[i].file);
        open_fails(at("run"), cases[i].file);
        mem_free(path);
    }
    open_fails(at("nowhere"), "nowhere: there is no such directory");
    open_fails(at("model"), "no trained classifier here");
}

static void damaged_files_are_named(void **unused) {
    static const struct {
        size_t method;
        const char *file, *text, *fragment;
    } cases[] = {
        {0, "classifier.json", "{", "classifier.json"},
        {0, "classifier.json", "{\"method\": \"magic\"}",
         "classifier.json: \"method\" is \"magic\""},
        {0, "classifier.json", "{\"method\": 3}", "classifier.json: \"method\""},
        {0, "classifier.json", "{\"method\": \"prompt\", \"verbalizer\": \"hard\"}",
         "\"verbalizer\" is \"hard\""},
        {0, "classifier.json", "{\"max_seq_length\": 0}", "classifier.json: \"max_seq_length\""},
        {0, "classifier.json", "{\"max_seq_length\": \"x\"}",
         "classifier.json: \"max_seq_length\""},
        {0, "classifier.json", "{\"do_lower_case\": 2}", "classifier.json: \"do_lower_case\""},
        {0, "classifier.json", "{\"text_field\": 1}", "classifier.json: \"text_field\""},
        {0, "classifier.json", "{\"max_seq_length\": 25}", "25 is more than the model's 24"},
        {0, "classifier.json", "{\"max_seq_length\": 3}", "run: the template takes"},
        {2, "verbalizer_config.json", "{\"bad\": [\"坏\"], \"good\": [\"魑\"]}",
         "run: label \"good\""},
        {0, "verbalizer_config.json", "[]", "verbalizer_config.json"},
        {0, "verbalizer_config.json", "{\"bad\": []}", "verbalizer_config.json"},
        {0, "verbalizer_config.json", "{\"bad\": [\"坏\"], \"good\": [\"好\"], \"so\": [\"是\"]}",
         "no tensor verbalizer.weight of shape (3, 16)"},
        {0, "prompt.safetensors", "xx", "prompt.safetensors"},
        {0, "template_config.json", "no JSON", "template_config.json"},
        {0, "template_config.json", "[{\"text\": \"text_a\"}]", "mask"},
        {0, "template_config.json", "[{\"soft\": null}, {\"mask\": null}]", "soft parts"},
        {5, "verbalizer_config.json", "{\"bad\": [\"坏\"], \"good\": [\"好\"]}",
         "config.json has 3 labels but verbalizer_config.json 2"},
        {5, "config.json", "{\"model_type\": \"bert\", \"vocab_size\": 39, " TINY_FIELDS "}",
         "shape (40, 16)"},
        {5, "config.json", TOY_BERT, "classifier.weight has shape (3, 16)"},
        {5, "model.safetensors", "", "model.safetensors"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        MUST(dir_remove(at("run"), err));
        save_method(cases[i].method, at("run"));
        char *path = path_join(at("run"), cases[i].file);
        put_file(path, cases[i].text);
        open_fails(at("run"), cases[i].fragment);
        mem_free(path);
    }
}

/* A run of one method is not opened as the other. */
static void mixed_up_runs_are_told(void **unused) {
    save_method(0, at("prompt"));
    save_method(5, at("finetune"));
    put_file(at("prompt/classifier.json"), "{\"method\": \"finetune\"}");
    open_fails(at("prompt"), "classifier");
    put_file(at("finetune/classifier.json"), "{\"method\": \"prompt\"}");
    open_fails(at("finetune"), "cls.predictions");
}

/* ---- what cannot be created ---- */

static void wrong_settings_are_refused(void **unused) {
    static const struct {
        classifier_options options;
        const char *labels;
        cloze_status status;
        const char *fragment;
    } cases[] = {
        {{.max_seq_length = 25},
         ONE_TOKEN_LABELS,
         CLOZE_ERR_USAGE,
         "--max_seq_length 25 is more than the model's 24 positions"},
        {{.method = METHOD_FINETUNE, .max_seq_length = 100},
         ONE_TOKEN_LABELS,
         CLOZE_ERR_USAGE,
         "--max_seq_length 100"},
        {{.method = METHOD_FINETUNE, .max_seq_length = 2},
         ONE_TOKEN_LABELS,
         CLOZE_ERR_USAGE,
         "no room"},
        {{.prompt = PROMPT, .max_seq_length = 8}, ONE_TOKEN_LABELS, CLOZE_ERR_USAGE, "no room"},
        {{.max_seq_length = 20}, "{\"only\": [\"好\"]}", CLOZE_ERR_DATA, "only one label (only)"},
        {{.prompt = "{'text'"}, ONE_TOKEN_LABELS, CLOZE_ERR_USAGE, "template"},
        {{.prompt = "{'soft': 'x'}{'text': 'text_a'}{'mask'}"},
         ONE_TOKEN_LABELS,
         CLOZE_ERR_USAGE,
         "soft"},
        {{.prompt = "{'text': 'other'}{'mask'}"}, ONE_TOKEN_LABELS, CLOZE_ERR_USAGE, "'other'"},
        {{.verbalizer = VERBALIZER_MANUAL},
         "{\"a\": [\"好\"], \"b\": [\"魑\"]}",
         CLOZE_ERR_DATA,
         "魑"},
        {{.verbalizer = VERBALIZER_MANUAL, .prompt = "{'text': 'text_a'}{'mask'}{'mask'}"},
         ONE_TOKEN_LABELS,
         CLOZE_ERR_USAGE,
         "2 masks but a label word has 1"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        label_set labels = make_labels(cases[i].labels);
        classifier *c = (classifier *)(uintptr_t)1;
        MUST_FAIL(cases[i].status, cases[i].fragment,
                  classifier_create(at("model"), &cases[i].options, &labels, &c, err));
        assert_null(c);
        label_set_deinit(&labels);
    }
}

static void models_that_do_not_fit_are_refused(void **unused) {
    label_set labels = make_labels(ONE_TOKEN_LABELS);
    classifier_options o = {.prompt = PROMPT, .do_lower_case = -1};
    classifier *c;
    make_pretrained(at("small"), "{\"model_type\": \"bert\", \"vocab_size\": 39, " TINY_FIELDS "}",
                    MODEL_HEAD_MASKED_LM);
    MUST_FAIL(CLOZE_ERR_MODEL, "vocabulary has 40 tokens but the model's embedding only 39",
              classifier_create(at("small"), &o, &labels, &c, err));
    make_pretrained(at("bare"), TOY_BERT, MODEL_HEAD_NONE);
    MUST_FAIL(CLOZE_ERR_MODEL, "cls.predictions.transform.dense.weight",
              classifier_create(at("bare"), &o, &labels, &c, err)); /* a prompt needs the head */
    o.method = METHOD_FINETUNE;
    c = create_ok(at("bare"), &o, &labels);
    classifier_destroy(c);
    tiny_model_dir(at("mute"), TOY_BERT, MODEL_HEAD_MASKED_LM, 1);
    MUST_FAIL(CLOZE_ERR_MODEL, "vocab", classifier_create(at("mute"), &o, &labels, &c, err));
    MUST_FAIL(CLOZE_ERR_MODEL, "nowhere", classifier_create(at("nowhere"), &o, &labels, &c, err));
    label_set_deinit(&labels);
}

/* ---- inputs beyond the model ---- */

#define LONG                                                                                       \
    "one two one two one two one two one two one two one two one two one two one two one two one"

static void inputs_beyond_the_model_are_refused(void **unused) {
    static const struct {
        const char *prompt, *text, *fragment; /* NULL: it fits */
    } cases[] = {
        {"{'text': 'text_a'}{'mask'}", "one\n" LONG "\n", NULL}, /* cut */
        {"{'text': 'text_a', 'truncate': False}{'mask'}", "one\n" LONG "\n",
         "line 2: with the template it has 26 tokens and reaches position 24"},
        {"{'text': 'text_a', 'position': 21}{'mask'}", "one\ntwo two\n", NULL},
        {"{'text': 'text_a', 'position': 21}{'mask'}", "one\ntwo two two\n",
         "line 2: with the template it has 6 tokens and reaches position 24"},
        {"{'text': 'text_a', 'position': 500}{'mask'}", "one\n", "reaches position 500"},
        {"{'text': 'text_a', 'token_type': 1}{'mask'}", "one\n", NULL},
        {"{'text': 'text_a', 'token_type': 1}{'mask'}", "one\n", NULL},
    };
    label_set labels = make_labels(ONE_TOKEN_LABELS);
    for (size_t i = 0; i < COUNT(cases); i++) {
        classifier_options o = {.prompt = cases[i].prompt, .do_lower_case = -1};
        classifier *c = create_ok(at("model"), &o, &labels);
        dataset d = parse_data(cases[i].text, NULL);
        encoded_views v;
        if (cases[i].fragment) {
            MUST_FAIL(CLOZE_ERR_DATA, cases[i].fragment,
                      encoded_views_build(c, d.examples, d.n, &v, err));
        } else {
            session s = open_session("ref");
            mem_free(predict(&s, c, &d, 8));
            session_close(&s);
        }
        dataset_deinit(&d);
        classifier_destroy(c);
    }
    label_set_deinit(&labels);
}

/* RoBERTa's two positions less, and its single token type. */
static void inputs_beyond_a_roberta_are_refused(void **unused) {
    static const struct {
        const char *prompt, *text, *fragment;
    } cases[] = {
        {"{'text': 'text_a', 'position': 19}{'mask'}", "one two\n", NULL},
        {"{'text': 'text_a', 'position': 20}{'mask'}", "one two\n", "positions end at 21"},
        {"{'text': 'text_a', 'token_type': 1}{'mask'}", "one\n", "token type 1"},
    };
    make_pretrained(at("roberta"),
                    "{\"model_type\": \"roberta\", \"pad_token_id\": 1, \"vocab_size\": 40, "
                    "\"type_vocab_size\": 1, \"hidden_size\": 16, \"num_attention_heads\": 2, "
                    "\"intermediate_size\": 24, \"num_hidden_layers\": 1, "
                    "\"max_position_embeddings\": 24}",
                    MODEL_HEAD_MASKED_LM);
    label_set labels = make_labels(ONE_TOKEN_LABELS);
    for (size_t i = 0; i < COUNT(cases); i++) {
        classifier_options o = {.prompt = cases[i].prompt, .do_lower_case = -1};
        classifier *c = create_ok(at("roberta"), &o, &labels);
        assert_int_equal(classifier_get_options(c)->max_seq_length, 22);
        dataset d = parse_data(cases[i].text, NULL);
        session s = open_session("ref");
        encoded_views v;
        if (cases[i].fragment)
            MUST_FAIL(CLOZE_ERR_DATA, cases[i].fragment,
                      encoded_views_build(c, d.examples, d.n, &v, err));
        else
            mem_free(predict(&s, c, &d, 8));
        session_close(&s);
        dataset_deinit(&d);
        classifier_destroy(c);
    }
    label_set_deinit(&labels);
}

static void too_many_word_lengths_are_refused(void **unused) {
    buf b;
    buf_init(&b, 1 << 16);
    for (int i = 0; i < SESSION_MAX_VIEWS + 1; i++) {
        buf_printf(&b, "%s\"l%02d\": [\"", i ? ", " : "{", i);
        for (int k = 0; k <= i; k++) buf_puts(&b, "好");
        buf_puts(&b, "\"]");
    }
    buf_puts(&b, "}");
    label_set labels = make_labels(b.data);
    classifier_options o = {.verbalizer = VERBALIZER_MANUAL, .do_lower_case = -1};
    classifier *c = create_ok(at("model"), &o, &labels);
    dataset d = parse_data("one\n", NULL);
    encoded_views v;
    MUST_FAIL(CLOZE_ERR_DATA, "17 different lengths",
              encoded_views_build(c, d.examples, d.n, &v, err));
    dataset_deinit(&d);
    classifier_destroy(c);
    label_set_deinit(&labels);
    buf_deinit(&b);
}

/* ---- memory ---- */

typedef struct memory_case {
    const method_case *method;
    label_set labels;
    dataset data;
} memory_case;

static cloze_status create_only(void *ctx, cloze_error *err) {
    const memory_case *m = ctx;
    classifier *c = NULL;
    cloze_status status = classifier_create(at("model"), &m->method->options, &m->labels, &c, err);
    classifier_destroy(c);
    return status;
}

static cloze_status save_only(void *ctx, cloze_error *err) {
    return classifier_save(ctx, at("run"), err);
}

static cloze_status open_only(void *ctx, cloze_error *err) {
    classifier *c = NULL;
    cloze_status status = classifier_open(at("run"), NULL, &c, err);
    classifier_destroy(c);
    return status;
}

typedef struct predict_case {
    classifier *c;
    const dataset *data;
} predict_case;

static cloze_status predict_only(void *ctx, cloze_error *err) {
    const predict_case *p = ctx;
    session s = {0};
    encoded_views v = {0};
    float logits[32];
    cloze_status status = session_open(&s, "ref", 1, false, err);
    if (status == CLOZE_OK)
        status = encoded_views_build(p->c, p->data->examples, p->data->n, &v, err);
    if (status == CLOZE_OK) status = session_predict(&s, p->c, &v, 2, logits, NULL, err);
    encoded_views_deinit(&v);
    session_close(&s);
    return status;
}

static void want_of_memory_is_survived(void **unused) {
    static const size_t KINDS[] = {0, 4, 5}; /* soft, manual of three lengths, fine-tuning */
    dataset d = parse_data(TEXTS, NULL);
    for (size_t i = 0; i < COUNT(KINDS); i++) {
        memory_case m = {.method = &METHODS[KINDS[i]]};
        m.labels = make_labels(m.method->labels);
        assert_true(fail_each_allocation(create_only, &m, 1) > 20);
        classifier *c = create_ok(at("model"), &m.method->options, &m.labels);
        assert_true(fail_each_allocation(save_only, c, 1) > 10);
        MUST(classifier_save(c, at("run"), err));
        assert_true(fail_each_allocation(open_only, NULL, 1) > 20);
        predict_case p = {c, &d};
        assert_true(fail_each_allocation(predict_only, &p, 1) > 10);
        classifier_destroy(c);
        label_set_deinit(&m.labels);
    }
    dataset_deinit(&d);
}

#define MODEL_TEST(f) cmocka_unit_test_setup_teardown(f, model_setup, dir_teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        MODEL_TEST(logits_do_not_depend_on_the_batch),
        MODEL_TEST(dropout_belongs_to_the_example),
        MODEL_TEST(each_method_trains_its_parameters),
        MODEL_TEST(saved_classifiers_give_the_same_logits),
        MODEL_TEST(fields_and_lengths_come_back),
        MODEL_TEST(nothing_of_an_older_run_remains),
        MODEL_TEST(missing_files_are_named),
        MODEL_TEST(damaged_files_are_named),
        MODEL_TEST(mixed_up_runs_are_told),
        MODEL_TEST(wrong_settings_are_refused),
        MODEL_TEST(models_that_do_not_fit_are_refused),
        MODEL_TEST(inputs_beyond_the_model_are_refused),
        MODEL_TEST(inputs_beyond_a_roberta_are_refused),
        MODEL_TEST(too_many_word_lengths_are_refused),
        MODEL_TEST(want_of_memory_is_survived),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
