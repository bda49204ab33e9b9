/*
 * Keyword prompts: which words may be asked for and how often, which templates are taken, and what
 * masked batches make of them.
 */
#include "train/masked_batch.h"
#include "unit/unit_support.h"

#define WORDPIECES                                                                                 \
    "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nthe\ncat\nsat\n##s\n2\n##"                                \
    "0\n体\n育\n新\n闻\n：\n。\n球\n队\n"
enum { CLS = 2, SEP = 3, MASK = 4, VOCAB = 19 };

typedef struct scene {
    tokenizer *tok;
    segmenter *words;
    corpus c;
} scene;

/* A corpus of `text`, whose words of two characters are 体育, 新闻 and 球队. */
static scene make_scene(const char *text) {
    scene s = {0};
    wordpiece_settings w = {.do_lower_case = 1, .strip_accents = -1, .tokenize_chinese_chars = 1};
    MUST(tokenizer_create_wordpiece(WORDPIECES, strlen(WORDPIECES), &w, &s.tok, err));
    put_file(at("words.txt"), "体育\t50\n新闻\t50\n球队\t50\n");
    put_file(at("text.txt"), text);
    MUST(segmenter_read(at("words.txt"), &s.words, err));
    corpus_options o = {
        .files = at("text.txt"), .tok = s.tok, .words = s.words, .max_seq_length = 128};
    MUST(corpus_read(&o, &s.c, err));
    return s;
}

static void close_scene(scene *s) {
    corpus_deinit(&s->c);
    segmenter_destroy(s->words);
    tokenizer_destroy(s->tok);
}

/* n times `line`; mem_free. */
static char *repeat(const char *line, int n) {
    size_t length = strlen(line);
    char *text = mem_alloc(length * (size_t)n + 1);
    assert_non_null(text);
    for (int i = 0; i < n; i++) memcpy(text + length * (size_t)i, line, length);
    text[length * (size_t)n] = '\0';
    return text;
}

static scene repeated_scene(const char *line, int n) {
    char *text = repeat(line, n);
    scene s = make_scene(text);
    mem_free(text);
    return s;
}

static keyword_prompts *prompts_ok(const scene *s, const char *templates) {
    keyword_prompts *k = NULL;
    MUST(keyword_prompts_create(templates, s->tok, &s->c, &k, err));
    return k;
}

#define FRONT "{'mask'}{'hard':'：'}{'text':'text_a'}"
#define BACK "{'text':'text_a'}{'hard':'。新闻'}{'mask'}"

/* ---- words ---- */

static void words_have_letters_and_are_not_rare(void **unused) {
    static const struct {
        const char *line;
        int n, words;
    } cases[] = {
        {"the cats 20 体育 。。\n", 20, 3}, /* the, cats, 体育; not 20, not 。 */
        {"the cats 20 体育 。。\n", 10, 0},
        {"体 育。 体 育\n", 40, 0}, /* of one character each */
        {"20 。 2\n", 40, 0},
        {"球队 the\n", 21, 2},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        scene s = repeated_scene(cases[i].line, cases[i].n);
        keyword_prompts *k = NULL;
        cloze_error error = {0};
        cloze_status status = keyword_prompts_create(FRONT, s.tok, &s.c, &k, &error);
        assert_int_equal(status, cases[i].words ? CLOZE_OK : CLOZE_ERR_DATA);
        if (!k && !strstr(error.message, "20 times")) fail_msg("%s", error.message);
        if (k && keyword_prompts_word_count(k) != cases[i].words)
            fail_msg("case %zu has %d words", i, keyword_prompts_word_count(k));
        keyword_prompts_destroy(k);
        close_scene(&s);
    }
}

/* 体育 is forty times as common as 球队, and asked for far less than forty times as often. */
static void common_words_are_thinned_out(void **unused) {
    char *common = repeat("体育新闻\n", 400 * 20), *rare = repeat("球队体育\n", 400),
         *text = mem_alloc(strlen(common) + strlen(rare) + 1);
    assert_non_null(text);
    memcpy(text, common, strlen(common));
    memcpy(text + strlen(common), rare, strlen(rare) + 1);
    scene s = make_scene(text);
    keyword_prompts *k = prompts_ok(&s, FRONT);
    const int32_t *tokens = s.c.tokens + s.c.offsets[s.c.n_sequences - 1]; /* 球队体育 */
    int32_t n_rare = 0, n = 4000;
    rng r;
    rng_init(&r, 3);
    for (int32_t i = 0; i < n; i++) {
        int32_t begin = -1, length = 0;
        assert_true(keyword_choose(k, tokens, 4, &r, &begin, &length));
        assert_int_equal(length, 2);
        assert_true(begin == 0 || begin == 2);
        n_rare += begin == 0;
    }
    /* weights 1/400 and 1/8400: 21 to 1 */
    assert_near("share of the rare word", (double)n_rare / n, 21.0 / 22, 0.02);
    int32_t begin, length;
    assert_false(keyword_choose(k, tokens, 0, &r, &begin, &length));
    keyword_prompts_destroy(k);
    close_scene(&s);
    mem_free(common);
    mem_free(rare);
    mem_free(text);
}

/* ---- templates ---- */

static void templates_become_slots(void **unused) {
    scene s = repeated_scene("体育新闻\n", 20);
    keyword_prompts *k = prompts_ok(&s, FRONT "|" BACK);
    bool seen[2] = {false, false};
    rng r;
    rng_init(&r, 1);
    for (int i = 0; i < 50; i++) {
        const keyword_template *t = keyword_draw_template(k, &r);
        bool front = t->slots[0] == KEYWORD_SLOT_MASKS;
        static const int32_t FRONT_SLOTS[] = {KEYWORD_SLOT_MASKS, 15, KEYWORD_SLOT_TEXT},
                             BACK_SLOTS[] = {KEYWORD_SLOT_TEXT, 16, 13, 14, KEYWORD_SLOT_MASKS};
        assert_int_equal(t->n, front ? 3 : 5);
        assert_memory_equal(t->slots, front ? FRONT_SLOTS : BACK_SLOTS,
                            (size_t)t->n * sizeof *t->slots);
        seen[front] = true;
    }
    assert_true(seen[0] && seen[1]);
    assert_int_equal(keyword_prompts_max_extra(k), 3 + KEYWORD_MAX_TOKENS);
    keyword_prompts_destroy(k);
    close_scene(&s);
}

static void other_templates_are_refused(void **unused) {
    static const char *const WRONG[] = {
        "{'mask'}{'soft':'a'}{'text':'text_a'}",
        "{'mask'}{'mask'}{'text':'text_a'}",
        "{'mask'}{'text':'text_a'}{'text':'text_b'}",
        "{'mask':None,'length':2}{'text':'text_a'}",
        "{'mask'}{'text':'text_a','token_type':1}",
        FRONT "|{'mask'}{'sep'}{'text':'text_a'}",
        "{'mask'",
    };
    scene s = repeated_scene("体育新闻\n", 20);
    keyword_prompts *k = NULL;
    for (size_t i = 0; i < COUNT(WRONG); i++)
        MUST_FAIL(CLOZE_ERR_USAGE, i < 6 ? "--keyword_prompt" : "column",
                  keyword_prompts_create(WRONG[i], s.tok, &s.c, &k, err));
    close_scene(&s);
}

/* ---- batches ---- */

static mask_options options_with(const keyword_prompts *k, double probability) {
    return (mask_options){.probability = 0.15,
                          .whole_word = true,
                          .mask_id = MASK,
                          .cls_id = CLS,
                          .sep_id = SEP,
                          .vocab_size = VOCAB,
                          .first_ordinary_id = 5,
                          .keywords = k,
                          .keyword_probability = probability};
}

static int32_t *orders(int32_t n) {
    int32_t *order = mem_alloc((size_t)(n + 1) * sizeof *order);
    assert_non_null(order);
    for (int32_t i = 0; i < n; i++) order[i] = i;
    return order;
}

/* Row `row`'s true id: the label where it is masked. */
static int32_t true_id(const masked_batch *b, int32_t row) {
    for (int32_t m = 0; m < b->n_masks; m++)
        if (b->mask_rows[m] == row) return b->labels[m];
    return b->input_ids[row];
}

/* A prompt of FRONT: frame, positions, a keyword behind masks, and a text without it. */
static void check_prompt(const masked_batch *b, int32_t s) {
    int32_t begin = b->offsets[s], end = b->offsets[s + 1];
    int32_t word[2] = {true_id(b, begin + 1), true_id(b, begin + 2)};
    assert_true((word[0] == 11 && word[1] == 12) || (word[0] == 13 && word[1] == 14) ||
                (word[0] == 17 && word[1] == 18));
    assert_int_equal(b->input_ids[begin], CLS);
    assert_int_equal(b->input_ids[begin + 1], MASK);
    assert_int_equal(b->input_ids[begin + 2], MASK);
    assert_int_equal(b->input_ids[begin + 3], 15);
    assert_int_equal(b->input_ids[end - 1], SEP);
    assert_int_equal(b->position_ids[end - 1], 0);
    for (int32_t i = begin; i < end - 1; i++) assert_int_equal(b->position_ids[i], i - begin);
    assert_in_range(end - begin, 4 + 2 + 1, 4 + KEYWORD_MAX_TEXT + KEYWORD_MIN_TEXT + 1);
    for (int32_t i = begin + 4; i + 1 < end - 1; i++)
        assert_false(true_id(b, i) == word[0] && true_id(b, i + 1) == word[1]);
}

#define ENGLISH "the cat sat the cat 球队 sat cat the 。 the "
#define LINE "体育 " ENGLISH "新闻 " ENGLISH "体育 " ENGLISH "新闻 " ENGLISH "\n"

static void sequences_become_prompts(void **unused) {
    scene s = repeated_scene(LINE, 100);
    keyword_prompts *k = prompts_ok(&s, FRONT);
    mask_options o = options_with(k, 1);
    int32_t *order = orders(100), n_checked = 0;
    masked_batch b = {0}, again = {0};
    MUST(masked_batch_fill(&b, &s.c, order, 0, 100, &o, 9, err));
    assert_true(b.n_seqs > 150); /* a sequence of 56 tokens gives about two */
    for (int32_t i = 0; i < b.n_seqs; i++) {
        if (true_id(&b, b.offsets[i] + 1) < 11) continue; /* "the", "cat", "sat" */
        check_prompt(&b, i);
        n_checked++;
    }
    assert_true(n_checked > 50);
    MUST(masked_batch_fill(&again, &s.c, order, 0, 100, &o, 9, err));
    assert_int_equal(again.n_tokens, b.n_tokens);
    assert_memory_equal(again.input_ids, b.input_ids, (size_t)b.n_tokens * sizeof(int32_t));
    MUST(masked_batch_fill(&again, &s.c, order, 0, 100, &o, 10, err));
    assert_true(again.n_tokens != b.n_tokens ||
                memcmp(again.input_ids, b.input_ids, (size_t)b.n_tokens * sizeof(int32_t)) != 0);
    masked_batch_deinit(&again);
    masked_batch_deinit(&b);
    mem_free(order);
    keyword_prompts_destroy(k);
    close_scene(&s);
}

/* Share of sequences that become prompts; sequences without a keyword stay plain. */
static void the_probability_is_kept(void **unused) {
    static const double PROBABILITIES[] = {0, 0.3, 1};
    scene s = repeated_scene("体育新闻。 。 。 。\n。 。 。 2 2 2 2 。\n", 1000);
    keyword_prompts *k = prompts_ok(&s, FRONT);
    int32_t n = (int32_t)s.c.n_sequences, *order = orders(n);
    for (size_t i = 0; i < COUNT(PROBABILITIES); i++) {
        mask_options o = options_with(k, PROBABILITIES[i]);
        masked_batch b = {0};
        int32_t n_prompts = 0;
        MUST(masked_batch_fill(&b, &s.c, order, 0, n, &o, 4, err));
        assert_int_equal(b.n_seqs, n);
        for (int32_t q = 0; q < b.n_seqs; q++)
            n_prompts += b.position_ids[b.offsets[q + 1] - 1] == 0;
        assert_near("share of prompts", n_prompts / 1000.0, PROBABILITIES[i], 0.06);
        masked_batch_deinit(&b);
    }
    mem_free(order);
    keyword_prompts_destroy(k);
    close_scene(&s);
}

static cloze_status make_prompts(void *ctx, cloze_error *err) {
    const scene *s = ctx;
    keyword_prompts *k = NULL;
    CLOZE_TRY(keyword_prompts_create(FRONT "|" BACK, s->tok, &s->c, &k, err));
    keyword_prompts_destroy(k);
    return CLOZE_OK;
}

static void want_of_memory_is_survived(void **unused) {
    scene s = repeated_scene("体育新闻\n", 20);
    assert_true(fail_each_allocation(make_prompts, &s, 1) > 8);
    close_scene(&s);
}

#define FILES_TEST(f) cmocka_unit_test_setup_teardown(f, dir_setup, dir_teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        FILES_TEST(words_have_letters_and_are_not_rare),
        FILES_TEST(common_words_are_thinned_out),
        FILES_TEST(templates_become_slots),
        FILES_TEST(other_templates_are_refused),
        FILES_TEST(sequences_become_prompts),
        FILES_TEST(the_probability_is_kept),
        FILES_TEST(want_of_memory_is_survived),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
