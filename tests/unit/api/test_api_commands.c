/* The commands of cloze.h: results are valid JSON with the documented keys, errors have their code.
 */
#include "api_support.h"

static char *result_of(cloze_status (*call)(cloze_args, const cloze_callbacks *, char **,
                                            cloze_error *),
                       cloze_args a) {
    char *result = NULL;
    MUST(call(a, NULL, &result, err));
    assert_non_null(result);
    return result;
}

typedef cloze_status (*stream_call)(cloze_args, const cloze_callbacks *, cloze_write, void *,
                                    cloze_error *);

/* Runs a streaming command that must work; its output is r->out. */
static void stream(stream_call call, recorder *r, cloze_args a) {
    recorder_init(r);
    cloze_callbacks callbacks = recording(r);
    MUST(call(a, &callbacks, record_write, r, err));
    assert_true(buf_ok(&r->out));
    assert_int_equal(r->partial_pieces, 0);
}

static double get(const cJSON *object, const char *key) {
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, key);
    if (!cJSON_IsNumber(item)) fail_msg("no number %s", key);
    return item->valuedouble;
}

static const char *get_text(const cJSON *object, const char *key) {
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, key);
    if (!cJSON_IsString(item)) fail_msg("no string %s", key);
    return item->valuestring;
}

static const cJSON *get_array(const cJSON *object, const char *key, int n) {
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, key);
    if (!cJSON_IsArray(item)) fail_msg("no array %s", key);
    if (n >= 0 && cJSON_GetArraySize(item) != n)
        fail_msg("%s has %d items, wanted %d", key, cJSON_GetArraySize(item), n);
    return item;
}

/* ---- train, eval ---- */

static void test_train(void **state) {
    arg_list list;
    char *result = result_of(
        cloze_train, args(&list, "--data_dir", DATA_DIR, "--model_name_or_path", MODEL_DIR,
                          "--output_dir", at("out"), "--do_train", "--do_eval", "--do_predict",
                          "--test_file", at("data/dev.txt"), "--max_steps", "2", NULL));
    cJSON *json = parse_json(result);
    assert_true(get(json, "train_steps") == 2);
    assert_true(get(json, "eval_accuracy") >= 0 && get(json, "eval_accuracy") <= 1);
    assert_true(get(json, "train_loss") > 0);
    assert_true(get(json, "test_loss") > 0);
    size_t n;
    char *written = get_file(at("out/all_results.json"), &n);
    assert_string_equal(written, result);
    mem_free(written);
    json_destroy(json);
    cloze_free(result);
    assert_true(file_exists(at("out/predictions.jsonl")));
}

static void test_train_reports(void **state) {
    arg_list list;
    recorder r;
    recorder_init(&r);
    cloze_callbacks callbacks = recording(&r);
    MUST(cloze_train(args(&list, "--data_dir", DATA_DIR, "--model_name_or_path", MODEL_DIR,
                          "--output_dir", at("reports"), "--do_train", "--do_eval", "--max_steps",
                          "2", "--logging_steps", "1", NULL),
                     &callbacks, NULL, err));
    assert_int_equal(r.finished, 2); /* train and eval */
    assert_true(r.reports >= 4);
    assert_non_null(strstr(r.log.data, "step 2: loss"));
    recorder_deinit(&r);
}

static void test_train_is_interrupted_after_a_checkpoint(void **state) {
    arg_list list;
    recorder r;
    recorder_init(&r);
    r.interrupt_after = 1;
    cloze_callbacks callbacks = recording(&r);
    MUST_FAIL(CLOZE_ERR_INTERRUPTED, "checkpoint-2",
              cloze_train(args(&list, "--data_dir", DATA_DIR, "--model_name_or_path", MODEL_DIR,
                               "--output_dir", at("stopped"), "--max_steps", "9", NULL),
                          &callbacks, NULL, err));
    assert_true(file_exists(at("stopped/checkpoint-2/classifier.json")));
    recorder_deinit(&r);
}

static void test_eval(void **state) {
    static const char *const KEYS[] = {"eval_accuracy", "eval_macro_f1", "eval_micro_f1",
                                       "eval_loss"};
    const char *runs[] = {PROMPT_RUN, FINETUNE_RUN};
    for (int i = 0; i < 2; i++) {
        arg_list list;
        char *result = result_of(
            cloze_eval, args(&list, "--model", runs[i], "--input", at("data/dev.txt"), NULL));
        cJSON *json = parse_json(result);
        for (size_t k = 0; k < COUNT(KEYS); k++) assert_true(get(json, KEYS[k]) >= 0);
        const cJSON *label = cJSON_GetObjectItemCaseSensitive(
            cJSON_GetObjectItemCaseSensitive(json, "eval_per_label"), "体育");
        assert_true(get(label, "support") == 3);
        get_array(json, "eval_confusion_matrix", 2);
        json_destroy(json);
        cloze_free(result);
    }
}

/* ---- predict ---- */

static void test_predict_keeps_lines(void **state) {
    arg_list list;
    recorder r;
    put_file(at("lines.txt"), "一行\n\n第\t三行\n最后一行");
    stream(cloze_predict, &r,
           args(&list, "--model", PROMPT_RUN, "--input", at("lines.txt"), "--json", NULL));
    const char *want[] = {"一行", "", "第\t三行", "最后一行"};
    char *line = r.out.data;
    for (int i = 0; i < 4; i++) {
        char *end = strchr(line, '\n');
        assert_non_null(end);
        *end = 0;
        cJSON *json = parse_json(line);
        assert_string_equal(get_text(json, "text"), want[i]);
        const cJSON *p = cJSON_GetObjectItemCaseSensitive(json, "probabilities");
        double sports = get(p, "体育"), money = get(p, "财经");
        assert_near("sum", sports + money, 1, 1e-6);
        assert_near("best", get(json, "probability"), sports > money ? sports : money, 0);
        assert_string_equal(get_text(json, "label"), sports > money ? "体育" : "财经");
        json_destroy(json);
        line = end + 1;
    }
    assert_int_equal(*line, 0);
    recorder_deinit(&r);
}

static void test_predict_to_a_file(void **state) {
    arg_list list;
    recorder r;
    size_t n;
    stream(cloze_predict, &r,
           args(&list, "--model", FINETUNE_RUN, "--input", at("data/dev.txt"), NULL));
    recorder empty;
    stream(cloze_predict, &empty,
           args(&list, "--model", FINETUNE_RUN, "--input", at("data/dev.txt"), "--output",
                at("answers.txt"), NULL));
    char *written = get_file(at("answers.txt"), &n);
    assert_string_equal(written, r.out.data);
    assert_int_equal(empty.pieces, 0);
    mem_free(written);
    recorder_deinit(&r);
    recorder_deinit(&empty);
}

/* A file stands whole or not at all; lines before a bad one are answered on a stream. */
static void test_predict_bad_line(void **state) {
    arg_list list;
    recorder r;
    recorder_init(&r);
    put_file(at("bad.txt"), "好\n\xff\n");
    MUST_FAIL(CLOZE_ERR_DATA, "bad.txt:2:1",
              cloze_predict(args(&list, "--model", PROMPT_RUN, "--input", at("bad.txt"), NULL),
                            NULL, record_write, &r, err));
    assert_int_equal(r.pieces, 1);
    assert_int_equal(strncmp(r.out.data, "好\t", 4), 0);
    MUST_FAIL(CLOZE_ERR_DATA, "bad.txt:2:1",
              cloze_predict(args(&list, "--model", PROMPT_RUN, "--input", at("bad.txt"), "--output",
                                 at("none.txt"), NULL),
                            NULL, record_write, &r, err));
    assert_false(file_exists(at("none.txt")));
    recorder_deinit(&r);
}

/* ---- tokenize, fill, inspect ---- */

static void test_tokenize(void **state) {
    arg_list list;
    recorder r;
    stream(cloze_tokenize, &r,
           args(&list, "--model", MODEL_DIR, "--text", "今天[MASK]", "--json", NULL));
    cJSON *json = parse_json(r.out.data);
    const cJSON *tokens = get_array(json, "tokens", 5);
    const char *want[] = {"[CLS]", "今", "天", "[MASK]", "[SEP]"};
    for (int i = 0; i < 5; i++)
        assert_string_equal(cJSON_GetArrayItem(tokens, i)->valuestring, want[i]);
    get_array(json, "ids", 5);
    const cJSON *mask = cJSON_GetArrayItem(get_array(json, "offsets", 5), 3);
    assert_int_equal(cJSON_GetArrayItem(mask, 0)->valueint, 2);
    assert_int_equal(cJSON_GetArrayItem(mask, 1)->valueint, 8);
    json_destroy(json);
    recorder_deinit(&r);
    stream(cloze_tokenize, &r, args(&list, "--model", MODEL_DIR, "--text", "今天", NULL));
    assert_string_equal(r.out.data, "[CLS] 今 天 [SEP]\n");
    recorder_deinit(&r);
    stream(cloze_tokenize, &r,
           args(&list, "--model", MODEL_DIR, "--text", "今", "--text_b", "天", NULL));
    assert_string_equal(r.out.data, "[CLS] 今 [SEP] 天 [SEP]\n");
    recorder_deinit(&r);
}

/* More lines than a chunk holds, on any number of threads: the same bytes. */
static void test_tokenize_many_lines(void **state) {
    arg_list list;
    recorder one, many;
    buf text;
    int lines = 0;
    buf_init(&text, 1 << 24);
    for (int i = 0; i < 9000; i++) buf_printf(&text, "%d 今天股市%s\n", i, i % 3 ? "大涨" : "");
    put_file(at("many.txt"), text.data);
    buf_deinit(&text);
    stream(cloze_tokenize, &one,
           args(&list, "--model", MODEL_DIR, "--input", at("many.txt"), "--num_threads", "1",
                "--json", NULL));
    stream(cloze_tokenize, &many,
           args(&list, "--model", MODEL_DIR, "--input", at("many.txt"), "--num_threads", "3",
                "--json", NULL));
    assert_string_equal(one.out.data, many.out.data);
    for (const char *p = one.out.data; *p; p++) lines += *p == '\n';
    assert_int_equal(lines, 9000);
    recorder_deinit(&one);
    recorder_deinit(&many);
}

static void check_masks(const char *line, const char *text, int n_masks, int top_k) {
    cJSON *json = parse_json(line);
    assert_string_equal(get_text(json, "text"), text);
    const cJSON *masks = get_array(json, "masks", n_masks), *mask, *c;
    cJSON_ArrayForEach(mask, masks) {
        double last = 1, sum = 0;
        assert_int_equal(cJSON_GetArraySize(mask), top_k);
        cJSON_ArrayForEach(c, mask) {
            double p = get(c, "probability");
            assert_true(p > 0 && p <= last);
            assert_true(get(c, "id") >= 0);
            assert_true(strlen(get_text(c, "token")) > 0);
            last = p;
            sum += p;
        }
        assert_true(sum <= 1 + 1e-6);
    }
    json_destroy(json);
}

static void test_fill(void **state) {
    arg_list list;
    recorder r;
    stream(cloze_fill, &r,
           args(&list, "--model", MODEL_DIR, "--text", "今天[MASK][MASK]很好", "--top_k", "4",
                "--json", NULL));
    check_masks(r.out.data, "今天[MASK][MASK]很好", 2, 4);
    recorder_deinit(&r);
    put_file(at("fill.txt"), "今[MASK]\n\n[MASK][MASK]股\n");
    stream(cloze_fill, &r,
           args(&list, "--model", PROMPT_RUN, "--input", at("fill.txt"), "--top_k", "2", "--json",
                NULL));
    char *second = strchr(r.out.data, '\n') + 1, *third = strchr(second, '\n') + 1;
    second[-1] = third[-1] = 0;
    check_masks(r.out.data, "今[MASK]", 1, 2);
    check_masks(second, "", 0, 2);
    check_masks(third, "[MASK][MASK]股", 2, 2);
    recorder_deinit(&r);
}

/* All of the vocabulary: the probabilities sum to one, and ids come once each. */
static void test_fill_everything(void **state) {
    arg_list list;
    recorder r;
    stream(
        cloze_fill, &r,
        args(&list, "--model", MODEL_DIR, "--text", "[MASK]", "--top_k", "100000", "--json", NULL));
    cJSON *json = parse_json(r.out.data);
    const cJSON *mask = cJSON_GetArrayItem(get_array(json, "masks", 1), 0), *c;
    double sum = 0, ids = 0;
    int n = cJSON_GetArraySize(mask);
    cJSON_ArrayForEach(c, mask) {
        sum += get(c, "probability");
        ids += get(c, "id");
    }
    assert_near("sum", sum, 1, 1e-6);
    assert_near("ids", ids, n * (n - 1) / 2.0, 0);
    json_destroy(json);
    recorder_deinit(&r);
}

static void test_inspect_model(void **state) {
    static const struct {
        const char *dir, *kind;
        int n_heads;
    } CASES[] = {{"model", "model", 1}, {"prompt run", "run", 1}, {"finetune", "run", 2}};
    for (size_t i = 0; i < COUNT(CASES); i++) {
        arg_list list;
        recorder r;
        stream(cloze_inspect, &r, args(&list, "--model", at(CASES[i].dir), "--json", NULL));
        cJSON *json = parse_json(r.out.data);
        assert_string_equal(get_text(json, "kind"), CASES[i].kind);
        assert_string_equal(get_text(json, "model_type"), "bert");
        assert_true(get(json, "hidden_size") == 32);
        assert_true(get(json, "weight_bytes") == 4 * get(json, "parameters"));
        get_array(json, "heads", CASES[i].n_heads);
        assert_true((cJSON_GetObjectItem(json, "labels") != NULL) == (i > 0));
        json_destroy(json);
        recorder_deinit(&r);
        stream(cloze_inspect, &r, args(&list, "--model", at(CASES[i].dir), NULL));
        assert_non_null(strstr(r.out.data, "hidden size        32\n"));
        recorder_deinit(&r);
    }
}

static void check_prompt(cloze_args a, int n, int mask, int n_parts, int cut) {
    static const char *const ARRAYS[] = {"input_ids", "token_type_ids", "position_ids",
                                         "soft_token_ids", "encoder_ids"};
    recorder r;
    stream(cloze_inspect, &r, a);
    cJSON *json = parse_json(r.out.data);
    for (size_t i = 0; i < COUNT(ARRAYS); i++) get_array(json, ARRAYS[i], n);
    const cJSON *masks = get_array(json, "masked_positions", 1);
    assert_int_equal(cJSON_GetArrayItem(masks, 0)->valueint, mask);
    get_array(json, "parts", n_parts);
    assert_true(get(json, "cut") == cut);
    json_destroy(json);
    recorder_deinit(&r);
}

static void test_inspect_prompt(void **state) {
    arg_list list;
    check_prompt(
        args(&list, "--model", MODEL_DIR, "--prompt", "今天", "--text", "股市大涨", "--json", NULL),
        9, 7, 5, 0);
    check_prompt(args(&list, "--model", MODEL_DIR, "--prompt", "今天", "--text", "股市大涨",
                      "--max_seq_length", "7", "--json", NULL),
                 7, 5, 5, 2);
    check_prompt(args(&list, "--model", MODEL_DIR, "--prompt",
                      "{'text':'q'}{'mask'}{'text':'answer'}", "--text", "股", "--text_b", "市",
                      "--json", NULL),
                 5, 2, 5, 0);
    /* a run's own template */
    check_prompt(args(&list, "--model", PROMPT_RUN, "--text", "股", "--json", NULL), 4, 2, 4, 0);
}

static void test_inspect_prompt_for_people(void **state) {
    arg_list list;
    recorder r;
    stream(cloze_inspect, &r,
           args(&list, "--model", MODEL_DIR, "--prompt", "今天", "--text", "股市大涨",
                "--max_seq_length", "7", NULL));
    assert_non_null(strstr(r.out.data, "cut: 2 of 4 tokens left out: 大 涨\n"));
    assert_non_null(strstr(r.out.data, "7 tokens of at most 7"));
    recorder_deinit(&r);
}

/* ---- errors ---- */

static void test_stream_errors(void **state) {
    const struct {
        stream_call call;
        cloze_status status;
        const char *fragment, *values[10];
    } cases[] = {
        {cloze_predict, CLOZE_ERR_USAGE, "--model DIR is missing", {NULL}},
        {cloze_predict, CLOZE_ERR_USAGE, "did you mean --model?", {"--modle", "x"}},
        {cloze_predict,
         CLOZE_ERR_MODEL,
         "no trained classifier",
         {"--model", "$model", "--input", "$raw.txt"}},
        {cloze_predict,
         CLOZE_ERR_MODEL,
         "no such directory",
         {"--model", "$none", "--input", "$raw.txt"}},
        {cloze_predict,
         CLOZE_ERR_DATA,
         "no such file",
         {"--model", "$finetune", "--input", "$none"}},
        {cloze_predict,
         CLOZE_ERR_IO,
         "none/x",
         {"--model", "$finetune", "--input", "$raw.txt", "--output", "$none/x"}},
        {cloze_tokenize, CLOZE_ERR_USAGE, "--model DIR is missing", {"--text", "x"}},
        {cloze_tokenize, CLOZE_ERR_USAGE, "--text_b needs", {"--model", "x", "--text_b", "x"}},
        {cloze_tokenize,
         CLOZE_ERR_USAGE,
         "exclude",
         {"--model", "x", "--text", "x", "--input", "y"}},
        {cloze_tokenize, CLOZE_ERR_MODEL, "data", {"--model", "$data", "--text", "x"}},
        {cloze_tokenize, CLOZE_ERR_DATA, "no such file", {"--model", "$model", "--input", "$none"}},
        {cloze_fill, CLOZE_ERR_USAGE, "no [MASK]", {"--model", "$model", "--text", "x"}},
        {cloze_fill, CLOZE_ERR_USAGE, "no [MASK]", {"--model", "$model", "--text", ""}},
        {cloze_fill, CLOZE_ERR_DATA, "raw.txt:1", {"--model", "$model", "--input", "$raw.txt"}},
        {cloze_fill, CLOZE_ERR_MODEL, "finetune", {"--model", "$finetune", "--text", "[MASK]"}},
        {cloze_fill,
         CLOZE_ERR_USAGE,
         "out of range",
         {"--model", "$model", "--text", "[MASK]", "--top_k", "0"}},
        {cloze_inspect, CLOZE_ERR_USAGE, "--model DIR is missing", {NULL}},
        {cloze_inspect, CLOZE_ERR_MODEL, "nobody", {"--model", "nobody"}},
        {cloze_inspect, CLOZE_ERR_USAGE, "needs --text", {"--model", "$model", "--prompt", "x"}},
        {cloze_inspect, CLOZE_ERR_USAGE, "needs --prompt", {"--model", "$model", "--text", "x"}},
        {cloze_inspect,
         CLOZE_ERR_USAGE,
         "--text_b",
         {"--model", "$model", "--text", "x", "--prompt", "{'text':'text_b'}{'mask'}"}},
        {cloze_inspect,
         CLOZE_ERR_USAGE,
         "column",
         {"--model", "$model", "--text", "x", "--prompt", "{'mask'"}},
        {cloze_inspect,
         CLOZE_ERR_USAGE,
         "no room",
         {"--model", "$model", "--text", "x", "--prompt", "今天", "--max_seq_length", "4"}},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        char paths[10][600];
        arg_list list = {.count = 0};
        recorder r;
        recorder_init(&r);
        for (int k = 0; k < 10 && cases[i].values[k]; k++) {
            const char *value = cases[i].values[k];
            snprintf(paths[k], sizeof paths[k], "%s", *value == '$' ? at(value + 1) : value);
            list.values[list.count++] = paths[k];
        }
        MUST_FAIL(
            cases[i].status, cases[i].fragment,
            cases[i].call((cloze_args){list.count, list.values}, NULL, record_write, &r, err));
        assert_int_equal(r.pieces, 0);
        recorder_deinit(&r);
    }
}

static void test_refused_output(void **state) {
    arg_list list;
    const struct {
        stream_call call;
        cloze_args a;
    } cases[] = {
        {cloze_predict,
         args(&(arg_list){.count = 0}, "--model", FINETUNE_RUN, "--input", at("raw.txt"), NULL)},
        {cloze_tokenize,
         args(&(arg_list){.count = 0}, "--model", MODEL_DIR, "--input", at("raw.txt"), NULL)},
        {cloze_fill, args(&(arg_list){.count = 0}, "--model", MODEL_DIR, "--text", "[MASK]", NULL)},
        {cloze_inspect, args(&list, "--model", MODEL_DIR, NULL)},
    };
    for (size_t i = 0; i < COUNT(cases); i++)
        MUST_FAIL(CLOZE_ERR_IO, "could not be written",
                  cases[i].call(cases[i].a, NULL, refuse_write, NULL, err));
}

static void test_interrupted_stream(void **state) {
    arg_list list;
    recorder r;
    buf text;
    buf_init(&text, 1 << 20);
    for (int i = 0; i < 200; i++) buf_puts(&text, "今天\n");
    put_file(at("many-lines.txt"), text.data);
    buf_deinit(&text);
    recorder_init(&r);
    r.interrupt_after = 0;
    cloze_callbacks callbacks = recording(&r);
    MUST_FAIL(CLOZE_ERR_INTERRUPTED, "interrupted after 16 lines",
              cloze_predict(args(&list, "--model", PROMPT_RUN, "--input", at("many-lines.txt"),
                                 "--batch_size", "16", NULL),
                            &callbacks, record_write, &r, err));
    assert_int_equal(r.pieces, 1); /* what was done is not lost */
    recorder_deinit(&r);
}

/* Nothing may be NULL that is read, everything may be NULL that is optional. */
static void test_null(void **state) {
    arg_list list;
    char *values[] = {NULL};
    MUST_FAIL(CLOZE_ERR_USAGE, "NULL", cloze_train((cloze_args){1, values}, NULL, NULL, err));
    MUST_FAIL(CLOZE_ERR_USAGE, "argument list", cloze_eval((cloze_args){2, NULL}, NULL, NULL, err));
    MUST_FAIL(CLOZE_ERR_USAGE, "argument list",
              cloze_eval((cloze_args){-1, values}, NULL, NULL, err));
    assert_int_equal(cloze_eval((cloze_args){0, NULL}, NULL, NULL, NULL), CLOZE_ERR_USAGE);
    assert_int_equal(cloze_tokenize(args(&list, "--model", MODEL_DIR, "--text", "今", NULL), NULL,
                                    NULL, NULL, NULL),
                     CLOZE_OK);
    MUST(cloze_eval(args(&list, "--model", PROMPT_RUN, "--input", at("data/dev.txt"), NULL), NULL,
                    NULL, err));
    cloze_free(NULL);
}

static void test_failure_leaves_the_result(void **state) {
    arg_list list;
    char *result = (char *)"untouched";
    MUST_FAIL(CLOZE_ERR_DATA, "none",
              cloze_eval(args(&list, "--model", PROMPT_RUN, "--input", at("none"), NULL), NULL,
                         &result, err));
    assert_string_equal(result, "untouched");
}

/* ---- help, flags ---- */

static void test_help(void **state) {
    static const char *const COMMANDS[] = {"train",    "eval",    "predict", "fill",
                                           "tokenize", "inspect", "pretrain"};
    for (size_t i = 0; i < COUNT(COMMANDS); i++) {
        char *text = NULL;
        MUST(cloze_help(COMMANDS[i], &text, err));
        assert_non_null(strstr(text, "--json"));
        assert_null(strstr(text, "do_export"));
        cloze_free(text);
    }
    char *text = NULL;
    MUST_FAIL(CLOZE_ERR_USAGE, "did you mean predict?", cloze_help("predcit", &text, err));
    MUST_FAIL(CLOZE_ERR_USAGE, "unknown command", cloze_help("xyzzy", &text, err));
    MUST_FAIL(CLOZE_ERR_USAGE, "unknown command", cloze_help(NULL, &text, err));
    assert_null(text);
}

static void test_args_flag(void **state) {
    static const struct {
        const char *values[3];
        const char *name;
        int want;
    } CASES[] = {
        {{"--json"}, "json", 1},
        {{"--json", "--seed"}, "json", 1},
        {{"--json=false"}, "json", 0},
        {{"--json", "false"}, "json", 0},
        {{"--json", "true"}, "json", 1},
        {{"--jsonx"}, "json", 0},
        {{"json"}, "json", 0},
        {{"--disable-tqdm"}, "disable_tqdm", 1},
        {{"--disable_tqdm"}, "disable_tqdm", 1},
        {{"--json", "--json=0"}, "json", 0},
        {{NULL}, "json", 0},
    };
    for (size_t i = 0; i < COUNT(CASES); i++) {
        cloze_args a = {0, (char *const *)CASES[i].values};
        while (a.count < 3 && CASES[i].values[a.count]) a.count++;
        if (cloze_args_flag(a, CASES[i].name) != CASES[i].want) fail_msg("case %zu", i);
    }
    assert_int_equal(cloze_args_flag((cloze_args){0, NULL}, "json"), 0);
    assert_int_equal(cloze_args_flag((cloze_args){0, NULL}, NULL), 0);
}

static void test_status_text(void **state) {
#define CHECK(name, value, text) assert_string_equal(cloze_status_text(CLOZE_##name), text);
    CLOZE_STATUS_LIST(CHECK)
#undef CHECK
    assert_non_null(cloze_status_text((cloze_status)99));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_train),
        cmocka_unit_test(test_train_reports),
        cmocka_unit_test(test_train_is_interrupted_after_a_checkpoint),
        cmocka_unit_test(test_eval),
        cmocka_unit_test(test_predict_keeps_lines),
        cmocka_unit_test(test_predict_to_a_file),
        cmocka_unit_test(test_predict_bad_line),
        cmocka_unit_test(test_tokenize),
        cmocka_unit_test(test_tokenize_many_lines),
        cmocka_unit_test(test_fill),
        cmocka_unit_test(test_fill_everything),
        cmocka_unit_test(test_inspect_model),
        cmocka_unit_test(test_inspect_prompt),
        cmocka_unit_test(test_inspect_prompt_for_people),
        cmocka_unit_test(test_stream_errors),
        cmocka_unit_test(test_refused_output),
        cmocka_unit_test(test_interrupted_stream),
        cmocka_unit_test(test_null),
        cmocka_unit_test(test_failure_leaves_the_result),
        cmocka_unit_test(test_help),
        cmocka_unit_test(test_args_flag),
        cmocka_unit_test(test_status_text),
    };
    return cmocka_run_group_tests(tests, api_setup, dir_teardown);
}
