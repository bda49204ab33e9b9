/* ckpt/name_map: the spellings under which parameters are found, and what is missing or extra. */
#include "ckpt_test.h"

#include "ckpt/checkpoint_write.h"
#include "ckpt/name_map.h"

/* Opens a checkpoint whose tensors have these names; tensor i is the float i. */
static ckpt *open_names(const char *const *names, size_t n)
{
    static const float numbers[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    ckpt_item items[16] = {0};
    for (size_t i = 0; i < n; i++)
        items[i] = (ckpt_item){.name = names[i], .dtype = DTYPE_F32, .data = &numbers[i]};
    assert_int_equal(safetensors_write(at("m"), items, n, NULL, 0, NULL), CLOZE_OK);
    return open_ok(test_path);
}

static void test_spellings(void **state)
{
    static const struct { const char *base, *stored, *wanted; bool found; } rows[] = {
        {"bert", "bert.encoder.layer.0.attention.self.query.weight",
         "bert.encoder.layer.0.attention.self.query.weight", true},
        {"bert", "encoder.layer.0.attention.self.query.weight",
         "bert.encoder.layer.0.attention.self.query.weight", true},
        {"bert", "roberta.encoder.layer.0.output.dense.bias",
         "bert.encoder.layer.0.output.dense.bias", true},
        {"roberta", "bert.encoder.layer.0.output.dense.bias",
         "roberta.encoder.layer.0.output.dense.bias", true},
        {"ernie", "module.ernie.pooler.dense.bias", "ernie.pooler.dense.bias", true},
        {"bert", "model.bert.pooler.dense.bias", "bert.pooler.dense.bias", true},
        {"bert", "module.pooler.dense.bias", "bert.pooler.dense.bias", true},
        {"bert", "bert.embeddings.LayerNorm.gamma", "bert.embeddings.LayerNorm.weight", true},
        {"bert", "embeddings.LayerNorm.beta", "bert.embeddings.LayerNorm.bias", true},
        {"roberta", "lm_head.layer_norm.gamma", "lm_head.layer_norm.weight", true},
        {"bert", "cls.predictions.decoder.bias", "cls.predictions.bias", true},
        {"bert", "module.cls.predictions.bias", "cls.predictions.decoder.bias", true},
        {"roberta", "lm_head.decoder.bias", "lm_head.bias", true},
        {"bert", "bert.embeddings.word_embeddings.weight", "cls.predictions.decoder.weight", true},
        {"bert", "embeddings.word_embeddings.weight", "cls.predictions.decoder.weight", true},
        {"roberta", "roberta.embeddings.word_embeddings.weight", "lm_head.decoder.weight", true},
        {"", "classifier.weight", "classifier.weight", true},
        {"bert", "bert.classifier.weight", "classifier.weight", false}, /* heads have no base */
        {"bert", "bert.pooler.dense.weight", "bert.pooler.dense.bias", false},
        {"bert", "bert.pooler.dense.weight.gamma", "bert.pooler.dense.weight", false},
        {"bert", "other.pooler.dense.bias", "bert.pooler.dense.bias", false},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        ckpt *c = open_names(&rows[i].stored, 1);
        name_map *m;
        assert_int_equal(name_map_create(c, rows[i].base, &m, NULL), CLOZE_OK);
        if ((name_map_peek(m, rows[i].wanted) != NULL) != rows[i].found)
            fail_msg("%s for %s", rows[i].stored, rows[i].wanted);
        assert_int_equal(name_map_missing_count(m), 0); /* peek does not remember */
        assert_int_equal(name_map_find(m, rows[i].wanted) != NULL, rows[i].found);
        assert_int_equal(name_map_missing_count(m), !rows[i].found);
        name_map_destroy(m);
        ckpt_close(c);
    }
}

/* Exact names win over other spellings of them. */
static void test_first_spelling_wins(void **state)
{
    static const char *const names[] = {
        "roberta.pooler.dense.bias", "pooler.dense.bias", "bert.pooler.dense.bias",
        "cls.predictions.decoder.weight", "bert.embeddings.word_embeddings.weight",
        "bert.embeddings.LayerNorm.gamma", "bert.embeddings.LayerNorm.weight"};
    ckpt *c = open_names(names, COUNT(names));
    name_map *m;
    assert_int_equal(name_map_create(c, "bert", &m, NULL), CLOZE_OK);
    static const char *const wanted[] = {"bert.pooler.dense.bias", "cls.predictions.decoder.weight",
                                         "bert.embeddings.LayerNorm.weight"};
    for (size_t i = 0; i < COUNT(wanted); i++)
        assert_string_equal(name_map_find(m, wanted[i])->name, wanted[i]);
    name_map_destroy(m);
    ckpt_close(c);
}

static void test_missing_and_unexpected(void **state)
{
    static const char *const names[] = {
        "bert.embeddings.word_embeddings.weight", "bert.embeddings.position_ids",
        "cls.seq_relationship.weight", "u0", "u1", "u2", "u3", "u4", "u5", "u6", "u7", "u8", "u9"};
    ckpt *c = open_names(names, COUNT(names));
    name_map *m;
    cloze_error err = {0};
    assert_int_equal(name_map_create(c, "bert", &m, NULL), CLOZE_OK);
    const ckpt_tensor *t;
    assert_int_equal(
        name_map_require(m, "bert.embeddings.word_embeddings.weight", 0, NULL, &t, NULL), CLOZE_OK);
    assert_ptr_equal(t, name_map_find(m, "cls.predictions.decoder.weight")); /* tied */
    assert_int_equal(name_map_require(m, "classifier.bias", 0, NULL, &t, &err), CLOZE_ERR_MODEL);
    assert_null(t);
    assert_non_null(strstr(err.message, "no tensor 'classifier.bias'"));
    const int64_t shape[] = {3, 4};
    assert_int_equal(name_map_require(m, "u0", 2, shape, &t, &err), CLOZE_ERR_MODEL);
    assert_non_null(
        strstr(err.message, "tensor 'u0' has shape (), but config.json calls for (3, 4)"));
    name_map_find(m, "classifier.bias"); /* counts once */
    name_map_find(m, "classifier.weight");
    assert_int_equal(name_map_missing_count(m), 2);
    assert_string_equal(name_map_missing_at(m, 1), "classifier.weight");
    assert_int_equal(name_map_unexpected_count(m), 9); /* u0 was asked for */
    buf text;
    buf_init(&text, 1000);
    name_map_describe(m, &text);
    assert_string_equal(text.data, "2 missing (classifier.bias, classifier.weight); "
                                   "9 unexpected (u1, u2, u3, u4, u5, u6, u7, u8, ...)");
    buf_deinit(&text);
    name_map_destroy(m);
    name_map_destroy(NULL);
    ckpt_close(c);
}

static void test_all_is_well(void **state)
{
    static const char *const names[] = {"a"};
    ckpt *c = open_names(names, 1);
    name_map *m;
    cloze_error err = {0};
    assert_int_equal(name_map_create(c, "bert", &m, NULL), CLOZE_OK);
    name_map_find(m, "a");
    buf text;
    buf_init(&text, 1000);
    name_map_describe(m, &text);
    assert_int_equal(text.len, 0);
    buf_deinit(&text);
    name_map_destroy(m);
    mem_fail_after(1);
    assert_int_equal(name_map_create(c, "bert", &m, &err), CLOZE_ERR_MEMORY);
    assert_null(m);
    assert_int_equal(name_map_create(c, "a_base_name_that_is_much_too_long", &m, &err),
                     CLOZE_ERR_INTERNAL);
    ckpt_close(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_spellings, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(test_first_spelling_wins, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(test_missing_and_unexpected, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(test_all_is_well, test_setup, test_teardown),
    };
    return cmocka_run_group_tests_name("name_map", tests, NULL, NULL);
}
