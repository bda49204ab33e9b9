/* Words from raw text: planted words are found, cut and written; damaged lists are refused. */
#include "../unit_support.h"

#include "text/segment.h"

/* "1100..." of the word starts of a text. */
static const char *starts_of(const segmenter *s, const char *text) {
    static char out[256];
    uint8_t *starts = NULL;
    size_t n = 0;
    MUST(segmenter_word_starts(s, text, strlen(text), &starts, err));
    for (const char *p = text; *p; p++)
        if (((uint8_t)*p & 0xC0) != 0x80) out[n] = (char)('0' + starts[n]), n++;
    out[n] = '\0';
    mem_free(starts);
    return out;
}

/* Sentences of planted words in random order with random lone characters between them: each word's
 * neighbours are varied, its inside is fixed. */
static segmenter *learn_planted(const char *const words[], uint32_t n_words) {
    segment_train_options o = {.max_words = 1000, .min_count = 5};
    segment_trainer *t = NULL;
    segmenter *s = NULL;
    rng r;
    rng_init(&r, 7);
    MUST(segment_trainer_create(&o, &t, err));
    for (int i = 0; i < 4000; i++) {
        char line[512];
        size_t len = 0;
        for (int k = 0; k < 8; k++) {
            uint32_t cp = 0x4E00 + rng_below(&r, 400);
            char lone[4] = {(char)(0xE0 | cp >> 12), (char)(0x80 | (cp >> 6 & 63)),
                            (char)(0x80 | (cp & 63)), 0};
            len += (size_t)snprintf(line + len, sizeof line - len, "%s",
                                    rng_below(&r, 3) ? words[rng_below(&r, n_words)] : lone);
        }
        len += (size_t)snprintf(line + len, sizeof line - len, "，x");
        MUST(segment_trainer_feed(t, line, len, err));
    }
    MUST(segment_trainer_finish(t, &s, err));
    segment_trainer_destroy(t);
    return s;
}

static void test_learn(void **state) {
    static const char *const words[] = {"电影", "天气", "计算机", "图书馆", "朋友",
                                        "跑步", "音乐", "快乐",   "手机",   "高兴"};
    segmenter *s = learn_planted(words, COUNT(words)), *again = NULL;
    assert_string_equal(starts_of(s, "电影天气"), "1010");
    assert_string_equal(starts_of(s, "朋友计算机图书馆"), "10100100");
    assert_string_equal(starts_of(s, "a电影 b，朋友"), "11011110");
    assert_string_equal(starts_of(s, ""), "");
    assert_string_equal(starts_of(s, "\xFF电影"), "110");
    MUST(segmenter_write(s, at("words.txt"), err));
    MUST(segmenter_read(at("words.txt"), &again, err));
    assert_int_equal(segmenter_word_count(again), segmenter_word_count(s));
    assert_string_equal(starts_of(again, "朋友计算机图书馆"), "10100100");
    MUST(segmenter_write(again, at("words2.txt"), err));
    assert_same_file(at("words.txt"), at("words2.txt"));
    segmenter_destroy(s);
    segmenter_destroy(again);
}

static void test_read(void **state) {
    segmenter *s = NULL;
    put_file(at("w"), "北京大学\t50\n北京\t20\r\n\n大学\t30\n");
    MUST(segmenter_read(at("w"), &s, err));
    assert_string_equal(starts_of(s, "北京大学北京"), "100010");
    char run[6 * 350 + 1];
    for (int i = 0; i < 350; i++)
        memcpy(run + 6 * i, "大学", 7); /* longer than what is cut at once */
    uint8_t *starts;
    MUST(segmenter_word_starts(s, run, strlen(run), &starts, err));
    for (int i = 0; i < 700; i++) assert_int_equal(starts[i], i % 2 == 0);
    mem_free(starts);
    segmenter_destroy(s);
    static const char *const bad[] = {"北京\n", "abc\t5\n",  "北京大学生\t5\n",
                                      "\t5\n",  "北京\t0\n", "北京\tx\n",
                                      "北京\t\n5\n", "北京\t5x\n", "北京\t 5\n"};
    for (size_t i = 0; i < COUNT(bad); i++) {
        put_file(at("w"), bad[i]);
        MUST_FAIL(CLOZE_ERR_MODEL, "w:1: not a word", segmenter_read(at("w"), &s, err));
    }
    MUST_FAIL(CLOZE_ERR_MODEL, "none", segmenter_read(at("none"), &s, err));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_learn, dir_setup, dir_teardown),
        cmocka_unit_test_setup_teardown(test_read, dir_setup, dir_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
