/* Where a model's name is looked up, and in which order. */
#include <unistd.h>

#include "model/config.h"
#include "model/locate.h"
#include "unit/unit_support.h"

static char start_dir[4096];

static int locate_setup(void **state) {
    static const char *const NAMES[] = {"CLOZE_MODELS", "HF_HUB_CACHE", "HF_HOME", "PPNLP_HOME"};
    if (dir_setup(state) != 0 || !getcwd(start_dir, sizeof start_dir)) return -1;
    for (size_t i = 0; i < COUNT(NAMES); i++) unsetenv(NAMES[i]);
    if (setenv("HOME", at("home"), 1) != 0) return -1;
    if (dir_create(at("cwd"), NULL) != CLOZE_OK) return -1;
    return chdir(at("cwd"));
}

static int locate_teardown(void **state) {
    if (chdir(start_dir) != 0) return -1;
    return dir_teardown(state);
}

static void make_model(const char *dir) {
    MUST(dir_create(dir, err));
    char *config = path_join(dir, "config.json");
    put_file(config, "{}");
    mem_free(config);
}

static void check_found(const char *name, const char *want) {
    char *dir = NULL, real[2][4096];
    MUST(model_locate(name, &dir, err));
    assert_non_null(realpath(dir, real[0]));
    assert_non_null(realpath(want, real[1]));
    assert_string_equal(real[0], real[1]);
    mem_free(dir);
}

/* The name is in every place; each place is removed when it has been found. */
static void places_are_tried_in_order(void **unused) {
    const char *const places[] = {
        "cwd/some-tiny-model",
        "shelf/some-tiny-model",
        "cwd/models/some-tiny-model",
        "hub1/models--an-org--some-tiny-model/snapshots/5",
        "hf/hub/models--an-org--some-tiny-model/snapshots/5",
        "home/.cache/huggingface/hub/models--an-org--some-tiny-model/snapshots/5",
        "ppnlp/models/some-tiny-model",
        "ppnlp/models/an-org/some-tiny-model",
        "home/.paddlenlp/models/some-tiny-model",
        "home/.paddlenlp/models/an-org/some-tiny-model",
    };
    for (size_t i = 0; i < COUNT(places); i++) make_model(at(places[i]));
    setenv("CLOZE_MODELS", at("shelf"), 1);
    setenv("HF_HUB_CACHE", at("hub1"), 1);
    setenv("HF_HOME", at("hf"), 1);
    setenv("PPNLP_HOME", at("ppnlp"), 1);
    for (size_t i = 0; i < COUNT(places); i++) {
        check_found("some-tiny-model", at(places[i]));
        MUST(dir_remove(at(places[i]), err));
    }
    char *dir = (char *)(uintptr_t)1;
    MUST_FAIL(CLOZE_ERR_MODEL, "some-tiny-model", model_locate("some-tiny-model", &dir, err));
    assert_null(dir);
}

static void message_says_what_to_put_where(void **unused) {
    char *dir;
    static const char *const PARTS[] = {
        "ernie-x",   "./models",          "$CLOZE_MODELS",     "config.json",
        "vocab.txt", "model.safetensors", "pytorch_model.bin", "--model_name_or_path",
        "./models/ernie-x/", "model_state.pdparams", "cloze-mini-zh"};
    for (size_t i = 0; i < COUNT(PARTS); i++)
        MUST_FAIL(CLOZE_ERR_MODEL, PARTS[i], model_locate("ernie-x", &dir, err));
    MUST_FAIL(CLOZE_ERR_USAGE, "empty", model_locate("", &dir, err));
}

/* PaddleNLP's cache keeps published models without a configuration; older ones have another file. */
static void paddles_cache_directories_are_models(void **unused) {
    MUST(dir_create(at("home/.paddlenlp/models/ernie-3.0-nano-zh"), err));
    char *dir;
    MUST_FAIL(CLOZE_ERR_MODEL, "nano", model_locate("ernie-3.0-nano-zh", &dir, err)); /* empty */
    put_file(at("home/.paddlenlp/models/ernie-3.0-nano-zh/ernie_3.0_nano_zh.pdparams"), "x");
    check_found("ernie-3.0-nano-zh", at("home/.paddlenlp/models/ernie-3.0-nano-zh"));
    MUST(dir_create(at("home/.paddlenlp/models/some-old-model"), err));
    put_file(at("home/.paddlenlp/models/some-old-model/model_config.json"), "{}");
    check_found("some-old-model", at("home/.paddlenlp/models/some-old-model"));
    model_config c = {0};
    MUST(model_config_read(at("home/.paddlenlp/models/ernie-3.0-nano-zh/"), &c, err));
    assert_int_equal(c.hidden_size, 312);
    assert_int_equal(c.num_attention_heads, 12);
    assert_true(c.use_task_id);
    model_config_deinit(&c);
}

/* A directory without a config.json is passed over; a path is taken as it is. */
static void empty_directories_are_passed_over(void **unused) {
    MUST(dir_create(at("cwd/models/half"), err));
    make_model(at("home/.paddlenlp/models/half"));
    check_found("half", at("home/.paddlenlp/models/half"));
    check_found(at("cwd/models/half"), at("cwd/models/half"));
    check_found("./models/half", at("cwd/models/half"));
}

/* The Hugging Face cache: with an owner only that one, the last snapshot with a config.json. */
static void hub_cache_layout(void **unused) {
    setenv("HF_HUB_CACHE", at("hub"), 1);
    make_model(at("hub/models--first--net/snapshots/1"));
    make_model(at("hub/models--first--net/snapshots/2"));
    MUST(dir_create(at("hub/models--first--net/snapshots/3"), err)); /* still being fetched */
    make_model(at("hub/models--second--net/snapshots/1"));
    make_model(at("hub/models--gpt/snapshots/1"));
    make_model(at("hub/datasets--first--net-data/snapshots/1"));
    MUST(dir_create(at("hub/models--third--empty"), err));
    check_found("first/net", at("hub/models--first--net/snapshots/2"));
    check_found("second/net", at("hub/models--second--net/snapshots/1"));
    check_found("net", at("hub/models--first--net/snapshots/2"));
    check_found("gpt", at("hub/models--gpt/snapshots/1")); /* models of no owner */
    static const char *const ABSENT[] = {
        "et", "third/net", "third/empty", "empty", "first/net-data", "net-data", "first/ne", "pt"};
    char *dir;
    for (size_t i = 0; i < COUNT(ABSENT); i++)
        MUST_FAIL(CLOZE_ERR_MODEL, ABSENT[i], model_locate(ABSENT[i], &dir, err));
}

static void long_names_are_only_absent(void **unused) {
    char name[9000], *dir;
    memset(name, 'x', sizeof name - 1);
    name[sizeof name - 1] = 0;
    setenv("HF_HOME", at("hf"), 1);
    make_model(at("hf/hub/models--a--b/snapshots/1"));
    MUST_FAIL(CLOZE_ERR_MODEL, "no such model", model_locate(name, &dir, err));
    name[4000] = '/';
    MUST_FAIL(CLOZE_ERR_MODEL, "no such model", model_locate(name, &dir, err));
    setenv("HOME", name, 1);
    MUST_FAIL(CLOZE_ERR_MODEL, "no such model", model_locate("b2", &dir, err));
}

static cloze_status locate(void *ctx, cloze_error *err) {
    char *dir = NULL;
    cloze_status status = model_locate(ctx, &dir, err);
    mem_free(dir);
    return status;
}

static void want_of_memory_is_survived(void **unused) {
    make_model(at("home/.cache/huggingface/hub/models--a--b/snapshots/1"));
    make_model(at("cwd/here"));
    assert_true(fail_each_allocation(locate, "here", 1) >= 1);
    assert_true(fail_each_allocation(locate, "a/b", 1) >= 3);
}

#define LOCATE_TEST(f) cmocka_unit_test_setup_teardown(f, locate_setup, locate_teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        LOCATE_TEST(places_are_tried_in_order),         LOCATE_TEST(message_says_what_to_put_where),
        LOCATE_TEST(paddles_cache_directories_are_models),
        LOCATE_TEST(empty_directories_are_passed_over), LOCATE_TEST(hub_cache_layout),
        LOCATE_TEST(long_names_are_only_absent),        LOCATE_TEST(want_of_memory_is_survived),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
