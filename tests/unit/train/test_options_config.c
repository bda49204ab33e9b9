/*
 * --config files, flags that are taken for the sake of scripts, and the schedule's settings as
 * one object.
 */
#include "train/options.h"
#include "unit/unit_support.h"

enum { MAX_ARGS = 12 };
#define ARGS(...) ((const char *const[MAX_ARGS + 1]){__VA_ARGS__})

static cloze_status parse_args(options *o, char command, const char *const args[],
                               cloze_error *err) {
    int n = 0;
    while (args[n]) n++;
    return options_parse(o, command, n, (char *const *)args, err);
}

static options parse(char command, const char *const args[]) {
    options o;
    MUST(parse_args(&o, command, args, err));
    return o;
}

static void parse_fails(char command, const char *const args[], const char *fragment) {
    options o;
    MUST_FAIL(CLOZE_ERR_USAGE, fragment, parse_args(&o, command, args, err));
    options_deinit(&o);
}

/* ---- --config ---- */

static void every_kind_of_value(void **unused) {
    put_file(at("c.json"), "{\"data_dir\": \"数据\", \"max-steps\": 70, \"learning_rate\": 3e-5,\n"
                           " \"bf16\": true, \"method\": \"finetune\", \"prompt\": null,\n"
                           " \"report_to\": [\"tensorboard\", \"wandb\"], \"max_grad_norm\": 1,\n"
                           " \"class_weights\": {\"a\": 2}, \"eval_strategy\": \"epoch\",\n"
                           " \"fp16\": false, \"dataloader_num_workers\": 4}\n");
    options o = parse('T', ARGS("--config", at("c.json")));
    assert_string_equal(o.data_dir, "数据");
    assert_int_equal(o.max_steps, 70);
    assert_true(o.learning_rate == 3e-5 && o.bf16 && o.max_grad_norm == 1);
    assert_string_equal(o.method, "finetune");
    assert_null(o.prompt);
    assert_string_equal(o.report_to, "tensorboard,wandb");
    assert_string_equal(o.class_weights, "{\"a\":2}");
    assert_string_equal(o.evaluation_strategy, "epoch");
    assert_true(o.do_eval); /* what a flag implies holds here, too */
    assert_int_equal(o.is_set[OPTION_max_steps], OPTION_CONFIG);
    assert_false(OPTION_IS_SET(&o, prompt));
    assert_non_null(strstr(o.notes.data, "--dataloader_num_workers changes nothing"));
    assert_null(strstr(o.notes.data, "fp16"));
    options_deinit(&o);
}

static void the_command_line_wins(void **unused) {
    put_file(at("c.json"), "{\"max_steps\": 70, \"seed\": 5, \"bf16\": true}");
    static const char *const ORDERS[][5] = {{"--max_steps", "3", "--config", NULL},
                                            {"--config", NULL, "--max_steps", "3"}};
    for (int i = 0; i < 2; i++) {
        const char *args[6] = {0};
        for (int k = 0; k < 4; k++) args[k] = ORDERS[i][k] ? ORDERS[i][k] : at("c.json");
        options o = parse('T', args);
        assert_int_equal(o.max_steps, 3);
        assert_int_equal(o.seed, 5);
        options_deinit(&o);
    }
    char flag[600];
    snprintf(flag, sizeof flag, "--config=%s", at("c.json"));
    options o = parse('M', ARGS(flag, "--bf16", "false"));
    assert_true(o.max_steps == 70 && !o.bf16);
    options_deinit(&o);
}

static void errors_have_their_place(void **unused) {
    static const struct {
        const char *text, *fragment;
    } cases[] = {
        {"{\"seed\": 1,\n  \"max_stepz\": 3}",
         "c.json:2:3: unknown flag --max_stepz; did you mean --max_steps?"},
        {"{\"提\": 1}", "c.json:1:2: unknown flag --提"},
        {"{\"prompt\": \"提{\\\"\", \"max_steps\": \"3\"}",
         "c.json:1:20: \"max_steps\" must be a number"},
        {"{\"a\": {}}", "c.json:1:2: unknown flag --a"},
        {"{\"bf16\": \"yes\"}", "c.json:1:2: \"bf16\" must be true or false"},
        {"{\"bf16\": 1}", "\"bf16\" must be true or false"},
        {"{\"data_dir\": 1}", "\"data_dir\" must be a text in quotes"},
        {"{\"report_to\": [1]}", "\"report_to\" must be a text in quotes"},
        {"{\"max_steps\": 1.5}", "c.json:1:2: --max_steps: \"1.5\" is not a whole number"},
        {"{\"max_steps\": -7}", "out of range"},
        {"{\"method\": \"magic\"}", "c.json:1:2: --method: \"magic\" is not one of"},
        {"{\"top_k\": 3}", "--top_k is not a flag of `cloze train`"},
        {"{\"seed\": 1, \"seed\": 2}", "c.json:1:13: \"seed\" is given twice"},
        {"{\"epochs\": 1, \"num-train-epochs\": 2}", "c.json:1:15: \"num-train-epochs\" is given"},
        {"{\"config\": \"d.json\"}", "cannot name another one"},
        {"{\"seed\": 1", "c.json:1:10"},
        {"{\"seed\" 1}", "c.json:1:"},
        {"[1]", "c.json: not a JSON object"},
        {"", "c.json:1:1: empty"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        put_file(at("c.json"), cases[i].text);
        parse_fails('T', ARGS("--config", at("c.json")), cases[i].fragment);
    }
    parse_fails('T', ARGS("--config", at("none.json")), "none.json");
    parse_fails('T', ARGS("--config"), "--config needs a value");
    parse_fails('K', ARGS("--config", at("c.json")), "--config is not a flag of `cloze tokenize`");
}

/* What a run kept of its flags means the same run when it is read back. */
static void training_args_mean_the_same_run(void **unused) {
    static const char *const RUNS[][9] = {
        {NULL},
        {"--do_train", "--do_eval", "--eval_steps", "30", "--logging_steps", "7"},
        {"--do_train", "--do_eval", "--logging_steps", "7"},
        {"--dataset_dir", "d", "--save_dir", "o/", "--early_stop", "--epochs", "5"},
        {"--prompt", "这\"条\"\n", "--max_seq_length", "64", "--do_lower_case", "false"},
        {"--lr_scheduler_type", "polynomial", "--lr_scheduler_kwargs", "{\"power\": 2}"},
        {"--class_weights", "a=2", "--load_best_model_at_end", "--greater_is_better", "false"},
    };
    for (size_t i = 0; i < COUNT(RUNS); i++) {
        options a = parse('T', RUNS[i]);
        buf x, y;
        buf_init(&x, 1 << 20);
        buf_init(&y, 1 << 20);
        options_write_json(&a, &x);
        put_file(at("training_args.json"), x.data);
        options b = parse('T', ARGS("--config", at("training_args.json")));
        options_write_json(&b, &y);
        assert_string_equal(x.data, y.data);
        assert_int_equal(OPTION_IS_SET(&a, max_seq_length) != 0,
                         OPTION_IS_SET(&b, max_seq_length) != 0);
        assert_int_equal(OPTION_IS_SET(&a, do_lower_case) != 0,
                         OPTION_IS_SET(&b, do_lower_case) != 0);
        assert_int_equal(b.notes.len, 0);
        options_deinit(&a);
        options_deinit(&b);
        buf_deinit(&x);
        buf_deinit(&y);
    }
}

/* ---- flags of scripts ---- */

static void scripts_flags_are_taken(void **unused) {
    static const struct {
        const char *flag, *value, *note;
    } cases[] = {
        {"--fp16", "true", "--fp16 changes nothing: half precision is --bf16 here"},
        {"--fp16", "false", NULL},
        {"--fp16=True", NULL, "--fp16 changes nothing"},
        {"--dataloader_num_workers", "0", NULL},
        {"--dataloader_num_workers", "4", "--dataloader_num_workers changes nothing"},
        {"--remove_unused_columns", "False", NULL},
        {"--no_cuda", NULL, NULL},
        {"--use_cpu", NULL, NULL},
        {"--local_rank", "-1", NULL},
        {"--local_rank", "2", "one process trains alone"},
        {"--push_to_hub", NULL, "nothing is uploaded"},
        {"--use_rgl", "False", NULL},
        {"--task_type", "multi-class", NULL},
        {"--report_to", "tensorboard", NULL},
        {"--report_to", "none", NULL},
        {"--report_to", "wandb", "TensorBoard event files are written instead"},
        {"--optim", "adamw_hf", NULL},
        {"--save_safetensors", "false", "checkpoints are safetensors files"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        options o = parse('T', ARGS(cases[i].flag, cases[i].value));
        const char *notes = o.notes.len ? o.notes.data : "";
        if (cases[i].note ? !strstr(notes, cases[i].note) : *notes)
            fail_msg("%s %s: \"%s\"", cases[i].flag, cases[i].value ? cases[i].value : "", notes);
        options_deinit(&o);
    }
    parse_fails('T', ARGS("--fp16=maybe"), "--fp16: \"maybe\" is neither true nor false");
    parse_fails('T', ARGS("--local_rank"), "--local_rank needs a value");
    parse_fails('T', ARGS("--use_rgl"), "--use_rgl true is not built yet");
    parse_fails('T', ARGS("--task_type", "multi-label"), "multi-label is not built yet");
    parse_fails('T', ARGS("--optim", "sgd"), "not one of adamw_torch");
    parse_fails('K', ARGS("--fp16"), "unknown flag --fp16");
}

static void scripts_names_set_their_options(void **unused) {
    options o = parse('T', ARGS("--per_gpu_train_batch_size", "3", "--per_gpu_eval_batch_size", "4",
                                "--validation_file", "v", "--eval_strategy", "epoch"));
    assert_int_equal(o.per_device_train_batch_size, 3);
    assert_int_equal(o.per_device_eval_batch_size, 4);
    assert_string_equal(o.dev_file, "v");
    assert_string_equal(o.method, "prompt");
    options_deinit(&o);
    o = parse('T', ARGS("--early_stop_nums", "6", "--valid_steps", "9"));
    assert_int_equal(o.early_stopping_patience, 6);
    assert_int_equal(o.eval_steps, 9);
    assert_string_equal(o.method, "finetune");
    options_deinit(&o);
}

/* inspect forecasts a training run: it takes the flags of one, and keeps its own names. */
static void inspect_takes_training_flags(void **unused) {
    options o = parse('I', ARGS("--model_name_or_path", "m", "--per_device_train_batch_size", "32",
                                "--epochs", "4", "--fp16", "false", "--do_train"));
    assert_string_equal(o.model, "m");
    assert_int_equal(o.per_device_train_batch_size, 32);
    assert_true(o.num_train_epochs == 4);
    assert_string_equal(o.method, "finetune");
    options_deinit(&o);
}

/* ---- --lr_scheduler_kwargs ---- */

static void schedule_settings_in_one_object(void **unused) {
    options o = parse('T', ARGS("--lr_scheduler_kwargs", "{\"power\": 2, \"lr_end\": 1e-8}"));
    assert_true(o.power == 2 && o.lr_end == 1e-8);
    options_deinit(&o);
    o = parse('T', ARGS("--lr_scheduler_kwargs", "{\"power\": 2}", "--power", "3"));
    assert_true(o.power == 3);
    options_deinit(&o);
    parse_fails('T', ARGS("--lr_scheduler_kwargs", "{\"pow\": 2}"), "\"pow\" is not one of");
    parse_fails('T', ARGS("--lr_scheduler_kwargs", "{\"power\": \"2\"}"),
                "\"power\" is not one of");
    parse_fails('T', ARGS("--lr_scheduler_kwargs", "{\"power\": -2}"), "--power: -2 is out of");
    parse_fails('T', ARGS("--lr_scheduler_kwargs", "2"), "not a JSON object");
    parse_fails('T', ARGS("--lr_scheduler_kwargs", "{"), "--lr_scheduler_kwargs:1:");
}

/* ---- want of memory ---- */

static cloze_status parse_config(void *ctx, cloze_error *err) {
    options o;
    cloze_status status = parse_args(&o, 'T', ctx, err);
    options_deinit(&o);
    return status;
}

static void want_of_memory_is_survived(void **unused) {
    put_file(at("c.json"), "{\"data_dir\": \"d\", \"seed\": 1}");
    const char *const *args = ARGS("--config", at("c.json"), "--prompt", "p");
    assert_true(fail_each_allocation(parse_config, (void *)args, 1) >= 4);
}

#define DIR_TEST(f) cmocka_unit_test_setup_teardown(f, dir_setup, dir_teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        DIR_TEST(every_kind_of_value),
        DIR_TEST(the_command_line_wins),
        DIR_TEST(errors_have_their_place),
        DIR_TEST(training_args_mean_the_same_run),
        cmocka_unit_test(scripts_flags_are_taken),
        cmocka_unit_test(scripts_names_set_their_options),
        cmocka_unit_test(inspect_takes_training_flags),
        cmocka_unit_test(schedule_settings_in_one_object),
        DIR_TEST(want_of_memory_is_survived),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
