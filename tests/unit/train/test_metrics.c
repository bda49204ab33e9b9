/* Metrics against figures worked out by hand with scikit-learn's definitions. */
#include "base/json.h"
#include "train/metrics.h"
#include "unit/unit_support.h"

enum { MAX_N = 12, MAX_C = 5 };

typedef struct metrics_case {
    const char *name;
    int32_t c;
    int32_t n, truth[MAX_N], said[MAX_N];
    double accuracy, macro_f1;
    double precision[MAX_C], recall[MAX_C], f1[MAX_C];
    int64_t support[MAX_C];
} metrics_case;

static const metrics_case CASES[] = {
    {"all right", 2, 4, {0, 1, 1, 0}, {0, 1, 1, 0}, 1, 1, {1, 1}, {1, 1}, {1, 1}, {2, 2}},
    {"all wrong", 2, 2, {0, 1}, {1, 0}, 0, 0, {0, 0}, {0, 0}, {0, 0}, {1, 1}},
    /* label 0: 2 of 3 said, 2 of 3 true; label 1: 1 of 2, 1 of 3; label 2: 2 of 3, 2 of 2 */
    {"three labels",
     3,
     8,
     {0, 0, 0, 1, 1, 1, 2, 2},
     {0, 0, 1, 0, 1, 2, 2, 2},
     0.625,
     (2 / 3. + 0.4 + 0.8) / 3,
     {2 / 3., 0.5, 2 / 3.},
     {2 / 3., 1 / 3., 1},
     {2 / 3., 0.4, 0.8},
     {3, 3, 2}},
    {"a label that is never said",
     3,
     3,
     {0, 1, 2},
     {0, 1, 1},
     2 / 3.,
     (1 + 2 / 3. + 0) / 3,
     {1, 0.5, 0},
     {1, 1, 0},
     {1, 2 / 3., 0},
     {1, 1, 1}},
    {"a label that is never true",
     3,
     3,
     {0, 1, 1},
     {0, 1, 2},
     2 / 3.,
     (1 + 2 / 3. + 0) / 3,
     {1, 1, 0},
     {1, 0.5, 0},
     {1, 2 / 3., 0},
     {1, 2, 0}},
    /* scikit-learn leaves labels out that are in neither */
    {"a label that does not occur",
     4,
     3,
     {0, 2, 2},
     {0, 2, 0},
     2 / 3.,
     (2 / 3. + 2 / 3.) / 2,
     {0.5, 0, 1, 0},
     {1, 0, 0.5, 0},
     {2 / 3., 0, 2 / 3., 0},
     {1, 0, 2, 0}},
    {"one label only",
     3,
     4,
     {1, 1, 1, 1},
     {1, 1, 1, 1},
     1,
     1,
     {0, 1, 0},
     {0, 1, 0},
     {0, 1, 0},
     {0, 4, 0}},
    {"nothing", 2, 0, {0}, {0}, 0, 0, {0, 0}, {0, 0}, {0, 0}, {0, 0}},
};

static metrics compute(const metrics_case *c, float height) {
    float logits[MAX_N * MAX_C] = {0};
    metrics m;
    for (int32_t i = 0; i < c->n; i++) logits[i * c->c + c->said[i]] = height;
    MUST(metrics_compute(logits, c->truth, c->n, c->c, &m, err));
    return m;
}

static void figures_of_scikit_learn(void **unused) {
    for (size_t i = 0; i < COUNT(CASES); i++) {
        const metrics_case *c = &CASES[i];
        metrics m = compute(c, 2.0f);
        assert_int_equal(m.n, c->n);
        assert_near(c->name, m.accuracy, c->accuracy, 1e-12);
        assert_near(c->name, m.micro_f1, c->accuracy, 1e-12);
        assert_near(c->name, m.macro_f1, c->macro_f1, 1e-12);
        int64_t total = 0;
        for (int32_t l = 0; l < c->c; l++) {
            assert_near(c->name, m.labels[l].precision, c->precision[l], 1e-12);
            assert_near(c->name, m.labels[l].recall, c->recall[l], 1e-12);
            assert_near(c->name, m.labels[l].f1, c->f1[l], 1e-12);
            assert_int_equal(m.labels[l].support, c->support[l]);
            for (int32_t k = 0; k < c->c; k++) {
                int64_t want = 0;
                for (int32_t e = 0; e < c->n; e++) want += c->truth[e] == l && c->said[e] == k;
                assert_int_equal(m.confusion[l * c->c + k], want);
                total += want;
            }
        }
        assert_int_equal(total, c->n);
        metrics_deinit(&m);
    }
}

/* Mean cross-entropy: log(e^2 + 1) - 2 where right, + 0 where wrong, of two labels. */
static void loss_is_the_mean_cross_entropy(void **unused) {
    const metrics_case half = {"", 2, 2, {0, 1}, {0, 0}, 0.5, 0, {0}, {0}, {0}, {0}};
    metrics m = compute(&half, 2.0f);
    assert_near("loss", m.loss, (2 * log(exp(2) + 1) - 2) / 2, 1e-12);
    metrics_deinit(&m);
    m = compute(&half, 30000.0f); /* exp() of it overflows */
    assert_near("loss", m.loss, 15000, 1e-9);
    metrics_deinit(&m);
    const float nan_row[2] = {NAN, 1};
    const int32_t label = 1;
    MUST(metrics_compute(nan_row, &label, 1, 2, &m, err));
    assert_true(isnan(m.loss));
    metrics_deinit(&m);
}

/* Of equal logits the first label wins, everywhere alike. */
static void ties_go_to_the_first_label(void **unused) {
    const float logits[] = {1, 1, 1, 0, 2, 2};
    const int32_t labels[] = {0, 1};
    metrics m;
    MUST(metrics_compute(logits, labels, 2, 3, &m, err));
    assert_near("accuracy", m.accuracy, 1, 0);
    metrics_deinit(&m);
}

static void softmax_of_any_size(void **unused) {
    static const struct {
        float logits[3];
        double want[3];
    } cases[] = {
        {{0, 0, 0}, {1 / 3., 1 / 3., 1 / 3.}},
        {{1e30f, 0, -1e30f}, {1, 0, 0}},
        {{-1e30f, -1e30f, -3e30f}, {0.5, 0.5, 0}},
        {{90, 89, 0}, {0.73105857863000490, 0.26894142136999512, 0}},
        {{-1000, -1001, -1002}, {0.66524095577, 0.24472847105, 0.09003057317}},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        double p[3], sum = 0;
        metrics_softmax(cases[i].logits, 3, p);
        for (int k = 0; k < 3; k++) {
            assert_near("probability", p[k], cases[i].want[k], 1e-10);
            sum += p[k];
        }
        assert_near("sum", sum, 1, 1e-12);
    }
}

static void metrics_have_names(void **unused) {
    metrics m = compute(&CASES[2], 2.0f);
    const struct {
        const char *name;
        double want;
    } known[] = {{"accuracy", m.accuracy}, {"macro_f1", m.macro_f1}, {"micro_f1", m.micro_f1},
                 {"loss", m.loss},         {"eval_loss", m.loss},    {"eval_accuracy", m.accuracy}};
    for (size_t i = 0; i < COUNT(known); i++) {
        double value = -1;
        assert_true(metrics_get(&m, known[i].name, &value));
        assert_true(value == known[i].want);
    }
    static const char *const UNKNOWN[] = {"f1", "", "eval_", "eval_eval_loss", "Accuracy"};
    for (size_t i = 0; i < COUNT(UNKNOWN); i++) {
        double value = -1;
        assert_false(metrics_get(&m, UNKNOWN[i], &value));
        assert_true(value == -1);
    }
    metrics_deinit(&m);
}

static void json_has_hugging_faces_keys(void **unused) {
    static const char *const NAMES[] = {"a\"b", "b", "体育"};
    static const char *const KEYS[] = {"test_accuracy",        "test_loss",
                                       "test_macro_f1",        "test_micro_f1",
                                       "test_runtime",         "test_samples_per_second",
                                       "test_steps_per_second"};
    label_set labels;
    MUST(label_set_from_names(NAMES, 3, &labels, err));
    metrics m = compute(&CASES[2], 2.0f);
    m.seconds = 2;
    for (int full = 0; full < 2; full++) {
        buf b;
        buf_init(&b, 1 << 20);
        buf_puts(&b, "{");
        if (full)
            metrics_write_json(&m, "test", &labels, 3, &b);
        else
            metrics_write_log(&m, "test", 3, &b);
        buf_puts(&b, "}");
        cJSON *json = NULL;
        MUST(json_parse(b.data, b.len, "metrics", CLOZE_ERR_INTERNAL, &json, err));
        for (size_t i = 0; i < COUNT(KEYS); i++)
            assert_true(cJSON_IsNumber(cJSON_GetObjectItemCaseSensitive(json, KEYS[i])));
        assert_near("samples", cJSON_GetObjectItem(json, "test_samples_per_second")->valuedouble, 4,
                    1e-12);
        assert_near("steps", cJSON_GetObjectItem(json, "test_steps_per_second")->valuedouble, 1.5,
                    1e-12);
        const cJSON *per_label = cJSON_GetObjectItem(json, "test_per_label"),
                    *matrix = cJSON_GetObjectItem(json, "test_confusion_matrix");
        assert_int_equal(per_label != NULL, full);
        assert_int_equal(cJSON_GetArraySize(matrix), full ? 3 : 0);
        if (full) {
            const cJSON *first = cJSON_GetObjectItem(per_label, "a\"b");
            assert_near("f1", cJSON_GetObjectItem(first, "f1")->valuedouble, 2 / 3., 1e-12);
            assert_int_equal(cJSON_GetObjectItem(first, "support")->valueint, 3);
            assert_int_equal(cJSON_GetArrayItem(cJSON_GetArrayItem(matrix, 1), 2)->valueint, 1);
        }
        json_destroy(json);
        buf_deinit(&b);
    }
    metrics_deinit(&m);
    label_set_deinit(&labels);
}

static cloze_status compute_once(void *ctx, cloze_error *err) {
    const float logits[] = {1, 0};
    const int32_t label = 0;
    metrics m;
    CLOZE_TRY(metrics_compute(logits, &label, 1, 2, &m, err));
    metrics_deinit(&m);
    return CLOZE_OK;
}

static void want_of_memory_is_survived(void **unused) {
    assert_int_equal(fail_each_allocation(compute_once, NULL, 1), 2);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(figures_of_scikit_learn),
        cmocka_unit_test(loss_is_the_mean_cross_entropy),
        cmocka_unit_test(ties_go_to_the_first_label),
        cmocka_unit_test(softmax_of_any_size),
        cmocka_unit_test(metrics_have_names),
        cmocka_unit_test(json_has_hugging_faces_keys),
        cmocka_unit_test(want_of_memory_is_survived),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
