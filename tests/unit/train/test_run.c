/*
 * The train, eval and predict commands from options to files, where the tests of cloze.h do not
 * look: which file each part reads and writes, what is said when data, labels and run do not belong
 * together, and want of memory anywhere on the way.
 */
#include "base/json.h"
#include "train/predictor.h"
#include "train/run.h"
#include "unit/train/train_support.h"

enum { MAX_ARGS = 40 };
#define ARGS(...) ((const char *const[MAX_ARGS + 1]){__VA_ARGS__})

static int world_setup(void **state) {
    if (dir_setup(state) != 0) return -1;
    make_pretrained(at("model"), TOY_BERT, MODEL_HEAD_MASKED_LM);
    if (dir_create(at("data"), NULL) != CLOZE_OK) return -1;
    put_file(at("data/train.txt"),
             "great film\tgood\nawful book\tbad\ngreat plot\tgood\nawful actor\tbad\n");
    put_file(at("data/dev.txt"), "great book\tgood\nawful film\tbad\n");
    put_file(at("data/test.txt"), "great scene\tgood\nawful scene\tbad\nred\tbad\n");
    put_file(at("data/label.txt"), "good==好\nbad==坏\n");
    return 0;
}

typedef cloze_status (*command)(const options *o, const cloze_callbacks *cb, buf *results,
                                cloze_error *err);

static cloze_status run_command(char letter, command run, const char *const args[],
                                const cloze_callbacks *cb, cJSON **results, cloze_error *err) {
    options o;
    buf b;
    int n = 0;
    while (args[n]) n++;
    buf_init(&b, 1 << 20);
    cloze_status status = options_parse(&o, letter, n, (char *const *)args, err);
    if (status == CLOZE_OK) status = run(&o, cb, &b, err);
    if (status == CLOZE_OK && results)
        status = json_parse(b.data, b.len, "results", CLOZE_ERR_INTERNAL, results, err);
    options_deinit(&o);
    buf_deinit(&b);
    return status;
}

static cJSON *train_ok(const char *const args[]) {
    cJSON *results = NULL;
    MUST(run_command('T', train_run, args, NULL, &results, err));
    return results;
}

static void train_fails(const char *const args[], cloze_status status, const char *fragment) {
    MUST_FAIL(status, fragment, run_command('T', train_run, args, NULL, NULL, err));
}

#define TRAIN                                                                                      \
    "--model_name_or_path", at("model"), "--data_dir", at("data"), "--prompt", "是",               \
        "--max_seq_length", "20", "--num_threads", "1", "--output_dir", at("run")
#define AGAIN                                                                                      \
    "--resume_from_checkpoint", at("run"), "--data_dir", at("data"), "--output_dir", at("again"),  \
        "--num_threads", "1"

static bool has(const char *name) { return file_exists(at(name)); }

/* Keys of a file of results are numbers, or one of the two tables. */
static void check_results(const char *name, const char *const keys[]) {
    cJSON *json = NULL;
    MUST(json_parse_file(at(name), 1 << 20, CLOZE_ERR_DATA, &json, err));
    for (int i = 0; keys[i]; i++)
        if (!cJSON_IsNumber(cJSON_GetObjectItemCaseSensitive(json, keys[i])))
            fail_msg("%s has no number %s", name, keys[i]);
    json_destroy(json);
}

static void a_whole_run_leaves_its_files(void **unused) {
    cJSON *all =
        train_ok(ARGS(TRAIN, "--do_train", "--do_eval", "--do_predict", "--max_steps", "2"));
    static const char *const TRAIN_KEYS[] = {"epoch",
                                             "train_loss",
                                             "train_runtime",
                                             "train_samples_per_second",
                                             "train_steps_per_second",
                                             NULL};
    static const char *const EVAL_KEYS[] = {"eval_accuracy", "eval_loss",    "eval_macro_f1",
                                            "eval_micro_f1", "eval_runtime", NULL};
    static const char *const TEST_KEYS[] = {"test_accuracy", "test_loss", NULL};
    check_results("run/train_results.json", TRAIN_KEYS);
    check_results("run/eval_results.json", EVAL_KEYS);
    check_results("run/test_results.json", TEST_KEYS);
    check_results("run/all_results.json", TRAIN_KEYS);
    check_results("run/all_results.json", EVAL_KEYS);
    check_results("run/all_results.json", TEST_KEYS);
    assert_true(cJSON_IsNumber(cJSON_GetObjectItem(all, "eval_accuracy")));
    json_destroy(all);
    static const char *const FILES[] = {"run/trainer_state.json", "run/training_args.json",
                                        "run/classifier.json",    "run/model.safetensors",
                                        "run/prompt.safetensors", "run/predictions.txt",
                                        "run/predictions.jsonl",  "run/template_config.json"};
    for (size_t i = 0; i < COUNT(FILES); i++)
        if (!has(FILES[i])) fail_msg("%s was not written", FILES[i]);
}

static void evaluating_and_predicting_later(void **unused) {
    cJSON *first = train_ok(ARGS(TRAIN, "--do_train", "--do_eval", "--max_steps", "2")),
          *later = train_ok(ARGS(AGAIN, "--do_eval", "--do_predict"));
    assert_near("eval_loss", cJSON_GetObjectItem(later, "eval_loss")->valuedouble,
                cJSON_GetObjectItem(first, "eval_loss")->valuedouble, 1e-6);
    assert_null(cJSON_GetObjectItem(later, "train_loss"));
    assert_true(has("again/predictions.jsonl") && !has("again/model.safetensors"));
    cJSON *eval = NULL;
    MUST(run_command('E', eval_run, ARGS("--model", at("run"), "--input", at("data/dev.txt")), NULL,
                     &eval, err));
    assert_near("eval_loss", cJSON_GetObjectItem(eval, "eval_loss")->valuedouble,
                cJSON_GetObjectItem(first, "eval_loss")->valuedouble, 1e-6);
    json_destroy(first);
    json_destroy(later);
    json_destroy(eval);
}

/* Without labels there are predictions and no metrics; data.txt stands in for test.txt. */
static void unlabelled_texts_are_predicted(void **unused) {
    assert_int_equal(remove(at("data/test.txt")), 0);
    put_file(at("data/data.txt"), "great film\nawful book\n");
    json_destroy(train_ok(ARGS(TRAIN, "--do_train", "--do_predict", "--max_steps", "1")));
    assert_false(has("run/test_results.json"));
    size_t n;
    char *text = get_file(at("run/predictions.txt"), &n);
    assert_int_equal(strncmp(text, "great film\t", 11), 0);
    mem_free(text);
    assert_int_equal(remove(at("data/data.txt")), 0);
    train_fails(ARGS(AGAIN, "--do_predict"), CLOZE_ERR_DATA, "no test.txt");
}

/* Labels come from the training file when there is no label file. */
static void labels_come_from_the_texts(void **unused) {
    assert_int_equal(remove(at("data/label.txt")), 0);
    put_file(at("data/train.txt"), "great film\t好\nawful book\t坏\n");
    put_file(at("data/dev.txt"), "great film\t好\n");
    json_destroy(train_ok(ARGS(TRAIN, "--do_train", "--do_eval", "--max_steps", "1")));
    size_t n;
    char *text = get_file(at("run/verbalizer_config.json"), &n);
    assert_string_equal(text, "{\"坏\": [\"坏\"], \"好\": [\"好\"]}");
    mem_free(text);
}

static void what_does_not_belong_together_is_told(void **unused) {
    json_destroy(train_ok(ARGS(TRAIN, "--do_train", "--max_steps", "1")));
    put_file(at("other.txt"), "great film\tgod\n");
    put_file(at("tabless.txt"), "great film\n");
    train_fails(ARGS(TRAIN, "--do_train", "--train_file", at("other.txt")), CLOZE_ERR_DATA,
                "other.txt:1");
    train_fails(ARGS(TRAIN, "--do_train", "--do_eval", "--dev_file", at("other.txt")),
                CLOZE_ERR_DATA, "good"); /* the nearest label */
    train_fails(ARGS(TRAIN, "--do_train", "--train_file", at("tabless.txt")), CLOZE_ERR_DATA,
                "tabless.txt:1");
    train_fails(ARGS(TRAIN, "--do_train", "--data_dir", at("nowhere")), CLOZE_ERR_DATA, "nowhere");
    train_fails(ARGS(TRAIN, "--do_train", "--model_name_or_path", "no-such-model"), CLOZE_ERR_MODEL,
                "no-such-model");
    train_fails(ARGS(TRAIN, "--do_train", "--max_seq_length", "25"), CLOZE_ERR_USAGE,
                "24 positions");
    train_fails(ARGS(TRAIN, "--do_train", "--output_dir", at("data/../model/")), CLOZE_ERR_USAGE,
                "would be overwritten");
    train_fails(ARGS(TRAIN, "--do_eval"), CLOZE_ERR_USAGE, "--resume_from_checkpoint");
    train_fails(ARGS(AGAIN, "--do_eval", "--resume_from_checkpoint", at("model")), CLOZE_ERR_MODEL,
                "no trained classifier");
    assert_int_equal(remove(at("data/dev.txt")), 0);
    train_fails(ARGS(TRAIN, "--do_train", "--do_eval"), CLOZE_ERR_DATA, "no dev.txt");
    assert_int_equal(remove(at("data/train.txt")), 0);
    train_fails(ARGS(TRAIN, "--do_train"), CLOZE_ERR_DATA, "no train.txt");
    MUST_FAIL(CLOZE_ERR_USAGE, "--model DIR is missing",
              run_command('E', eval_run, ARGS("--input", "x"), NULL, NULL, err));
    MUST_FAIL(CLOZE_ERR_USAGE, "--input FILE is missing",
              run_command('E', eval_run, ARGS("--model", at("run")), NULL, NULL, err));
}

/* ---- predictions ---- */

static void one_prediction_is_one_line(void **unused) {
    static const char *const NAMES[] = {"a\"b", "c"};
    const float logits[] = {0, 1.0986123f}; /* 1 to 3 */
    label_set labels;
    MUST(label_set_from_names(NAMES, 2, &labels, err));
    const struct {
        example ex;
        bool json;
        const char *want;
    } cases[] = {
        {{.text = "one\ntwo", .text_len = 7}, false, "one two\tc\n"},
        {{.text = "x", .text_len = 1, .text_b = "y\r", .text_b_len = 2}, false, "x\ty \tc\n"},
        {{.text = "", .text_len = 0}, false, "\tc\n"},
        {{.text = "a\n\"", .text_len = 3},
         true,
         "{\"text\": \"a\\n\\\"\", \"label\": \"c\", \"probability\": 0.75"},
        {{.text = "x", .text_len = 1, .text_b = "y", .text_b_len = 1},
         true,
         "{\"text\": \"x\", \"text_b\": \"y\", \"label\": \"c\""},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        buf b;
        buf_init(&b, 1 << 16);
        prediction_write(&b, &cases[i].ex, &labels, logits, cases[i].json);
        assert_true(buf_ok(&b) && b.data[b.len - 1] == '\n');
        assert_int_equal(strncmp(b.data, cases[i].want, strlen(cases[i].want)), 0);
        assert_ptr_equal(strchr(b.data, '\n'), b.data + b.len - 1);
        if (cases[i].json) {
            cJSON *json = NULL;
            MUST(json_parse(b.data, b.len, "prediction", CLOZE_ERR_INTERNAL, &json, err));
            const cJSON *p = cJSON_GetObjectItem(json, "probabilities");
            assert_near("a", cJSON_GetObjectItem(p, "a\"b")->valuedouble, 0.25, 1e-7);
            assert_near("c", cJSON_GetObjectItem(p, "c")->valuedouble, 0.75, 1e-7);
            json_destroy(json);
        }
        buf_deinit(&b);
    }
    label_set_deinit(&labels);
}

/* ---- memory ---- */

typedef struct memory_case {
    char letter;
    command run;
    const char *const *args;
} memory_case;

static cloze_status run_once(void *ctx, cloze_error *err) {
    const memory_case *m = ctx;
    return run_command(m->letter, m->run, m->args, NULL, NULL, err);
}

static int drop(void *user, const char *text, size_t n) { return 0; }

static cloze_status predict_run(const options *o, const cloze_callbacks *cb, buf *results,
                                cloze_error *err) {
    return predict_stream(o, cb, drop, NULL, err);
}

static void want_of_memory_is_survived(void **unused) {
    memory_case train = {'T', train_run,
                         ARGS(TRAIN, "--do_train", "--do_eval", "--do_predict", "--max_steps", "1",
                              "--verbalizer", "manual")},
                eval = {'E', eval_run, ARGS("--model", at("run"), "--input", at("data/dev.txt"))},
                predict = {'P', predict_run,
                           ARGS("--model", at("run"), "--input", at("data/test.txt"), "--json")};
    assert_true(fail_each_allocation(run_once, &train, 11) > 20);
    json_destroy(train_ok(ARGS(TRAIN, "--do_train", "--max_steps", "1", "--save_steps", "1")));
    memory_case resume = {'T', train_run,
                          ARGS("--output_dir", at("run"), "--resume_from_checkpoint", "last",
                               "--max_steps", "2", "--save_strategy", "no")};
    assert_true(fail_each_allocation(run_once, &resume, 11) > 20);
    assert_true(fail_each_allocation(run_once, &eval, 5) > 20);
    assert_true(fail_each_allocation(run_once, &predict, 5) > 20);
}

#define WORLD_TEST(f) cmocka_unit_test_setup_teardown(f, world_setup, dir_teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        WORLD_TEST(a_whole_run_leaves_its_files),
        WORLD_TEST(evaluating_and_predicting_later),
        WORLD_TEST(unlabelled_texts_are_predicted),
        WORLD_TEST(labels_come_from_the_texts),
        WORLD_TEST(what_does_not_belong_together_is_told),
        cmocka_unit_test(one_prediction_is_one_line),
        WORLD_TEST(want_of_memory_is_survived),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
