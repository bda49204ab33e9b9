/* Vocabularies from raw text: what is in them, in which order, and that BERT reads them. */
#include "../unit_support.h"

#include "text/tokenizer.h"
#include "text/word_counts.h"
#include "text/wordpiece_train.h"

static void build(const char *const lines[], size_t n, int repeat, wordpiece_train_options o,
                  buf *out) {
    wordpiece_trainer *t = NULL;
    buf_init(out, 1 << 20);
    MUST(wordpiece_trainer_create(&o, &t, err));
    for (int r = 0; r < repeat; r++)
        for (size_t i = 0; i < n; i++)
            MUST(wordpiece_trainer_feed(t, lines[i], strlen(lines[i]), err));
    MUST(wordpiece_trainer_finish(t, out, err));
    wordpiece_trainer_destroy(t);
}

/* The line number of a token, or -1. */
static int line_of(const buf *vocab, const char *token) {
    size_t n = strlen(token);
    int line = 0;
    for (const char *p = vocab->data; *p; p += strcspn(p, "\n") + 1, line++)
        if (strcspn(p, "\n") == n && !memcmp(p, token, n)) return line;
    return -1;
}

static const char *const lines[] = {
    "The lowest newest widest NEWEST newest café",
    "今天天气很好，今天很好",
    "low lower lowest ２０24",
};

static void test_contents(void **state) {
    buf v;
    build(lines, COUNT(lines), 3, (wordpiece_train_options){400, 2, true}, &v);
    static const char *const first[] = {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"};
    for (int i = 0; i < 5; i++) assert_int_equal(line_of(&v, first[i]), i);
    static const char *const there[] = {"a",      "##z",    "!",     "今",   "，",
                                        "newest", "lowest", "##est", "cafe", "##24"};
    for (size_t i = 0; i < COUNT(there); i++)
        if (line_of(&v, there[i]) < 0) fail_msg("\"%s\" is missing", there[i]);
    static const char *const absent[] = {"A", "é", "##!", "##今", "今天", "NEWEST", "##b ", ""};
    for (size_t i = 0; i < COUNT(absent); i++)
        if (line_of(&v, absent[i]) >= 0) fail_msg("\"%s\" is there", absent[i]);
    assert_true(line_of(&v, "今") < line_of(&v, "气")); /* by falling count */
    tokenizer *tok = NULL;
    wordpiece_settings settings = {1, -1, 1, 512};
    MUST(tokenizer_create_wordpiece(v.data, v.len, &settings, &tok, err));
    encoding e;
    encoding_init(&e, false, false);
    for (size_t i = 0; i < COUNT(lines); i++) {
        encoding_clear(&e);
        MUST(tokenizer_encode_text(tok, lines[i], strlen(lines[i]), &e, err));
        for (int32_t k = 0; k < e.n; k++)
            assert_int_not_equal(e.ids[k], tokenizer_special(tok)->unk);
    }
    encoding_deinit(&e);
    tokenizer_destroy(tok);
    buf_deinit(&v);
}

/* Merges in order of counts, worked by hand: with words aab x 5 and ab x 3, the pair (##a, ##b)
 * counts 5 and (a, ##a) 5, (a, ##b) 3; the tie goes to the pair whose first token stands first. */
static void test_merges(void **state) {
    word_counts words;
    vocabulary v;
    MUST(word_counts_init(&words, 100, err));
    MUST(vocab_init(&v, 0, 100, err));
    static const char *const chars[] = {"a", "b", "##a", "##b"};
    for (int i = 0; i < 4; i++) MUST(vocab_add(&v, chars[i], strlen(chars[i]), i, err));
    for (int i = 0; i < 5; i++) MUST(word_counts_add(&words, "aab", 3, err));
    for (int i = 0; i < 3; i++) MUST(word_counts_add(&words, "ab", 2, err));
    for (int i = 0; i < 9; i++)
        MUST(word_counts_add(&words, "xyz", 3, err)); /* no such characters */
    word_counts_sort(&words);
    assert_int_equal(words.used, 3);
    assert_string_equal(words.slots[0].text, "xyz");
    MUST(wordpiece_learn_merges(&words, 100, 3, &v, err));
    static const char *const wanted[] = {"aa", "aab", "ab"};
    assert_int_equal(v.n_ids, 7);
    for (int i = 0; i < 3; i++) assert_string_equal(vocab_text(&v, 4 + i, NULL), wanted[i]);
    vocab_deinit(&v);
    word_counts_deinit(&words);
}

/* A full table forgets the rare words and goes on. */
static void test_bounded(void **state) {
    word_counts words;
    MUST(word_counts_init(&words, 300, err));
    for (int i = 0; i < 5000; i++) {
        char text[32];
        int n = snprintf(text, sizeof text, "rare%d", i);
        MUST(word_counts_add(&words, text, (size_t)n, err));
        MUST(word_counts_add(&words, "often", 5, err));
        assert_true(words.used <= 300);
    }
    word_counts_sort(&words);
    assert_string_equal(words.slots[0].text, "often");
    assert_int_equal(words.slots[0].count, 5000);
    word_counts_deinit(&words);
}

static void test_limits(void **state) {
    buf a, b;
    build(lines, COUNT(lines), 2, (wordpiece_train_options){120, 1, true}, &a);
    build(lines, COUNT(lines), 2, (wordpiece_train_options){120, 1, true}, &b);
    assert_string_equal(a.data, b.data);
    int count = 0;
    for (const char *p = a.data; *p; p++) count += *p == '\n';
    assert_int_equal(count, 120);
    buf_deinit(&a);
    buf_deinit(&b);
    wordpiece_train_options o = {50, 1, true};
    wordpiece_trainer *t = NULL;
    MUST(wordpiece_trainer_create(&o, &t, err));
    buf_init(&a, 1000);
    MUST_FAIL(CLOZE_ERR_USAGE, "too small", wordpiece_trainer_finish(t, &a, err));
    buf_deinit(&a);
    wordpiece_trainer_destroy(t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_contents),
        cmocka_unit_test(test_merges),
        cmocka_unit_test(test_bounded),
        cmocka_unit_test(test_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
