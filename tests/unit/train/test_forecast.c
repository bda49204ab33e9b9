/*
 * Forecasts: what is counted must be what a run has; what is measured on some layers must extend to
 * all of them. Times are not looked at, but for being there.
 */
#include "base/system_memory.h"
#include "train/forecast.h"
#include "train/run.h"
#include "unit/train/toy_run.h"

#define DEEP_BERT                                                                                  \
    "{\"model_type\": \"bert\", \"vocab_size\": 40, \"hidden_size\": 16, "                         \
    "\"num_attention_heads\": 2, \"intermediate_size\": 24, \"num_hidden_layers\": 7, "            \
    "\"max_position_embeddings\": 24, \"initializer_range\": 0.3}"

static int forecast_setup(void **state) {
    if (model_setup(state) != 0) return -1;
    make_pretrained(at("deep"), DEEP_BERT, MODEL_HEAD_MASKED_LM);
    return 0;
}

static cloze_status make(const toy_run *r, const char *name, forecast *f, cloze_error *err) {
    forecast_source source = {.o = &r->o,
                              .model_dir = at(name),
                              .classifier = *classifier_get_options(r->c),
                              .labels = &r->labels,
                              .train = &r->train,
                              .dev = r->o.do_eval ? &r->dev : NULL};
    source.classifier.prompt = "是";
    return forecast_make(&source, f, err);
}

static void counts_are_those_of_the_run(void **unused) {
    static const char *const MODELS[] = {"model", "deep"}; /* two layers: all of it is probed */
    for (size_t i = 0; i < COUNT(MODELS); i++) {
        forecast f;
        toy_run r =
            toy_open(MODELS[i], at("out"),
                     ARGS(FAST, "--num_train_epochs", "3", "--do_train", "--do_eval",
                          "--eval_steps", "3", "--save_steps", "2", "--save_total_limit", "3"));
        MUST(make(&r, MODELS[i], &f, err));
        assert_int_equal(f.n_train, 24);
        assert_int_equal(f.n_dev, 12);
        assert_int_equal(f.n_parameters, model_param_count(classifier_model(r.c)));
        assert_int_equal(f.max_steps, 9);
        assert_int_equal(f.n_evaluations, 4); /* steps 3, 6, 9, and the end */
        assert_int_equal(f.n_checkpoints, 3);
        assert_true(f.batch_tokens > 8 * 4 && f.largest_batch_tokens >= f.batch_tokens);
        assert_int_equal(f.peak,
                         f.weights + f.gradients + f.moments + f.casts + f.activations + f.rest);
        assert_true(f.seconds_per_step > 0 && f.seconds_per_evaluation > 0);
        assert_true(f.seconds >= 9 * f.seconds_per_step);
        assert_true(f.available != 0);
        param_block *block;
        MUST(classifier_train_begin(r.c, false, &block, err));
        assert_int_equal(f.n_trainable, param_block_count(block));
        toy_close(&r);
    }
}

static void activations_follow_the_flags(void **unused) {
    static const char *const FLAGS[][3] = {
        {NULL}, {"--use_rdrop"}, {"--gradient_checkpointing"}, {"--freeze_plm"}};
    double activations[COUNT(FLAGS)], gradients[COUNT(FLAGS)];
    for (size_t i = 0; i < COUNT(FLAGS); i++) {
        forecast f;
        toy_run r = toy_open("deep", at("out"), ARGS(FAST, "--max_steps", "5", FLAGS[i][0]));
        MUST(make(&r, "deep", &f, err));
        activations[i] = (double)f.activations;
        gradients[i] = (double)f.gradients;
        assert_int_equal(f.n_evaluations, 0);
        toy_close(&r);
    }
    assert_true(activations[1] > 1.5 * activations[0]);
    assert_true(activations[2] < activations[0]);
    assert_true(activations[3] < activations[0]);
    assert_true(gradients[3] < 0.2 * gradients[0]);
}

/* Frozen matrices are kept a second time for products: those of every layer, not of the probed ones
 * alone. */
static void copies_of_frozen_weights_count(void **unused) {
    forecast f;
    toy_run r =
        toy_open("deep", at("out"), ARGS(FAST, "--max_steps", "5", "--freeze_plm", "--bf16"));
    MUST(make(&r, "deep", &f, err));
    const model_config *c = model_get_config(classifier_model(r.c));
    int64_t matrices = 4 * c->hidden_size * c->hidden_size +
                       2 * c->hidden_size * c->intermediate_size;
    assert_true(f.casts >= 2 * c->num_hidden_layers * matrices);
    toy_close(&r);
}

/* What is counted without a probe is near what the probe measures. */
static void counting_alone_is_near(void **unused) {
    forecast f;
    int64_t tokens;
    encoded_views encoded;
    param_block *block;
    toy_run r = toy_open("deep", at("out"), ARGS(FAST, "--max_steps", "5"));
    MUST(make(&r, "deep", &f, err));
    MUST(encoded_views_build(r.c, r.train.examples, r.train.n, &encoded, err));
    MUST(forecast_largest_batch(&r.o, &encoded, 3, &tokens, err));
    assert_int_equal(tokens, f.largest_batch_tokens);
    MUST(classifier_train_begin(r.c, false, &block, err));
    double counted =
        (double)forecast_count(block, model_get_config(classifier_model(r.c)), &r.o, tokens);
    double measured = (double)(f.gradients + f.moments + f.activations);
    if (!(counted > 0.6 * measured && counted < 1.4 * measured))
        fail_msg("counted %.0f bytes, measured %.0f", counted, measured);
    encoded_views_deinit(&encoded);
    toy_close(&r);
}

static void errors_are_those_of_a_run(void **unused) {
    forecast f;
    toy_run r = toy_open("model", at("out"),
                         ARGS("--dataloader_drop_last", "--per_device_train_batch_size", "64"));
    MUST_FAIL(CLOZE_ERR_DATA, "make no batch", make(&r, "model", &f, err));
    MUST_FAIL(CLOZE_ERR_MODEL, "nowhere", make(&r, "nowhere", &f, err));
    toy_close(&r);
}

static void the_system_tells_its_memory(void **unused) {
    if (!file_exists("/proc/meminfo")) {
        print_message("SKIP: /proc/meminfo is not there\n");
        return;
    }
    assert_true(system_memory_available() >= 0);
    assert_true(process_memory() > 1 << 20);
}

static void more_tokens_and_passes_need_more(void **unused) {
    options o;
    param_block *block;
    toy_run r = toy_open("model", at("out"), ARGS(FAST));
    MUST(options_parse(&o, 'T', 0, NULL, err));
    MUST(classifier_train_begin(r.c, false, &block, err));
    const model_config *config = model_get_config(classifier_model(r.c));
    int64_t one = forecast_count(block, config, &o, 100),
            two = forecast_count(block, config, &o, 200);
    assert_true(two > one && one > 12 * param_block_count(block) / 2);
    o.use_rdrop = true;
    assert_true(forecast_count(block, config, &o, 100) == two);
    options_deinit(&o);
    toy_close(&r);
}

#define FORECAST_TEST(f) cmocka_unit_test_setup_teardown(f, forecast_setup, dir_teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        FORECAST_TEST(counts_are_those_of_the_run),
        FORECAST_TEST(activations_follow_the_flags),
        FORECAST_TEST(copies_of_frozen_weights_count),
        FORECAST_TEST(counting_alone_is_near),
        FORECAST_TEST(errors_are_those_of_a_run),
        FORECAST_TEST(more_tokens_and_passes_need_more),
        cmocka_unit_test(the_system_tells_its_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
