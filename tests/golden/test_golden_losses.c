/*
 * Training losses and their gradients against torch's (tools/export_loss_golden.py): smoothing,
 * class weights, R-Drop, all of their combinations, on both devices.
 */
#include "golden/golden_fixture.h"
#include "train/loss.h"

static const char DIR[] = TESTS_DIR "/golden/fixtures/losses";

typedef struct loss_fixture {
    fixture f; /* values and settings only */
    float *logits, *again, *weights;
    int32_t *labels;
    int64_t rows, classes;
} loss_fixture;

static int open_losses(void **state) {
    static loss_fixture x;
    int64_t n;
    x = (loss_fixture){.f = {.name = "losses"}};
    char *path = path_join(DIR, "fixture.safetensors"), *settings = path_join(DIR, "fixture.json");
    MUST(ckpt_open(path, &x.f.values, err));
    MUST(json_parse_file(settings, 1 << 20, CLOZE_ERR_MODEL, &x.f.settings, err));
    mem_free(path);
    mem_free(settings);
    x.labels = fixture_ints(&x.f, "labels", &x.rows);
    x.weights = fixture_floats(&x.f, "weights", &x.classes);
    x.logits = fixture_floats(&x.f, "logits", &n);
    x.again = fixture_floats(&x.f, "again", &n);
    *state = &x;
    return 0;
}

static int close_losses(void **state) {
    loss_fixture *x = *state;
    mem_free(x->logits);
    mem_free(x->again);
    mem_free(x->weights);
    mem_free(x->labels);
    ckpt_close(x->f.values);
    json_destroy(x->f.settings);
    return 0;
}

static void compare(const loss_fixture *x, const char *what, const char *name, const float *got,
                    int64_t n) {
    char key[96];
    int64_t n_want;
    snprintf(key, sizeof key, "%s.%s", what, name);
    float *want = fixture_floats(&x->f, key, &n_want);
    assert_int_equal(n, n_want);
    double error = deviation(got, want, n, largest(want, n));
    if (!(error <= 1e-6)) fail_msg("%s deviates by %.3g of its largest value", key, error);
    mem_free(want);
}

static double setting(const cJSON *item, const char *key) {
    const cJSON *value = cJSON_GetObjectItemCaseSensitive(item, key);
    return cJSON_IsBool(value) ? cJSON_IsTrue(value) : value->valuedouble;
}

static void check_case(const loss_fixture *x, const engine *e, const cJSON *item) {
    const char *name = cJSON_GetObjectItemCaseSensitive(item, "name")->valuestring;
    loss_options o = {.label_smoothing = (float)setting(item, "smoothing"),
                      .class_weights = setting(item, "weighted") != 0 ? x->weights : NULL,
                      .rdrop = setting(item, "alpha") > 0,
                      .alpha_rdrop = (float)setting(item, "alpha")};
    tape_begin_step(e->tape, true, 0, NULL, 0);
    var *logits = tape_input(e->tape, x->logits, x->rows, x->classes);
    var *again = o.rdrop ? tape_input(e->tape, x->again, x->rows, x->classes) : NULL;
    tape_retain_grad(e->tape, logits);
    if (again) tape_retain_grad(e->tape, again);
    var *loss = loss_from_logits(e->tape, &o, logits, again, x->labels,
                                 loss_weight(&o, x->labels, x->rows));
    int64_t n;
    float *value = read_var(&x->f, e->tape, loss, &n);
    compare(x, "loss", name, value, n);
    MUST(tape_backward(e->tape, &loss, NULL, 1, err));
    float *grad = mem_calloc((size_t)(x->rows * x->classes), sizeof *grad);
    MUST(tape_read_grad(e->tape, logits, grad, err));
    compare(x, "grad", name, grad, x->rows * x->classes);
    if (again) {
        MUST(tape_read_grad(e->tape, again, grad, err));
        compare(x, "grad_again", name, grad, x->rows * x->classes);
    }
    mem_free(value);
    mem_free(grad);
}

static void losses_equal_torch(void **state) {
    const backend *const devices[] = {&backend_cpu, &backend_ref};
    const loss_fixture *x = *state;
    const cJSON *cases = cJSON_GetObjectItemCaseSensitive(x->f.settings, "cases"), *item;
    assert_int_equal(cJSON_GetArraySize(cases), 12);
    for (int i = 0; i < 2; i++) {
        engine e = engine_open(devices[i], DTYPE_F32);
        cJSON_ArrayForEach(item, cases) check_case(x, &e, item);
        engine_close(&e);
    }
}

/* A step of several micro-batches has the loss and the gradients of one large batch. */
static void parts_add_up(void **state) {
    const loss_fixture *x = *state;
    loss_options o = {0.1f, x->weights, true, 5.0f};
    engine e = engine_open(&backend_ref, DTYPE_F32);
    double whole = loss_weight(&o, x->labels, x->rows);
    float total = 0, value;
    for (int64_t first = 0; first < x->rows; first += 4) {
        int64_t n = x->rows - first < 4 ? x->rows - first : 4, at = first * x->classes;
        tape_begin_step(e.tape, false, 0, NULL, 0);
        var *p = tape_input(e.tape, x->logits + at, n, x->classes),
            *q = tape_input(e.tape, x->again + at, n, x->classes);
        MUST(tape_read(e.tape, loss_from_logits(e.tape, &o, p, q, x->labels + first, whole), &value,
                       err));
        total += value;
    }
    compare(x, "loss", "weighted_0.1_rdrop", &total, 1);
    engine_close(&e);
}

/* Where every label of a step weighs nothing there is no loss, and no division by 0. */
static void weightless_step(void **state) {
    const loss_fixture *x = *state;
    const float none[5] = {0};
    loss_options o = {.class_weights = none};
    engine e = engine_open(&backend_cpu, DTYPE_F32);
    float value = 1;
    tape_begin_step(e.tape, false, 0, NULL, 0);
    var *logits = tape_input(e.tape, x->logits, x->rows, x->classes);
    var *loss =
        loss_from_logits(e.tape, &o, logits, NULL, x->labels, loss_weight(&o, x->labels, x->rows));
    MUST(tape_read(e.tape, loss, &value, err));
    assert_true(value == 0);
    engine_close(&e);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(losses_equal_torch, open_losses, close_losses),
        cmocka_unit_test_setup_teardown(parts_add_up, open_losses, close_losses),
        cmocka_unit_test_setup_teardown(weightless_step, open_losses, close_losses),
    };
    return cmocka_run_group_tests_name("golden_losses", tests, NULL, NULL);
}
