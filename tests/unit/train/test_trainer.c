/*
 * Training on a toy problem: that it learns, what must not change its result (accumulation,
 * recomputation, a second run), which checkpoints are written, kept and loaded, and how it ends
 * when it cannot go on.
 */
#include "unit/train/toy_run.h"

/* Allocations so far, at the end of each step: `interrupted` is asked between steps. */
static struct {
    uint64_t at[64];
    int n;
} step_allocations;

static int note_allocations(void *user) {
    (void)user;
    if (step_allocations.n < 64) step_allocations.at[step_allocations.n++] = mem_allocation_count();
    return 0;
}

/* ---- learning ---- */

static void every_method_learns(void **unused) {
    static const char *const METHODS[][4] = {
        {"--method", "prompt", "--verbalizer", "soft"},
        {"--method", "prompt", "--verbalizer", "manual"},
        {"--method", "finetune", "--verbalizer", "soft"},
    };
    for (size_t i = 0; i < COUNT(METHODS); i++) {
        const char *const *m = METHODS[i];
        toy_run r = toy_open("model", at("out"),
                             ARGS(m[0], m[1], m[2], m[3], FAST, "--max_steps", "60",
                                  "--logging_steps", "10", "--save_strategy", "no"));
        metrics before = evaluate(&r, &r.train);
        MUST(toy_train(&r, err));
        metrics after = evaluate(&r, &r.train), dev = evaluate(&r, &r.dev);
        if (!(after.loss < 0.2 * before.loss && after.accuracy == 1 && dev.accuracy > 0.8))
            fail_msg("%s %s: loss %.4f -> %.4f, accuracy %.2f, on others %.2f", m[1], m[3],
                     before.loss, after.loss, after.accuracy, dev.accuracy);
        assert_int_equal(r.result.steps, 60);
        assert_near("epoch", r.result.epoch, 20, 1e-12);
        assert_true(r.result.train_loss > after.loss && r.result.train_loss < before.loss);
        assert_null(r.result.best_checkpoint);
        metrics_deinit(&before);
        metrics_deinit(&after);
        metrics_deinit(&dev);
        toy_close(&r);
    }
}

/* ---- what must not change the result ---- */

static void accumulation_equals_a_larger_batch(void **unused) {
    static const struct {
        const char *verbalizer, *batch, *accumulate;
    } cases[] = {{"soft", "4", "2"}, {"manual", "2", "4"}, {"soft", "3", "3"}};
    for (size_t i = 0; i < COUNT(cases); i++) {
        char whole[8];
        snprintf(whole, sizeof whole, "%ld",
                 strtol(cases[i].batch, NULL, 10) * strtol(cases[i].accumulate, NULL, 10));
        toy_run a = toy_run_ok("model", at("a"),
                               ARGS(SIX_STEPS, "--verbalizer", cases[i].verbalizer,
                                    "--per_device_train_batch_size", whole)),
                b = toy_run_ok("model", at("b"),
                               ARGS(SIX_STEPS, "--verbalizer", cases[i].verbalizer,
                                    "--per_device_train_batch_size", cases[i].batch,
                                    "--gradient_accumulation_steps", cases[i].accumulate)),
                other = toy_run_ok("model", at("c"),
                                   ARGS(SIX_STEPS, "--verbalizer", cases[i].verbalizer,
                                        "--per_device_train_batch_size", cases[i].batch));
        assert_near("train_loss", b.result.train_loss, a.result.train_loss, 1e-5);
        assert_near("logits", logit_difference(&a, &b), 0, 1e-4);
        assert_true(logit_difference(&a, &other) > 1e-2);
        assert_near("epoch", a.result.epoch, b.result.epoch, 1e-12);
        toy_close(&a);
        toy_close(&b);
        toy_close(&other);
    }
}

/* Recomputing layers draws the same dropout and gives the same bits. */
static void checkpointing_changes_no_bit(void **unused) {
    static const char *const DEVICES[] = {"model", "dropout"};
    for (size_t i = 0; i < COUNT(DEVICES); i++) {
        toy_run a = toy_run_ok(DEVICES[i], at("a"), ARGS(SIX_STEPS)),
                b = toy_run_ok(DEVICES[i], at("b"), ARGS(SIX_STEPS, "--gradient_checkpointing"));
        assert_true(largest_difference(a.c, b.c) == 0);
        assert_true(a.result.train_loss == b.result.train_loss);
        toy_close(&a);
        toy_close(&b);
    }
}

static void the_seed_decides_everything(void **unused) {
    static const char *const SEEDS[] = {"7", "7", "8"};
    const char *const dirs[] = {at("s0"), at("s1"), at("s2")};
    for (int i = 0; i < 3; i++) {
        toy_run r = toy_run_ok("dropout", dirs[i], ARGS(SIX_STEPS, "--seed", SEEDS[i]));
        MUST(classifier_save(r.c, dirs[i], err));
        toy_close(&r);
    }
    assert_same_file(at("s0/model.safetensors"), at("s1/model.safetensors"));
    assert_same_file(at("s0/prompt.safetensors"), at("s1/prompt.safetensors"));
    assert_same_file(at("s0/trainer_state.json"), at("s1/trainer_state.json"));
    size_t n, m;
    char *x = get_file(at("s0/model.safetensors"), &n),
         *y = get_file(at("s2/model.safetensors"), &m);
    assert_int_equal(n, m);
    assert_memory_not_equal(x, y, n);
    mem_free(x);
    mem_free(y);
}

static void dropout_settings_are_heeded(void **unused) {
    static const struct {
        const char *const args[4];
        bool as_without;
    } cases[] = {
        {{"--hidden_dropout_prob", "0", "--attention_probs_dropout_prob", "0"}, true},
        {{"--hidden_dropout_prob", "0"}, false},
        {{"--attention_probs_dropout_prob", "0"}, false},
        {{NULL}, false},
    };
    toy_run plain = toy_run_ok("model", at("plain"), ARGS(SIX_STEPS));
    for (size_t i = 0; i < COUNT(cases); i++) {
        const char *const *a = cases[i].args;
        toy_run r = toy_run_ok("dropout", at("r"), ARGS(SIX_STEPS, a[0], a[1], a[2], a[3]));
        assert_int_equal(largest_difference(plain.c, r.c) == 0, cases[i].as_without);
        toy_close(&r);
    }
    toy_close(&plain);
    /* a frozen model without dropout learns as one that has none */
    toy_run a = toy_run_ok("model", at("a"), ARGS(SIX_STEPS, "--freeze_plm")),
            b = toy_run_ok("dropout", at("b"), ARGS(SIX_STEPS, "--freeze_dropout"));
    assert_true(a.result.train_loss == b.result.train_loss);
    toy_close(&a);
    toy_close(&b);
}

static void bf16_is_near_f32(void **unused) {
    toy_run a = toy_run_ok("model", at("a"), ARGS(SIX_STEPS)),
            b = toy_run_ok("model", at("b"), ARGS(SIX_STEPS, "--bf16"));
    assert_true(a.result.train_loss != b.result.train_loss);
    assert_near("train_loss", b.result.train_loss, a.result.train_loss, 0.03);
    toy_close(&a);
    toy_close(&b);
}

static void a_frozen_model_stays_as_it_was(void **unused) {
    toy_run fresh = toy_open("model", at("a"), ARGS(SIX_STEPS)),
            r = toy_run_ok("model", at("b"), ARGS(SIX_STEPS, "--freeze_plm"));
    assert_true(largest_difference(fresh.c, r.c) == 0);
    metrics before = evaluate(&fresh, &fresh.train), after = evaluate(&r, &r.train);
    assert_true(after.loss < before.loss);
    metrics_deinit(&before);
    metrics_deinit(&after);
    toy_close(&fresh);
    toy_close(&r);
}

/* Each group has its rate: at a rate of 0 it stays as it was. */
static void groups_have_their_own_rates(void **unused) {
    toy_run fresh = toy_open("model", at("a"), ARGS(SIX_STEPS));
    for (int prompt = 0; prompt < 2; prompt++) {
        toy_run r =
            toy_run_ok("model", at("b"),
                       ARGS(SIX_STEPS, prompt ? "--learning_rate" : "--ppt_learning_rate", "0"));
        MUST(dir_create(at("fresh"), err));
        MUST(classifier_save(fresh.c, at("fresh"), err));
        MUST(classifier_save(r.c, at("b"), err));
        size_t n, m;
        char *x = get_file(at("fresh/prompt.safetensors"), &n),
             *y = get_file(at("b/prompt.safetensors"), &m);
        assert_int_equal(n, m);
        assert_int_equal(memcmp(x, y, n) != 0, prompt);
        assert_int_equal(largest_difference(fresh.c, r.c) > 1e-3, !prompt);
        mem_free(x);
        mem_free(y);
        toy_close(&r);
    }
    toy_close(&fresh);
}

/* Gradients are only ever made smaller; so small that epsilon rules, they move nothing. */
static void clipping_makes_gradients_smaller(void **unused) {
    toy_run fresh = toy_open("model", at("a"), ARGS(SIX_STEPS)),
            never = toy_run_ok("model", at("a"), ARGS(SIX_STEPS, "--max_grad_norm", "0")),
            wide = toy_run_ok("model", at("b"), ARGS(SIX_STEPS, "--max_grad_norm", "1e9")),
            narrow = toy_run_ok("model", at("c"), ARGS(SIX_STEPS, "--max_grad_norm", "1e-12"));
    assert_true(largest_difference(never.c, wide.c) == 0);
    assert_true(largest_difference(never.c, fresh.c) > 5e-3);
    assert_true(largest_difference(narrow.c, fresh.c) < 1e-4);
    toy_close(&fresh);
    toy_close(&never);
    toy_close(&wide);
    toy_close(&narrow);
}

/* ---- steps, logs, checkpoints ---- */

/* Names of what is in a directory and begins with `prefix`, "a b c". */
static const char *list_dir(const char *dir, const char *prefix) {
    static char text[1000];
    char **names;
    size_t n;
    text[0] = 0;
    MUST(dir_list(dir, &names, &n, err));
    for (size_t i = 0; i < n; i++) {
        size_t used = strlen(text);
        if (strncmp(names[i], prefix, strlen(prefix)) == 0)
            snprintf(text + used, sizeof text - used, "%s%s", used ? " " : "",
                     names[i] + strlen(prefix));
    }
    dir_list_free(names, n);
    return text;
}

/* Steps of log entries that have `key`, "1 2 3". */
static const char *logged_steps(const cJSON *state, const char *key) {
    static char text[1000];
    const cJSON *entry;
    text[0] = 0;
    cJSON_ArrayForEach(entry, cJSON_GetObjectItem(state, "log_history")) {
        size_t used = strlen(text);
        assert_true(cJSON_IsNumber(cJSON_GetObjectItem(entry, "epoch")));
        if (cJSON_GetObjectItemCaseSensitive(entry, key))
            snprintf(text + used, sizeof text - used, "%s%d", used ? " " : "",
                     cJSON_GetObjectItem(entry, "step")->valueint);
    }
    return text;
}

/* 24 examples. Each case: what is run, and which steps log, evaluate and save. */
static void schedules_of_logs_evaluations_and_checkpoints(void **unused) {
    static const struct {
        const char *const args[14];
        int64_t steps;
        double epoch;
        const char *logs, *evals, *saves;
    } cases[] = {
        {{"--num_train_epochs", "2", "--logging_steps", "2"}, 6, 2, "2 4 6", "", ""},
        {{"--num_train_epochs", "1.5", "--logging_steps", "4"}, 5, 5 / 3., "4 5", "", ""},
        {{"--max_steps", "4", "--num_train_epochs", "9", "--logging_steps", "3",
          "--logging_first_step"},
         4,
         4 / 3.,
         "1 3 4",
         "",
         ""},
        {{"--max_steps", "4", "--save_steps", "2", "--logging_steps", "9"},
         4,
         4 / 3.,
         "4",
         "",
         "2 4"},
        {{"--num_train_epochs", "2", "--save_strategy", "epoch", "--logging_steps", "6"},
         6,
         2,
         "6",
         "",
         "3 6"},
        {{"--max_steps", "5", "--evaluation_strategy", "steps", "--eval_steps", "2",
          "--logging_steps", "5", "--save_strategy", "no"},
         5,
         5 / 3.,
         "5",
         "2 4",
         ""},
        {{"--max_steps", "6", "--evaluation_strategy", "epoch", "--logging_steps", "6",
          "--save_strategy", "no"},
         6,
         2,
         "6",
         "3 6",
         ""},
        {{"--max_steps", "5", "--load_best_model_at_end", "--eval_steps", "2", "--logging_steps",
          "5", "--save_strategy", "no", "--learning_rate", "0", "--ppt_learning_rate", "0"},
         5,
         5 / 3.,
         "5",
         "2 4 5",
         "2"},
        {{"--per_device_train_batch_size", "5", "--num_train_epochs", "1", "--logging_steps", "9"},
         5,
         1,
         "5",
         "",
         ""},
        {{"--per_device_train_batch_size", "5", "--num_train_epochs", "2", "--logging_steps", "4",
          "--dataloader_drop_last"},
         8,
         2,
         "4 8",
         "",
         ""},
        {{"--per_device_train_batch_size", "5", "--num_train_epochs", "1", "--logging_steps", "1",
          "--gradient_accumulation_steps", "2"},
         3,
         1,
         "1 2 3",
         "",
         ""},
        {{"--num_train_epochs", "0"}, 0, 0, "", "", ""},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        const char *const *a = cases[i].args;
        MUST(dir_remove(at("out"), err));
        toy_run r = toy_run_ok(
            "model", at("out"),
            ARGS(a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7], a[8], a[9], a[10], a[11], a[12]));
        assert_int_equal(r.result.steps, cases[i].steps);
        assert_near("epoch", r.result.epoch, cases[i].epoch, 1e-9);
        cJSON *state = read_json(at("out"), "trainer_state.json");
        assert_string_equal(logged_steps(state, "loss"), cases[i].logs);
        assert_string_equal(logged_steps(state, "eval_accuracy"), cases[i].evals);
        assert_string_equal(list_dir(at("out"), "checkpoint-"), cases[i].saves);
        assert_near("global_step", number_of(state, "global_step"), (double)cases[i].steps, 0);
        json_destroy(state);
        toy_close(&r);
    }
}

/* The logged rate is the schedule's after the step, as Trainer's. */
static void logged_rates_follow_the_schedule(void **unused) {
    static const double WANT[] = {5e-4, 1e-3, 7.5e-4, 5e-4, 2.5e-4, 0};
    toy_run r = toy_run_ok("model", at("out"),
                           ARGS("--max_steps", "6", "--logging_steps", "1", "--warmup_steps", "2",
                                "--learning_rate", "1e-3", "--save_strategy", "no"));
    cJSON *state = read_json(at("out"), "trainer_state.json");
    for (int i = 0; i < 6; i++)
        assert_near("rate",
                    number_of(cJSON_GetArrayItem(cJSON_GetObjectItem(state, "log_history"), i),
                              "learning_rate"),
                    WANT[i], 1e-12);
    json_destroy(state);
    toy_close(&r);
    r = toy_run_ok("model", at("out"),
                   ARGS("--max_steps", "6", "--logging_steps", "1", "--warmup_ratio", "0.3",
                        "--learning_rate", "1e-3", "--save_strategy", "no"));
    state = read_json(at("out"), "trainer_state.json"); /* ceil(0.3 * 6) = 2 */
    assert_near("rate",
                number_of(cJSON_GetArrayItem(cJSON_GetObjectItem(state, "log_history"), 0),
                          "learning_rate"),
                5e-4, 1e-12);
    json_destroy(state);
    toy_close(&r);
}

static void state_has_hugging_faces_keys(void **unused) {
    static const char *const NUMBERS[] = {"epoch",         "eval_steps", "global_step",
                                          "max_steps",     "save_steps", "num_train_epochs",
                                          "logging_steps", "total_flos", "train_batch_size"};
    static const char *const OTHERS[] = {
        "best_metric", "best_model_checkpoint", "is_hyper_param_search", "is_local_process_zero",
        "log_history", "is_world_process_zero", "stateful_callbacks",    "trial_name",
        "trial_params"};
    toy_run r = toy_run_ok("model", at("out"),
                           ARGS("--max_steps", "3", "--logging_steps", "1", "--eval_steps", "2",
                                "--do_train", "--do_eval", "--save_strategy", "no"));
    cJSON *state = read_json(at("out"), "trainer_state.json");
    const char *last = "";
    for (const cJSON *item = state->child; item; item = item->next) {
        assert_true(strcmp(last, item->string) < 0); /* sorted */
        last = item->string;
    }
    for (size_t i = 0; i < COUNT(NUMBERS); i++) number_of(state, NUMBERS[i]);
    for (size_t i = 0; i < COUNT(OTHERS); i++)
        assert_non_null(cJSON_GetObjectItemCaseSensitive(state, OTHERS[i]));
    assert_near("num_train_epochs", number_of(state, "num_train_epochs"), 1, 0);
    const cJSON *eval = cJSON_GetArrayItem(cJSON_GetObjectItem(state, "log_history"), 2);
    static const char *const EVAL[] = {"eval_accuracy",
                                       "eval_loss",
                                       "eval_macro_f1",
                                       "eval_runtime",
                                       "eval_samples_per_second",
                                       "eval_steps_per_second",
                                       "step"};
    for (size_t i = 0; i < COUNT(EVAL); i++) number_of(eval, EVAL[i]);
    size_t n;
    char *text = get_file(at("out/trainer_state.json"), &n);
    assert_true(n > 2 && text[n - 1] == '\n' && strncmp(text, "{\n  \"", 5) == 0);
    mem_free(text);
    assert_int_equal(strncmp(list_dir(at("out/runs"), "events.out.tf"), "events", 6), 0);
    json_destroy(state);
    toy_close(&r);
}

static void checkpoints_are_whole(void **unused) {
    toy_run r = toy_run_ok(
        "model", at("out"),
        ARGS(SIX_STEPS, "--save_strategy", "steps", "--save_steps", "6", "--logging_steps", "3"));
    assert_string_equal(
        list_dir(at("out/checkpoint-6"), ""),
        "classifier.json config.json model.safetensors optimizer.safetensors "
        "prompt.safetensors resume_state.json special_tokens_map.json "
        "template_config.json tokenizer_config.json trainer_state.json training_args.json "
        "verbalizer_config.json vocab.txt");
    classifier *c = open_ok(at("out/checkpoint-6"));
    float *want = predict(&r.session, r.c, &r.dev, 4), *got = predict(&r.session, c, &r.dev, 4);
    assert_memory_equal(got, want, 24 * sizeof *got);
    mem_free(want);
    mem_free(got);
    /* moments of every trained parameter */
    ckpt *moments = NULL;
    MUST(ckpt_open(at("out/checkpoint-6/optimizer.safetensors"), &moments, err));
    static const char *const NAMES[] = {
        "m.verbalizer.weight", "v.verbalizer.weight", "m.bert.embeddings.word_embeddings.weight",
        "v.bert.embeddings.LayerNorm.bias", "seen.bert.embeddings.word_embeddings.weight"};
    for (size_t i = 0; i < COUNT(NAMES); i++) assert_non_null(ckpt_find(moments, NAMES[i]));
    assert_null(ckpt_find(moments, "m.cls.predictions.bias")); /* a soft verbalizer needs it not */
    const ckpt_tensor *first = ckpt_find(moments, NAMES[0]), *second = ckpt_find(moments, NAMES[1]);
    bool falls = false;
    for (int64_t i = 0; i < first->count; i++) {
        falls = falls || ((const float *)first->data)[i] < 0;
        assert_true(((const float *)second->data)[i] > 0); /* squares */
    }
    assert_true(falls && first->count == 32);
    const ckpt_tensor *seen = ckpt_find(moments, NAMES[4]);
    int32_t great = tokenizer_token_to_id(classifier_tokenizer(c), "great", 5),
            car = tokenizer_token_to_id(classifier_tokenizer(c), "车", 3);
    assert_true(((const uint8_t *)seen->data)[great] != 0);
    assert_true(((const uint8_t *)seen->data)[car] == 0);
    ckpt_close(moments);
    classifier_destroy(c);
    cJSON *args = read_json(at("out/checkpoint-6"), "training_args.json");
    assert_near("max_steps", number_of(args, "max_steps"), 6, 0);
    json_destroy(args);
    toy_close(&r);
}

static void old_checkpoints_are_pruned(void **unused) {
    /* at a rate of 0 the first evaluation is the best one and is kept */
    static const struct {
        const char *const args[4];
        const char *left;
    } cases[] = {
        {{"--save_total_limit", "2"}, "4 6"},
        {{"--save_total_limit", "1"}, "6"},
        {{"--save_total_limit", "9"}, "2 4 6"},
        {{"--save_total_limit", "1", "--load_best_model_at_end", "true"}, "2 6"},
        {{"--save_total_limit", "2", "--load_best_model_at_end", "true"}, "2 6"},
        {{"--save_total_limit", "3", "--load_best_model_at_end", "true"}, "2 4 6"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        const char *const *a = cases[i].args;
        MUST(dir_remove(at("out"), err));
        toy_run r =
            toy_open("model", at("out"),
                     ARGS("--learning_rate", "0", "--ppt_learning_rate", "0", "--max_steps", "6",
                          "--save_steps", "2", "--eval_steps", "2", a[0], a[1], a[2], a[3]));
        MUST(dir_create(at("out/checkpoint-1.tmp"), err)); /* of a run that was killed */
        MUST(dir_create(at("out/checkpoint-x"), err));     /* somebody's own */
        MUST(dir_create(at("out/checkpoint-90"), err));    /* of an earlier, longer run */
        MUST(toy_train(&r, err));
        char left[100];
        snprintf(left, sizeof left, "%s 90 x", cases[i].left);
        assert_string_equal(list_dir(at("out"), "checkpoint-"), left);
        toy_close(&r);
    }
}

/* ---- the best ---- */

/* The dev set is the training set with its labels turned round: what is learnt makes it worse. */
static void the_best_evaluation_is_loaded(void **unused) {
    static const char *const METRICS[] = {"loss", "accuracy", "macro_f1", "eval_accuracy"};
    for (size_t i = 0; i < COUNT(METRICS); i++) {
        MUST(dir_remove(at("out"), err));
        toy_run r =
            toy_open("model", at("out"),
                     ARGS(FAST, "--max_steps", "32", "--eval_steps", "2", "--save_strategy", "no",
                          "--load_best_model_at_end", "--metric_for_best_model", METRICS[i]));
        for (int64_t k = 0; k < r.dev.n; k++) r.dev.examples[k].label = 1 - r.dev.examples[k].label;
        MUST(toy_train(&r, err));
        cJSON *state = read_json(at("out"), "trainer_state.json");
        double best = -INFINITY, last = 0, sign = i == 0 ? -1 : 1;
        const char *name = i == 3 ? "accuracy" : METRICS[i];
        char key[40];
        int best_step = 0;
        snprintf(key, sizeof key, "eval_%s", name);
        const cJSON *entry;
        cJSON_ArrayForEach(entry, cJSON_GetObjectItem(state, "log_history")) {
            if (!cJSON_GetObjectItem(entry, key)) continue;
            last = sign * number_of(entry, key);
            if (last > best) {
                best = last;
                best_step = cJSON_GetObjectItem(entry, "step")->valueint;
            }
        }
        assert_true(best > last + 0.1);
        assert_near("best_metric", number_of(state, "best_metric"), sign * best, 1e-12);
        char checkpoint[32];
        snprintf(checkpoint, sizeof checkpoint, "checkpoint-%d", best_step);
        assert_string_equal(path_base(r.result.best_checkpoint), checkpoint);
        assert_string_equal(list_dir(at("out"), "checkpoint-"), checkpoint + 11);
        metrics m = evaluate(&r, &r.dev);
        double value = NAN;
        assert_true(metrics_get(&m, name, &value));
        assert_near("metric of what was loaded", value, sign * best, 1e-6);
        metrics_deinit(&m);
        json_destroy(state);
        toy_close(&r);
    }
}

static void early_stopping_stops(void **unused) {
    static const struct {
        const char *const args[6];
        int64_t steps;
        bool stopped;
    } cases[] = {
        /* nothing changes: the first evaluation is the best, then the patience runs out */
        {{"--learning_rate", "0", "--ppt_learning_rate", "0"}, 2 * (1 + 4), true},
        {{"--learning_rate", "0", "--ppt_learning_rate", "0", "--early_stopping_patience", "2"},
         2 * (1 + 2),
         true},
        /* the loss falls all the time, but not by a million */
        {{"--metric_for_best_model", "loss"}, 16, false},
        {{"--metric_for_best_model", "loss", "--early_stopping_threshold", "1e6"}, 10, true},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        const char *const *a = cases[i].args;
        toy_run r = toy_run_ok("model", at("out"),
                               ARGS("--learning_rate", "1e-3", "--ppt_learning_rate", "1e-3",
                                    "--max_steps", "16", "--early_stop", "--eval_steps", "2",
                                    "--save_strategy", "no", a[0], a[1], a[2], a[3], a[4], a[5]));
        assert_int_equal(r.result.steps, cases[i].steps);
        assert_int_equal(r.result.stopped_early, cases[i].stopped);
        assert_non_null(r.result.best_checkpoint);
        toy_close(&r);
    }
}

/* ---- ends before the end ---- */

static int stop_after(void *user) {
    int *left = user;
    return (*left)-- <= 0;
}

static void interruption_leaves_a_checkpoint(void **unused) {
    for (int after = 0; after < 4; after++) {
        MUST(dir_remove(at("out"), err));
        toy_run r = toy_open("model", at("out"),
                             ARGS(SIX_STEPS, "--eval_steps", "2", "--do_train", "--do_eval"));
        int left = after;
        r.callbacks = (cloze_callbacks){.user = &left, .interrupted = stop_after};
        MUST_FAIL(CLOZE_ERR_INTERRUPTED, "checkpoint-", toy_train(&r, err));
        const char *step = list_dir(at("out"), "checkpoint-");
        char path[64];
        snprintf(path, sizeof path, "out/checkpoint-%s", step);
        classifier *c = open_ok(at(path)); /* exactly one, and it is complete */
        float *want = predict(&r.session, r.c, &r.dev, 4), *got = predict(&r.session, c, &r.dev, 4);
        assert_memory_equal(got, want, 24 * sizeof *got);
        cJSON *state = read_json(at(path), "trainer_state.json");
        assert_near("global_step", number_of(state, "global_step"), strtod(step, NULL), 0);
        json_destroy(state);
        mem_free(want);
        mem_free(got);
        classifier_destroy(c);
        toy_close(&r);
    }
}

static void diverging_names_the_step(void **unused) {
    static const char *const CLIPPING[] = {"1", "0"};
    for (size_t i = 0; i < COUNT(CLIPPING); i++) {
        toy_run r = toy_open("model", at("out"), ARGS(SIX_STEPS, "--max_grad_norm", CLIPPING[i]));
        r.o.learning_rate = 1e10;
        MUST_FAIL(CLOZE_ERR_NONFINITE, "at step ", toy_train(&r, err));
        assert_in_range(r.result.steps, 1, 5);
        toy_close(&r);
    }
}

/* However few checkpoints are kept, one stays from which the loss was a number. */
static void the_last_good_checkpoint_stays(void **unused) {
    toy_run r = toy_run_ok("model", at("out"), ARGS(FAST, "--max_steps", "2", "--save_steps", "2"));
    toy_close(&r);
    r = toy_open("model", at("out"),
                 ARGS(FAST, "--max_steps", "40", "--save_steps", "1", "--save_total_limit", "1",
                      "--max_grad_norm", "0", "--resume_from_checkpoint", "last"));
    r.o.learning_rate = 1e10;
    classifier_destroy(r.c);
    r.c = open_ok(at("out/checkpoint-2"));
    trainer_data data = {.train = &r.train, .dev = &r.dev, .resume = at("out/checkpoint-2")};
    MUST_FAIL(CLOZE_ERR_NONFINITE, "is whole and good",
              trainer_run(&r.c, &r.session, &r.o, &data, &r.callbacks, &r.result, err));
    classifier *c = open_ok(at("out/checkpoint-2"));
    float *logits = predict(&r.session, c, &r.dev, 4);
    for (int64_t i = 0; i < r.dev.n * r.labels.n; i++) assert_true(isfinite(logits[i]));
    mem_free(logits);
    classifier_destroy(c);
    toy_close(&r);
    r = toy_open("model", at("other"), ARGS(SIX_STEPS));
    r.o.learning_rate = 1e10;
    MUST_FAIL(CLOZE_ERR_NONFINITE, "no good checkpoint was written before", toy_train(&r, err));
    assert_string_equal(list_dir(at("other"), "checkpoint-"), "");
    toy_close(&r);
}

static void unwritable_places_are_named(void **unused) {
    put_file(at("file"), "x");
    toy_run r = toy_open("model", at("file"), ARGS(SIX_STEPS));
    MUST_FAIL(CLOZE_ERR_IO, at("file"), toy_train(&r, err));
    toy_close(&r);
    r = toy_open("model", at("file/below"), ARGS(SIX_STEPS));
    MUST_FAIL(CLOZE_ERR_IO, at("file"), toy_train(&r, err));
    toy_close(&r);
}

/* A checkpoint of an earlier run is replaced as a whole. */
static void earlier_checkpoints_are_replaced(void **unused) {
    MUST(dir_create(at("out/checkpoint-3"), err));
    put_file(at("out/checkpoint-3/junk"), "x");
    toy_run r = toy_run_ok("model", at("out"),
                           ARGS(SIX_STEPS, "--save_strategy", "steps", "--save_steps", "3"));
    toy_close(&r);
    classifier_destroy(open_ok(at("out/checkpoint-3")));
    assert_false(file_exists(at("out/checkpoint-3/junk")));
    assert_string_equal(list_dir(at("out"), "checkpoint-"), "3 6");
}

static void too_few_examples_for_a_batch(void **unused) {
    toy_run r =
        toy_open("model", at("out"),
                 ARGS(SIX_STEPS, "--per_device_train_batch_size", "25", "--dataloader_drop_last"));
    MUST_FAIL(CLOZE_ERR_DATA, "24 training examples make no batch of 25", toy_train(&r, err));
    toy_close(&r);
}

/* ---- memory ---- */

typedef struct memory_case {
    toy_run run;
    classifier_options options;
} memory_case;

static cloze_status train_once(void *ctx, cloze_error *err) {
    memory_case *m = ctx;
    classifier *c = NULL;
    trainer_result result = {0};
    trainer_data data = {.train = &m->run.train, .dev = &m->run.dev};
    cloze_status status = classifier_create(at("model"), &m->options, &m->run.labels, &c, err);
    if (status == CLOZE_OK)
        status = trainer_run(&c, &m->run.session, &m->run.o, &data, NULL, &result, err);
    mem_free(result.best_checkpoint);
    classifier_destroy(c);
    return status;
}

static void want_of_memory_is_survived(void **unused) {
    memory_case m = {
        .run = toy_open("model", at("out"),
                        ARGS("--max_steps", "2", "--eval_steps", "1", "--load_best_model_at_end",
                             "--save_steps", "1", "--save_total_limit", "1", "--logging_steps", "1",
                             "--per_device_train_batch_size", "4", "--gradient_accumulation_steps",
                             "2")),
        .options = {.prompt = "是", .do_lower_case = -1}};
    m.run.train.n = 8; /* enough */
    m.run.dev.n = 4;
    assert_true(fail_each_allocation(train_once, &m, 3) > 50);
    toy_close(&m.run);
}

/* After the first pass over the data, whose batches have all shapes there are, a step allocates
 * nothing; a new pass allocates its plan. */
static void steps_allocate_nothing(void **state) {
    static const char *const precisions[] = {"--disable_tqdm", "--bf16"};
    for (size_t i = 0; i < COUNT(precisions); i++) {
        toy_run r = toy_open("dropout", at("out"),
                             ARGS("--max_steps", "24", "--per_device_train_batch_size", "4",
                                  "--save_strategy", "no", "--logging_steps", "1000",
                                  precisions[i]));
        r.callbacks.interrupted = note_allocations;
        step_allocations.n = 0;
        MUST(toy_train(&r, err));
        assert_true(step_allocations.n >= 20);
        int free_steps = 0; /* of the last three passes of six steps */
        for (int k = step_allocations.n - 17; k < step_allocations.n; k++)
            free_steps += step_allocations.at[k] == step_allocations.at[k - 1];
        if (free_steps < 14) fail_msg("%d of 17 steps allocate", 17 - free_steps);
        toy_close(&r);
        MUST(dir_remove(at("out"), err));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        MODEL_TEST(every_method_learns),
        MODEL_TEST(accumulation_equals_a_larger_batch),
        MODEL_TEST(checkpointing_changes_no_bit),
        MODEL_TEST(the_seed_decides_everything),
        MODEL_TEST(dropout_settings_are_heeded),
        MODEL_TEST(bf16_is_near_f32),
        MODEL_TEST(a_frozen_model_stays_as_it_was),
        MODEL_TEST(groups_have_their_own_rates),
        MODEL_TEST(clipping_makes_gradients_smaller),
        MODEL_TEST(schedules_of_logs_evaluations_and_checkpoints),
        MODEL_TEST(logged_rates_follow_the_schedule),
        MODEL_TEST(state_has_hugging_faces_keys),
        MODEL_TEST(checkpoints_are_whole),
        MODEL_TEST(old_checkpoints_are_pruned),
        MODEL_TEST(the_best_evaluation_is_loaded),
        MODEL_TEST(early_stopping_stops),
        MODEL_TEST(interruption_leaves_a_checkpoint),
        MODEL_TEST(diverging_names_the_step),
        MODEL_TEST(the_last_good_checkpoint_stays),
        MODEL_TEST(unwritable_places_are_named),
        MODEL_TEST(earlier_checkpoints_are_replaced),
        MODEL_TEST(too_few_examples_for_a_batch),
        MODEL_TEST(want_of_memory_is_survived),
        MODEL_TEST(steps_allocate_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
