/* Label words as tokens: layout, groups by length, unknown words, the space of byte-level BPE. */
#include "prompt_check.h"

#include <stdlib.h>

#include "base/buf.h"
#include "base/file.h"
#include "prompt/verbalizer_words.h"

static const char VOCAB[] = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n汽\n车\n科\n技\ngood\nbad\n##ly\n";

static tokenizer *make_tokenizer(void) {
    wordpiece_settings settings = {1, -1, 1, 512};
    tokenizer *tok = NULL;
    cloze_error err = {0};
    CHECK_OK(tokenizer_create_wordpiece(VOCAB, sizeof VOCAB - 1, &settings, &tok, &err), err);
    return tok;
}

static void check_i32(const int32_t *got, const int32_t *want, int n) {
    for (int i = 0; i < n; i++) assert_int_equal(got[i], want[i]);
}

static void test_layout(void **state) {
    (void)state;
    static const char text[] = "tech==科技\ncar==汽车\npos==good\ncar==车\npos==Badly\npos==技\n";
    /* car: 汽车, 车; pos: good, badly, 技; tech: 科技 */
    static const int32_t word_offsets[] = {0, 2, 5, 6}, word_labels[] = {0, 0, 1, 1, 1, 2};
    static const int32_t token_offsets[] = {0, 2, 3, 4, 6, 7, 9},
                         ids[] = {5, 6, 6, 9, 10, 11, 8, 7, 8};
    static const int32_t lengths[] = {1, 2}, group_offsets[] = {0, 3, 6},
                         group_words[] = {1, 2, 4, 0, 3, 5};
    tokenizer *tok = make_tokenizer();
    label_set labels;
    verbalizer_words w;
    cloze_error err = {0};
    CHECK_OK(label_set_parse_text(text, sizeof text - 1, "label.txt", &labels, NULL, &err), err);
    CHECK_OK(verbalizer_words_build(&labels, tok, NULL, &w, &err), err);
    assert_int_equal(w.n_labels, 3);
    assert_int_equal(w.n_words, 6);
    assert_int_equal(w.n_tokens, 9);
    assert_int_equal(w.max_length, 2);
    assert_int_equal(w.n_groups, 2);
    check_i32(w.word_offsets, word_offsets, 4);
    check_i32(w.word_labels, word_labels, 6);
    check_i32(w.token_offsets, token_offsets, 7);
    check_i32(w.token_ids, ids, 9);
    check_i32(w.group_lengths, lengths, 2);
    check_i32(w.group_offsets, group_offsets, 3);
    check_i32(w.group_words, group_words, 6);
    verbalizer_words_deinit(&w);
    label_set_deinit(&labels);
    tokenizer_destroy(tok);
}

static void test_refused(void **state) {
    (void)state;
    static const struct {
        const char *text, *piece;
        bool even_when_allowed;
    } cases[] = {
        {"a==汽船\n", "label \"a\": a part of the word \"汽船\" is unknown", false},
        {"a==汽\nb\n", "label \"b\": a part of the word \"b\" is unknown", false},
        {"a==\xE2\x80\x8B\n", "label \"a\": the word \"\xE2\x80\x8B\" has no token", true},
    };
    tokenizer *tok = make_tokenizer();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        label_set labels;
        verbalizer_words w;
        cloze_error err = {0};
        verbalizer_words_options opts = {.allow_unknown = true};
        CHECK_OK(label_set_parse_text(cases[i].text, strlen(cases[i].text), "label.txt", &labels,
                                      NULL, &err),
                 err);
        CHECK_ERROR(verbalizer_words_build(&labels, tok, NULL, &w, &err), err, CLOZE_ERR_DATA,
                    cases[i].piece);
        cloze_status status = verbalizer_words_build(&labels, tok, &opts, &w, &err);
        assert_int_equal(status, cases[i].even_when_allowed ? CLOZE_ERR_DATA : CLOZE_OK);
        verbalizer_words_deinit(&w);
        label_set_deinit(&labels);
    }
    label_set none = {0};
    verbalizer_words w;
    cloze_error err = {0};
    CHECK_ERROR(verbalizer_words_build(&none, tok, NULL, &w, &err), err, CLOZE_ERR_DATA,
                "there are no labels");
    tokenizer_destroy(tok);
}

static void check_first_token(const label_set *labels, const tokenizer *tok, bool starts,
                              const char *want) {
    verbalizer_words w;
    cloze_error err = {0};
    verbalizer_words_options opts = {.word_starts_text = starts};
    CHECK_OK(verbalizer_words_build(labels, tok, &opts, &w, &err), err);
    assert_int_equal(w.n_tokens, 1);
    assert_string_equal(tokenizer_id_to_token(tok, w.token_ids[0]), want);
    verbalizer_words_deinit(&w);
}

static void test_byte_bpe_space(void **state) {
    (void)state;
    const char *shared =
        getenv("CLOZE_SHARED") ? getenv("CLOZE_SHARED") : TESTS_DIR "/../../shared";
    char *dir = path_join(shared, "data/tokenizers/roberta");
    const char *names[] = {"great"};
    tokenizer *tok = NULL;
    label_set labels;
    cloze_error err = {0};
    if (!file_is_dir(dir)) {
        print_message("SKIP: no tokenizer in %s\n", dir);
        mem_free(dir);
        skip();
    }
    CHECK_OK(tokenizer_open(dir, NULL, &tok, &err), err);
    CHECK_OK(label_set_from_names(names, 1, &labels, &err), err);
    check_first_token(&labels, tok, false,
                      "\xC4\xA0"
                      "great");
    check_first_token(&labels, tok, true, "great");
    label_set_deinit(&labels);
    tokenizer_destroy(tok);
    mem_free(dir);
}

static void test_no_memory(void **state) {
    (void)state;
    tokenizer *tok = make_tokenizer();
    const char *names[] = {"汽车", "科技", "good"};
    label_set labels;
    cloze_error err = {0};
    cloze_status status = CLOZE_ERR_MEMORY;
    CHECK_OK(label_set_from_names(names, 3, &labels, &err), err);
    for (int64_t k = 0; status != CLOZE_OK && k < 100; k++) {
        verbalizer_words w;
        mem_fail_after(k);
        status = verbalizer_words_build(&labels, tok, NULL, &w, &err);
        mem_fail_after(-1);
        if (status != CLOZE_OK) assert_int_equal(status, CLOZE_ERR_MEMORY);
        verbalizer_words_deinit(&w);
    }
    assert_int_equal(status, CLOZE_OK);
    label_set_deinit(&labels);
    tokenizer_destroy(tok);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_layout),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_byte_bpe_space),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
