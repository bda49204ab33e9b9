/* config.json: defaults, values, and what each wrong one is told. */
#include "unit/model/tiny_model.h"

static void defaults_are_berts(void **unused) {
    model_config c = tiny_config("{\"model_type\": \"bert\"}");
    const struct {
        const char *key;
        int64_t got, want;
    } sizes[] = {
        {"vocab_size", c.vocab_size, 30522},
        {"hidden_size", c.hidden_size, 768},
        {"num_hidden_layers", c.num_hidden_layers, 12},
        {"num_attention_heads", c.num_attention_heads, 12},
        {"intermediate_size", c.intermediate_size, 3072},
        {"max_position_embeddings", c.max_position_embeddings, 512},
        {"type_vocab_size", c.type_vocab_size, 2},
        {"pad_token_id", c.pad_token_id, 0},
        {"num_labels", c.num_labels, 2},
        {"hidden_act", c.hidden_act, ACT_GELU_ERF},
        {"use_task_id", c.use_task_id, 0},
    };
    for (size_t i = 0; i < COUNT(sizes); i++)
        assert_near(sizes[i].key, (double)sizes[i].got, (double)sizes[i].want, 0);
    assert_near("layer_norm_eps", c.layer_norm_eps, 1e-12, 0);
    assert_near("initializer_range", c.initializer_range, 0.02, 0);
    assert_near("hidden_dropout_prob", c.hidden_dropout_prob, 0.1, 0);
    assert_near("attention_probs_dropout_prob", c.attention_probs_dropout_prob, 0.1, 0);
    assert_true(c.classifier_dropout < 0);
    model_config_deinit(&c);
}

static void values_are_read(void **unused) {
    model_config c = tiny_config(
        "{\"model_type\": \"ernie\", \"vocab_size\": 50, \"use_task_id\": true, "
        "\"task_type_vocab_size\": 5, \"hidden_act\": \"relu\", \"layer_norm_eps\": 1e-5, "
        "\"classifier_dropout\": 0.25, \"pad_token_id\": null, \"max_position_embeddings\": 2048, "
        "\"id2label\": {\"0\": \"a\", \"1\": \"b\", \"2\": \"c\"}, \"type_vocab_size\": 4}");
    assert_string_equal(c.model_type, "ernie");
    assert_int_equal(c.vocab_size, 50);
    assert_true(c.use_task_id);
    assert_int_equal(c.task_type_vocab_size, 5);
    assert_int_equal(c.hidden_act, ACT_RELU);
    assert_int_equal(c.num_labels, 3);
    assert_int_equal(c.max_position_embeddings, 2048);
    assert_int_equal(c.type_vocab_size, 4);
    assert_int_equal(c.pad_token_id, 0);
    assert_near("layer_norm_eps", c.layer_norm_eps, 1e-5, 0);
    assert_near("classifier_dropout", c.classifier_dropout, 0.25, 0);
    model_config_deinit(&c);
}

static void activations_have_their_names(void **unused) {
    static const struct {
        const char *name;
        activation act;
    } cases[] = {
        {"gelu", ACT_GELU_ERF}, {"gelu_new", ACT_GELU_TANH}, {"gelu_pytorch_tanh", ACT_GELU_TANH},
        {"relu", ACT_RELU},     {"silu", ACT_SILU},          {"swish", ACT_SILU},
        {"tanh", ACT_TANH}};
    for (size_t i = 0; i < COUNT(cases); i++) {
        char text[100];
        snprintf(text, sizeof text, "{\"model_type\": \"bert\", \"hidden_act\": \"%s\"}",
                 cases[i].name);
        model_config c = tiny_config(text);
        assert_int_equal(c.hidden_act, cases[i].act);
        model_config_deinit(&c);
    }
}

static void every_known_type_is_found(void **unused) {
    static const struct {
        const char *type, *base;
        int64_t longest;
    } cases[] = {{"bert", "bert", 30},
                 {"ernie", "ernie", 30},
                 {"roberta", "roberta", 28},
                 {"camembert", "roberta", 28},
                 {"xlm-roberta", "roberta", 28}};
    for (size_t i = 0; i < COUNT(cases); i++) {
        char text[120];
        snprintf(text, sizeof text,
                 "{\"model_type\": \"%s\", \"max_position_embeddings\": 30, \"pad_token_id\": 1}",
                 cases[i].type);
        model_config c = tiny_config(text);
        assert_string_equal(c.def->base, cases[i].base);
        assert_int_equal(c.def->max_length(&c), cases[i].longest);
        model_config_deinit(&c);
    }
}

/* Each names the source and the key. */
static void wrong_values_name_source_and_key(void **unused) {
    static const struct {
        const char *fields, *fragment;
    } cases[] = {
        {"\"vocab_size\": 0", "\"vocab_size\""},
        {"\"vocab_size\": \"many\"", "\"vocab_size\""},
        {"\"vocab_size\": 1.5", "\"vocab_size\""},
        {"\"vocab_size\": 1e300", "\"vocab_size\""},
        {"\"hidden_size\": -1", "\"hidden_size\""},
        {"\"hidden_size\": 100", "hidden_size 100 is not a multiple of num_attention_heads 12"},
        {"\"num_attention_heads\": 0", "\"num_attention_heads\""},
        {"\"num_hidden_layers\": -1", "\"num_hidden_layers\""},
        {"\"num_hidden_layers\": 1e9", "\"num_hidden_layers\""},
        {"\"intermediate_size\": 0", "\"intermediate_size\""},
        {"\"max_position_embeddings\": 0", "\"max_position_embeddings\""},
        {"\"type_vocab_size\": -2", "\"type_vocab_size\""},
        {"\"task_type_vocab_size\": 0", "\"task_type_vocab_size\""},
        {"\"pad_token_id\": -1", "\"pad_token_id\""},
        {"\"num_labels\": 0", "\"num_labels\""},
        {"\"id2label\": {}", "id2label"},
        {"\"layer_norm_eps\": 0", "layer_norm_eps"},
        {"\"layer_norm_eps\": \"small\"", "\"layer_norm_eps\""},
        {"\"hidden_dropout_prob\": 1", "hidden_dropout_prob"},
        {"\"hidden_dropout_prob\": -0.1", "hidden_dropout_prob"},
        {"\"attention_probs_dropout_prob\": 1.5", "attention_probs_dropout_prob"},
        {"\"attention_probs_dropout_prob\": -1", "attention_probs_dropout_prob"},
        {"\"classifier_dropout\": 1", "classifier_dropout"},
        {"\"classifier_dropout\": -0.5", "classifier_dropout"},
        {"\"initializer_range\": -0.02", "initializer_range"},
        {"\"use_task_id\": 1", "\"use_task_id\""},
        {"\"position_embedding_type\": \"relative_key\"", "position_embedding_type"},
        {"\"is_decoder\": true", "is_decoder"},
        {"\"hidden_act\": \"mish\"", "hidden_act \"mish\""},
        {"\"hidden_act\": 3", "\"hidden_act\""},
        {"\"position_embedding_type\": \"relative_key\"", "position_embedding_type"},
        {"\"position_embedding_type\": 1", "\"position_embedding_type\""},
        {"\"is_decoder\": true", "is_decoder"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        char text[200];
        model_config c;
        snprintf(text, sizeof text, "{\"model_type\": \"bert\", %s}", cases[i].fields);
        MUST_FAIL(CLOZE_ERR_MODEL, cases[i].fragment,
                  model_config_parse(text, strlen(text), "dir/config.json", &c, err));
        MUST_FAIL(CLOZE_ERR_MODEL, "dir/config.json",
                  model_config_parse(text, strlen(text), "dir/config.json", &c, err));
    }
}

static void wrong_documents_are_refused(void **unused) {
    static const struct {
        const char *text, *fragment;
    } cases[] = {
        {"", "empty"},
        {"{", "not valid JSON"},
        {"[]", "model_type"},
        {"{}", "no \"model_type\""},
        {"{\"model_type\": 3}", "\"model_type\" must be a string"},
        {"{\"model_type\": \"gpt5\"}", "\"gpt5\" is not one that is known (bert, roberta, "},
        {"{\"model_type\": \"roberta\", \"max_position_embeddings\": 2, \"pad_token_id\": 1}",
         "max_position_embeddings"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        model_config c;
        MUST_FAIL(CLOZE_ERR_MODEL, cases[i].fragment,
                  model_config_parse(cases[i].text, strlen(cases[i].text), "here", &c, err));
        MUST_FAIL(CLOZE_ERR_MODEL, "here",
                  model_config_parse(cases[i].text, strlen(cases[i].text), "here", &c, err));
    }
}

static void missing_file_is_named(void **unused) {
    model_config c;
    MUST_FAIL(CLOZE_ERR_MODEL, at("config.json"), model_config_read(test_dir, &c, err));
    put_file(at("config.json"), "{\"model_type\": \"bert\", \"hidden_size\": 0}");
    MUST_FAIL(CLOZE_ERR_MODEL, at("config.json"), model_config_read(test_dir, &c, err));
    put_file(at("config.json"), TINY_BERT);
    MUST(model_config_read(test_dir, &c, err));
    assert_int_equal(c.hidden_size, 16);
    model_config_deinit(&c);
}

static void labels_are_set_both_ways(void **unused) {
    model_config c = tiny_config("{\"model_type\": \"bert\", \"id2label\": {\"0\": \"old\"}, "
                                 "\"num_labels\": 1, \"custom\": [1]}"),
                 copy;
    const char *const names[] = {"体育", "news \"x\"", "c"};
    MUST(model_config_copy(&c, &copy, err));
    MUST(model_config_set_labels(&c, names, 3, err));
    assert_int_equal(c.num_labels, 3);
    const cJSON *id2label = cJSON_GetObjectItem(c.json, "id2label"),
                *label2id = cJSON_GetObjectItem(c.json, "label2id");
    assert_string_equal(cJSON_GetObjectItem(id2label, "0")->valuestring, "体育");
    assert_string_equal(cJSON_GetObjectItem(id2label, "1")->valuestring, "news \"x\"");
    assert_int_equal(cJSON_GetObjectItemCaseSensitive(label2id, "c")->valueint, 2);
    assert_null(cJSON_GetObjectItem(c.json, "num_labels"));
    assert_non_null(cJSON_GetObjectItem(c.json, "custom"));
    MUST(model_config_set_labels(&c, NULL, 2, err));
    id2label = cJSON_GetObjectItem(c.json, "id2label");
    assert_int_equal(cJSON_GetArraySize(id2label), 2);
    assert_string_equal(cJSON_GetObjectItem(id2label, "1")->valuestring, "LABEL_1");
    assert_int_equal(copy.num_labels, 1); /* a copy is a copy */
    assert_string_equal(
        cJSON_GetObjectItem(cJSON_GetObjectItem(copy.json, "id2label"), "0")->valuestring, "old");
    model_config_deinit(&copy);
    model_config_deinit(&c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_are_berts),
        cmocka_unit_test(values_are_read),
        cmocka_unit_test(activations_have_their_names),
        cmocka_unit_test(every_known_type_is_found),
        cmocka_unit_test(wrong_values_name_source_and_key),
        cmocka_unit_test(wrong_documents_are_refused),
        cmocka_unit_test_setup_teardown(missing_file_is_named, dir_setup, dir_teardown),
        cmocka_unit_test(labels_are_set_both_ways),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
