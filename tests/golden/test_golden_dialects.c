/*
 * One checkpoint in the spellings that model files have in the wild: torch .bin old and new,
 * shards, other or no prefixes, gamma and beta, an untied decoder, decoder biases under either
 * name, 16-bit storage, leftovers of pre-training. Each must open with its head and give
 * transformers' logits.
 */
#include "golden/golden_fixture.h"

static const char *const DIALECTS[] = {
    "torch_bin",
    "torch_bin_legacy",
    "sharded",
    "no_base_prefix",
    "other_base_prefix",
    "wrapped",
    "gamma_beta",
    "untied_decoder",
    "decoder_bias_only",
    "roberta_decoder_bias_only",
    "float16",
    "bfloat16",
    "pretraining_extras",
};
enum { N_DIALECTS = sizeof DIALECTS / sizeof *DIALECTS };

static void test_dialect(void **state) {
    char dir[512];
    snprintf(dir, sizeof dir, "%s/golden/fixtures/dialects/%s", TESTS_DIR, (const char *)*state);
    fixture *f = fixture_open(dir);
    engine e = engine_open(&backend_cpu, DTYPE_F32);
    model *m = open_model(dir, f->head);
    tape_begin_step(e.tape, false, 0, NULL, 0);
    var *logits = head_logits(f, m, e.tape, false);
    int64_t n, n_want;
    float *got = read_var(f, e.tape, logits, &n), *want = fixture_floats(f, "logits", &n_want);
    assert_int_equal(n, n_want);
    double error = deviation(got, want, n, largest(want, n));
    if (!(error <= 1e-5))
        fail_msg("%s: logits deviate by %.3g of their largest value", f->name, error);
    mem_free(want);
    mem_free(got);
    model_destroy(m);
    engine_close(&e);
    fixture_close(f);
}

static void test_tied_as_config_says(void **state) {
    char dir[512];
    (void)state;
    for (int i = 0; i < N_DIALECTS; i++) {
        snprintf(dir, sizeof dir, "%s/golden/fixtures/dialects/%s", TESTS_DIR, DIALECTS[i]);
        model *m = open_model(dir, MODEL_HEAD_MASKED_LM);
        assert_int_equal(model_has_tied_decoder(m), strcmp(DIALECTS[i], "untied_decoder") != 0);
        model_destroy(m);
    }
}

int main(void) {
    struct CMUnitTest tests[N_DIALECTS + 1];
    for (int i = 0; i < N_DIALECTS; i++)
        tests[i] = (struct CMUnitTest){
            .name = DIALECTS[i], .test_func = test_dialect, .initial_state = (void *)DIALECTS[i]};
    tests[N_DIALECTS] = (struct CMUnitTest){.name = "tied as config.json says",
                                            .test_func = test_tied_as_config_says};
    return _cmocka_run_group_tests("golden_dialects", tests, N_DIALECTS + 1, NULL, NULL);
}
