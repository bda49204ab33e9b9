/* ckpt/paddle_names: PaddleNLP's names and layout seen as Hugging Face's, and the other way. */
#include "ckpt_test.h"

#include "ckpt/checkpoint_write.h"
#include "ckpt/paddle_names.h"

#define MARK "encoder.layers.0.linear2.bias" /* makes a checkpoint PaddleNLP's */

/* A checkpoint of matrices (2,3) under these names and a vector under MARK, seen through the rules. */
static ckpt *open_names(const char *const *names, size_t n)
{
    static const float numbers[6] = {0, 1, 2, 3, 4, 5};
    ckpt_item items[8] = {{.name = MARK, .dtype = DTYPE_F32, .rank = 1, .shape = {6}, .data = numbers}};
    for (size_t i = 0; i < n; i++)
        items[i + 1] = (ckpt_item){
            .name = names[i], .dtype = DTYPE_F32, .rank = 2, .shape = {2, 3}, .data = numbers};
    assert_int_equal(safetensors_write(at("m"), items, n + 1, NULL, 0, NULL), CLOZE_OK);
    ckpt *c = NULL;
    cloze_error err = {0};
    if (ckpt_open_model(test_path, &c, &err) != CLOZE_OK) fail_msg("%s", err.message);
    return c;
}

static void check_values(const ckpt_tensor *t, bool turned)
{
    static const float plain[6] = {0, 1, 2, 3, 4, 5}, other[6] = {0, 3, 1, 4, 2, 5};
    float got[6];
    assert_int_equal(t->shape[0], turned ? 3 : 2);
    assert_int_equal(ckpt_read_f32(t, got, 6, NULL), CLOZE_OK);
    assert_memory_equal(got, turned ? other : plain, sizeof got);
    memset(got, 0, sizeof got);
    assert_int_equal(ckpt_read_raw(t, got, sizeof got, NULL), CLOZE_OK);
    assert_memory_equal(got, turned ? other : plain, sizeof got);
}

static void test_both_directions(void **state)
{
    static const struct { const char *paddle, *hugging_face; bool turned; } rows[] = {
        {"ernie.encoder.layers.11.self_attn.q_proj.weight",
         "ernie.encoder.layer.11.attention.self.query.weight", true},
        {"encoder.layers.0.self_attn.k_proj.weight", "encoder.layer.0.attention.self.key.weight", true},
        {"bert.encoder.layers.2.self_attn.v_proj.bias",
         "bert.encoder.layer.2.attention.self.value.bias", false},
        {"bert.encoder.layers.2.self_attn.out_proj.weight",
         "bert.encoder.layer.2.attention.output.dense.weight", true},
        {"plm.ernie.encoder.layers.0.linear1.weight",
         "plm.ernie.encoder.layer.0.intermediate.dense.weight", true},
        {"roberta.encoder.layers.0.linear2.weight", "roberta.encoder.layer.0.output.dense.weight",
         true},
        {"bert.encoder.layers.0.norm1.weight",
         "bert.encoder.layer.0.attention.output.LayerNorm.weight", false},
        {"bert.encoder.layers.0.norm2.bias", "bert.encoder.layer.0.output.LayerNorm.bias", false},
        {"bert.embeddings.layer_norm.weight", "bert.embeddings.LayerNorm.weight", false},
        {"bert.embeddings.word_embeddings.weight", "bert.embeddings.word_embeddings.weight", false},
        {"ernie.embeddings.task_type_embeddings.weight",
         "ernie.embeddings.task_type_embeddings.weight", false},
        {"ernie.pooler.dense.weight", "ernie.pooler.dense.weight", true},
        {"cls.predictions.transform.weight", "cls.predictions.transform.dense.weight", true},
        {"cls.predictions.layer_norm.bias", "cls.predictions.transform.LayerNorm.bias", false},
        {"cls.predictions.decoder.weight", "cls.predictions.decoder.weight", false},
        {"cls.predictions.decoder.bias", "cls.predictions.decoder.bias", false},
        {"cls.predictions.decoder_bias", "cls.predictions.bias", false},
        {"cls.seq_relationship.weight", "cls.seq_relationship.weight", true},
        {"classifier.weight", "classifier.weight", true},
        {"classifier.out_proj.weight", "classifier.out_proj.weight", true},
        {"lm_head.dense.weight", "lm_head.dense.weight", true},
        {"lm_head.layer_norm.weight", "lm_head.layer_norm.weight", false},
        {"lm_head.decoder.weight", "lm_head.decoder.weight", false},
        {"something.else", "something.else", false},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        char name[256];
        ckpt *c = open_names(&rows[i].paddle, 1);
        const ckpt_tensor *t = ckpt_find(c, rows[i].hugging_face);
        if (!t) fail_msg("%s is not found as %s", rows[i].paddle, rows[i].hugging_face);
        check_values(t, rows[i].turned);
        assert_non_null(ckpt_find(c, "encoder.layer.0.output.dense.bias"));
        ckpt_close(c);
        assert_int_equal(paddle_name_of(rows[i].hugging_face, name, sizeof name), rows[i].turned);
        assert_string_equal(name, rows[i].paddle);
    }
}

/* What versions before 2.6 wrote. */
static void test_old_names(void **state)
{
    const char *const names[] = {"cls.predictions.decoder_weight", "lm_head.dense.weight",
                                 "lm_head.decoder.weight"};
    ckpt *c = open_names(names, 1);
    check_values(ckpt_find(c, "cls.predictions.decoder.weight"), false);
    ckpt_close(c);
    static const float numbers[15] = {0};
    const ckpt_item items[] = {
        {.name = MARK, .dtype = DTYPE_F32, .rank = 1, .shape = {3}, .data = numbers},
        {.name = names[1], .dtype = DTYPE_F32, .rank = 2, .shape = {3, 3}, .data = numbers},
        {.name = names[2], .dtype = DTYPE_F32, .rank = 2, .shape = {3, 5}, .data = numbers}};
    assert_int_equal(safetensors_write(at("m"), items, 3, NULL, 0, NULL), CLOZE_OK);
    assert_int_equal(ckpt_open_model(test_path, &c, NULL), CLOZE_OK);
    assert_int_equal(ckpt_find(c, names[2])->shape[0], 5);
    ckpt_close(c);
}

/* The head of a soft verbalizer, of ERNIE (also as version 2.4 wrote it) and of RoBERTa. */
static void test_verbalizer_heads(void **state)
{
    const char *const names[] = {"verbalizer.head.transform.weight",
                                 "verbalizer.head.layer_norm.weight",
                                 "verbalizer.head.decoder.weight", "verbalizer.head.decoder.bias",
                                 "verbalizer.head.decoder_bias"};
    ckpt *c = open_names(names, 5);
    check_values(ckpt_find(c, "cls.predictions.transform.dense.weight"), true);
    check_values(ckpt_find(c, "cls.predictions.transform.LayerNorm.weight"), false);
    check_values(ckpt_find(c, "verbalizer.weight"), false);
    assert_non_null(ckpt_find(c, "verbalizer.bias"));
    assert_non_null(ckpt_find(c, "cls.predictions.bias")); /* still there from the copied head */
    ckpt_close(c);
    const char *const old[] = {names[0], "verbalizer.head.decoder_weight", names[4]};
    c = open_names(old, 3);
    assert_non_null(ckpt_find(c, "verbalizer.weight"));
    assert_non_null(ckpt_find(c, "verbalizer.bias"));
    ckpt_close(c);
    const char *const roberta[] = {"verbalizer.head.dense.weight", names[1], names[2], names[3]};
    c = open_names(roberta, 4);
    check_values(ckpt_find(c, "lm_head.dense.weight"), true);
    assert_non_null(ckpt_find(c, "lm_head.layer_norm.weight"));
    ckpt_close(c);
}

static void test_others_stay(void **state)
{
    static const float numbers[6] = {0};
    const ckpt_item item = {.name = "classifier.weight", .dtype = DTYPE_F32, .rank = 2,
                            .shape = {2, 3}, .data = numbers};
    assert_int_equal(safetensors_write(at("m"), &item, 1, NULL, 0, NULL), CLOZE_OK);
    ckpt *c = NULL;
    assert_int_equal(ckpt_open_model(test_path, &c, NULL), CLOZE_OK);
    assert_int_equal(ckpt_find(c, "classifier.weight")->shape[0], 2);
    ckpt_close(c);
}

static void test_two_spellings_of_one_are_refused(void **state)
{
    const char *const names[] = {"cls.predictions.decoder_weight", "cls.predictions.decoder.weight"};
    static const float numbers[6] = {0};
    ckpt_item items[3] = {{.name = MARK, .dtype = DTYPE_F32, .rank = 1, .shape = {6}, .data = numbers}};
    for (int i = 0; i < 2; i++)
        items[i + 1] = (ckpt_item){
            .name = names[i], .dtype = DTYPE_F32, .rank = 2, .shape = {2, 3}, .data = numbers};
    assert_int_equal(safetensors_write(at("m"), items, 3, NULL, 0, NULL), CLOZE_OK);
    ckpt *c = (ckpt *)(uintptr_t)1;
    cloze_error err = {0};
    assert_int_equal(ckpt_open_model(test_path, &c, &err), CLOZE_ERR_MODEL);
    assert_non_null(strstr(err.message, "twice"));
    assert_null(c);
}

/* Two names that begin with the same 600 bytes, and one that a rule would know but for its length. */
static void test_long_names_stay(void **state)
{
    char names[3][700];
    for (int i = 0; i < 3; i++) {
        memset(names[i], 'x', 600);
        snprintf(names[i] + 600, 100, i < 2 ? ".%d" : ".encoder.layers.%d.linear1.weight", i);
    }
    ckpt *c = open_names((const char *const[]){names[0], names[1], names[2]}, 3);
    for (int i = 0; i < 3; i++) assert_non_null(ckpt_find(c, names[i]));
    assert_non_null(ckpt_find(c, "encoder.layer.0.output.dense.bias"));
    ckpt_close(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_both_directions, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(test_old_names, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(test_verbalizer_heads, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(test_others_stay, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(test_long_names_stay, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(test_two_spellings_of_one_are_refused, test_setup,
                                        test_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
