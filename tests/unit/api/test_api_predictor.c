/* cloze_predictor: from one thread, from several at once, and with wrong arguments. */
#include "api_support.h"

#include <pthread.h>

#define N_TEXTS 70 /* more than two batches */
#define N_THREADS 4
#define N_ROUNDS 5

static char texts_memory[N_TEXTS][64];
static const char *texts[N_TEXTS];

static void make_texts(void) {
    static const char *const WORDS[] = {"今天", "股市", "球队", "冠军", "大涨", "x"};
    for (int i = 0; i < N_TEXTS; i++) {
        size_t n = 0;
        for (int k = 0; k <= i % 7; k++)
            n += (size_t)snprintf(texts_memory[i] + n, sizeof texts_memory[i] - n, "%s",
                                  WORDS[(i * 5 + k * k) % 6]);
        texts[i] = texts_memory[i];
    }
    texts_memory[3][0] = 0; /* an empty text is a text */
}

static cloze_predictor *open_in(const char *dir, int num_threads, int bf16) {
    cloze_predictor_options o = {.bf16 = bf16, .num_threads = num_threads};
    cloze_predictor *p = NULL;
    MUST(cloze_predictor_open(dir, &o, &p, err));
    return p;
}

static cloze_predictor *open_run(const char *dir, int num_threads) {
    return open_in(dir, num_threads, 0);
}

static void test_labels(void **state) {
    cloze_predictor *p = open_run(PROMPT_RUN, 0);
    assert_int_equal(cloze_predictor_label_count(p), 2);
    assert_string_equal(cloze_predictor_label(p, 0), "体育");
    assert_string_equal(cloze_predictor_label(p, 1), "财经");
    assert_null(cloze_predictor_label(p, 2));
    assert_null(cloze_predictor_label(p, -1));
    cloze_predictor_close(p);
}

/* The same numbers as the predict command. */
static void test_equals_the_command(void **state) {
    const char *runs[] = {PROMPT_RUN, FINETUNE_RUN};
    for (int i = 0; i < 2; i++) {
        arg_list list;
        recorder r;
        float probabilities[2];
        const char *text = "今天股市";
        recorder_init(&r);
        put_file(at("one.txt"), text);
        MUST(
            cloze_predict(args(&list, "--model", runs[i], "--input", at("one.txt"), "--json", NULL),
                          NULL, record_write, &r, err));
        cJSON *json = parse_json(r.out.data);
        const cJSON *p = cJSON_GetObjectItemCaseSensitive(json, "probabilities");
        cloze_predictor *predictor = open_run(runs[i], 0);
        MUST(cloze_predictor_run(predictor, &text, NULL, 1, probabilities, err));
        for (int l = 0; l < 2; l++)
            assert_near("probability", probabilities[l],
                        cJSON_GetObjectItem(p, cloze_predictor_label(predictor, l))->valuedouble,
                        1e-6);
        cloze_predictor_close(predictor);
        json_destroy(json);
        recorder_deinit(&r);
    }
}

typedef struct caller {
    cloze_predictor *predictor;
    const float *want; /* (N_TEXTS,2) */
    size_t n;          /* texts of this caller's calls */
    int wrong;
} caller;

static void *call_often(void *arg) {
    caller *c = arg;
    float got[N_TEXTS * 2];
    for (int i = 0; i < N_ROUNDS; i++) {
        memset(got, 0, sizeof got);
        c->wrong += cloze_predictor_run(c->predictor, texts, NULL, c->n, got, NULL) != CLOZE_OK;
        for (size_t k = 0; k < c->n * 2; k++) c->wrong += !(fabsf(got[k] - c->want[k]) < 1e-6f);
    }
    return NULL;
}

static void check_threads(const char *dir, int bf16) {
    float want[N_TEXTS * 2];
    caller callers[N_THREADS];
    pthread_t threads[N_THREADS];
    cloze_predictor *p = open_in(dir, 1, bf16);
    MUST(cloze_predictor_run(p, texts, NULL, N_TEXTS, want, err));
    cloze_predictor_close(p);
    p = open_in(dir, 1, bf16); /* so that the first calls of all meet weights without copies */
    for (int t = 0; t < N_THREADS; t++) {
        callers[t] = (caller){p, want, (size_t)(N_TEXTS - 7 * t), 0};
        assert_int_equal(pthread_create(&threads[t], NULL, call_often, &callers[t]), 0);
    }
    for (int t = 0; t < N_THREADS; t++) {
        pthread_join(threads[t], NULL);
        assert_int_equal(callers[t].wrong, 0);
    }
    cloze_predictor_close(p);
}

static void test_threads(void **state) {
    for (int bf16 = 0; bf16 < 2; bf16++) {
        check_threads(PROMPT_RUN, bf16);
        check_threads(FINETUNE_RUN, bf16);
    }
}

static void test_probabilities(void **state) {
    float p[N_TEXTS * 2];
    cloze_predictor *predictor = open_run(FINETUNE_RUN, 0);
    MUST(cloze_predictor_run(predictor, texts, NULL, N_TEXTS, p, err));
    for (int i = 0; i < N_TEXTS; i++) {
        assert_true(p[2 * i] >= 0 && p[2 * i + 1] >= 0);
        assert_near("sum", (double)p[2 * i] + (double)p[2 * i + 1], 1, 1e-6);
    }
    cloze_predictor_close(predictor);
}

static void test_bf16(void **state) {
    cloze_predictor *exact = open_run(PROMPT_RUN, 1), *rough = open_in(PROMPT_RUN, 1, 1);
    float a[N_TEXTS * 2], b[N_TEXTS * 2];
    MUST(cloze_predictor_run(exact, texts, NULL, N_TEXTS, a, err));
    MUST(cloze_predictor_run(rough, texts, NULL, N_TEXTS, b, err));
    for (int i = 0; i < N_TEXTS * 2; i++) assert_near("bf16", b[i], a[i], 0.02);
    cloze_predictor_close(exact);
    cloze_predictor_close(rough);
}

/* Label words of one and of two tokens: each text makes two inputs. */
static void make_manual_run(const char *dir) {
    arg_list list;
    put_file(at("words.txt"), "体育==体育\n财经==财\n");
    MUST(cloze_train(args(&list, "--data_dir", DATA_DIR, "--label_file", at("words.txt"),
                          "--verbalizer", "manual", "--model_name_or_path", MODEL_DIR,
                          "--output_dir", dir, "--max_steps", "1", "--max_seq_length", "32", NULL),
                     NULL, NULL, err));
}

/* Token ids give what the texts gave, to the last bit, also without types and with positions left
 * to the model where those are the usual ones. */
static void test_inputs(void **state) {
    const char *runs[] = {PROMPT_RUN, FINETUNE_RUN, at("manual run")};
    make_manual_run(runs[2]);
    for (size_t r = 0; r < COUNT(runs); r++) {
        float want[N_TEXTS * 2], got[N_TEXTS * 2] = {0};
        cloze_input *inputs = NULL;
        cloze_predictor *p = open_run(runs[r], 2);
        int32_t per_text = cloze_predictor_inputs_per_text(p);
        assert_int_equal(per_text, r == 2 ? 2 : 1);
        MUST(cloze_predictor_run(p, texts, NULL, N_TEXTS, want, err));
        MUST(cloze_predictor_encode(p, texts, NULL, N_TEXTS, &inputs, err));
        MUST(cloze_predictor_run_inputs(p, inputs, N_TEXTS, got, err));
        assert_memory_equal(got, want, sizeof want);
        for (int i = 0; r == 1 && i < N_TEXTS * per_text; i++) {
            assert_null(inputs[i].masked_positions);
            for (int t = 0; t < inputs[i].n_tokens; t++) {
                assert_int_equal(inputs[i].token_type_ids[t], 0);
                assert_int_equal(inputs[i].position_ids[t], t);
            }
            inputs[i].token_type_ids = inputs[i].position_ids = NULL;
        }
        memset(got, 0, sizeof got);
        MUST(cloze_predictor_run_inputs(p, inputs, N_TEXTS, got, err));
        assert_memory_equal(got, want, sizeof want);
        cloze_inputs_free(inputs);
        cloze_predictor_close(p);
    }
}

static void test_wrong_inputs(void **state) {
    static const int32_t ids[] = {1, 2, 3, 4}, far[] = {1, 2, 3, 1 << 20}, mask[] = {1},
                         masks[] = {1, 2}, outside[] = {4}, types[] = {0, 0, 99, 0};
    const cloze_input good = {ids, NULL, NULL, mask, 4, 1};
    float out[2];
    cloze_predictor *p = open_run(PROMPT_RUN, 1);
    MUST(cloze_predictor_run_inputs(p, &good, 1, out, err));
    cloze_input bad = good;
    bad.input_ids = far;
    MUST_FAIL(CLOZE_ERR_DATA, "input 0: token 3 is 1048576",
              cloze_predictor_run_inputs(p, &bad, 1, out, err));
    bad = good;
    bad.token_type_ids = types;
    MUST_FAIL(CLOZE_ERR_DATA, "token type 2 is 99",
              cloze_predictor_run_inputs(p, &bad, 1, out, err));
    bad = good;
    bad.position_ids = far;
    MUST_FAIL(CLOZE_ERR_DATA, "position 3 is", cloze_predictor_run_inputs(p, &bad, 1, out, err));
    bad = good;
    bad.masked_positions = outside;
    MUST_FAIL(CLOZE_ERR_DATA, "mask 0 is 4", cloze_predictor_run_inputs(p, &bad, 1, out, err));
    bad = (cloze_input){ids, NULL, NULL, masks, 4, 2};
    MUST_FAIL(CLOZE_ERR_DATA, "2 masks; this run needs 1",
              cloze_predictor_run_inputs(p, &bad, 1, out, err));
    bad = (cloze_input){ids, NULL, NULL, NULL, 4, 1};
    MUST_FAIL(CLOZE_ERR_DATA, "0 masks", cloze_predictor_run_inputs(p, &bad, 1, out, err));
    bad = (cloze_input){ids, NULL, NULL, mask, 0, 1};
    MUST_FAIL(CLOZE_ERR_DATA, "no tokens", cloze_predictor_run_inputs(p, &bad, 1, out, err));
    bad = (cloze_input){ids, NULL, NULL, mask, 1 << 20, 1};
    MUST_FAIL(CLOZE_ERR_DATA, "positions", cloze_predictor_run_inputs(p, &bad, 1, out, err));
    MUST_FAIL(CLOZE_ERR_USAGE, "inputs is NULL",
              cloze_predictor_run_inputs(p, NULL, 1, out, err));
    MUST_FAIL(CLOZE_ERR_USAGE, "predictor is NULL",
              cloze_predictor_encode(NULL, texts, NULL, 1, NULL, err));
    MUST(cloze_predictor_run_inputs(p, NULL, 0, NULL, err));
    cloze_predictor_close(p);
    cloze_inputs_free(NULL);
    assert_int_equal(cloze_predictor_inputs_per_text(NULL), 0);
}

static void test_wrong_arguments(void **state) {
    cloze_predictor_options negative = {.num_threads = -1};
    cloze_predictor *p = NULL;
    const char *holes[] = {"a", NULL};
    const char *broken[] = {"a", "b\xff"};
    float out[4];
    MUST_FAIL(CLOZE_ERR_USAGE, "out", cloze_predictor_open(PROMPT_RUN, NULL, NULL, err));
    MUST_FAIL(CLOZE_ERR_USAGE, "run_dir", cloze_predictor_open(NULL, NULL, &p, err));
    MUST_FAIL(CLOZE_ERR_USAGE, "num_threads", cloze_predictor_open(PROMPT_RUN, &negative, &p, err));
    MUST_FAIL(CLOZE_ERR_MODEL, "no such directory",
              cloze_predictor_open(at("none"), NULL, &p, err));
    MUST_FAIL(CLOZE_ERR_MODEL, "no trained", cloze_predictor_open(MODEL_DIR, NULL, &p, err));
    assert_null(p);
    MUST(cloze_predictor_open(PROMPT_RUN, NULL, &p, err));
    MUST_FAIL(CLOZE_ERR_DATA, "texts[1] is not UTF-8 at byte 1",
              cloze_predictor_run(p, broken, NULL, 2, out, err));
    MUST_FAIL(CLOZE_ERR_DATA, "texts_b[1] is not UTF-8",
              cloze_predictor_run(p, texts, broken, 2, out, err));
    MUST_FAIL(CLOZE_ERR_USAGE, "predictor is NULL",
              cloze_predictor_run(NULL, texts, NULL, 1, out, err));
    MUST_FAIL(CLOZE_ERR_USAGE, "texts is NULL", cloze_predictor_run(p, NULL, NULL, 1, out, err));
    MUST_FAIL(CLOZE_ERR_USAGE, "probabilities is NULL",
              cloze_predictor_run(p, texts, NULL, 1, NULL, err));
    MUST_FAIL(CLOZE_ERR_USAGE, "texts[1] is NULL",
              cloze_predictor_run(p, holes, NULL, 2, out, err));
    MUST(cloze_predictor_run(p, NULL, NULL, 0, NULL, err));
    MUST(cloze_predictor_run(p, texts, NULL, 1, out, err)); /* still works */
    cloze_predictor_close(p);
    cloze_predictor_close(NULL);
    assert_int_equal(cloze_predictor_label_count(NULL), 0);
    assert_null(cloze_predictor_label(NULL, 0));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_labels),  cmocka_unit_test(test_equals_the_command),
        cmocka_unit_test(test_threads), cmocka_unit_test(test_probabilities),
        cmocka_unit_test(test_bf16),    cmocka_unit_test(test_inputs),
        cmocka_unit_test(test_wrong_inputs), cmocka_unit_test(test_wrong_arguments),
    };
    make_texts();
    return cmocka_run_group_tests(tests, api_setup, dir_teardown);
}
