/* Byte-pair merging: short and long words by the definition (the best-ranked pair, leftmost, again
 * and again), the cache under several threads, and GPT-2's cutting into words. */
#include "../unit_support.h"

#include <omp.h>

#include "text/bpe.h"
#include "text/pretokenizer.h"

/* Symbols a, b and all joins of up to 8 of them that the merges make. */
static const char *const merges[][2] = {
    {"a", "b"},    {"ab", "a"}, {"b", "b"},       {"ab", "ab"},
    {"aba", "bb"}, {"a", "a"},  {"abab", "abab"}, {"aa", "b"},
};

static void make_model(vocabulary *v, bpe_model *b) {
    MUST(vocab_init(v, 0, 64, err));
    MUST(vocab_add(v, "a", 1, 0, err));
    MUST(vocab_add(v, "b", 1, 1, err));
    for (int i = 0; i < (int)COUNT(merges); i++) {
        char joined[32];
        snprintf(joined, sizeof joined, "%s%s", merges[i][0], merges[i][1]);
        if (vocab_get(v, joined, strlen(joined)) < 0)
            MUST(vocab_add(v, joined, strlen(joined), v->n_ids, err));
    }
    MUST(bpe_init(b, v, 4, err));
    for (size_t i = 0; i < COUNT(merges); i++)
        MUST(bpe_add_merge(b, merges[i][0], strlen(merges[i][0]), merges[i][1],
                           strlen(merges[i][1]), err));
}

/* The definition, word for word. */
static size_t merge_plainly(const vocabulary *v, const char *word, size_t n, bpe_token *t) {
    for (size_t i = 0; i < n; i++) t[i] = (bpe_token){word[i] == 'b', (int32_t)i + 1};
    for (;;) {
        size_t best = n, rank = COUNT(merges);
        for (size_t i = 0; i + 1 < n; i++)
            for (size_t m = 0; m < rank; m++)
                if (!strcmp(vocab_text(v, t[i].id, NULL), merges[m][0]) &&
                    !strcmp(vocab_text(v, t[i + 1].id, NULL), merges[m][1])) {
                    best = i;
                    rank = m;
                }
        if (best == n) return n;
        char joined[32];
        snprintf(joined, sizeof joined, "%s%s", merges[rank][0], merges[rank][1]);
        t[best] = (bpe_token){vocab_get(v, joined, strlen(joined)), t[best + 1].end};
        n--;
        for (size_t i = best + 1; i < n; i++) t[i] = t[i + 1];
    }
}

static void check_word(const vocabulary *v, const bpe_model *b, const char *word, size_t n) {
    bpe_token wanted[512], room[64], *got;
    size_t n_wanted = merge_plainly(v, word, n, wanted), n_got;
    MUST(bpe_encode_word(b, word, n, room, COUNT(room), &got, &n_got, err));
    if (n_got != n_wanted || memcmp(got, wanted, n_got * sizeof *got))
        fail_msg("\"%.*s\" gives %zu tokens, wanted %zu", (int)n, word, n_got, n_wanted);
    bpe_release(got, room);
}

static void test_merging(void **state) {
    vocabulary v;
    bpe_model b;
    rng r;
    make_model(&v, &b);
    rng_init(&r, 3);
    for (int round = 0; round < 2; round++) /* the second time from the cache */
        for (uint32_t n = 1; n <= 400; n = n < 60 ? n + 1 : n + 37) {
            char word[400];
            rng_init(&r, n);
            for (uint32_t i = 0; i < n; i++) word[i] = rng_below(&r, 3) ? 'b' : 'a';
            check_word(&v, &b, word, n);
        }
    bpe_token room[8], *got;
    size_t n_got;
    MUST(bpe_encode_word(&b, "xabx", 4, room, 8, &got, &n_got,
                         err)); /* no such bytes: they vanish */
    assert_int_equal(n_got, 1);
    assert_int_equal(got[0].end, 3);
    bpe_release(got, room);
    bpe_deinit(&b);
    vocab_deinit(&v);
}

static void test_threads(void **state) {
    vocabulary v;
    bpe_model b;
    int wrong = 0;
    make_model(&v, &b);
#pragma omp parallel for num_threads(4) reduction(+ : wrong)
    for (int i = 0; i < 20000; i++) {
        char word[16];
        bpe_token wanted[16], room[16], *got;
        size_t n = 1 + (size_t)i % 14, n_got = 0, n_wanted;
        for (size_t k = 0; k < n; k++) word[k] = (i * 2654435761u >> (k + 8)) & 1 ? 'b' : 'a';
        n_wanted = merge_plainly(&v, word, n, wanted);
        wrong += bpe_encode_word(&b, word, n, room, 16, &got, &n_got, NULL) != CLOZE_OK ||
                 n_got != n_wanted || memcmp(room, wanted, n_got * sizeof *wanted) != 0;
    }
    assert_int_equal(wrong, 0);
    bpe_deinit(&b);
    vocab_deinit(&v);
}

static void test_alphabet(void **state) {
    bool seen[512] = {false};
    for (int byte = 0; byte < 256; byte++) {
        uint32_t c = bpe_byte_to_char((uint8_t)byte);
        assert_true(c < 512 && !seen[c]);
        seen[c] = true;
        assert_int_equal(bpe_char_to_byte(c), byte);
    }
    assert_int_equal(bpe_byte_to_char(' '), 0x120);
    assert_int_equal(bpe_byte_to_char('\n'), 0x10A);
    static const uint32_t none[] = {' ', 0x7F, 0xA0, 0xAD, 0x144, 0x4E2D, 0x10FFFF};
    for (size_t i = 0; i < COUNT(none); i++) assert_int_equal(bpe_char_to_byte(none[i]), -1);
}

static void test_gpt2_words(void **state) {
    static const struct {
        const char *text, *words;
    } rows[] = {
        {"Hello world", "Hello| world"},
        {"it's we'll I'd don't", "it|'s| we|'ll| I|'d| don|'t"},
        {"a  b", "a| | b"},
        {"a   b", "a|  | b"},
        {"a\nb", "a|\n|b"},
        {"a \n b", "a| \n| b"},
        {"x  ", "x|  "},
        {" ", " "},
        {"12ab!?", "12|ab|!?"},
        {" 12 !a", " 12| !|a"},
        {"今天 天气。", "今天| 天气|。"},
        {"'S 'x''s", "'|S| '|x|''|s"},
        {"a\xC2\xA0"
         "b",
         "a|\xC2\xA0|b"},
        {"e\xCC\x81 x", "e|\xCC\x81| x"},
        {"\t\tx", "\t|\t|x"},
        {"½x²", "½|x|²"},
    };
    code_pages classes;
    code_pages_init(&classes, gpt2_make_entry, NULL);
    for (size_t i = 0; i < COUNT(rows); i++) {
        char out[256];
        size_t n = strlen(rows[i].text), len = 0;
        for (size_t begin = 0, end; begin < n; begin = end) {
            end = gpt2_next_word(&classes, rows[i].text, begin, n);
            assert_true(end > begin && end <= n);
            len += (size_t)snprintf(out + len, sizeof out - len, "%s%.*s", begin ? "|" : "",
                                    (int)(end - begin), rows[i].text + begin);
        }
        assert_string_equal(out, rows[i].words);
    }
    code_pages_deinit(&classes);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_merging),
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_alphabet),
        cmocka_unit_test(test_gpt2_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
