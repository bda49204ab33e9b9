/*
 * What a checkpoint says besides weights and moments, and reading it again: numbers and log to the
 * last bit, files of others as errors that name what is wrong; and the directory around it: which
 * names are checkpoints, what is swept away.
 */
#include "train/checkpoint.h"
#include "train/output_dir.h"
#include "train/resume.h"
#include "unit/unit_support.h"

/* ---- the two files ---- */

static trainer_state make_state(void) {
    trainer_state s;
    buf fields;
    trainer_state_init(&s);
    s.global_step = 12;
    s.epoch = 1.0 / 3;
    s.best_metric = 0.1 + 0.2;
    s.best_model_checkpoint = mem_strdup("out/\"log_history\": [1]/checkpoint-7");
    s.evaluations_without_gain = 3;
    s.loss_sum = 1e300 / 3;
    s.logged_loss = 5e-324;
    s.logged_steps = 2;
    s.evaluated_step = 10;
    s.data_epoch = 4;
    s.data_position = 5;
    s.tokens_done = (int64_t)1 << 52;
    s.seconds = 0.1;
    s.train_hash = 0xfedcba9876543210u;
    s.dev_hash = 1;
    buf_init(&fields, 1000);
    buf_puts(&fields, "\"note\": \"]}\\\"[\", \"nested\": [[1], {\"log_history\": [2]}]");
    trainer_state_log(&s, &fields);
    trainer_state_log(&s, &fields);
    buf_deinit(&fields);
    return s;
}

static void write_state(const trainer_state *s) {
    MUST(trainer_state_write(s, test_dir, err));
    MUST(trainer_state_write_resume(s, test_dir, err));
}

static void everything_reads_back(void **state) {
    trainer_state s = make_state(), t;
    write_state(&s);
    trainer_state_init(&t);
    MUST(trainer_state_read(&t, test_dir, err));
    assert_string_equal(t.best_model_checkpoint, s.best_model_checkpoint);
    assert_int_equal(t.log_history.len, s.log_history.len);
    assert_memory_equal(t.log_history.data, s.log_history.data, s.log_history.len);
    /* the rest by way of its files */
    size_t n;
    const char *const names[] = {at("trainer_state.json"), at("resume_state.json")};
    char *first[2] = {get_file(names[0], &n), get_file(names[1], &n)};
    t.max_steps = s.max_steps;
    write_state(&t);
    for (int i = 0; i < 2; i++) {
        char *second = get_file(names[i], &n);
        assert_string_equal(first[i], second);
        mem_free(second);
        mem_free(first[i]);
    }
    assert_true(t.loss_sum == s.loss_sum && t.logged_loss == s.logged_loss);
    assert_true(t.train_hash == s.train_hash && t.dev_hash == s.dev_hash);
    trainer_state_deinit(&s);
    trainer_state_deinit(&t);
}

static void an_empty_log_reads_back(void **state) {
    trainer_state s, t;
    trainer_state_init(&s);
    trainer_state_init(&t);
    write_state(&s);
    MUST(trainer_state_read(&t, test_dir, err));
    assert_int_equal(t.log_history.len, 0);
    assert_true(isnan(t.best_metric) && !t.best_model_checkpoint);
    trainer_state_deinit(&s);
    trainer_state_deinit(&t);
}

static void foreign_files_are_errors(void **state) {
    static const struct {
        const char *file, *text, *fragment;
    } cases[] = {
        {"trainer_state.json", "", "trainer_state.json"},
        {"trainer_state.json", "[]", "no \"global_step\""},
        {"trainer_state.json", "{\"global_step\": 1.5}", "global_step"},
        {"trainer_state.json", "{\"global_step\": 1}", "\"log_history\" is no list"},
        {"trainer_state.json", "{\"global_step\": 1, \"log_history\": {}}", "is no list"},
        {"trainer_state.json", "{\"global_step\": 1, \"x\": {\"log_history\": []}}", "is no list"},
        {"trainer_state.json", "{\"global_step\": 1, \"x\": \"log_history\"}", "is no list"},
        {"trainer_state.json", "{\"global_step\": 1, \"best_metric\": \"x\", \"log_history\": []}",
         "best_metric"},
        {"resume_state.json", "{", "resume_state.json"},
        {"resume_state.json", "{}", "train_data"},
        {"resume_state.json", "{\"train_data\": \"0123456789abcdeg\"}", "hexadecimal"},
        {"resume_state.json", "{\"data_position\": -1}", "data_position"},
        {"resume_state.json", "{\"loss_sum\": null, \"train_data\": 5}", "train_data"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        trainer_state s = make_state(), t;
        write_state(&s);
        put_file(at(cases[i].file), cases[i].text);
        trainer_state_init(&t);
        MUST_FAIL(CLOZE_ERR_MODEL, cases[i].fragment, trainer_state_read(&t, test_dir, err));
        trainer_state_deinit(&s);
        trainer_state_deinit(&t);
    }
}

/* ---- checkpoints in a directory ---- */

static void make_dirs(const char *const names[]) {
    for (int i = 0; names[i]; i++) MUST(dir_create(at(names[i]), err));
}

static const char *listing(void) {
    static char text[1000];
    char **names;
    size_t n;
    text[0] = 0;
    MUST(dir_list(test_dir, &names, &n, err));
    for (size_t i = 0; i < n; i++) {
        size_t used = strlen(text);
        snprintf(text + used, sizeof text - used, "%s%s", i ? " " : "", names[i]);
    }
    dir_list_free(names, n);
    return text;
}

static void names_of_checkpoints(void **state) {
    static const struct {
        const char *path;
        int64_t step;
    } cases[] = {
        {"checkpoint-12", 12}, {"a/b/checkpoint-0", 0},    {"checkpoint-12.tmp", -1},
        {"checkpoint-", -1},   {"checkpoint--3", -1},      {"checkpoint-3x", -1},
        {"checkpoint", -1},    {"checkpoint-3/model", -1},
    };
    for (size_t i = 0; i < COUNT(cases); i++)
        assert_int_equal(checkpoint_step(cases[i].path), cases[i].step);
    char *newest;
    MUST(checkpoint_find_newest(at("nowhere"), &newest, err));
    assert_null(newest);
    MUST(checkpoint_find_newest(test_dir, &newest, err));
    assert_null(newest);
    make_dirs((const char *const[]){"checkpoint-9", "checkpoint-10", "checkpoint-100.tmp", NULL});
    MUST(checkpoint_find_newest(test_dir, &newest, err));
    assert_string_equal(path_base(newest), "checkpoint-10");
    assert_true(checkpoint_is_within(newest, test_dir));
    assert_false(checkpoint_is_within(newest, newest));
    assert_true(checkpoint_is_within("x", ".") && !checkpoint_is_within("no/x", "."));
    assert_false(checkpoint_is(newest));
    put_file(at("checkpoint-10/resume_state.json"), "{}");
    assert_true(checkpoint_is(newest));
    MUST(checkpoint_remove(newest, err));
    assert_string_equal(listing(), "checkpoint-100.tmp checkpoint-9");
    mem_free(newest);
}

/* What a run's beginning removes of what others left: of killed writers always, the rest only when
 * it is asked for. */
static void what_is_swept_away(void **state) {
    static const char *const DIRS[] = {"checkpoint-2",
                                       "checkpoint-4",
                                       "checkpoint-6.tmp",
                                       "checkpoint-4.old.tmp",
                                       "checkpoint-best",
                                       "runs",
                                       NULL};
    static const char *const FILES[] = {"model.safetensors.123-0.tmp",
                                        "notes.tmp",
                                        "1-2.tmp",
                                        "all_results.json",
                                        "classifier.json",
                                        "x.7-.tmp",
                                        "mine.txt"};
    static const struct {
        bool overwrite;
        const char *resume, *left;
    } cases[] = {
        {false, "checkpoint-4",
         "1-2.tmp all_results.json checkpoint-2 checkpoint-4 checkpoint-best classifier.json "
         "mine.txt "
         "notes.tmp runs"},
        {true, "checkpoint-2",
         "1-2.tmp all_results.json checkpoint-2 checkpoint-best classifier.json mine.txt notes.tmp "
         "runs"},
        {true, NULL, "1-2.tmp checkpoint-best mine.txt notes.tmp"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        MUST(dir_remove(test_dir, err));
        MUST(dir_create(test_dir, err));
        make_dirs(DIRS);
        for (size_t k = 0; k < COUNT(FILES); k++) put_file(at(FILES[k]), "x");
        options o = {.output_dir = test_dir, .overwrite_output_dir = cases[i].overwrite};
        MUST(output_dir_begin(&o, cases[i].resume ? at(cases[i].resume) : NULL, err));
        remove(at("x.7-.tmp")); /* in doubt: either way is fine */
        assert_string_equal(listing(), cases[i].left);
    }
}

static void earlier_checkpoints_are_in_the_way(void **state) {
    options o = {.output_dir = at("out")};
    MUST(output_dir_check(&o, NULL, err));
    make_dirs((const char *const[]){"out/checkpoint-4", "other/checkpoint-9", "out/runs", NULL});
    MUST_FAIL(CLOZE_ERR_USAGE, "--overwrite_output_dir", output_dir_check(&o, NULL, err));
    MUST(output_dir_check(&o, at("out/checkpoint-4"), err));
    MUST_FAIL(CLOZE_ERR_USAGE, "newer", output_dir_check(&o, at("out/checkpoint-3"), err));
    MUST_FAIL(CLOZE_ERR_USAGE, "earlier run", output_dir_check(&o, at("other/checkpoint-9"), err));
    o.overwrite_output_dir = true;
    MUST(output_dir_check(&o, NULL, err));
    MUST(output_dir_check(&o, at("other/checkpoint-9"), err));
}

/* ---- flags ---- */

typedef struct judged {
    char names[200];
    bool keep;
    const char *refuse;
} judged;

static cloze_status judge(void *ctx, const char *name, const char *saved, const char *now,
                          bool given, bool *keep, cloze_error *err) {
    judged *j = ctx;
    size_t used = strlen(j->names);
    snprintf(j->names + used, sizeof j->names - used, "%s%s:%s>%s", given ? " !" : " ", name, saved,
             now);
    *keep = j->keep;
    if (j->refuse && strcmp(j->refuse, name) == 0) CLOZE_FAIL(err, USAGE, "no %s", name);
    return CLOZE_OK;
}

static cloze_status adopt(options *o, const char *json, judged *j, cloze_error *err) {
    cJSON *saved = NULL;
    CLOZE_TRY(json_parse(json, strlen(json), "saved", CLOZE_ERR_MODEL, &saved, err));
    cloze_status status = options_adopt(o, saved, "args.json", judge, j, err);
    json_destroy(saved);
    return status;
}

static options parse(const char *const args[], int n) {
    options o;
    MUST(options_parse(&o, 'T', n, (char *const *)args, err));
    return o;
}

#define SAVED                                                                                      \
    "{\"seed\": 7, \"prompt\": \"好\", \"learning_rate\": 0.001, \"bf16\": true, \"method\": "    \
    "\"finetune\", \"label_file\": null, \"of_tomorrow\": 1}"

static void what_is_not_given_is_adopted(void **state) {
    static const char *const ARGS[] = {"--seed", "8", "--label_file", "l.txt"};
    judged j = {{0}, false, NULL};
    options o = parse(ARGS, 4);
    MUST(adopt(&o, SAVED, &j, err));
    assert_string_equal(j.names,
                        " !label_file:(none)>l.txt method:finetune>prompt prompt:好>(none) "
                        "learning_rate:0.001>5e-05 bf16:true>false !seed:7>8");
    assert_string_equal(o.prompt, "好");
    assert_string_equal(o.method, "finetune");
    assert_string_equal(o.label_file, "l.txt");
    assert_true(o.bf16 && o.learning_rate == 1e-3 && o.seed == 8);
    assert_true(OPTION_IS_SET(&o, prompt) && !OPTION_IS_SET(&o, max_steps));
    options_deinit(&o);
    j = (judged){{0}, true, NULL};
    o = parse(ARGS, 4);
    MUST(adopt(&o, SAVED, &j, err));
    assert_true(!o.bf16 && !o.prompt && o.learning_rate == 5e-5);
    options_deinit(&o);
}

static void refused_and_broken_flags(void **state) {
    judged j = {{0}, false, "bf16"};
    options o = parse(NULL, 0);
    MUST_FAIL(CLOZE_ERR_USAGE, "no bf16", adopt(&o, SAVED, &j, err));
    MUST_FAIL(CLOZE_ERR_MODEL, "args.json: \"seed\"", adopt(&o, "{\"seed\": \"x\"}", &j, err));
    MUST_FAIL(CLOZE_ERR_MODEL, "\"seed\"", adopt(&o, "{\"seed\": -1}", &j, err));
    MUST_FAIL(CLOZE_ERR_MODEL, "\"bf16\"", adopt(&o, "{\"bf16\": 1}", &j, err));
    MUST_FAIL(CLOZE_ERR_MODEL, "\"prompt\"", adopt(&o, "{\"prompt\": []}", &j, err));
    options_deinit(&o);
}

#define IN_DIR(f) cmocka_unit_test_setup_teardown(f, dir_setup, dir_teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        IN_DIR(everything_reads_back),
        IN_DIR(an_empty_log_reads_back),
        IN_DIR(foreign_files_are_errors),
        IN_DIR(names_of_checkpoints),
        IN_DIR(what_is_swept_away),
        IN_DIR(earlier_checkpoints_are_in_the_way),
        cmocka_unit_test(what_is_not_given_is_adopted),
        cmocka_unit_test(refused_and_broken_flags),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
