/* Real vocabularies: 311 texts each, token for token, where the shared data is there. */
#include "../unit_support.h"

#include "base/json.h"
#include "text/tokenizer.h"

static const char *shared_dir(void) {
    const char *dir = getenv("CLOZE_SHARED");
    return dir && *dir ? dir : TESTS_DIR "/../../shared";
}

/* One line of the file: {"text": .., "ids": [..]}. */
static void check_line(const char *name, int line, const tokenizer *tok, const char *json,
                       size_t n) {
    cJSON *row = NULL;
    MUST(json_parse(json, n, name, CLOZE_ERR_DATA, &row, err));
    const char *text = cJSON_GetObjectItem(row, "text")->valuestring;
    const cJSON *id = cJSON_GetObjectItem(row, "ids")->child;
    encoding e;
    encoding_init(&e, false, false);
    MUST(tokenizer_encode(tok, text, strlen(text), NULL, 0, NULL, &e, err));
    for (int32_t i = 0; i < e.n || id; i++) {
        if (i == e.n || !id || e.ids[i] != id->valueint)
            fail_msg("%s:%d: token %d of \"%s\" is %d, wanted %d", name, line, i, text,
                     i < e.n ? e.ids[i] : -1, id ? id->valueint : -1);
        id = id->next;
    }
    encoding_deinit(&e);
    json_destroy(row);
}

static void test_golden(void **state) {
    static const struct {
        const char *golden, *dir;
    } rows[] = {
        {"bert-base-chinese", "bert-base-chinese"},
        {"bert-base-uncased", "bert-base-uncased"},
        {"bert-base-cased", "bert-base-cased"},
        {"ernie-3.0-zh", "ernie-3.0-base-zh"},
        {"gpt2", "gpt2"},
        {"roberta-base", "roberta"},
    };
    char path[1024], dir[1024];
    snprintf(dir, sizeof dir, "%s/data/tokenizers/golden", shared_dir());
    if (!file_is_dir(dir)) {
        fprintf(stderr, "SKIP: %s is not there: real vocabularies were not tested\n", dir);
        skip();
    }
    for (size_t i = 0; i < COUNT(rows); i++) {
        snprintf(path, sizeof path, "%s/data/tokenizers/golden/%s.jsonl", shared_dir(),
                 rows[i].golden);
        snprintf(dir, sizeof dir, "%s/data/tokenizers/%s", shared_dir(), rows[i].dir);
        tokenizer *tok = NULL;
        MUST(tokenizer_open(dir, NULL, &tok, err));
        size_t n;
        int lines = 0;
        char *data = get_file(path, &n);
        for (const char *line = data; line < data + n; line += strcspn(line, "\n") + 1)
            check_line(rows[i].golden, ++lines, tok, line, strcspn(line, "\n"));
        assert_int_equal(lines, 311);
        mem_free(data);
        tokenizer_destroy(tok);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_golden)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
