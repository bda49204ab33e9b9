/* What a tokenizer directory may hold: files of every form, what is refused and how it is said,
 * saving, vocabularies in memory, and the small questions a tokenizer answers. */
#include "../unit_support.h"

#include "base/json.h"
#include "text/tokenizer.h"

static const char tiny_vocab[] =
    "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\nb\n##b\nab\n中\n,\nkeep\n##Me\nme\n";

static const wordpiece_settings uncased = {1, -1, 1, 128};

static tokenizer *make_tiny(void) {
    tokenizer *tok = NULL;
    MUST(tokenizer_create_wordpiece(tiny_vocab, strlen(tiny_vocab), &uncased, &tok, err));
    return tok;
}

static tokenizer *open_dir(void) {
    tokenizer *tok = NULL;
    MUST(tokenizer_open(test_dir, NULL, &tok, err));
    return tok;
}

/* The ids of a text as "5 6 7"; in one of four buffers. */
static const char *ids_of(const tokenizer *tok, const char *text, size_t n, bool special) {
    static char texts[4][512];
    static int next;
    char *out = texts[next++ % 4];
    encoding e;
    encoding_init(&e, false, false);
    if (special)
        MUST(tokenizer_encode(tok, text, n, NULL, 0, NULL, &e, err));
    else
        MUST(tokenizer_encode_text(tok, text, n, &e, err));
    out[0] = '\0';
    for (int32_t i = 0; i < e.n; i++)
        snprintf(out + strlen(out), 512 - strlen(out), i ? " %d" : "%d", e.ids[i]);
    encoding_deinit(&e);
    return out;
}

#define ASSERT_IDS(tok, text, wanted)                                                              \
    assert_string_equal(ids_of((tok), (text), strlen(text), false), (wanted))

static void test_in_memory(void **state) {
    tokenizer *tok = make_tiny();
    ASSERT_IDS(tok, "ab", "8");
    ASSERT_IDS(tok, "abb B,中ab", "8 7 6 10 9 8");
    ASSERT_IDS(tok, "abc", "1");
    ASSERT_IDS(tok, "x[MASK]a [mask]", "1 4 5 1 1 1");
    assert_string_equal(ids_of(tok, "a", 1, true), "2 5 3");
    assert_int_equal(tokenizer_get_kind(tok), TOKENIZER_WORDPIECE);
    assert_int_equal(tokenizer_vocab_size(tok), 14);
    assert_int_equal(tokenizer_max_length(tok), 128);
    assert_int_equal(tokenizer_token_to_id(tok, "##b", 3), 7);
    assert_int_equal(tokenizer_token_to_id(tok, "##bx", 4), -1);
    assert_string_equal(tokenizer_id_to_token(tok, 9), "中");
    assert_null(tokenizer_id_to_token(tok, 14));
    assert_null(tokenizer_id_to_token(tok, -1));
    assert_true(tokenizer_is_special(tok, 4));
    assert_false(tokenizer_is_special(tok, 5) || tokenizer_is_special(tok, 99));
    assert_true(tokenizer_is_continuation(tok, 7));
    assert_false(tokenizer_is_continuation(tok, 8) || tokenizer_is_continuation(tok, -5));
    const tokenizer_special_ids *ids = tokenizer_special(tok);
    assert_int_equal(ids->pad, 0);
    assert_int_equal(ids->unk, 1);
    assert_int_equal(ids->cls, 2);
    assert_int_equal(ids->sep, 3);
    assert_int_equal(ids->mask, 4);
    assert_int_equal(ids->bos, -1);
    int32_t parts[TOKENIZER_MAX_PARTS], types[TOKENIZER_MAX_PARTS];
    const int32_t wanted[] = {2, TOKENIZER_PART_A, 3, TOKENIZER_PART_B, 3},
                  wanted_types[] = {0, 0, 0, 1, 1};
    assert_int_equal(tokenizer_special_layout(tok, true, parts, types), 5);
    assert_memory_equal(parts, wanted, sizeof wanted);
    assert_memory_equal(types, wanted_types, sizeof wanted_types);
    assert_int_equal(tokenizer_num_special(tok, false), 2);
    assert_int_equal(tokenizer_num_special(tok, true), 3);
    tokenizer_destroy(tok);
}

/* A bad byte is one code point U+FFFD, which BERT's cleaning removes; offsets count it. */
static void test_invalid_utf8(void **state) {
    static const struct {
        const char *text;
        size_t n;
        int32_t begin, end;
    } rows[] = {
        {"\xFF"
         "a",
         2, 1, 2},
        {"\xE4\xB8"
         "a",
         3, 2, 3},
        {"\xC0\xAF"
         "a",
         3, 2, 3},
        {"\xED\xA0\x80"
         "a",
         4, 3, 4},
        {"a\xF0\x9F\x98", 4, 0, 1},
        {"\0a", 2, 1, 2},
        {"\xF4\x90\x80\x80"
         "a",
         5, 4, 5},
        {"\xE4\xB8\xAD\x80"
         "a",
         5, 0, 1},
    };
    tokenizer *tok = make_tiny();
    encoding e;
    encoding_init(&e, true, false);
    for (size_t i = 0; i < COUNT(rows); i++) {
        encoding_clear(&e);
        MUST(tokenizer_encode_text(tok, rows[i].text, rows[i].n, &e, err));
        assert_true(e.n >= 1);
        assert_int_equal(e.offsets[0][0], rows[i].begin);
        assert_int_equal(e.offsets[0][1], rows[i].end);
    }
    encoding_deinit(&e);
    tokenizer_destroy(tok);
}

/* Lines as Python reads them: \r\n and \r end a line too; a blank line is a token without text; of
 * a token that comes twice the later id counts, and both ids have its text. */
static void test_vocab_lines(void **state) {
    put_file(at("vocab.txt"), "\xEF\xBB\xBF[PAD]\r\n[UNK]\r[CLS]\n[SEP]\n\na\nb\na\n##b");
    tokenizer *tok = open_dir();
    ASSERT_IDS(tok, "a ab b [MASK]", "7 7 8 6 1 1 1");
    assert_int_equal(tokenizer_vocab_size(tok), 9);
    assert_string_equal(tokenizer_id_to_token(tok, 5), "a");
    assert_string_equal(tokenizer_id_to_token(tok, 0), "[PAD]");
    assert_int_equal(tokenizer_special(tok)->mask, -1);
    tokenizer_destroy(tok);
}

static void test_config_files(void **state) {
    put_file(at("vocab.txt"), tiny_vocab);
    put_file(at("tokenizer_config.json"),
             "{\"do_lower_case\": false, \"never_split\": [\"keepMe\", \"a,b\"], \"mask_token\": "
             "{\"content\": \"[MASK]\", \"lstrip\": true}, \"model_max_length\": 1e30, "
             "\"additional_special_tokens\": [\"<e>\"], \"cls_token\": \"[SEP]\"}");
    put_file(at("special_tokens_map.json"), "{\"cls_token\": {\"content\": \"[CLS]\"}}");
    put_file(at("added_tokens.json"), "{\"extra\": 20}");
    tokenizer *tok = open_dir();
    ASSERT_IDS(tok, "Ab", "1");
    ASSERT_IDS(tok, "a,b xa,b", "1 1 10 6");
    ASSERT_IDS(tok, "keepMe", "1");
    ASSERT_IDS(tok, "a<e>b extra bextra", "5 14 6 20 6 20");
    assert_int_equal(tokenizer_vocab_size(tok), 21);
    assert_int_equal(tokenizer_max_length(tok), 0);
    assert_int_equal(tokenizer_special(tok)->cls, 2);
    assert_true(tokenizer_is_special(tok, 14));
    assert_false(tokenizer_is_special(tok, 20));
    assert_string_equal(tokenizer_id_to_token(tok, 20), "extra");
    encoding e;
    encoding_init(&e, true, false);
    MUST(tokenizer_encode_text(tok, "a  [MASK] b", 11, &e, err));
    assert_int_equal(e.offsets[1][0], 1); /* lstrip takes the spaces along */
    encoding_deinit(&e);
    tokenizer_destroy(tok);
}

/* The option wins over the directory, and a saved tokenizer goes on as it was. */
static void test_lower_case_option(void **state) {
    char saved[600];
    put_file(at("vocab.txt"), tiny_vocab);
    put_file(at("tokenizer_config.json"), "{\"do_lower_case\": false, \"other\": [1, 2.5]}");
    for (int lower = 0; lower < 2; lower++) {
        tokenizer_options o = {lower};
        tokenizer *tok;
        MUST(tokenizer_open(test_dir, &o, &tok, err));
        ASSERT_IDS(tok, "AB", lower ? "8" : "1");
        snprintf(saved, sizeof saved, "%s/saved%d", test_dir, lower);
        MUST(tokenizer_save(tok, saved, err));
        tokenizer_destroy(tok);
        MUST(tokenizer_open(saved, NULL, &tok, err));
        ASSERT_IDS(tok, "AB", lower ? "8" : "1");
        tokenizer_destroy(tok);
    }
    cJSON *config;
    MUST(
        json_parse_file(at("saved1/tokenizer_config.json"), 1 << 20, CLOZE_ERR_DATA, &config, err));
    assert_true(cJSON_IsTrue(cJSON_GetObjectItem(config, "do_lower_case")));
    assert_int_equal(cJSON_GetArraySize(cJSON_GetObjectItem(config, "other")), 2);
    json_destroy(config);
}

static void test_save(void **state) {
    static const struct {
        wordpiece_settings settings;
        const char *ids;
    } rows[] = {
        {{1, -1, 1, 64}, "8 6 9 9"},
        {{0, -1, 1, 0}, "1 1 9 9"},
        {{1, 0, 0, 0}, "8 1 1"},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        tokenizer *tok, *again;
        MUST(tokenizer_create_wordpiece(tiny_vocab, strlen(tiny_vocab), &rows[i].settings, &tok,
                                        err));
        MUST(tokenizer_save(tok, test_dir, err));
        again = open_dir();
        ASSERT_IDS(tok, "AB b\xCC\x81 中中", rows[i].ids);
        ASSERT_IDS(again, "AB b\xCC\x81 中中", rows[i].ids);
        assert_int_equal(tokenizer_max_length(again), rows[i].settings.model_max_length);
        tokenizer_destroy(tok);
        tokenizer_destroy(again);
        size_t n;
        char *text = get_file(at("vocab.txt"), &n);
        assert_string_equal(text, tiny_vocab);
        mem_free(text);
        MUST(dir_remove(test_dir, err));
    }
    MUST(dir_create(test_dir, err));
    put_file(at("vocab.txt"), tiny_vocab);
    put_file(at("tokenizer_config.json"), "{ \"do_lower_case\":true}");
    tokenizer *tok = open_dir();
    MUST(tokenizer_save(tok, at("copy"), err));
    assert_same_file(at("tokenizer_config.json"), at("copy/tokenizer_config.json"));
    assert_true(file_exists(at("copy/special_tokens_map.json")));
    tokenizer_destroy(tok);
}

static void test_refused(void **state) {
    static const struct {
        const char *name, *text, *message;
    } rows[] = {
        {NULL, NULL,
         "has no tokenizer: put vocab.txt (BERT, ERNIE), or tokenizer.json, or vocab.json and "
         "merges.txt"},
        {"merges.txt", "#version: 0.2\n", "has merges.txt but not vocab.json"},
        {"vocab.txt", "a\nb\n",
         "/vocab.txt has no [CLS]: it is not the vocabulary of a BERT model"},
        {"vocab.txt", "[UNK]\n[CLS]\n[SEP]\n\xFF\n", "/vocab.txt:4: not UTF-8"},
        {"vocab.txt", "", "/vocab.txt: there is no token in it"},
        {"tokenizer_config.json", "[]", "tokenizer_config.json is not a JSON object"},
        {"tokenizer_config.json", "{", "tokenizer_config.json:1:"},
        {"added_tokens.json", "{\"x\": -1}", "added_tokens.json: \"x\" has no token id"},
        {"tokenizer_config.json", "{\"added_tokens_decoder\": {\"x\": {\"content\": \"y\"}}}",
         "wrong entry \"x\""},
        {"tokenizer.json", "{}", "tokenizer.json: \"model\": there is no \"model\""},
        {"tokenizer.json", "{\"model\": {\"type\": \"Unigram\", \"vocab\": []}}",
         "a \"Unigram\" model is not one that cloze reads"},
        {"tokenizer.json",
         "{\"model\": {\"type\": \"WordPiece\", \"vocab\": {\"a\": 0}, \"unk_token\": \"u\"}}",
         "\"unk_token\" u is not in the vocabulary"},
        {"tokenizer.json", "{\"model\": {\"type\": \"WordPiece\", \"vocab\": {\"a\": 1e9}}}",
         "entry \"a\" is not a token id"},
        {"tokenizer.json", "{\"model\": {\"vocab\": {\"a\": 0}, \"merges\": [\"a b\"]}}",
         "merge 1 (\"a b\") uses a token that is not in the vocabulary"},
        {"tokenizer.json", "{\"model\": {\"vocab\": {\"a\": 0}, \"merges\": [3]}}",
         "merge 1 is neither"},
        {"tokenizer.json", "{\"model\": {\"vocab\": {\"a\": 0}, \"merges\": []}}",
         "BPE model without a ByteLevel"},
        {"tokenizer.json",
         "{\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 0}, \"end_of_word_suffix\": "
         "\"</w>\"}}",
         "end_of_word_suffix"},
        {"tokenizer.json",
         "{\"model\": {\"type\": \"WordPiece\", \"vocab\": {\"a\": 0}, \"unk_token\": \"a\"}, "
         "\"normalizer\": {\"type\": \"Nmt\"}}",
         "the normalizer \"Nmt\" is not one"},
        {"tokenizer.json",
         "{\"model\": {\"type\": \"WordPiece\", \"vocab\": {\"a\": 0}, \"unk_token\": \"a\"}, "
         "\"pre_tokenizer\": {\"type\": \"Metaspace\"}}",
         "the pre-tokenizer \"Metaspace\" is not one"},
        {"tokenizer.json",
         "{\"model\": {\"type\": \"WordPiece\", \"vocab\": {\"a\": 0}, \"unk_token\": \"a\"}, "
         "\"pre_tokenizer\": {\"type\": \"Split\", \"pattern\": {\"Regex\": \"(\"}}}",
         "the pattern \"(\" is wrong"},
        {"tokenizer.json",
         "{\"model\": {\"type\": \"WordPiece\", \"vocab\": {\"a\": 0}, \"unk_token\": \"a\"}, "
         "\"post_processor\": {\"type\": \"BertProcessing\", \"cls\": [\"c\", 5], \"sep\": [\"s\", "
         "0]}}",
         "template names id 5"},
        {"tokenizer.json",
         "{\"model\": {\"type\": \"WordPiece\", \"vocab\": {\"a\": 0}, \"unk_token\": \"a\"}, "
         "\"added_tokens\": [{\"id\": 3}]}",
         "without \"content\""},
        {"tokenizer.json",
         "{\"model\": {\"type\": \"WordPiece\", \"vocab\": {\"a\": 0}, \"unk_token\": \"a\", "
         "\"max_input_chars_per_word\": 1000000}}",
         "\"max_input_chars_per_word\" must be from 1 to 16384"},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        tokenizer *tok = (tokenizer *)state;
        if (i == 5) put_file(at("vocab.txt"), tiny_vocab);
        if (rows[i].name) put_file(at(rows[i].name), rows[i].text);
        MUST_FAIL(CLOZE_ERR_MODEL, rows[i].message, tokenizer_open(test_dir, NULL, &tok, err));
        assert_null(tok);
        if (rows[i].name) assert_int_equal(remove(at(rows[i].name)), 0);
    }
    tokenizer *tok;
    MUST_FAIL(CLOZE_ERR_MODEL, "is not a directory", tokenizer_open(at("none"), NULL, &tok, err));
}

/* Steps that each double the text must end before the memory does. */
static void test_growth_is_bounded(void **state) {
    buf json;
    tokenizer *tok;
    encoding e;
    buf_init(&json, 1 << 16);
    buf_puts(&json, "{\"model\": {\"type\": \"WordPiece\", \"vocab\": {\"?\": 0}, \"unk_token\": "
                    "\"?\"}, \"normalizer\": {\"type\": \"Sequence\", \"normalizers\": [");
    for (int i = 0; i < 40; i++)
        buf_printf(&json, "%s{\"type\": \"Replace\", \"pattern\": {\"String\": \"a\"}, "
                   "\"content\": \"aa\"}", i ? "," : "");
    buf_puts(&json, "]}}");
    put_file(at("tokenizer.json"), json.data);
    MUST(tokenizer_open(test_dir, NULL, &tok, err));
    encoding_init(&e, false, false);
    MUST_FAIL(CLOZE_ERR_MODEL, "more than 64 times as long",
              tokenizer_encode_text(tok, "banana", 6, &e, err));
    encoding_deinit(&e);
    tokenizer_destroy(tok);
    buf_deinit(&json);
}

static cloze_status open_and_use(void *ctx, cloze_error *err) {
    tokenizer *tok = NULL;
    encoding e;
    encoding_init(&e, true, true);
    cloze_status status = tokenizer_open(ctx, NULL, &tok, err);
    if (status == CLOZE_OK)
        status = tokenizer_encode(tok, "ab 中 café 't", 14, "b", 1, NULL, &e, err);
    if (status == CLOZE_OK) {
        buf text;
        buf_init(&text, 1 << 16);
        status = tokenizer_decode(tok, e.ids, (size_t)e.n, false, &text, err);
        buf_deinit(&text);
    }
    tokenizer_destroy(tok);
    encoding_deinit(&e);
    return status;
}

/* Every allocation fails once: an error each time, nothing leaks (under the sanitizer). */
static void test_no_memory(void **state) {
    static const char *const names[] = {"bert_uncased", "json_sequence", "json_split"};
    for (size_t i = 0; i < COUNT(names); i++) {
        char dir[1024];
        snprintf(dir, sizeof dir, TESTS_DIR "/unit/text/fixtures/%s", names[i]);
        assert_true(fail_each_allocation(open_and_use, dir, i == 0 ? 1 : 7) > 5);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_in_memory),
        cmocka_unit_test(test_invalid_utf8),
        cmocka_unit_test_setup_teardown(test_vocab_lines, dir_setup, dir_teardown),
        cmocka_unit_test_setup_teardown(test_config_files, dir_setup, dir_teardown),
        cmocka_unit_test_setup_teardown(test_lower_case_option, dir_setup, dir_teardown),
        cmocka_unit_test_setup_teardown(test_save, dir_setup, dir_teardown),
        cmocka_unit_test_setup_teardown(test_refused, dir_setup, dir_teardown),
        cmocka_unit_test_setup_teardown(test_growth_is_bounded, dir_setup, dir_teardown),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
