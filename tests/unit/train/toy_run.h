/* A training run on the toy data of train_support.h, and what it leaves: for the tests of training.
 */
#ifndef CLOZE_TESTS_TOY_RUN_H
#define CLOZE_TESTS_TOY_RUN_H

#include "base/json.h"
#include "train/trainer.h"
#include "unit/train/train_support.h"

#define DROPOUT_BERT                                                                               \
    "{\"model_type\": \"bert\", \"vocab_size\": 40, \"hidden_size\": 16, "                         \
    "\"num_attention_heads\": 2, \"intermediate_size\": 24, \"num_hidden_layers\": 2, "            \
    "\"max_position_embeddings\": 24, \"initializer_range\": 0.3}"

enum { MAX_ARGS = 24 };
#define ARGS(...) ((const char *const[MAX_ARGS + 1]){__VA_ARGS__})

/* One training run and what it leaves. */
typedef struct toy_run {
    options o;
    label_set labels;
    dataset train, dev;
    session session;
    classifier *c;
    trainer_result result;
    cloze_callbacks callbacks;
} toy_run;

static UNUSED int model_setup(void **state) {
    if (dir_setup(state) != 0) return -1;
    make_pretrained(at("model"), TOY_BERT, MODEL_HEAD_MASKED_LM);
    make_pretrained(at("dropout"), DROPOUT_BERT, MODEL_HEAD_MASKED_LM);
    return 0;
}

/* Opens everything; args as on the command line, without --output_dir. */
static UNUSED toy_run toy_open(const char *from, const char *out, const char *const args[]) {
    toy_run r = {.labels = make_labels(ONE_TOKEN_LABELS)};
    const char *argv[MAX_ARGS + 3] = {"--output_dir", out};
    int n = 2;
    for (; args[n - 2]; n++) argv[n] = args[n - 2];
    MUST(options_parse(&r.o, 'T', n, (char *const *)argv, err));
    r.train = toy_data(24, &r.labels, 1);
    r.dev = toy_data(12, &r.labels, 2);
    MUST(session_open(&r.session, "cpu", 1, r.o.bf16, err));
    classifier_options c = {
        .method = strcmp(r.o.method, "finetune") == 0 ? METHOD_FINETUNE : METHOD_PROMPT,
        .verbalizer = strcmp(r.o.verbalizer, "manual") == 0 ? VERBALIZER_MANUAL : VERBALIZER_SOFT,
        .prompt = "是",
        .do_lower_case = -1,
        .seed = (uint64_t)r.o.seed};
    r.c = create_ok(at(from), &c, &r.labels);
    return r;
}

static UNUSED cloze_status toy_train(toy_run *r, cloze_error *err) {
    trainer_data data = {.train = &r->train, .dev = &r->dev};
    return trainer_run(&r->c, &r->session, &r->o, &data, &r->callbacks, &r->result, err);
}

static UNUSED void toy_close(toy_run *r) {
    session_close(&r->session);
    classifier_destroy(r->c);
    mem_free(r->result.best_checkpoint);
    dataset_deinit(&r->train);
    dataset_deinit(&r->dev);
    label_set_deinit(&r->labels);
    options_deinit(&r->o);
}

static UNUSED toy_run toy_run_ok(const char *from, const char *out, const char *const args[]) {
    toy_run r = toy_open(from, out, args);
    MUST(toy_train(&r, err));
    return r;
}

static UNUSED metrics evaluate(toy_run *r, const dataset *d) {
    metrics m;
    MUST(trainer_evaluate(r->c, &r->session, d, 8, "eval", NULL, &m, NULL, err));
    return m;
}

static UNUSED cJSON *read_json(const char *dir, const char *name) {
    cJSON *json = NULL;
    char *path = path_join(dir, name);
    MUST(json_parse_file(path, 1 << 24, CLOZE_ERR_DATA, &json, err));
    mem_free(path);
    return json;
}

static UNUSED double number_of(const cJSON *json, const char *key) {
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(json, key);
    if (!cJSON_IsNumber(item)) fail_msg("there is no number %s", key);
    return item->valuedouble;
}

/* Largest difference of all parameters of two classifiers. */
static UNUSED double largest_difference(classifier *a, classifier *b) {
    nn_state *x = model_get_state(classifier_model(a)), *y = model_get_state(classifier_model(b));
    double worst = 0;
    for (int i = 0; i < x->n_params; i++) {
        const tensor *u = &x->params[i]->w.t, *v = &y->params[i]->w.t;
        assert_true(u->dtype == DTYPE_F32 && v->dtype == DTYPE_F32 && u->ld == u->cols);
        for (int64_t k = 0; k < u->rows * u->cols; k++) {
            double d = fabs((double)((const float *)u->data)[k] - ((const float *)v->data)[k]);
            if (!(d <= worst)) worst = d;
        }
    }
    return worst;
}

/* Largest difference of the logits on the dev set: what is left of rounding noise, which Adam
 * makes steps of where there is no gradient at all (a key's bias). */
static UNUSED double logit_difference(toy_run *a, toy_run *b) {
    float *x = predict(&a->session, a->c, &a->dev, 4), *y = predict(&b->session, b->c, &b->dev, 4);
    double worst = 0;
    for (int64_t i = 0; i < a->dev.n * a->labels.n; i++)
        worst = fmax(worst, fabs((double)x[i] - (double)y[i]));
    mem_free(x);
    mem_free(y);
    return worst;
}

/* ---- flags and tests ---- */

#define FAST                                                                                       \
    "--learning_rate", "3e-3", "--ppt_learning_rate", "1e-2", "--per_device_train_batch_size", "8"
#define SIX_STEPS FAST, "--max_steps", "6", "--save_strategy", "no"

#define MODEL_TEST(f) cmocka_unit_test_setup_teardown(f, model_setup, dir_teardown)

#endif
