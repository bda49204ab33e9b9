/*
 * The argument list: every kind of option, names, aliases, ranges, hints, what one flag implies,
 * and the JSON that is kept of them.
 */
#include "base/json.h"
#include "train/options.h"
#include "unit/unit_support.h"

enum { MAX_ARGS = 12 };

static int count_args(const char *const args[]) {
    int n = 0;
    while (n < MAX_ARGS && args[n]) n++;
    return n;
}

static options parse(char command, const char *const args[]) {
    options o;
    MUST(options_parse(&o, command, count_args(args), (char *const *)args, err));
    return o;
}

static void parse_fails(char command, const char *const args[], const char *fragment) {
    options o;
    MUST_FAIL(CLOZE_ERR_USAGE, fragment,
              options_parse(&o, command, count_args(args), (char *const *)args, err));
    options_deinit(&o);
}

#define ARGS(...) ((const char *const[MAX_ARGS]){__VA_ARGS__})

/* ---- values ---- */

static void defaults_are_the_trainers(void **unused) {
    options o = parse('T', ARGS(NULL));
    assert_string_equal(o.data_dir, "./data/");
    assert_string_equal(o.output_dir, "./checkpoints");
    assert_string_equal(o.model_name_or_path, "ernie-3.0-base-zh");
    assert_null(o.prompt);
    assert_string_equal(o.method, "prompt");
    assert_string_equal(o.verbalizer, "soft");
    assert_string_equal(o.lr_scheduler_type, "linear");
    assert_string_equal(o.evaluation_strategy, "no");
    assert_string_equal(o.save_strategy, "steps");
    assert_int_equal(o.max_seq_length, 512);
    assert_int_equal(o.max_steps, -1);
    assert_int_equal(o.per_device_train_batch_size, 8);
    assert_int_equal(o.gradient_accumulation_steps, 1);
    assert_int_equal(o.logging_steps, 500);
    assert_int_equal(o.save_steps, 500);
    assert_int_equal(o.early_stopping_patience, 4);
    assert_int_equal(o.seed, 42);
    assert_true(o.learning_rate == 5e-5 && o.ppt_learning_rate == 1e-4 && o.weight_decay == 0);
    assert_true(o.adam_beta1 == 0.9 && o.adam_beta2 == 0.999 && o.adam_epsilon == 1e-8);
    assert_true(o.max_grad_norm == 1.0 && o.num_train_epochs == 3.0 && o.warmup_ratio == 0);
    assert_false(o.bf16 || o.freeze_plm || o.load_best_model_at_end || o.do_eval || o.do_predict);
    for (int i = 0; i < OPTION_COUNT; i++) assert_false(o.is_set[i]);
    options_deinit(&o);
}

static void every_kind_is_read(void **unused) {
    options o = parse('T', ARGS("--data_dir", "a b", "--max-steps", "70", "--learning_rate", "3e-5",
                                "--bf16", "--method", "finetune", "--seed", "9007199254740991"));
    assert_string_equal(o.data_dir, "a b");
    assert_int_equal(o.max_steps, 70);
    assert_true(o.learning_rate == 3e-5 && o.bf16);
    assert_string_equal(o.method, "finetune");
    assert_true(o.seed == 9007199254740991);
    assert_true(OPTION_IS_SET(&o, max_steps) && OPTION_IS_SET(&o, bf16));
    assert_false(OPTION_IS_SET(&o, save_steps));
    options_deinit(&o);
}

static void dashes_underscores_and_equals(void **unused) {
    static const char *const FORMS[][2] = {
        {"--max_grad_norm", "0.5"},   {"--max-grad-norm", "0.5"},     {"--max_grad-norm=0.5", NULL},
        {"--max-grad-norm=.5", NULL}, {"--max_grad_norm=5e-1", NULL},
    };
    for (size_t i = 0; i < COUNT(FORMS); i++) {
        options o = parse('T', ARGS(FORMS[i][0], FORMS[i][1]));
        assert_true(o.max_grad_norm == 0.5);
        options_deinit(&o);
    }
    /* the same twice is nothing to speak of; a value may begin with one dash, hold '=', a text may
     * be empty */
    options o = parse('T', ARGS("--max_steps", "-1", "--prompt=a=b", "--seed=2", "--seed", "2"));
    assert_int_equal(o.max_steps, -1);
    assert_string_equal(o.prompt, "a=b");
    assert_int_equal(o.seed, 2);
    assert_int_equal(o.notes.len, 0);
    options_deinit(&o);
    o = parse('T', ARGS("--prompt", "", "--data_dir", "-"));
    assert_string_equal(o.prompt, "");
    assert_string_equal(o.data_dir, "-");
    assert_true(OPTION_IS_SET(&o, prompt));
    options_deinit(&o);
    o = parse('T', ARGS("--prompt=--x", "--data_dir", "d"));
    assert_string_equal(o.prompt, "--x");
    options_deinit(&o);
}

/* Strings are copied: the caller's array may go. */
static void strings_are_copied(void **unused) {
    char flag[] = "--prompt", value[] = "words";
    char *const args[] = {flag, value};
    options o;
    MUST(options_parse(&o, 'T', 2, args, err));
    memset(value, 'x', sizeof value - 1);
    assert_string_equal(o.prompt, "words");
    options_deinit(&o);
}

static void booleans_in_all_their_forms(void **unused) {
    static const struct {
        const char *const args[3];
        bool value;
    } cases[] = {
        {{"--bf16"}, true},           {{"--bf16", "true"}, true}, {{"--bf16", "True"}, true},
        {{"--bf16", "1"}, true},      {{"--bf16", "yes"}, true},  {{"--bf16", "on"}, true},
        {{"--bf16=true"}, true},      {{"--bf16=1"}, true},       {{"--bf16", "false"}, false},
        {{"--bf16", "False"}, false}, {{"--bf16", "0"}, false},   {{"--bf16", "no"}, false},
        {{"--bf16", "off"}, false},   {{"--bf16=false"}, false},  {{"--bf16", "--json"}, true},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        options o = parse('T', ARGS(cases[i].args[0], cases[i].args[1]));
        assert_int_equal(o.bf16, cases[i].value);
        assert_true(OPTION_IS_SET(&o, bf16));
        options_deinit(&o);
    }
    parse_fails('T', ARGS("--bf16=maybe"), "--bf16: \"maybe\" is neither true nor false");
    parse_fails('T', ARGS("--bf16="), "neither true nor false");
    parse_fails('T', ARGS("--bf16", "maybe"), "\"maybe\" is not a flag");
}

static void wrong_values_name_the_flag(void **unused) {
    static const struct {
        const char *flag, *value, *fragment;
    } cases[] = {
        {"--max_steps", "many", "--max_steps: \"many\" is not a number"},
        {"--max_steps", "", "--max_steps: \"\" is not a number"},
        {"--max_steps", "3x", "not a number"},
        {"--max_steps", "1.5", "--max_steps: \"1.5\" is not a whole number"},
        {"--max_steps", "-2", "--max_steps: -2 is out of range (-1 to 1000000000)"},
        {"--max_steps", "1000000001", "out of range"},
        {"--max_steps", "1e400", "--max_steps: 1e400 is out of range"},
        {"--learning_rate", "1e400", "out of range"},
        {"--learning_rate", "-1e400", "out of range"},
        {"--learning_rate", "nan", "not a number"},
        {"--learning_rate", "inf", "not a number"},
        {"--learning_rate", "-1", "out of range (0 to 10)"},
        {"--learning_rate", "11", "out of range"},
        {"--learning_rate", "", "not a number"},
        {"--learning_rate", "3e-5 ", "not a number"},
        {"--learning_rate", " 3e-5", "not a number"},
        {"--learning_rate", "0x1", "not a number"},
        {"--adam_beta1", "1", "out of range"},
        {"--seed", "9007199254740993", "out of range"},
        {"--method", "magic", "--method: \"magic\" is not one of prompt|finetune"},
        {"--method", "", "is not one of"},
        {"--method", "prom", "is not one of"},
        {"--method", "prompt|finetune", "is not one of"},
        {"--method", "prompt|", "is not one of"},
        {"--method", "Prompt", "is not one of"},
        {"--metric_for_best_model", "f1", "--metric_for_best_model: \"f1\" is not one of accuracy"},
        {"--max_seq_length", "1", "out of range"},
        {"--per_device_train_batch_size", "0", "out of range"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        parse_fails('T', ARGS(cases[i].flag, cases[i].value), cases[i].fragment);
        options o = parse('T', ARGS(NULL));
        MUST_FAIL(CLOZE_ERR_USAGE, cases[i].fragment,
                  options_set(&o, cases[i].flag + 2, cases[i].value, err));
        options_deinit(&o);
    }
}

static void numbers_at_the_ends_of_their_ranges(void **unused) {
    options o = parse('T', ARGS("--learning_rate", "10", "--max_steps", "1e9", "--seed", "0",
                                "--weight_decay", "1e-400", "--warmup_ratio", "1"));
    assert_true(o.learning_rate == 10 && o.max_steps == 1000000000 && o.seed == 0);
    assert_true(o.weight_decay == 0 && o.warmup_ratio == 1);
    options_deinit(&o);
}

/* ---- names ---- */

static void wrong_flags_are_explained(void **unused) {
    static const struct {
        char command;
        const char *flag, *fragment;
    } cases[] = {
        {'T', "--learing_rate", "unknown flag --learing_rate; did you mean --learning_rate?"},
        {'T', "--learning-rates", "did you mean --learning_rate?"},
        {'T', "--max_step", "did you mean --max_steps?"},
        {'T', "--evl_steps", "did you mean --eval_steps?"},
        {'T', "--qqqqqqqqqqqq", "unknown flag --qqqqqqqqqqqq (cloze train --help"},
        {'T', "--", "unknown flag --"},
        {'T', "--=5", "unknown flag --=5"},
        {'T', "learning_rate", "\"learning_rate\" is not a flag"},
        {'T', "-h", "\"-h\": a flag begins with two plain hyphens, --h"},
        {'T', "\xE2\x80\x94max_steps", "a flag begins with two plain hyphens, --max_steps"},
        {'T', "---max_steps", "a flag begins with two plain hyphens, --max_steps"},
        {'T', "", "is not a flag"},
        {'T', "--top_k", "--top_k is not a flag of `cloze train`; fill has it"},
        {'F', "--do_train", "--do_train is not a flag of `cloze fill`; train has it"},
        {'K', "--text_column", "not a flag of `cloze tokenize`; train, eval and predict have it"},
        {'F', "--learning_rate", "--learning_rate is not a flag of `cloze fill`"},
        {'P', "--bach_size", "did you mean --batch_size?"},
        {'T', "--a_flag_whose_name_is_longer_than_any_that_there_could_ever_be_here_or_elsewhere",
         "unknown flag --a_flag_whose"},
    };
    for (size_t i = 0; i < COUNT(cases); i++)
        parse_fails(cases[i].command, ARGS(cases[i].flag, "1"), cases[i].fragment);
}

static void missing_values_are_told(void **unused) {
    parse_fails('T', ARGS("--data_dir"), "--data_dir needs a value (DIR)");
    parse_fails('T', ARGS("--max_steps", "--bf16"), "--max_steps needs a value (N)");
    parse_fails('T', ARGS("--learning_rate", "--seed", "1"), "--learning_rate needs a value (X)");
    parse_fails('T', ARGS("--method"), "--method needs a value (prompt|finetune)");
    parse_fails('T', ARGS("--bf16", "true", "true"), "\"true\" is not a flag");
    parse_fails('T', ARGS("--bf16", "maybe"), "--bf16 stands alone or takes true or false");
    parse_fails('T', ARGS("--data_dir="), "--data_dir is empty; it wants a DIR");
    parse_fails('P', ARGS("--input", ""), "--input is empty; it wants a FILE");
}

static void of_two_values_the_last_counts_and_a_note_says_so(void **unused) {
    options o = parse('T', ARGS("--seed", "1", "--seed=2"));
    assert_int_equal(o.seed, 2);
    assert_string_equal(o.notes.data, "--seed is given twice: 2 counts, not 1\n");
    options_deinit(&o);
    o = parse('T', ARGS("--per_device_train_batch_size", "8", "--batch-size", "16"));
    assert_int_equal(o.per_device_train_batch_size, 16);
    assert_string_equal(o.notes.data,
                        "--batch_size (the same as --per_device_train_batch_size) is given "
                        "twice: 16 counts, not 8\n");
    options_deinit(&o);
    o = parse('T', ARGS("--bf16", "--bf16", "false"));
    assert_false(o.bf16);
    assert_string_equal(o.notes.data, "--bf16 is given twice: false counts, not true\n");
    options_deinit(&o);
}

static void texts_are_utf8(void **unused) {
    parse_fails('F', ARGS("--text", "\xE4\xBB\x8A\xFF"),
                "--text: column 2 is not UTF-8 (byte 0xFF)");
    options o = parse('F', ARGS("--text", "\xE4\xBB\x8A", "--input", "\xFF"));
    assert_string_equal(o.input, "\xFF"); /* a file name may be any bytes */
    options_deinit(&o);
}

static void letters_and_names_of_commands(void **unused) {
    static const struct {
        const char *name;
        char letter;
    } commands[] = {{"train", 'T'},    {"eval", 'E'},    {"predict", 'P'}, {"fill", 'F'},
                    {"tokenize", 'K'}, {"inspect", 'I'}, {"pretrain", 'M'}};
    for (size_t i = 0; i < COUNT(commands); i++)
        assert_int_equal(options_command_letter(commands[i].name), commands[i].letter);
    assert_int_equal(options_command_letter("trian"), 0);
    assert_int_equal(options_command_letter(""), 0);
    assert_string_equal(options_nearest_command("trian"), "train");
    assert_string_equal(options_nearest_command("predct"), "predict");
    assert_string_equal(options_nearest_command("tokenise"), "tokenize");
    assert_null(options_nearest_command("xyzzyxyzzy"));
}

/* The fine-tuning script's names mean fine-tuning, unless a prompt or a method says otherwise. */
static void script_names_imply_finetuning(void **unused) {
    static const struct {
        const char *const args[5];
        const char *method;
    } cases[] = {
        {{"--dataset_dir", "d"}, "finetune"},
        {{"--save_dir", "d"}, "finetune"},
        {{"--epochs", "3"}, "finetune"},
        {{"--batch_size", "3"}, "finetune"},
        {{"--batch-size=3"}, "finetune"},
        {{"--model_name", "m"}, "finetune"},
        {{"--epochs", "3", "--prompt", "p"}, "prompt"},
        {{"--prompt", "p", "--epochs", "3"}, "prompt"},
        {{"--epochs", "3", "--method", "prompt"}, "prompt"},
        {{"--prompt", "p", "--method", "finetune"}, "finetune"},
        {{"--num_train_epochs", "3"}, "prompt"},
        {{"--max_length", "3"}, "prompt"},
        {{"--eval_strategy", "epoch"}, "prompt"},
        {{"--early_stop"}, "prompt"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        options o = parse(
            'T', ARGS(cases[i].args[0], cases[i].args[1], cases[i].args[2], cases[i].args[3]));
        assert_string_equal(o.method, cases[i].method);
        options_deinit(&o);
    }
}

static void aliases_set_their_options(void **unused) {
    options o = parse('T', ARGS("--dataset_dir", "in", "--save_dir", "out", "--epochs", "7",
                                "--batch_size", "5", "--model_name", "m", "--max_length", "33"));
    assert_string_equal(o.data_dir, "in");
    assert_string_equal(o.output_dir, "out");
    assert_true(o.num_train_epochs == 7);
    assert_int_equal(o.per_device_train_batch_size, 5);
    assert_string_equal(o.model_name_or_path, "m");
    assert_int_equal(o.max_seq_length, 33);
    assert_true(OPTION_IS_SET(&o, data_dir) && OPTION_IS_SET(&o, max_seq_length));
    options_deinit(&o);
    o = parse('T', ARGS("--eval_strategy", "epoch"));
    assert_string_equal(o.evaluation_strategy, "epoch");
    options_deinit(&o);
    o = parse('P', ARGS("--model_name_or_path", "run", "--batch_size", "3"));
    assert_string_equal(o.model, "run"); /* where no training starts from a model */
    assert_int_equal(o.batch_size, 3);
    options_deinit(&o);
    o = parse('M', ARGS("--epochs", "2", "--model_name", "m")); /* pretrain has no method */
    assert_true(o.num_train_epochs == 2);
    assert_string_equal(o.model_name_or_path, "m");
    options_deinit(&o);
    parse_fails('E', ARGS("--epochs", "2"),
                "--epochs is not a flag of `cloze eval`; train and pretrain have it");
}

/* ---- what implies what ---- */

static void output_dir_ends_without_slashes(void **unused) {
    static const char *const CASES[][2] = {{"a//", "a"}, {"a/b", "a/b"}, {"/", "/"}, {"//", "/"}};
    for (size_t i = 0; i < COUNT(CASES); i++) {
        options o = parse('T', ARGS("--output_dir", CASES[i][0]));
        assert_string_equal(o.output_dir, CASES[i][1]);
        options_deinit(&o);
    }
    parse_fails('T', ARGS("--output_dir="), "--output_dir is empty");
}

static void one_flag_implies_others(void **unused) {
    static const struct {
        const char *const args[7];
        bool train, eval, best, freeze_plm;
        const char *strategy;
        int64_t eval_steps;
    } cases[] = {
        {{NULL}, true, false, false, false, "no", 500},
        {{"--do_eval"}, false, true, false, false, "no", 500},
        {{"--do_predict"}, false, false, false, false, "no", 500},
        {{"--do_train", "--do_eval"}, true, true, false, false, "no", 500},
        {{"--do_train", "--do_eval", "--eval_steps", "30"}, true, true, false, false, "steps", 30},
        {{"--do_train", "--eval_steps", "30"}, true, false, false, false, "no", 30},
        {{"--evaluation_strategy", "steps", "--logging_steps", "7"},
         true,
         true,
         false,
         false,
         "steps",
         7},
        {{"--evaluation_strategy", "epoch"}, true, true, false, false, "epoch", 500},
        {{"--do_eval", "--do_train", "--eval_steps", "3", "--evaluation_strategy", "epoch"},
         true,
         true,
         false,
         false,
         "epoch",
         3},
        {{"--early_stop"}, true, true, true, false, "epoch", 500},
        {{"--early_stop", "--eval_steps", "10"}, true, true, true, false, "steps", 10},
        {{"--load_best_model_at_end"}, true, true, true, false, "steps", 500},
        {{"--load_best_model_at_end", "--evaluation_strategy", "no"},
         true,
         true,
         true,
         false,
         "steps",
         500},
        {{"--freeze_dropout"}, true, false, false, true, "no", 500},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        const char *const *a = cases[i].args;
        options o = parse('T', ARGS(a[0], a[1], a[2], a[3], a[4], a[5]));
        if (o.do_train != cases[i].train || o.do_eval != cases[i].eval ||
            o.load_best_model_at_end != cases[i].best || o.freeze_plm != cases[i].freeze_plm ||
            strcmp(o.evaluation_strategy, cases[i].strategy) != 0 ||
            o.eval_steps != cases[i].eval_steps)
            fail_msg("case %zu: do_train %d, do_eval %d, load_best %d, freeze_plm %d, %s, %lld", i,
                     o.do_train, o.do_eval, o.load_best_model_at_end, o.freeze_plm,
                     o.evaluation_strategy, (long long)o.eval_steps);
        options_deinit(&o);
    }
}

/* ---- JSON and help ---- */

static void json_is_sorted_and_complete(void **unused) {
    static const char COMMANDS[] = "TEPFKIM";
    for (const char *c = COMMANDS; *c; c++) {
        options o = parse(*c, ARGS(NULL));
        buf b;
        buf_init(&b, 1 << 20);
        options_write_json(&o, &b);
        cJSON *json = NULL;
        MUST(json_parse(b.data, b.len, "options", CLOZE_ERR_INTERNAL, &json, err));
        const char *last = "";
        for (const cJSON *item = json->child; item; item = item->next) {
            assert_true(strcmp(last, item->string) < 0);
            last = item->string;
        }
        assert_true(b.data[b.len - 1] == '\n');
        json_destroy(json);
        buf_deinit(&b);
        options_deinit(&o);
    }
}

static void json_has_the_values(void **unused) {
    options o = parse('T', ARGS("--prompt", "这条\"新闻\"\n", "--learning_rate", "3e-5", "--bf16",
                                "--max_steps", "12", "--method", "finetune"));
    buf b;
    buf_init(&b, 1 << 20);
    options_write_json(&o, &b);
    assert_non_null(strstr(b.data, "\"learning_rate\": 3e-05,"));
    cJSON *json = NULL;
    MUST(json_parse(b.data, b.len, "options", CLOZE_ERR_INTERNAL, &json, err));
    assert_string_equal(cJSON_GetObjectItem(json, "prompt")->valuestring, "这条\"新闻\"\n");
    assert_true(cJSON_IsTrue(cJSON_GetObjectItem(json, "bf16")));
    assert_true(cJSON_IsFalse(cJSON_GetObjectItem(json, "freeze_plm")));
    assert_true(cJSON_IsNull(cJSON_GetObjectItem(json, "train_file")));
    assert_int_equal(cJSON_GetObjectItem(json, "max_steps")->valueint, 12);
    assert_string_equal(cJSON_GetObjectItem(json, "method")->valuestring, "finetune");
    assert_null(cJSON_GetObjectItem(json, "top_k"));
    json_destroy(json);
    buf_deinit(&b);
    options_deinit(&o);
}

static void help_fits_and_lists_what_is_taken(void **unused) {
    static const char COMMANDS[] = "TEPFKIM";
    for (const char *c = COMMANDS; *c; c++) {
        buf b;
        buf_init(&b, 1 << 20);
        options_help(*c, &b);
        assert_true(buf_ok(&b));
        for (const char *line = b.data; line;) {
            const char *end = strchr(line, '\n');
            size_t n = end ? (size_t)(end - line) : strlen(line);
            if (n > 80 && strncmp(line, "  --", 4) != 0) fail_msg("%.*s", (int)n, line);
            line = end ? end + 1 : NULL;
        }
        assert_int_equal(strstr(b.data, "--learning_rate X [5e-05]") != NULL,
                         *c == 'T' || *c == 'M');
        assert_int_equal(strstr(b.data, "--top_k N [5]") != NULL, *c == 'F');
        assert_non_null(strstr(b.data, "--json\n"));
        buf_deinit(&b);
    }
}

static cloze_status parse_and_print(void *ctx, cloze_error *err) {
    options o;
    const char *const *args = ctx;
    buf b;
    buf_init(&b, 1 << 20);
    cloze_status status = options_parse(&o, 'T', count_args(args), (char *const *)args, err);
    if (status == CLOZE_OK) {
        options_write_json(&o, &b);
        if (!buf_ok(&b)) status = error_set(err, CLOZE_ERR_MEMORY, "the buffer says so");
    }
    options_deinit(&o);
    buf_deinit(&b);
    return status;
}

static void want_of_memory_is_survived(void **unused) {
    const char *const *args = ARGS("--prompt", "p", "--data_dir", "d", "--method", "finetune");
    assert_true(fail_each_allocation(parse_and_print, (void *)args, 1) >= 2);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_are_the_trainers),
        cmocka_unit_test(every_kind_is_read),
        cmocka_unit_test(dashes_underscores_and_equals),
        cmocka_unit_test(strings_are_copied),
        cmocka_unit_test(booleans_in_all_their_forms),
        cmocka_unit_test(wrong_values_name_the_flag),
        cmocka_unit_test(numbers_at_the_ends_of_their_ranges),
        cmocka_unit_test(wrong_flags_are_explained),
        cmocka_unit_test(missing_values_are_told),
        cmocka_unit_test(of_two_values_the_last_counts_and_a_note_says_so),
        cmocka_unit_test(texts_are_utf8),
        cmocka_unit_test(letters_and_names_of_commands),
        cmocka_unit_test(script_names_imply_finetuning),
        cmocka_unit_test(aliases_set_their_options),
        cmocka_unit_test(output_dir_ends_without_slashes),
        cmocka_unit_test(one_flag_implies_others),
        cmocka_unit_test(json_is_sorted_and_complete),
        cmocka_unit_test(json_has_the_values),
        cmocka_unit_test(help_fits_and_lists_what_is_taken),
        cmocka_unit_test(want_of_memory_is_survived),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
