/*
 * convert, and PaddleNLP's few-shot run directories: they predict what PaddleNLP predicted
 * (tools/export_paddle_golden.py), a converted run predicts to the byte what its source does, round
 * trips end in the same file, and nothing half written stays.
 */
#include "api_support.h"

#include <math.h>

#include "ckpt/checkpoint_write.h"
#include "ckpt/paddle_names.h"

#define FIXTURES TESTS_DIR "/golden/"

static const char *const FORMATS[] = {"safetensors", "torch", "paddle"};

static void convert(const char *from, const char *to, const char *format, const char *dtype) {
    arg_list list;
    char *result = NULL;
    MUST(cloze_convert(args(&list, "--model", from, "--output_dir", to, "--format", format,
                            "--dtype", dtype, NULL),
                       NULL, &result, err));
    cJSON *json = parse_json(result);
    assert_string_equal(cJSON_GetObjectItem(json, "format")->valuestring, format);
    assert_true(cJSON_GetObjectItem(json, "tensors")->valueint > 0);
    cJSON_Delete(json);
    cloze_free(result);
}

static void refuse(cloze_status code, const char *fragment, const char *from, const char *to,
                   const char *dtype) {
    arg_list list;
    MUST_FAIL(code, fragment,
              cloze_convert(args(&list, "--model", from, "--output_dir", to, "--dtype", dtype, NULL),
                            NULL, NULL, err));
}

/* The output of predict on a file. */
static void predict(recorder *r, const char *run, const char *file, const char *max_seq_length) {
    arg_list list;
    recorder_init(r);
    cloze_callbacks callbacks = recording(r);
    MUST(cloze_predict(args(&list, "--model", run, "--input", file, "--max_seq_length",
                            max_seq_length, "--json", NULL),
                       &callbacks, record_write, r, err));
    assert_true(buf_ok(&r->out));
}

/* ---- PaddleNLP's runs ---- */

static const char *const RUNS[] = {"run", "run_first", "run_first_two_masks"};

static cJSON *read_predictions(const char *run) {
    char path[512];
    cJSON *json = NULL;
    snprintf(path, sizeof path, FIXTURES "paddle/%s/predictions.json", run);
    MUST(json_parse_file(path, 1 << 20, CLOZE_ERR_MODEL, &json, err));
    return json;
}

/* The fixture's texts as JSON lines in a file of the test's directory. */
static const char *put_texts(const cJSON *predictions) {
    buf b;
    buf_init(&b, 1 << 20);
    const cJSON *a = cJSON_GetObjectItem(predictions, "texts")->child;
    const cJSON *second = cJSON_GetObjectItem(predictions, "texts_b")->child;
    for (; a; a = a->next, second = second->next) {
        buf_puts(&b, "{\"text_a\": ");
        buf_json_string(&b, a->valuestring, strlen(a->valuestring));
        buf_puts(&b, ", \"text_b\": ");
        buf_json_string(&b, second->valuestring, strlen(second->valuestring));
        buf_puts(&b, "}\n");
    }
    put_file(at("texts.jsonl"), b.data);
    buf_deinit(&b);
    return at("texts.jsonl");
}

static void check_probabilities(const char *run, const cJSON *want, const char *line) {
    cJSON *got = parse_json(line);
    const cJSON *probability = cJSON_GetObjectItem(got, "probabilities")->child;
    for (const cJSON *w = want->child; w; w = w->next, probability = probability->next) {
        assert_non_null(probability);
        if (!(fabs(probability->valuedouble - w->valuedouble) <= 2e-6))
            fail_msg("%s: %s is %.9g, PaddleNLP says %.9g", run, probability->string,
                     probability->valuedouble, w->valuedouble);
    }
    cJSON_Delete(got);
}

static void paddles_runs_predict_as_paddle_does(void **state) {
    for (size_t i = 0; i < COUNT(RUNS); i++) {
        char dir[512], length[16];
        recorder r;
        cJSON *json = read_predictions(RUNS[i]);
        snprintf(dir, sizeof dir, FIXTURES "paddle/%s", RUNS[i]);
        snprintf(length, sizeof length, "%d",
                 cJSON_GetObjectItem(json, "max_seq_length")->valueint);
        predict(&r, dir, put_texts(json), length);
        char *line = r.out.data;
        const cJSON *rows = cJSON_GetObjectItem(json, "probabilities");
        for (const cJSON *row = rows->child; row; row = row->next) {
            char *end = strchr(line, '\n');
            assert_non_null(end);
            *end = 0;
            check_probabilities(RUNS[i], row, line);
            line = end + 1;
        }
        recorder_deinit(&r);
        cJSON_Delete(json);
    }
}

static void copy_file(const char *from, const char *to) {
    char *data;
    size_t n;
    MUST(file_read(from, 1 << 20, CLOZE_ERR_DATA, &data, &n, err));
    MUST(file_write_atomic(to, data, n, err));
    mem_free(data);
}

/* dir of the test with some of a fixture run's files. */
static void copy_run(const char *run, const char *dir, const char *const *names, size_t n) {
    MUST(dir_create(dir, err));
    for (size_t i = 0; i < n; i++) {
        char from[512], to[512];
        snprintf(from, sizeof from, FIXTURES "paddle/%s/%s", run, names[i]);
        snprintf(to, sizeof to, "%s/%s", dir, names[i]);
        copy_file(from, to);
    }
}

/* As PaddleNLP leaves it: without a configuration. */
static void a_run_without_a_configuration(void **state) {
    static const char *const NAMES[] = {"model_state.pdparams", "template_config.json",
                                        "verbalizer_config.json", "vocab.txt",
                                        "tokenizer_config.json"};
    arg_list list;
    recorder r;
    copy_run("run", at("bare"), NAMES, COUNT(NAMES));
    put_file(at("one.txt"), "国足晚间抵达多哈\n");
    recorder_init(&r);
    MUST_FAIL(CLOZE_ERR_MODEL, "--base_model",
              cloze_predict(args(&list, "--model", at("bare"), "--input", at("one.txt"),
                                 "--base_model", "nowhere", NULL),
                            NULL, record_write, &r, err));
    MUST(cloze_predict(args(&list, "--model", at("bare"), "--input", at("one.txt"), "--base_model",
                            FIXTURES "paddle/run", NULL),
                       NULL, record_write, &r, err));
    assert_true(r.out.len > 0);
    recorder_deinit(&r);
    /* plm/, which --save_plm leaves, comes before the base model */
    copy_run("run", at("bare/plm"), (const char *const[]){"config.json"}, 1);
    recorder_init(&r);
    MUST(cloze_predict(args(&list, "--model", at("bare"), "--input", at("one.txt"), "--base_model",
                            "nowhere", NULL),
                       NULL, record_write, &r, err));
    recorder_deinit(&r);
}

static void inspect_tells_what_they_hold(void **state) {
    for (size_t i = 0; i < COUNT(RUNS); i++) {
        char dir[512];
        arg_list list;
        recorder r;
        snprintf(dir, sizeof dir, FIXTURES "paddle/%s", RUNS[i]);
        recorder_init(&r);
        MUST(cloze_inspect(args(&list, "--model", dir, "--json", NULL), NULL, record_write, &r,
                           err));
        cJSON *json = parse_json(r.out.data);
        assert_string_equal(cJSON_GetObjectItem(json, "kind")->valuestring, "run");
        assert_non_null(strstr(r.out.data, "体育"));
        assert_non_null(strstr(r.out.data, "text_a"));
        cJSON_Delete(json);
        recorder_deinit(&r);
    }
}

static void soft_parts_are_refused(void **state) {
    static const char *const NAMES[] = {"model_state.pdparams", "verbalizer_config.json",
                                        "vocab.txt", "config.json"};
    arg_list list;
    copy_run("run", at("soft"), NAMES, COUNT(NAMES));
    put_file(at("one.txt"), "国足\n");
    put_file(at("soft/template_config.json"),
             "[{\"soft\": \"主题\"}, {\"text\": \"text_a\"}, {\"mask\": null}]\n"
             "{\"class\": \"SoftTemplate\"}\n");
    MUST_FAIL(CLOZE_ERR_MODEL, "soft parts",
              cloze_predict(args(&list, "--model", at("soft"), "--input", at("one.txt"), NULL),
                            NULL, NULL, NULL, err));
}

/* ---- converting ---- */

static void converted_runs_predict_the_same(void **state) {
    char first[512];
    snprintf(first, sizeof first, FIXTURES "paddle/%s", "run_first_two_masks");
    const char *const sources[] = {PROMPT_RUN, FINETUNE_RUN, FIXTURES "paddle/run", first};
    put_file(at("lines.txt"), "今天股市大涨\n球队赢得冠军\n国足晚间抵达多哈\n");
    for (size_t i = 0; i < COUNT(sources); i++) {
        recorder want, got;
        predict(&want, sources[i], at("lines.txt"), "24");
        for (size_t k = 0; k < COUNT(FORMATS); k++) {
            char out[512];
            snprintf(out, sizeof out, "%s/converted-%zu-%zu", test_dir, i, k);
            convert(sources[i], out, FORMATS[k], "as_stored");
            predict(&got, out, at("lines.txt"), "24");
            assert_string_equal(got.out.data, want.out.data);
            recorder_deinit(&got);
        }
        recorder_deinit(&want);
    }
}

static void check_same_file(const char *a, const char *b) {
    size_t n, m;
    char *left = get_file(a, &n), *right = get_file(b, &m);
    if (n != m || memcmp(left, right, n) != 0) fail_msg("%s and %s differ", a, b);
    mem_free(left);
    mem_free(right);
}

/* Every way round ends in the same file of weights. */
static void round_trips_end_in_the_same_bytes(void **state) {
    static const char *const SOURCES[] = {
        FIXTURES "paddle/ernie_masked_lm", FIXTURES "paddle/ernie_bfloat16",
        FIXTURES "paddle/roberta_masked_lm_old", FIXTURES "paddle/bert_untied",
        FIXTURES "paddle/roberta_sequence_classification", FIXTURES "fixtures/dialects/torch_bin_legacy",
        FIXTURES "fixtures/dialects/gamma_beta", FIXTURES "fixtures/dialects/wrapped",
        FIXTURES "fixtures/dialects/pretraining_extras"};
    for (size_t i = 0; i < COUNT(SOURCES); i++) {
        convert(SOURCES[i], at("a"), "safetensors", "as_stored");
        convert(at("a"), at("b"), "paddle", "as_stored");
        convert(at("b"), at("c"), "torch", "as_stored");
        convert(at("c"), at("d"), "safetensors", "as_stored");
        check_same_file(at("a/model.safetensors"), at("d/model.safetensors"));
        convert(at("d"), at("e"), "paddle", "as_stored");
        check_same_file(at("b/model_state.pdparams"), at("e/model_state.pdparams"));
        for (const char *p = "abcde"; *p; p++) {
            char name[2] = {*p, 0};
            MUST(dir_remove(at(name), err));
        }
    }
}

static void names_become_plain(void **state) {
    ckpt *c;
    convert(FIXTURES "fixtures/dialects/gamma_beta", at("plain"), "safetensors", "float16");
    MUST(ckpt_open(at("plain"), &c, err));
    const ckpt_tensor *t = ckpt_find(c, "bert.embeddings.LayerNorm.weight");
    assert_non_null(t);
    assert_int_equal(t->dtype, DTYPE_F16);
    ckpt_close(c);
    convert(FIXTURES "fixtures/dialects/wrapped", at("unwrapped"), "paddle", "as_stored");
    MUST(ckpt_open(at("unwrapped"), &c, err));
    assert_non_null(ckpt_find(c, "roberta.encoder.layers.0.self_attn.q_proj.weight"));
    assert_non_null(ckpt_find(c, "lm_head.decoder.weight")); /* as PaddleNLP stores it */
    ckpt_close(c);
}

static void wrong_places_and_numbers_are_refused(void **state) {
    static const float large[2] = {1.0f, 1e6f};
    const ckpt_item item = {.name = "bert.embeddings.LayerNorm.weight", .dtype = DTYPE_F32,
                            .rank = 1, .shape = {2}, .data = large};
    refuse(CLOZE_ERR_USAGE, "itself", MODEL_DIR, MODEL_DIR, "as_stored");
    refuse(CLOZE_ERR_USAGE, "not empty", MODEL_DIR, DATA_DIR, "as_stored");
    refuse(CLOZE_ERR_USAGE, "is a file", MODEL_DIR, at("data/train.txt"), "as_stored");
    refuse(CLOZE_ERR_MODEL, "no-such-model", "no-such-model", at("new"), "as_stored");
    arg_list list;
    MUST_FAIL(CLOZE_ERR_USAGE, "--output_dir",
              cloze_convert(args(&list, "--model", MODEL_DIR, NULL), NULL, NULL, err));
    MUST_FAIL(CLOZE_ERR_USAGE, "--model",
              cloze_convert(args(&list, "--output_dir", at("new"), NULL), NULL, NULL, err));
    MUST(dir_create(at("large"), err));
    put_file(at("large/config.json"), "{\"model_type\": \"bert\"}");
    MUST(safetensors_write(at("large/model.safetensors"), &item, 1, NULL, 0, err));
    refuse(CLOZE_ERR_MODEL, "float16 cannot hold", at("large"), at("new"), "float16");
    assert_false(file_is_dir(at("new")));
    assert_false(file_is_dir(at("new.tmp")));
    convert(at("large"), at("new"), "safetensors", "bfloat16");
    assert_true(file_is_dir(at("new")));
}

/* A name that is cut would be another tensor's in the output, which reads back as itself. */
static void long_names_are_refused(void **state) {
    static const float one[1] = {1.0f};
    char name[400];
    memset(name, 'x', sizeof name - 1);
    name[sizeof name - 1] = 0;
    const ckpt_item item = {
        .name = name, .dtype = DTYPE_F32, .rank = 1, .shape = {1}, .data = one};
    MUST(dir_create(at("long"), err));
    put_file(at("long/config.json"), "{\"model_type\": \"bert\"}");
    MUST(safetensors_write(at("long/model.safetensors"), &item, 1, NULL, 0, err));
    refuse(CLOZE_ERR_MODEL, "has a name of more than 256 bytes", at("long"), at("short"),
           "as_stored");
    assert_false(file_is_dir(at("short")));
    assert_false(file_is_dir(at("short.tmp")));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(paddles_runs_predict_as_paddle_does),
        cmocka_unit_test(a_run_without_a_configuration),
        cmocka_unit_test(inspect_tells_what_they_hold),
        cmocka_unit_test(soft_parts_are_refused),
        cmocka_unit_test(converted_runs_predict_the_same),
        cmocka_unit_test(round_trips_end_in_the_same_bytes),
        cmocka_unit_test(names_become_plain),
        cmocka_unit_test(wrong_places_and_numbers_are_refused),
        cmocka_unit_test(long_names_are_refused),
    };
    return cmocka_run_group_tests(tests, api_setup, dir_teardown);
}
