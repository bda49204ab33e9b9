/* Masked-LM pre-training end to end on a few lines: from scratch, going on, and how it fails. */
#include "base/json.h"
#include "train/pretrain.h"
#include "unit/train/train_support.h"

enum { MAX_ARGS = 40, N_LINES = 60 };
#define ARGS(...) ((const char *const[MAX_ARGS + 1]){__VA_ARGS__})

/* Lines whose words tell each other, in two scripts. */
static int text_setup(void **state) {
    static const char *const LINES[] = {
        "the red film was great and the actor sang a song\n",
        "体育新闻说北京队今天赢了比赛\n",
        "one two three four one two three four one two\n",
        "财经新闻说股票今天涨了很多\n",
    };
    if (dir_setup(state) != 0) return -1;
    FILE *f = fopen(at("text.txt"), "w");
    if (!f) return -1;
    for (int i = 0; i < N_LINES; i++) fputs(LINES[i % 4], f);
    if (fclose(f) != 0) return -1;
    put_file(at("vocab.txt"), TOY_VOCAB);
    return 0;
}

static cloze_status pretrain(const char *const args[], const cloze_callbacks *cb, cJSON **results,
                             cloze_error *err) {
    options o;
    buf b;
    int n = 0;
    while (args[n]) n++;
    buf_init(&b, 1 << 20);
    cloze_status status = options_parse(&o, 'M', n, (char *const *)args, err);
    if (status == CLOZE_OK) status = pretrain_run(&o, cb, &b, err);
    if (status == CLOZE_OK && results)
        status = json_parse(b.data, b.len, "results", CLOZE_ERR_INTERNAL, results, err);
    options_deinit(&o);
    buf_deinit(&b);
    return status;
}

#define TINY                                                                                       \
    "--vocab_size", "200", "--hidden_size", "16", "--num_hidden_layers", "1",                      \
        "--num_attention_heads", "2", "--max_position_embeddings", "32", "--tokens_per_batch",     \
        "256", "--eval_lines", "8", "--num_threads", "1", "--whole_word_mask", "false"

/* Building one takes longest. */
#define VOCABULARY "--vocab_file", at("vocab.txt")

static double number_of(const cJSON *json, const char *key) {
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(json, key);
    if (!cJSON_IsNumber(item)) fail_msg("there is no number %s", key);
    return item->valuedouble;
}

static cJSON *pretrain_ok(const char *const args[]) {
    cJSON *results = NULL;
    MUST(pretrain(args, NULL, &results, err));
    return results;
}

/* ---- results ---- */

static void a_model_is_learnt_and_opens(void **unused) {
    cJSON *early = pretrain_ok(ARGS("--train_file", at("text.txt"), "--output_dir", at("early"),
                                    TINY, "--max_steps", "1")),
          *late = pretrain_ok(ARGS("--train_file", at("text.txt"), "--output_dir", at("late"), TINY,
                                   "--max_steps", "60", "--learning_rate", "1e-2",
                                   "--hidden_dropout_prob", "0"));
    assert_true(number_of(late, "eval_loss") < 0.7 * number_of(early, "eval_loss"));
    assert_true(number_of(late, "eval_top1") > 0.3);
    assert_true(number_of(late, "eval_top5") >= number_of(late, "eval_top1"));
    assert_near("train_steps", number_of(late, "train_steps"), 60, 0);
    assert_true(number_of(late, "eval_masked_tokens") >= 8);
    assert_true(number_of(late, "train_tokens") > 60 * 128);
    static const char *const FILES[] = {"config.json",        "model.safetensors",     "vocab.txt",
                                        "trainer_state.json", "pretrain_results.json", "runs"};
    for (size_t i = 0; i < COUNT(FILES); i++) {
        char *path = path_join(at("late"), FILES[i]);
        if (!file_exists(path) && !file_is_dir(path)) fail_msg("%s was not written", FILES[i]);
        mem_free(path);
    }
    label_set labels = make_labels("{\"a\": [\"新\"], \"b\": [\"队\"]}");
    classifier_options o = {.verbalizer = VERBALIZER_MANUAL, .do_lower_case = -1};
    classifier *c = create_ok(at("late"), &o, &labels); /* with vocabulary and masked-LM head */
    const model_config *config = model_get_config(classifier_model(c));
    assert_int_equal(config->hidden_size, 16);
    assert_int_equal(config->intermediate_size, 64);
    assert_int_equal(config->vocab_size, tokenizer_vocab_size(classifier_tokenizer(c)));
    assert_near("parameters", (double)model_param_count(classifier_model(c)),
                number_of(late, "parameters"), 0);
    classifier_destroy(c);
    label_set_deinit(&labels);
    json_destroy(early);
    json_destroy(late);
}

static void the_seed_decides_everything(void **unused) {
    const char *const dirs[] = {at("a"), at("b"), at("c")};
    static const char *const SEEDS[] = {"5", "5", "6"};
    for (int i = 0; i < 3; i++)
        json_destroy(pretrain_ok(ARGS("--train_file", at("text.txt"), "--output_dir", dirs[i], TINY,
                                      VOCABULARY, "--max_steps", "5", "--seed", SEEDS[i],
                                      "--gradient_checkpointing", i == 1 ? "true" : "false")));
    assert_same_file(at("a/model.safetensors"), at("b/model.safetensors"));
    size_t n, m;
    char *x = get_file(at("a/model.safetensors"), &n), *y = get_file(at("c/model.safetensors"), &m);
    assert_int_equal(n, m);
    assert_memory_not_equal(x, y, n);
    mem_free(x);
    mem_free(y);
}

/* Keyword prompts are part of training, a function of the seed, and no part of held-out figures. */
static void keyword_prompts_are_trained_on(void **unused) {
    const char *const dirs[] = {at("a"), at("b"), at("c")};
    static const char *const SHARES[] = {"0.5", "0.5", "0"};
    double loss[3], masked[3];
    for (int i = 0; i < 3; i++) {
        cJSON *results =
            pretrain_ok(ARGS("--train_file", at("text.txt"), "--output_dir", dirs[i], TINY,
                             VOCABULARY, "--max_steps", "5", "--keyword_probability", SHARES[i],
                             "--keyword_prompt", "{'mask'}{'text':'text_a'}|the"));
        loss[i] = number_of(results, "eval_loss");
        masked[i] = number_of(results, "eval_masked_tokens");
        json_destroy(results);
    }
    assert_same_file(at("a/model.safetensors"), at("b/model.safetensors"));
    assert_near("masked tokens", masked[0], masked[2], 0);
    assert_true(loss[0] == loss[1] && loss[0] != loss[2]);
}

static void weights_are_stored_as_asked(void **unused) {
    static const struct {
        const char *name;
        cloze_dtype dtype;
    } cases[] = {{"float32", DTYPE_F32}, {"bfloat16", DTYPE_BF16}, {"float16", DTYPE_F16}};
    for (size_t i = 0; i < COUNT(cases); i++) {
        ckpt *file = NULL;
        json_destroy(
            pretrain_ok(ARGS("--train_file", at("text.txt"), "--output_dir", at("out"), TINY,
                             VOCABULARY, "--max_steps", "1", "--save_dtype", cases[i].name)));
        MUST(ckpt_open(at("out"), &file, err));
        for (size_t k = 0; k < ckpt_count(file); k++)
            assert_int_equal(ckpt_at(file, k)->dtype, cases[i].dtype);
        ckpt_close(file);
    }
}

static void a_given_vocabulary_is_used(void **unused) {
    json_destroy(pretrain_ok(ARGS("--train_file", at("text.txt"), "--output_dir", at("out"), TINY,
                                  "--max_steps", "1", "--vocab_file", at("vocab.txt"))));
    model_config c;
    MUST(model_config_read(at("out"), &c, err));
    assert_int_equal(c.vocab_size, 40);
    model_config_deinit(&c);
    assert_false(file_exists(at("out/words.txt")));
}

/* Going on keeps configuration, vocabulary and words, and begins where the other ended. */
static void training_goes_on_from_a_model(void **unused) {
    cJSON *first = pretrain_ok(ARGS("--train_file", at("text.txt"), "--output_dir", at("a"), TINY,
                                    "--max_steps", "40", "--learning_rate", "1e-2",
                                    "--hidden_dropout_prob", "0", "--save_steps", "20",
                                    "--whole_word_mask")),
          *more = pretrain_ok(ARGS("--train_file", at("text.txt"), "--output_dir", at("b"),
                                   "--model_name_or_path", at("a"), "--max_steps", "1",
                                   "--learning_rate", "1e-6", "--eval_lines", "8",
                                   "--tokens_per_batch", "256"));
    assert_near("eval_loss", number_of(more, "eval_loss"), number_of(first, "eval_loss"), 0.01);
    assert_same_file(at("a/vocab.txt"), at("b/vocab.txt"));
    assert_same_file(at("a/words.txt"), at("b/words.txt"));
    cJSON *from_checkpoint = pretrain_ok(
        ARGS("--train_file", at("text.txt"), "--output_dir", at("c"), "--model_name_or_path",
             at("a/checkpoint-20"), "--max_steps", "1", "--learning_rate", "1e-6"));
    json_destroy(first);
    json_destroy(more);
    json_destroy(from_checkpoint);
}

static void accumulation_and_evaluation(void **unused) {
    json_destroy(pretrain_ok(ARGS("--train_file", at("text.txt"), "--dev_file", at("text.txt"),
                                  "--output_dir", at("out"), TINY, VOCABULARY, "--max_steps", "4",
                                  "--gradient_accumulation_steps", "2", "--evaluation_strategy",
                                  "steps", "--eval_steps", "2", "--logging_steps", "2")));
    cJSON *state = NULL;
    MUST(json_parse_file(at("out/trainer_state.json"), 1 << 20, CLOZE_ERR_DATA, &state, err));
    int evals = 0, logs = 0;
    const cJSON *entry;
    cJSON_ArrayForEach(entry, cJSON_GetObjectItem(state, "log_history")) {
        evals += cJSON_GetObjectItem(entry, "eval_loss") != NULL;
        logs += cJSON_GetObjectItem(entry, "loss") != NULL;
    }
    assert_int_equal(evals, 2); /* at 2 and at the end */
    assert_int_equal(logs, 2);
    json_destroy(state);
}

/* The loss of a step is the mean over its masked tokens, however they are cut into batches. */
static void accumulation_equals_a_larger_batch(void **unused) {
    double first[2];
    for (int i = 0; i < 2; i++) {
        json_destroy(pretrain_ok(
            ARGS("--train_file", at("text.txt"), "--output_dir", at("out"), TINY, VOCABULARY,
                 "--max_steps", "1", "--logging_steps", "1", "--hidden_dropout_prob", "0",
                 "--attention_probs_dropout_prob", "0", "--eval_lines", "0", "--tokens_per_batch",
                 i ? "64" : "100000", "--gradient_accumulation_steps", i ? "1000" : "1")));
        cJSON *state = NULL;
        MUST(json_parse_file(at("out/trainer_state.json"), 1 << 20, CLOZE_ERR_DATA, &state, err));
        first[i] =
            number_of(cJSON_GetArrayItem(cJSON_GetObjectItem(state, "log_history"), 0), "loss");
        json_destroy(state);
    }
    assert_near("loss", first[1], first[0], 1e-5);
}

static void a_models_shape_is_its_own(void **unused) {
    static const char *const FLAGS[][2] = {
        {"--vocab_size", "300"}, {"--hidden_size", "32"},       {"--num_hidden_layers", "2"},
        {"--vocab_file", "x"},   {"--intermediate_size", "64"}, {"--num_attention_heads", "4"}};
    for (size_t i = 0; i < COUNT(FLAGS); i++)
        MUST_FAIL(CLOZE_ERR_USAGE, FLAGS[i][0],
                  pretrain(ARGS("--train_file", at("text.txt"), "--output_dir", at("out"),
                                "--model_name_or_path", at("nowhere"), FLAGS[i][0], FLAGS[i][1]),
                           NULL, NULL, err));
}

static void checkpoints_are_scheduled_and_pruned(void **unused) {
    char **names;
    size_t n;
    json_destroy(pretrain_ok(ARGS("--train_file", at("text.txt"), "--output_dir", at("out"), TINY,
                                  VOCABULARY, "--max_steps", "9", "--save_steps", "2",
                                  "--save_total_limit", "2")));
    MUST(dir_list(at("out"), &names, &n, err));
    assert_string_equal(names[0], "checkpoint-6");
    assert_string_equal(names[1], "checkpoint-8");
    assert_int_not_equal(strncmp(names[2], "checkpoint-", 11), 0);
    dir_list_free(names, n);
}

/* ---- failures ---- */

static int stop_after(void *user) {
    int *left = user;
    return (*left)-- <= 0;
}

static void interruption_leaves_a_checkpoint(void **unused) {
    int left = 2;
    cloze_callbacks cb = {.user = &left, .interrupted = stop_after};
    MUST_FAIL(CLOZE_ERR_INTERRUPTED, "out/checkpoint-",
              pretrain(ARGS("--train_file", at("text.txt"), "--output_dir", at("out"), TINY,
                            VOCABULARY, "--max_steps", "9"),
                       &cb, NULL, err));
    json_destroy(
        pretrain_ok(ARGS("--train_file", at("text.txt"), "--output_dir", at("more"),
                         "--model_name_or_path", at("out/checkpoint-3"), "--max_steps", "1")));
}

static void wrong_settings_are_refused(void **unused) {
    put_file(at("empty.txt"), "\n\n");
    put_file(at("bad.txt"), "good line here\nbad \xff\n");
    put_file(at("short_vocab.txt"), "[PAD]\n[UNK]\nthe\nred\n");
    const struct {
        const char *const args[8];
        cloze_status status;
        const char *fragment;
    } cases[] = {
        {{"--max_steps", "1"}, CLOZE_ERR_USAGE, "--train_file FILE is missing"},
        {{"--train_file", at("absent.txt")}, CLOZE_ERR_DATA, "absent.txt"},
        {{"--train_file", at("bad.txt")}, CLOZE_ERR_DATA, "bad.txt:2"},
        {{"--train_file", at("text.txt"), "--max_seq_length", "5000"}, CLOZE_ERR_USAGE, "5000"},
        {{"--train_file", at("text.txt"), "--max_seq_length", "33"},
         CLOZE_ERR_USAGE,
         "33 is more than the model's 32"},
        {{"--train_file", at("text.txt"), "--max_seq_length", "3"},
         CLOZE_ERR_USAGE,
         "--max_seq_length 3"},
        {{"--train_file", at("text.txt"), "--num_attention_heads", "3"},
         CLOZE_ERR_USAGE,
         "--hidden_size 16 is not a multiple of --num_attention_heads 3"},
        {{"--train_file", at("text.txt"), "--vocab_file", at("nowhere")},
         CLOZE_ERR_MODEL,
         "nowhere"},
        {{"--train_file", at("text.txt"), "--vocab_file", at("short_vocab.txt")},
         CLOZE_ERR_MODEL,
         "[CLS]"},
        {{"--train_file", at("text.txt"), "--dev_file", at("empty.txt")},
         CLOZE_ERR_DATA,
         "empty.txt"},
        {{"--train_file", at("text.txt"), "--keyword_probability", "0.5", "--keyword_prompt",
          "{'mask'}{'mask'}{'text':'text_a'}"},
         CLOZE_ERR_USAGE,
         "--keyword_prompt"},
        {{"--train_file", at("text.txt"), "--output_dir", at("text.txt")},
         CLOZE_ERR_IO,
         "text.txt"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        const char *const *a = cases[i].args;
        MUST_FAIL(cases[i].status, cases[i].fragment,
                  pretrain(ARGS("--output_dir", at("out"), TINY, VOCABULARY, a[0], a[1], a[2], a[3],
                                a[4], a[5]),
                           NULL, NULL, err));
    }
    MUST_FAIL(CLOZE_ERR_MODEL, "nowhere",
              pretrain(ARGS("--train_file", at("text.txt"), "--output_dir", at("out"),
                            "--model_name_or_path", at("nowhere")),
                       NULL, NULL, err));
}

static cloze_status run_once(void *ctx, cloze_error *err) { return pretrain(ctx, NULL, NULL, err); }

static void want_of_memory_is_survived(void **unused) {
    const char *const *args = ARGS("--train_file", at("text.txt"), "--output_dir", at("out"), TINY,
                                   "--max_steps", "2", "--save_steps", "1", "--logging_steps", "1",
                                   "--vocab_file", at("vocab.txt"), "--overwrite_output_dir");
    assert_true(fail_each_allocation(run_once, (void *)args, 13) > 10);
}

#define TEXT_TEST(f) cmocka_unit_test_setup_teardown(f, text_setup, dir_teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEXT_TEST(a_model_is_learnt_and_opens),
        TEXT_TEST(the_seed_decides_everything),
        TEXT_TEST(keyword_prompts_are_trained_on),
        TEXT_TEST(weights_are_stored_as_asked),
        TEXT_TEST(a_given_vocabulary_is_used),
        TEXT_TEST(training_goes_on_from_a_model),
        TEXT_TEST(accumulation_and_evaluation),
        TEXT_TEST(accumulation_equals_a_larger_batch),
        TEXT_TEST(a_models_shape_is_its_own),
        TEXT_TEST(checkpoints_are_scheduled_and_pruned),
        TEXT_TEST(interruption_leaves_a_checkpoint),
        TEXT_TEST(wrong_settings_are_refused),
        TEXT_TEST(want_of_memory_is_survived),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
