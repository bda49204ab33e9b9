/*
 * Pre-training text: how files become sequences, and what masking promises: the rate, whole words,
 * 80/10/10, one mask a sequence at least, and masks that depend on key and sequence alone.
 */
#include "base/rng.h"
#include "train/masked_batch.h"
#include "unit/unit_support.h"

enum { MASK = 4, CLS = 2, SEP = 3, FIRST = 5, VOCAB = 505 };

static const mask_options OPTIONS = {.probability = 0.15,
                                     .mask_id = MASK,
                                     .cls_id = CLS,
                                     .sep_id = SEP,
                                     .vocab_size = VOCAB,
                                     .first_ordinary_id = FIRST};

/* ---- corpora made by hand ---- */

/* n sequences of min..max tokens, words of 1..longest of them. */
static corpus make_corpus(int64_t n, int32_t min, int32_t max, int32_t longest, uint64_t seed) {
    corpus c = {0};
    rng r;
    rng_init(&r, seed);
    c.tokens = mem_alloc((size_t)(n * max) * sizeof *c.tokens);
    c.offsets = mem_calloc((size_t)n + 1, sizeof *c.offsets);
    assert_true(c.tokens && c.offsets);
    for (int64_t s = 0; s < n; s++) {
        int32_t length = min + (int32_t)rng_below(&r, (uint32_t)(max - min + 1)), left = 0;
        for (int32_t i = 0; i < length; i++) {
            bool start = left == 0;
            if (start) left = 1 + (int32_t)rng_below(&r, (uint32_t)longest);
            left--;
            c.tokens[c.n_tokens++] = (FIRST + (int32_t)rng_below(&r, VOCAB - FIRST)) * 2 + start;
        }
        c.offsets[++c.n_sequences] = c.n_tokens;
    }
    return c;
}

static int32_t *identity(int64_t n) {
    int32_t *order = mem_alloc((size_t)(n + 1) * sizeof *order);
    assert_non_null(order);
    for (int64_t i = 0; i < n; i++) order[i] = (int32_t)i;
    return order;
}

/* Whether row `row` of the batch is a label, and which; -1 = no. */
static int32_t *labels_by_row(const masked_batch *b) {
    int32_t *labels = mem_alloc((size_t)b->n_tokens * sizeof *labels);
    assert_non_null(labels);
    for (int32_t i = 0; i < b->n_tokens; i++) labels[i] = -1;
    for (int32_t m = 0; m < b->n_masks; m++) {
        assert_in_range(b->mask_rows[m], 0, b->n_tokens - 1);
        assert_int_equal(labels[b->mask_rows[m]], -1); /* none twice */
        labels[b->mask_rows[m]] = b->labels[m];
    }
    return labels;
}

/* What must hold of every batch: frames, labels, untouched tokens, a mask in every sequence. */
static void check_batch(const masked_batch *b, const corpus *c, const int32_t *order, int64_t first,
                        const mask_options *o) {
    int32_t *labels = labels_by_row(b);
    for (int32_t s = 0; s < b->n_seqs; s++) {
        const int32_t *tokens = c->tokens + c->offsets[order[first + s]];
        int32_t begin = b->offsets[s], end = b->offsets[s + 1], n_masks = 0;
        assert_int_equal(end - begin - 2,
                         c->offsets[order[first + s] + 1] - c->offsets[order[first + s]]);
        assert_int_equal(b->input_ids[begin], CLS);
        assert_int_equal(b->input_ids[end - 1], SEP);
        assert_int_equal(labels[begin], -1);
        assert_int_equal(labels[end - 1], -1);
        for (int32_t i = begin + 1; i < end - 1; i++) {
            int32_t id = tokens[i - begin - 1] >> 1, now = b->input_ids[i];
            if (labels[i] < 0) {
                assert_int_equal(now, id);
                continue;
            }
            n_masks++;
            assert_int_equal(labels[i], id);
            assert_true(now == MASK || (now >= o->first_ordinary_id && now < o->vocab_size));
        }
        if (n_masks == 0) fail_msg("a sequence of %d tokens has no mask", end - begin - 2);
    }
    mem_free(labels);
}

/* ---- masking ---- */

static void rate_and_proportions(void **unused) {
    static const struct {
        bool whole_word;
        int32_t min, max, longest;
        double probability, low, high;
    } cases[] = {
        {false, 20, 60, 1, 0.15, 0.147, 0.153},  {false, 7, 9, 1, 0.15, 0.145, 0.175},
        {true, 20, 60, 1, 0.15, 0.147, 0.153},   {true, 20, 60, 3, 0.15, 0.140, 0.160},
        {true, 100, 120, 4, 0.15, 0.145, 0.155}, {true, 40, 60, 2, 0.4, 0.39, 0.41},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        corpus c = make_corpus(2000, cases[i].min, cases[i].max, cases[i].longest, i);
        int32_t *order = identity(c.n_sequences);
        masked_batch b = {0};
        mask_options o = OPTIONS;
        o.whole_word = cases[i].whole_word;
        o.probability = cases[i].probability;
        MUST(masked_batch_fill(&b, &c, order, 0, c.n_sequences, &o, 77, err));
        check_batch(&b, &c, order, 0, &o);
        double rate = (double)b.n_masks / (double)c.n_tokens;
        if (!(rate > cases[i].low && rate < cases[i].high))
            fail_msg("case %zu masks %.4f of all tokens", i, rate);
        int32_t masked = 0, kept = 0;
        for (int32_t m = 0; m < b.n_masks; m++) {
            masked += b.input_ids[b.mask_rows[m]] == MASK;
            kept += b.input_ids[b.mask_rows[m]] == b.labels[m];
        }
        double sd = 1 / sqrt((double)b.n_masks);
        assert_near("share of [MASK]", (double)masked / b.n_masks, 0.8, 4 * 0.4 * sd);
        assert_near("share kept", (double)kept / b.n_masks, 0.1 + 0.1 / 500, 4 * 0.3 * sd);
        masked_batch_deinit(&b);
        mem_free(order);
        corpus_deinit(&c);
    }
}

static void whole_words_are_masked_together(void **unused) {
    corpus c = make_corpus(500, 30, 60, 4, 3);
    int32_t *order = identity(c.n_sequences), broken[2] = {0}, words = 0;
    for (int whole = 0; whole < 2; whole++) {
        masked_batch b = {0};
        mask_options o = OPTIONS;
        o.whole_word = whole;
        MUST(masked_batch_fill(&b, &c, order, 0, c.n_sequences, &o, 5, err));
        int32_t *labels = labels_by_row(&b);
        for (int32_t s = 0; s < b.n_seqs; s++) {
            const int32_t *tokens = c.tokens + c.offsets[s];
            for (int32_t i = b.offsets[s] + 2; i < b.offsets[s + 1] - 1; i++) {
                if (tokens[i - b.offsets[s] - 1] & 1) continue; /* a word starts */
                words++;
                broken[whole] += (labels[i] < 0) != (labels[i - 1] < 0);
            }
        }
        mem_free(labels);
        masked_batch_deinit(&b);
    }
    assert_int_equal(broken[1], 0);
    assert_true(broken[0] > words / 20); /* what the switch is for */
    mem_free(order);
    corpus_deinit(&c);
}

/* Short ones, and words longer than the budget. */
static void every_sequence_has_a_mask(void **unused) {
    static const struct {
        int32_t min, max, longest;
    } cases[] = {{2, 2, 1}, {2, 4, 2}, {3, 20, 20}, {10, 10, 30}, {2, 40, 8}, {4094, 4094, 4000}};
    for (size_t i = 0; i < COUNT(cases); i++) {
        for (int whole = 0; whole < 2; whole++) {
            corpus c =
                make_corpus(i == 5 ? 3 : 300, cases[i].min, cases[i].max, cases[i].longest, i);
            int32_t *order = identity(c.n_sequences);
            masked_batch b = {0};
            mask_options o = OPTIONS;
            o.whole_word = whole;
            MUST(masked_batch_fill(&b, &c, order, 0, c.n_sequences, &o, 9, err));
            check_batch(&b, &c, order, 0, &o);
            assert_true(b.n_masks < 0.6 * (double)c.n_tokens); /* something is left to go by */
            masked_batch_deinit(&b);
            mem_free(order);
            corpus_deinit(&c);
        }
    }
}

/* A sequence gets the same masks and dropout keys whatever it is packed with. */
static void masks_depend_on_key_and_sequence(void **unused) {
    corpus c = make_corpus(60, 10, 30, 3, 1);
    int32_t *order = identity(c.n_sequences), reversed[60];
    for (int i = 0; i < 60; i++) reversed[i] = 59 - i;
    mask_options o = OPTIONS;
    o.whole_word = true;
    masked_batch all = {0}, one = {0}, other = {0};
    MUST(masked_batch_fill(&all, &c, order, 0, 60, &o, 4, err));
    int32_t n_masks = 0;
    for (int32_t s = 0; s < 60; s++) {
        int32_t at_row = all.offsets[s], n = all.offsets[s + 1] - at_row;
        MUST(masked_batch_fill(&one, &c, reversed, 59 - s, 60 - s, &o, 4, err));
        assert_int_equal(one.n_tokens, n);
        assert_memory_equal(one.input_ids, all.input_ids + at_row, (size_t)n * sizeof(int32_t));
        assert_memory_equal(one.row_keys, all.row_keys + at_row, (size_t)n * sizeof(uint64_t));
        for (int32_t m = 0; m < one.n_masks; m++)
            assert_int_equal(one.mask_rows[m] + at_row, all.mask_rows[n_masks + m]);
        n_masks += one.n_masks;
    }
    assert_int_equal(n_masks, all.n_masks);
    MUST(masked_batch_fill(&other, &c, order, 0, 60, &o, 5, err)); /* another epoch */
    assert_memory_not_equal(other.input_ids, all.input_ids, (size_t)all.n_tokens * sizeof(int32_t));
    for (int32_t i = 0; i < all.n_tokens; i++) /* no two rows share a dropout key */
        for (int32_t k = 0; k < i; k++) assert_true(all.row_keys[i] != all.row_keys[k]);
    masked_batch_deinit(&all);
    masked_batch_deinit(&one);
    masked_batch_deinit(&other);
    mem_free(order);
    corpus_deinit(&c);
}

static void storage_is_used_again(void **unused) {
    corpus c = make_corpus(100, 10, 30, 3, 1);
    int32_t *order = identity(c.n_sequences);
    masked_batch b = {0};
    for (int64_t size = 1; size <= 64; size = size * 3 + 1) {
        for (int64_t first = 0; first + size <= 100; first += size) {
            MUST(masked_batch_fill(&b, &c, order, first, first + size, &OPTIONS, 4, err));
            check_batch(&b, &c, order, first, &OPTIONS);
        }
    }
    masked_batch_deinit(&b);
    mem_free(order);
    corpus_deinit(&c);
}

/* ---- holding out ---- */

static int64_t sum_of_sequence(const corpus *c, int64_t s) {
    int64_t sum = 0;
    for (int64_t i = c->offsets[s]; i < c->offsets[s + 1]; i++) sum = sum * 31 + c->tokens[i];
    return sum;
}

static void held_out_is_disjoint(void **unused) {
    static const struct {
        int64_t n, wanted, held;
    } cases[] = {{200, 30, 30},   {200, 0, 0}, {200, 199, 199}, {200, 200, 20},
                 {200, 5000, 20}, {5, 10, 0},  {1, 1, 0}};
    for (size_t i = 0; i < COUNT(cases); i++) {
        corpus whole = make_corpus(cases[i].n, 5, 9, 3, 2), c = make_corpus(cases[i].n, 5, 9, 3, 2),
               held, again = make_corpus(cases[i].n, 5, 9, 3, 2), held_again;
        MUST(corpus_hold_out(&c, &held, cases[i].wanted, 7, err));
        assert_int_equal(held.n_sequences, cases[i].held);
        assert_int_equal(c.n_sequences, cases[i].n - cases[i].held);
        assert_int_equal(c.n_tokens + held.n_tokens, whole.n_tokens);
        for (int64_t s = 0; s < whole.n_sequences; s++) { /* each is in exactly one of both */
            int64_t sum = sum_of_sequence(&whole, s);
            int n = 0;
            for (int64_t k = 0; k < c.n_sequences; k++) n += sum_of_sequence(&c, k) == sum;
            for (int64_t k = 0; k < held.n_sequences; k++) n += sum_of_sequence(&held, k) == sum;
            assert_int_equal(n, 1);
        }
        MUST(corpus_hold_out(&again, &held_again, cases[i].wanted, 7, err));
        assert_memory_equal(again.tokens, c.tokens, (size_t)c.n_tokens * sizeof *c.tokens);
        corpus_deinit(&whole);
        corpus_deinit(&c);
        corpus_deinit(&held);
        corpus_deinit(&again);
        corpus_deinit(&held_again);
    }
}

/* ---- reading ---- */

#define WORDPIECES                                                                                 \
    "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nthe\ncat\nsat\n##s\n##ing\n体\n育\n新\n闻\n。\nplay\n"

static tokenizer *make_tokenizer(void) {
    tokenizer *tok = NULL;
    wordpiece_settings s = {.do_lower_case = 1, .strip_accents = -1, .tokenize_chinese_chars = 1};
    MUST(tokenizer_create_wordpiece(WORDPIECES, strlen(WORDPIECES), &s, &tok, err));
    return tok;
}

/* Tokens by name, a word's first one after a blank: "the cats" is "the cat##s". */
static void check_sequence(const corpus *c, const tokenizer *tok, int64_t s, const char *want) {
    char got[200] = "";
    for (int64_t i = c->offsets[s]; i < c->offsets[s + 1]; i++) {
        size_t n = strlen(got);
        snprintf(got + n, sizeof got - n, "%s%s", c->tokens[i] & 1 && n ? " " : "",
                 tokenizer_id_to_token(tok, c->tokens[i] >> 1));
    }
    assert_string_equal(got, want);
}

static corpus read_ok(corpus_options *o) {
    corpus c;
    MUST(corpus_read(o, &c, err));
    return c;
}

static void lines_become_sequences(void **unused) {
    tokenizer *tok = make_tokenizer();
    put_file(at("a.txt"), "The cats sat\n\n   \ncat\r\nplaying 体育 cat\n");
    put_file(at("b.txt"), "\xEF\xBB\xBFthe sat"); /* a byte order mark, no line end */
    char files[2000];
    snprintf(files, sizeof files, "%s,,%s,", at("a.txt"), at("b.txt"));
    corpus_options o = {.files = files, .tok = tok, .max_seq_length = 16};
    corpus c = read_ok(&o);
    assert_int_equal(c.n_sequences, 3); /* the line of one token is left out */
    check_sequence(&c, tok, 0, "the cat##s sat");
    check_sequence(&c, tok, 1, "play##ing 体 育 cat");
    check_sequence(&c, tok, 2, "the sat");
    corpus_deinit(&c);
    put_file(at("words.txt"), "体育\t50\n新闻\t20\n");
    segmenter *words = NULL;
    MUST(segmenter_read(at("words.txt"), &words, err));
    o.words = words;
    c = read_ok(&o);
    check_sequence(&c, tok, 1, "play##ing 体育 cat"); /* one word now */
    corpus_deinit(&c);
    segmenter_destroy(words);
    tokenizer_destroy(tok);
}

static void long_lines_are_cut(void **unused) {
    tokenizer *tok = make_tokenizer();
    put_file(at("a.txt"), "the cat sat the cats sat cat\nsat the cat sat\n");
    corpus_options o = {.files = at("a.txt"), .tok = tok, .max_seq_length = 5};
    corpus c = read_ok(&o);
    assert_int_equal(c.n_sequences, 4);
    check_sequence(&c, tok, 0, "the cat sat");
    check_sequence(&c, tok, 1, "the cat##s");
    check_sequence(&c, tok, 2, "sat cat");
    check_sequence(&c, tok, 3, "sat the cat"); /* a rest of one token is left out */
    corpus_deinit(&c);
    o.max_seq_length = 4;
    c = read_ok(&o);
    assert_int_equal(c.n_sequences, 6);
    corpus_deinit(&c);
    for (o.max_seq_length = 2; o.max_seq_length < 4; o.max_seq_length++) /* no room for two */
        MUST_FAIL(CLOZE_ERR_USAGE, "max_seq_length", corpus_read(&o, &c, err));
    tokenizer_destroy(tok);
}

static void wrong_files_are_named(void **unused) {
    tokenizer *tok = make_tokenizer();
    corpus c;
    corpus_options o = {.files = at("absent.txt"), .tok = tok, .max_seq_length = 16};
    MUST_FAIL(CLOZE_ERR_DATA, "absent.txt", corpus_read(&o, &c, err));
    put_file(at("a.txt"), "the cat\nthe \xff cat\n");
    o.files = at("a.txt");
    MUST_FAIL(CLOZE_ERR_DATA, "a.txt:2", corpus_read(&o, &c, err));
    put_file(at("a.txt"), "\n\ncat\n");
    MUST_FAIL(CLOZE_ERR_DATA, "a.txt: no line has two tokens", corpus_read(&o, &c, err));
    put_file(at("a.txt"), "");
    MUST_FAIL(CLOZE_ERR_DATA, "a.txt: no line has two tokens", corpus_read(&o, &c, err));
    tokenizer_destroy(tok);
}

/* More lines than a chunk holds come in order, whatever the threads do. */
static void many_lines_stay_in_order(void **unused) {
    tokenizer *tok = make_tokenizer();
    enum { N = 10000 };
    FILE *f = fopen(at("many.txt"), "w");
    assert_non_null(f);
    for (int i = 0; i < N; i++)
        for (int k = 0; k < 14; k++)
            fprintf(f, "%s%s", i >> k & 1 ? "cat" : "sat", k < 13 ? " " : "\n");
    fclose(f);
    corpus_options o = {.files = at("many.txt"), .tok = tok, .max_seq_length = 32};
    corpus c = read_ok(&o);
    int32_t cat = tokenizer_token_to_id(tok, "cat", 3);
    assert_int_equal(c.n_sequences, N);
    for (int i = 0; i < N; i++) {
        int value = 0;
        assert_int_equal(c.offsets[i + 1] - c.offsets[i], 14);
        for (int k = 0; k < 14; k++) value |= (c.tokens[c.offsets[i] + k] >> 1 == cat) << k;
        assert_int_equal(value, i);
    }
    corpus_deinit(&c);
    tokenizer_destroy(tok);
}

static cloze_status read_hold_out_and_mask(void *ctx, cloze_error *err) {
    corpus c = {0}, held = {0};
    masked_batch b = {0};
    const int32_t order[] = {0, 1, 2};
    cloze_status status = corpus_read(ctx, &c, err);
    if (status == CLOZE_OK) status = corpus_hold_out(&c, &held, 1, 7, err);
    if (status == CLOZE_OK) status = masked_batch_fill(&b, &c, order, 0, 3, &OPTIONS, 4, err);
    masked_batch_deinit(&b);
    corpus_deinit(&c);
    corpus_deinit(&held);
    return status;
}

static void want_of_memory_is_survived(void **unused) {
    tokenizer *tok = make_tokenizer();
    put_file(at("a.txt"), "the cat\nthe cats sat\nplaying 体育 cat\nsat sat sat\n");
    put_file(at("words.txt"), "体育\t50\n");
    segmenter *words = NULL;
    MUST(segmenter_read(at("words.txt"), &words, err));
    corpus_options o = {.files = at("a.txt"), .tok = tok, .words = words, .max_seq_length = 16};
    assert_true(fail_each_allocation(read_hold_out_and_mask, &o, 1) > 20);
    segmenter_destroy(words);
    tokenizer_destroy(tok);
}

#define FILES_TEST(f) cmocka_unit_test_setup_teardown(f, dir_setup, dir_teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rate_and_proportions),
        cmocka_unit_test(whole_words_are_masked_together),
        cmocka_unit_test(every_sequence_has_a_mask),
        cmocka_unit_test(masks_depend_on_key_and_sequence),
        cmocka_unit_test(storage_is_used_again),
        cmocka_unit_test(held_out_is_disjoint),
        FILES_TEST(lines_become_sequences),
        FILES_TEST(long_lines_are_cut),
        FILES_TEST(wrong_files_are_named),
        FILES_TEST(many_lines_stay_in_order),
        FILES_TEST(want_of_memory_is_survived),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
