/*
 * Losses as training uses them (the formulas are tested in tests/golden): that the flags reach the
 * loss, that accumulation changes nothing, and what --class_weights accepts.
 */
#include "train/class_weights.h"
#include "unit/train/toy_run.h"

static const float WEIGHTS[] = {0.25f, 3.0f};
#define SUMS FAST, "--max_steps", "4", "--save_strategy", "no", "--verbalizer", "manual"
#define EVERYTHING "--label_smoothing_factor", "0.1", "--use_rdrop"

static toy_run weighted_run(const char *from, const char *out, const char *const args[],
                            const float *weights) {
    toy_run r = toy_open(from, out, args);
    trainer_data data = {&r.train, &r.dev, NULL, weights};
    MUST(trainer_run(&r.c, &r.session, &r.o, &data, &r.callbacks, &r.result, err));
    return r;
}

/* The last batch of an epoch is smaller, and the weights of micro-batches differ. */
static void accumulation_changes_nothing(void **unused) {
    toy_run a = weighted_run("model", at("a"),
                             ARGS(SUMS, EVERYTHING, "--per_device_train_batch_size", "9"), WEIGHTS),
            b = weighted_run("model", at("b"),
                             ARGS(SUMS, EVERYTHING, "--per_device_train_batch_size", "3",
                                  "--gradient_accumulation_steps", "3"),
                             WEIGHTS);
    assert_near("train_loss", b.result.train_loss, a.result.train_loss, 1e-5);
    assert_near("logits", logit_difference(&a, &b), 0, 1e-4);
    toy_close(&a);
    toy_close(&b);
}

/* Two equal passes: the divergence is 0 and the mean of two equal losses is one. */
static void r_drop_without_dropout_is_the_plain_loss(void **unused) {
    toy_run a = toy_run_ok("model", at("a"), ARGS(SUMS)),
            b = toy_run_ok("model", at("b"), ARGS(SUMS, "--use_rdrop"));
    assert_near("train_loss", b.result.train_loss, a.result.train_loss, 1e-5);
    assert_near("logits", logit_difference(&a, &b), 0, 1e-4);
    toy_close(&a);
    toy_close(&b);
}

static void r_drop_draws_two_dropouts(void **unused) {
    toy_run plain = toy_run_ok("dropout", at("a"), ARGS(SIX_STEPS)),
            none = toy_run_ok("dropout", at("b"),
                              ARGS(SIX_STEPS, "--use_rdrop", "--alpha_rdrop", "0")),
            five = toy_run_ok("dropout", at("c"), ARGS(SIX_STEPS, "--use_rdrop")),
            again = toy_run_ok("dropout", at("d"),
                               ARGS(SIX_STEPS, "--use_rdrop", "--gradient_checkpointing"));
    assert_true(none.result.train_loss != plain.result.train_loss);
    assert_true(five.result.train_loss > none.result.train_loss + 0.01);
    assert_true(largest_difference(five.c, again.c) == 0);
    toy_close(&plain);
    toy_close(&none);
    toy_close(&five);
    toy_close(&again);
}

static void r_drop_goes_with_every_method(void **unused) {
    static const char *const METHODS[][4] = {
        {"--method", "prompt", "--verbalizer", "soft"},
        {"--method", "prompt", "--verbalizer", "manual"},
        {"--method", "finetune", "--verbalizer", "soft"},
    };
    for (size_t i = 0; i < COUNT(METHODS); i++) {
        const char *const *m = METHODS[i];
        toy_run r = toy_run_ok("dropout", at("out"),
                               ARGS(m[0], m[1], m[2], m[3], FAST, EVERYTHING, "--alpha_rdrop",
                                    "0.05", "--max_steps", "120", "--logging_steps", "10",
                                    "--save_strategy", "no"));
        metrics after = evaluate(&r, &r.train);
        if (!(after.accuracy > 0.9)) fail_msg("%s %s: accuracy %.2f", m[1], m[3], after.accuracy);
        metrics_deinit(&after);
        toy_close(&r);
    }
}

/* Heavy weights pull; what evaluation reports stays the plain cross-entropy. */
static void weights_and_smoothing_reach_the_loss(void **unused) {
    toy_run plain = toy_run_ok("model", at("a"), ARGS(SIX_STEPS)),
            ones = weighted_run("model", at("b"), ARGS(SIX_STEPS), (const float[]){1, 1}),
            heavy = weighted_run("model", at("c"), ARGS(SIX_STEPS), (const float[]){100, 0.01f}),
            smooth = toy_run_ok("model", at("d"),
                                ARGS(FAST, "--max_steps", "60", "--save_strategy", "no",
                                     "--label_smoothing_factor", "0.2"));
    assert_near("train_loss", ones.result.train_loss, plain.result.train_loss, 1e-5);
    metrics m = evaluate(&heavy, &heavy.train);
    assert_true(m.labels[0].recall > 0.95 && m.labels[1].recall < 0.5);
    metrics_deinit(&m);
    m = evaluate(&smooth, &smooth.train);
    assert_true(m.accuracy == 1);
    assert_true(smooth.result.train_loss > 0.325); /* the smoothed target's entropy, 0.1 of 2 */
    assert_true(m.loss < 0.25);
    metrics_deinit(&m);
    toy_close(&plain);
    toy_close(&ones);
    toy_close(&heavy);
    toy_close(&smooth);
}

/* ---- --class_weights ---- */

#define THREE_LABELS "{\"a\": [\"好\"], \"b=c\": [\"坏\"], \"never\": [\"是\"]}"

static void class_weights_are_read(void **unused) {
    static const struct {
        const char *spec;
        float want[3];
    } cases[] = {
        {"balanced", {4 / (2 * 3.f), 2, 1}},
        {"a=2", {2, 1, 1}},
        {"a=0.5,b=c=3", {0.5f, 3, 1}},
        {"a=2,", {2, 1, 1}},
        {"{\"never\": 0, \"b=c\": 1e2}", {1, 100, 0}},
    };
    label_set labels = make_labels(THREE_LABELS);
    dataset d = parse_data("x\ta\ny\ta\nz\tb=c\nw\ta\n", &labels);
    float *weights;
    for (size_t i = 0; i < COUNT(cases); i++) {
        MUST(class_weights_make(cases[i].spec, &labels, &d, &weights, err));
        assert_memory_equal(weights, cases[i].want, sizeof cases[i].want);
        mem_free(weights);
    }
    put_file(at("weights.json"), "{\"a\": 7}\n");
    MUST(class_weights_make(at("weights.json"), &labels, &d, &weights, err));
    assert_true(weights[0] == 7 && weights[1] == 1);
    mem_free(weights);
    MUST(class_weights_make(NULL, &labels, &d, &weights, err));
    assert_null(weights);
    dataset_deinit(&d);
    label_set_deinit(&labels);
}

static void bad_class_weights_are_refused(void **unused) {
    static const struct {
        const char *spec, *fragment;
    } cases[] = {
        {"neve=2", "--class_weights: there is no label \"neve\"; did you mean \"never\"?"},
        {"a=-1", "the weight of \"a\" is -1"},
        {"a=x", "\"x\" is not a number"},
        {"a=", "\"\" is not a number"},
        {"=2", "\"=2\" is not label=weight"},
        {"a=1,,b=2", "\"\" is not label=weight"},
        {"a=0,b=c=0", "all training examples would weigh 0"},
        {"{\"a\": \"2\"}", "the weight of \"a\" is not a number"},
        {"{\"a\": 1", "--class_weights:1:7"},
    };
    label_set labels = make_labels(THREE_LABELS);
    dataset d = parse_data("x\ta\nz\tb=c\n", &labels);
    float *weights;
    for (size_t i = 0; i < COUNT(cases); i++)
        MUST_FAIL(CLOZE_ERR_USAGE, cases[i].fragment,
                  class_weights_make(cases[i].spec, &labels, &d, &weights, err));
    MUST_FAIL(CLOZE_ERR_DATA, "no such file",
              class_weights_make(at("none.json"), &labels, &d, &weights, err));
    put_file(at("bad.json"), "[1, 2]");
    MUST_FAIL(CLOZE_ERR_DATA, "not a JSON object",
              class_weights_make(at("bad.json"), &labels, &d, &weights, err));
    dataset_deinit(&d);
    label_set_deinit(&labels);
}

static void r_drop_wants_dropout(void **unused) {
    options o;
    const char *const args[] = {"--use_rdrop", "--freeze_dropout"};
    MUST_FAIL(CLOZE_ERR_USAGE, "--freeze_dropout leaves none",
              options_parse(&o, 'T', 2, (char *const *)args, err));
    options_deinit(&o);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        MODEL_TEST(accumulation_changes_nothing),
        MODEL_TEST(r_drop_without_dropout_is_the_plain_loss),
        MODEL_TEST(r_drop_draws_two_dropouts),
        MODEL_TEST(r_drop_goes_with_every_method),
        MODEL_TEST(weights_and_smoothing_reach_the_loss),
        MODEL_TEST(class_weights_are_read),
        MODEL_TEST(bad_class_weights_are_refused),
        MODEL_TEST(r_drop_wants_dropout),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
