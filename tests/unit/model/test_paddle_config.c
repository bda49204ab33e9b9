/* PaddleNLP's config.json and model_config.json, and what becomes of them. */
#include "unit/model/tiny_model.h"

#include "base/buf.h"
#include "model/paddle_config.h"

#define ENCODER "\"vocab_size\": 50, \"hidden_size\": 24, \"num_attention_heads\": 4"

static void old_files_are_flattened(void **unused) {
    model_config c = tiny_config(
        "{\"init_args\": [{" ENCODER ", \"type_vocab_size\": 4, \"init_class\": \"ErnieModel\"}, 7], "
        "\"num_classes\": 15, \"dropout\": 0.3, \"hidden_size\": 48, "
        "\"init_class\": \"ErnieForSequenceClassification\"}");
    assert_string_equal(c.model_type, "ernie");
    assert_int_equal(c.vocab_size, 50);
    assert_int_equal(c.hidden_size, 48); /* what stands further out wins */
    assert_int_equal(c.type_vocab_size, 4);
    assert_int_equal(c.num_labels, 15);
    assert_near("classifier_dropout", c.classifier_dropout, 0.3, 1e-12);
    assert_null(cJSON_GetObjectItemCaseSensitive(c.json, "init_class"));
    assert_string_equal(
        cJSON_GetArrayItem(cJSON_GetObjectItemCaseSensitive(c.json, "architectures"), 0)->valuestring,
        "ErnieForSequenceClassification");
    model_config_deinit(&c);
}

static void defaults_are_paddles(void **unused) {
    model_config c = tiny_config("{\"model_type\": \"ernie\", \"paddlenlp_version\": null, " ENCODER
                                 ", \"layer_norm_eps\": 1e-5, \"dropout\": null}");
    assert_int_equal(c.type_vocab_size, 16);
    assert_near("layer_norm_eps", c.layer_norm_eps, 1e-12, 0); /* PaddleNLP's ERNIE obeys no key */
    assert_true(c.classifier_dropout < 0);
    model_config_deinit(&c);
    c = tiny_config("{\"model_type\": \"bert\", \"paddlenlp_version\": \"2.8.1\", " ENCODER
                    ", \"layer_norm_eps\": 1e-5}");
    assert_near("layer_norm_eps", c.layer_norm_eps, 1e-5, 0);
    model_config_deinit(&c);
}

static void wrong_ones_are_refused(void **unused) {
    static const struct {
        const char *text, *fragment;
    } cases[] = {
        {"{\"init_class\": \"ErnieMModel\"}", "ErnieMModel"},
        {"{\"init_args\": []}", "init_class"},
        {"{\"init_class\": \"BertModel\", \"pool_act\": \"relu\"}", "pool_act"},
        {"{\"init_class\": \"ErnieModel\", \"task_id\": 2}", "task_id"},
        {"{\"init_class\": \"ErnieModel\", \"init_args\": [{\"vocab_size\": -1}]}", "vocab_size"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        model_config c = {0};
        MUST_FAIL(CLOZE_ERR_MODEL, cases[i].fragment,
                  model_config_parse(cases[i].text, strlen(cases[i].text), "c.json", &c, err));
    }
}

/* A file of very many arguments would take hours: each is looked for among the others. */
static void arguments_are_bounded(void **unused) {
    buf b;
    model_config c = {0};
    buf_init(&b, 1 << 20);
    buf_puts(&b, "{\"init_class\": \"BertModel\", \"init_args\": [{\"a\": 0");
    for (int i = 0; i < 1000; i++) buf_printf(&b, ", \"a%d\": 0", i);
    buf_puts(&b, "}]}");
    MUST_FAIL(CLOZE_ERR_MODEL, "c.json: \"init_args\" has more than 1000 arguments",
              model_config_parse(b.data, b.len, "c.json", &c, err));
    buf_deinit(&b);
}

/* To PaddleNLP and back: the same fields. */
static void there_and_back(void **unused) {
    model_config c = tiny_config("{\"model_type\": \"ernie\", " ENCODER
                                 ", \"torch_dtype\": \"float32\", \"use_task_id\": true}");
    MUST(paddle_config_from_hugging_face(c.json, "c.json", "float16", err));
    assert_true(paddle_config_is_one(c.json));
    assert_null(cJSON_GetObjectItemCaseSensitive(c.json, "torch_dtype"));
    assert_string_equal(cJSON_GetObjectItemCaseSensitive(c.json, "dtype")->valuestring, "float16");
    char *text = json_print(c.json);
    model_config back = tiny_config(text);
    assert_int_equal(back.type_vocab_size, c.type_vocab_size);
    assert_int_equal(back.vocab_size, c.vocab_size);
    assert_true(back.use_task_id);
    mem_free(text);
    model_config_deinit(&back);
    model_config_deinit(&c);
}

static void models_that_paddle_lacks_are_refused(void **unused) {
    model_config c = tiny_config("{\"model_type\": \"camembert\", " ENCODER "}");
    MUST_FAIL(CLOZE_ERR_MODEL, "camembert",
              paddle_config_from_hugging_face(c.json, "c.json", "float32", err));
    model_config_deinit(&c);
}

/* model_config.json is read where there is no config.json, and only there. */
static void the_newer_file_wins(void **unused) {
    model_config c;
    bool found = true;
    MUST(model_config_find(test_dir, &found, err));
    assert_false(found);
    put_file(at("model_config.json"), "{\"init_class\": \"BertModel\", " ENCODER "}");
    MUST(model_config_find(test_dir, &found, err));
    assert_true(found);
    MUST(model_config_read(test_dir, &c, err));
    assert_string_equal(c.model_type, "bert");
    model_config_deinit(&c);
    put_file(at("config.json"), "{\"model_type\": \"roberta\", " ENCODER "}");
    MUST(model_config_read(test_dir, &c, err));
    assert_string_equal(c.model_type, "roberta");
    model_config_deinit(&c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(old_files_are_flattened),
        cmocka_unit_test(defaults_are_paddles),
        cmocka_unit_test(wrong_ones_are_refused),
        cmocka_unit_test(arguments_are_bounded),
        cmocka_unit_test(there_and_back),
        cmocka_unit_test(models_that_paddle_lacks_are_refused),
        cmocka_unit_test_setup_teardown(the_newer_file_wins, dir_setup, dir_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
