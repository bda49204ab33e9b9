/*
 * Parity with PaddleNLP 2.8.1 (tools/export_paddle_golden.py): its checkpoints in every form that it
 * writes or wrote, opened as they are. Logits, loss, and the losses of ten steps of Paddle's AdamW;
 * and the same weights in safetensors train to the same bits.
 *
 *     test_golden_paddle [DIR]  the logits of one other fixture directory: tools/compare_paddle.py
 *     CLOZE_GOLDEN_REPORT       a file that gets one JSON line a measured error
 */
#include "golden/golden_training.h"

#define FIXTURES TESTS_DIR "/golden/paddle"
#define LIMIT_LOGITS 1e-5
#define LIMIT_LOSSES 1e-5
#define MAX_STEPS 16

static const char *const CASES[] = {
    "ernie_masked_lm",
    "ernie_masked_lm_old",
    "ernie_sequence_classification",
    "ernie_bare",
    "ernie_sharded",
    "ernie_safetensors",
    "ernie_float16",
    "ernie_bfloat16",
    "bert_masked_lm",
    "bert_sequence_classification",
    "bert_untied",
    "roberta_masked_lm",
    "roberta_masked_lm_old",
    "roberta_sequence_classification",
};
enum { N_CASES = sizeof CASES / sizeof *CASES };

/* A stored case, or another directory by its path. */
static fixture *open_case(const char *name) {
    char dir[512];
    if (strchr(name, '/')) return fixture_open(name);
    snprintf(dir, sizeof dir, "%s/%s", FIXTURES, name);
    return fixture_open(dir);
}

static void check_close(const fixture *f, const char *what, const float *got, int64_t n_got,
                        double limit) {
    int64_t n;
    float *want = fixture_floats(f, what, &n);
    assert_int_equal(n, n_got);
    double error = deviation(got, want, n, largest(want, n));
    mem_free(want);
    const char *report = getenv("CLOZE_GOLDEN_REPORT");
    FILE *out = report ? fopen(report, "a") : NULL;
    if (out) {
        fprintf(out, "{\"case\":\"%s\",\"what\":\"%s\",\"error\":%.3e}\n", f->name, what,
                isfinite(error) ? error : 1e30);
        fclose(out);
    }
    if (!(error <= limit))
        fail_msg("%s: %s deviates by %.3g of its largest value, allowed is %.3g", f->name, what,
                 error, limit);
}

static void test_logits(void **state) {
    fixture *f = open_case(*state);
    engine e = engine_open(&backend_cpu, DTYPE_F32);
    model *m = open_model(f->dir, f->head);
    tape_begin_step(e.tape, false, 0, NULL, 0);
    var *hidden = model_encode(e.tape, m, &f->batch, false);
    var *logits = f->head == MODEL_HEAD_NONE ? hidden : head_logits(f, m, e.tape, hidden);
    int64_t n;
    float *got = read_var(f, e.tape, logits, &n);
    check_close(f, "logits", got, n, LIMIT_LOGITS);
    mem_free(got);
    model_destroy(m);
    engine_close(&e);
    fixture_close(f);
}

/* The losses before each step from the weights in dir; returns how many. */
static int64_t train(const fixture *f, const char *dir, float losses[MAX_STEPS]) {
    engine e = engine_open(&backend_cpu, DTYPE_F32);
    model *m = open_model(dir, f->head);
    param_block *block = begin_training(m);
    int64_t steps = (int64_t)fixture_number(f, "steps");
    assert_true(steps <= MAX_STEPS);
    for (int64_t step = 0; step < steps; step++) {
        param_block_zero_grad(block);
        tape_begin_step(e.tape, true, 0, NULL, 0);
        var *logits = head_logits(f, m, e.tape, model_encode(e.tape, m, &f->batch, false));
        var *loss = op_cross_entropy(
            e.tape, logits,
            &(cross_entropy_options){.labels = f->labels, .scale = 1.0f / (float)f->n_rows});
        must_tape(f, e.tape);
        MUST(tape_backward(e.tape, &loss, NULL, 1, err));
        losses[step] = (float)loss_value(f, &e, loss);
        take_step(f, &e, block, step);
    }
    model_destroy(m);
    engine_close(&e);
    return steps;
}

static void save_copy(const fixture *f, const char *dir) {
    model *m = open_model(f->dir, f->head);
    MUST(model_save(m, dir, DTYPE_F32, err));
    model_destroy(m);
}

static void test_training(void **state) {
    fixture *f = open_case(*state);
    float losses[MAX_STEPS], again[MAX_STEPS];
    char dir[] = "/tmp/cloze-paddle-XXXXXX";
    if (f->head != MODEL_HEAD_NONE) {
        assert_non_null(mkdtemp(dir));
        int64_t n = train(f, f->dir, losses);
        check_close(f, "losses", losses, n, LIMIT_LOSSES);
        save_copy(f, dir);
        assert_int_equal(train(f, dir, again), n);
        assert_memory_equal(losses, again, (size_t)n * sizeof *losses);
        MUST(dir_remove(dir, err));
    }
    fixture_close(f);
}

int main(int argc, char **argv) {
    if (argc > 1) {
        const struct CMUnitTest one = {
            .name = argv[1], .test_func = test_logits, .initial_state = argv[1]};
        return _cmocka_run_group_tests("golden_paddle", &one, 1, NULL, NULL);
    }
    struct CMUnitTest tests[2 * N_CASES];
    for (int i = 0; i < 2 * N_CASES; i++)
        tests[i] = (struct CMUnitTest){.name = CASES[i / 2],
                                       .test_func = i % 2 ? test_training : test_logits,
                                       .initial_state = (void *)CASES[i / 2]};
    return _cmocka_run_group_tests("golden_paddle", tests, 2 * N_CASES, NULL, NULL);
}
