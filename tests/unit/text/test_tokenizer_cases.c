/* Tiny tokenizers of every kind against what Hugging Face's tokenizers made of the same texts
 * (fixtures written by tools/export_tokenizer_golden.py): ids, token types, offsets, pairs,
 * truncation, decoding; and all of it again after tokenizer_save. */
#include "../unit_support.h"

#include "base/json.h"
#include "text/tokenizer.h"

#define FIXTURES TESTS_DIR "/unit/text/fixtures"

static const cJSON *get(const cJSON *object, const char *key) {
    return cJSON_GetObjectItemCaseSensitive(object, key);
}

static const char *text_of(const cJSON *object, const char *key) {
    const cJSON *item = get(object, key);
    return cJSON_IsString(item) ? item->valuestring : NULL;
}

static tokenizer_encode_options options_of(const cJSON *row) {
    static const char *const names[] = {"longest_first", "only_first", "only_second"};
    tokenizer_encode_options o = {0};
    const cJSON *length = get(row, "max_length");
    if (!length) return o;
    o.max_length = length->valueint;
    o.truncate_left = cJSON_IsTrue(get(row, "left"));
    for (int i = 0; i < 3; i++)
        if (!strcmp(text_of(row, "truncation"), names[i])) o.truncation = (tokenizer_truncation)i;
    return o;
}

static void check_row(const char *where, const tokenizer *tok, const cJSON *row, encoding *e) {
    const char *text = text_of(row, "text"), *pair = text_of(row, "pair");
    tokenizer_encode_options o = options_of(row);
    cloze_error err = {0};
    encoding_clear(e);
    cloze_status status =
        tokenizer_encode(tok, text, strlen(text), pair, pair ? strlen(pair) : 0, &o, e, &err);
    if (cJSON_IsTrue(get(row, "refused"))) {
        if (status != CLOZE_ERR_USAGE || e->n)
            fail_msg("%s: \"%s\" cut to %d gives status %d", where, text, o.max_length, status);
        return;
    }
    if (status != CLOZE_OK) fail_msg("%s: \"%s\": %s", where, text, err.message);
    const cJSON *id = get(row, "ids")->child, *type = get(row, "types")->child,
                *offset = get(row, "offsets")->child;
    for (int32_t i = 0; i < e->n || id; i++) {
        if (i == e->n || !id) fail_msg("%s: \"%s\" has %d tokens", where, text, e->n);
        if (e->ids[i] != id->valueint || e->token_types[i] != type->valueint ||
            e->offsets[i][0] != offset->child->valueint ||
            e->offsets[i][1] != offset->child->next->valueint)
            fail_msg("%s: \"%s\" pair \"%s\" max_length %d: token %d is %d type %d [%d,%d), wanted "
                     "%d type %d [%d,%d)",
                     where, text, pair ? pair : "", o.max_length, i, e->ids[i], e->token_types[i],
                     e->offsets[i][0], e->offsets[i][1], id->valueint, type->valueint,
                     offset->child->valueint, offset->child->next->valueint);
        id = id->next;
        type = type->next;
        offset = offset->next;
    }
}

static void check_decode(const char *where, const tokenizer *tok, const cJSON *row) {
    int32_t ids[4096];
    size_t n = 0;
    const cJSON *id;
    cJSON_ArrayForEach(id, get(row, "ids")) ids[n++] = id->valueint;
    buf out;
    buf_init(&out, 1 << 20);
    MUST(tokenizer_decode(tok, ids, n, cJSON_IsTrue(get(row, "skip")), &out, err));
    if (strcmp(out.data ? out.data : "", text_of(row, "text")))
        fail_msg("%s: decoded \"%s\", wanted \"%s\"", where, out.data, text_of(row, "text"));
    buf_deinit(&out);
}

static void check_all(const char *where, const char *dir, const cJSON *cases) {
    tokenizer *tok = NULL;
    MUST(tokenizer_open(dir, NULL, &tok, err));
    encoding e;
    encoding_init(&e, true, true);
    int rows = 0;
    const cJSON *row;
    cJSON_ArrayForEach(row, get(cases, "encode")) {
        check_row(where, tok, row, &e);
        rows++;
    }
    cJSON_ArrayForEach(row, get(cases, "decode")) check_decode(where, tok, row);
    if (rows < 100) fail_msg("%s: only %d cases", where, rows);
    encoding_deinit(&e);
    tokenizer_destroy(tok);
}

static cJSON *read_cases(const char *name) {
    char path[1024];
    cJSON *cases = NULL;
    snprintf(path, sizeof path, FIXTURES "/%s/cases.json", name);
    MUST(json_parse_file(path, 64 << 20, CLOZE_ERR_DATA, &cases, err));
    return cases;
}

static void test_fixtures(void **state) {
    char **names;
    size_t n;
    MUST(dir_list(FIXTURES, &names, &n, err));
    assert_true(n >= 15);
    for (size_t i = 0; i < n; i++) {
        char dir[1024], saved[1100];
        snprintf(dir, sizeof dir, FIXTURES "/%s", names[i]);
        cJSON *cases = read_cases(names[i]);
        check_all(names[i], dir, cases);
        tokenizer *tok;
        MUST(tokenizer_open(dir, NULL, &tok, err));
        snprintf(saved, sizeof saved, "%s/%s", test_dir, names[i]);
        MUST(tokenizer_save(tok, saved, err));
        tokenizer_destroy(tok);
        check_all(names[i], saved, cases);
        json_destroy(cases);
    }
    dir_list_free(names, n);
}

/* A batch gives what single calls give, whatever the encodings held before. */
static void test_batch(void **state) {
    enum { N = 500 };
    cJSON *cases = read_cases("bert_uncased");
    tokenizer *tok;
    MUST(tokenizer_open(FIXTURES "/bert_uncased", NULL, &tok, err));
    const char *texts[N];
    size_t lens[N];
    encoding outs[N], one;
    const cJSON *row = get(cases, "encode")->child;
    for (int i = 0; i < N; i++) {
        texts[i] = text_of(row, "text");
        lens[i] = strlen(texts[i]);
        row = row->next ? row->next : get(cases, "encode")->child;
        encoding_init(&outs[i], i % 2, false);
    }
    encoding_init(&one, true, false);
    tokenizer_encode_options o = {.max_length = 9};
    for (int round = 0; round < 2; round++)
        MUST(tokenizer_encode_batch(tok, texts, lens, N, &o, outs, err));
    for (int i = 0; i < N; i++) {
        encoding_clear(&one);
        MUST(tokenizer_encode(tok, texts[i], lens[i], NULL, 0, &o, &one, err));
        assert_int_equal(outs[i].n, one.n);
        assert_memory_equal(outs[i].ids, one.ids, (size_t)one.n * sizeof *one.ids);
        if (outs[i].wants_offsets)
            assert_memory_equal(outs[i].offsets, one.offsets, (size_t)one.n * 8);
        encoding_deinit(&outs[i]);
    }
    o.max_length = 1;
    encoding_init(&outs[0], false, false);
    MUST_FAIL(CLOZE_ERR_USAGE, "max_length 1 is less than the 2 special tokens",
              tokenizer_encode_batch(tok, texts, lens, 1, &o, outs, err));
    encoding_deinit(&outs[0]);
    encoding_deinit(&one);
    tokenizer_destroy(tok);
    json_destroy(cases);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_fixtures, dir_setup, dir_teardown),
        cmocka_unit_test(test_batch),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
