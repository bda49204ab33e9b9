/*
 * Verbalizers over tiny random BERTs: what soft rows start from, manual scores against a direct
 * computation from the whole vocabulary's log-probabilities, and the gradients of both through the
 * whole graph against central differences.
 */
#include "tune/verbalizer.h"
#include "unit/model/tiny_model.h"
#include "unit/tape_support.h"

/* Label words by hand: sizes first. */
typedef struct word_case {
    const char *name;
    int32_t n_labels, words[4]; /* words of each label */
    int32_t lengths[8];         /* tokens of each word */
    int32_t tokens[24];
    int32_t views[4]; /* masks of each expected view, ended by 0 */
} word_case;

static const word_case CASES[] = {
    {"one token", 2, {1, 1}, {1, 1}, {7, 9}, {1}},
    {"three labels, one token", 3, {1, 1, 1}, {1, 1, 1}, {7, 9, 39}, {1}},
    {"two tokens", 2, {1, 1}, {2, 2}, {7, 8, 9, 10}, {2}},
    {"a token in both labels, at other places", 2, {1, 1}, {2, 2}, {7, 8, 8, 7}, {2}},
    {"a token twice in a word", 2, {1, 1}, {2, 2}, {7, 7, 8, 9}, {2}},
    {"several words a label", 3, {2, 1, 3}, {1, 1, 1, 1, 1, 1}, {7, 9, 11, 13, 15, 7}, {1}},
    {"lengths 1, 2 and 3", 3, {1, 1, 1}, {1, 2, 3}, {7, 9, 10, 11, 12, 13}, {1, 2, 3}},
    {"lengths mixed in a label", 2, {2, 2}, {1, 3, 3, 1}, {7, 8, 9, 10, 11, 12, 13, 14}, {1, 3}},
    {"one label short, one long", 2, {1, 1}, {3, 1}, {7, 8, 9, 7}, {1, 3}},
};

typedef struct words {
    int32_t word_offsets[8], token_offsets[16];
    verbalizer_label_words w;
} words;

static void fill_words(const word_case *c, words *out) {
    int32_t n = 0;
    memset(out, 0, sizeof *out);
    for (int32_t l = 0; l < c->n_labels; l++)
        out->word_offsets[l + 1] = out->word_offsets[l] + c->words[l];
    for (; n < out->word_offsets[c->n_labels]; n++)
        out->token_offsets[n + 1] = out->token_offsets[n] + c->lengths[n];
    out->w =
        (verbalizer_label_words){c->n_labels, out->word_offsets, out->token_offsets, c->tokens};
}

/* ---- a batch of two sequences in one view: text, masks, text ---- */

enum { B = 2, MASK = 4, MAX_TOKENS = 32, MAX_MASKS = 3 };

typedef struct view_batch {
    int32_t offsets[B + 1], ids[MAX_TOKENS], mask_rows[B * MAX_MASKS];
    int32_t n_mask_rows;
    nn_batch batch;
} view_batch;

static void fill_view(view_batch *v, int32_t n_masks) {
    static const int32_t HEAD[B][4] = {{2, 20, 21, 22}, {2, 30, 31, 0}};
    static const int32_t HEAD_LENGTHS[B] = {4, 3};
    int32_t n = 0, m = 0;
    for (int32_t b = 0; b < B; b++) {
        v->offsets[b] = n;
        for (int32_t i = 0; i < HEAD_LENGTHS[b]; i++) v->ids[n++] = HEAD[b][i];
        for (int32_t i = 0; i < n_masks; i++) {
            v->mask_rows[m++] = n;
            v->ids[n++] = MASK;
        }
        v->ids[n++] = 23 + b;
        v->ids[n++] = 3;
    }
    v->offsets[B] = n;
    v->batch = (nn_batch){.n_seqs = B, .n_tokens = n, .offsets = v->offsets, .input_ids = v->ids};
    v->n_mask_rows = m;
}

typedef struct fixture {
    engine e;
    model *model;
    verbalizer *verbalizer;
    const int32_t *labels; /* (B) */
} fixture;

/* Summed scores (B,C) of all views, within the current step. */
static var *scores_of(fixture *f) {
    var *sum = NULL;
    for (int32_t i = 0; i < verbalizer_n_views(f->verbalizer); i++) {
        view_batch v;
        fill_view(&v, verbalizer_view_masks(f->verbalizer, i));
        var *masks = model_encode_rows(f->e.tape, f->model, &v.batch, v.mask_rows, v.n_mask_rows, false);
        var *scores = verbalizer_forward(f->e.tape, f->verbalizer, f->model, i, B, masks);
        sum = sum ? op_add(f->e.tape, sum, scores) : scores;
    }
    return sum;
}

static var *loss_of(void *ctx, bool with_grad) {
    fixture *f = ctx;
    tape_begin_step(f->e.tape, with_grad, 0, NULL, 0);
    cross_entropy_options ce = {.labels = f->labels, .scale = 1.0f / B};
    return op_cross_entropy(f->e.tape, scores_of(f), &ce);
}

static const int32_t LABELS[B] = {1, 0};

static fixture fixture_open(const backend *be, const char *config, const word_case *c,
                            verbalizer_kind kind, int32_t fixed_masks) {
    words w;
    fill_words(c, &w);
    fixture f = {.e = engine_open(be, DTYPE_F32), .labels = LABELS};
    f.model = tiny_model(config, MODEL_HEAD_MASKED_LM, 5);
    MUST(verbalizer_create(kind, f.model, &w.w, fixed_masks, &f.verbalizer, err));
    return f;
}

static void fixture_close(fixture *f) {
    verbalizer_destroy(f->verbalizer);
    model_destroy(f->model);
    engine_close(&f->e);
}

/* ---- manual scores ---- */

/* log p (B*k,V) at the masks of a view, in double; mem_free. */
static double *log_probabilities(fixture *f, int32_t n_masks, int64_t *vocab) {
    view_batch v;
    fill_view(&v, n_masks);
    tape *t = f->e.tape;
    tape_begin_step(t, false, 0, NULL, 0);
    var *hidden = model_encode(t, f->model, &v.batch, false);
    var *rows = op_gather_rows(t, hidden, v.mask_rows, B * n_masks);
    var *logits =
        model_masked_lm_logits(t, f->model, model_masked_lm_transform(t, f->model, rows), NULL, 0);
    float *values = read_var(&f->e, logits);
    *vocab = logits->t.cols;
    double *out = mem_alloc((size_t)(B * n_masks * *vocab) * sizeof *out);
    assert_non_null(out);
    for (int64_t r = 0; r < B * n_masks; r++) {
        double sum = 0;
        for (int64_t i = 0; i < *vocab; i++) sum += exp((double)values[r * *vocab + i]);
        for (int64_t i = 0; i < *vocab; i++)
            out[r * *vocab + i] = values[r * *vocab + i] - log(sum);
    }
    mem_free(values);
    return out;
}

/* The mean over a label's words of the mean over a word's tokens of log p, straight from its
 * definition. */
static void direct_scores(fixture *f, const word_case *c, double out[B][4]) {
    words w;
    fill_words(c, &w);
    memset(out, 0, B * sizeof out[0]);
    for (int32_t l = 0; l < c->n_labels; l++) {
        for (int32_t word = w.word_offsets[l]; word < w.word_offsets[l + 1]; word++) {
            int32_t k = c->lengths[word];
            int64_t vocab;
            double *log_p = log_probabilities(f, k, &vocab);
            for (int32_t b = 0; b < B; b++)
                for (int32_t i = 0; i < k; i++)
                    out[b][l] += log_p[(b * k + i) * vocab + c->tokens[w.token_offsets[word] + i]] /
                                 k / c->words[l];
            mem_free(log_p);
        }
    }
}

static void check_manual(const backend *be, const char *config, const word_case *c) {
    double want[B][4];
    int32_t n_views = 0;
    fixture f = fixture_open(be, config, c, VERBALIZER_MANUAL, 0);
    assert_null(verbalizer_param(f.verbalizer));
    assert_int_equal(verbalizer_get_kind(f.verbalizer), VERBALIZER_MANUAL);
    for (; n_views < 4 && c->views[n_views]; n_views++)
        assert_int_equal(verbalizer_view_masks(f.verbalizer, n_views), c->views[n_views]);
    assert_int_equal(verbalizer_n_views(f.verbalizer), n_views);
    direct_scores(&f, c, want);
    tape_begin_step(f.e.tape, false, 0, NULL, 0);
    float *got = read_var(&f.e, scores_of(&f));
    /* Where all words have one length the denominator of p is left out: it is the same for every
     * label, so that differences between labels are what must agree. */
    for (int32_t b = 0; b < B; b++) {
        for (int32_t l = 0; l < c->n_labels; l++) {
            double x = got[b * c->n_labels + l], y = want[b][l];
            if (n_views == 1) {
                x -= got[b * c->n_labels];
                y -= want[b][0];
            }
            if (fabs(x - y) > 2e-5)
                fail_msg("%s on %s: sequence %d, label %d: %.7g, wanted %.7g", c->name, be->name, b,
                         l, x, y);
        }
    }
    mem_free(got);
    fixture_close(&f);
}

#define UNTIED_BERT                                                                                \
    "{\"model_type\": \"bert\", \"vocab_size\": 40, \"tie_word_embeddings\": false, " TINY_FIELDS  \
    "}"
#define TINY_ROBERTA                                                                               \
    "{\"model_type\": \"roberta\", \"vocab_size\": 40, \"pad_token_id\": 1, " TINY_FIELDS "}"

static void manual_scores_are_mean_log_probabilities(void **unused) {
    for (size_t i = 0; i < COUNT(CASES); i++) {
        check_manual(&backend_ref, TINY_BERT, &CASES[i]);
        check_manual(&backend_cpu, TINY_BERT, &CASES[i]);
        check_manual(&backend_ref, UNTIED_BERT, &CASES[i]);
        check_manual(&backend_ref, TINY_ROBERTA, &CASES[i]);
    }
}

/* ---- soft ---- */

static void soft_rows_start_at_the_mean_of_the_first_words_tokens(void **unused) {
    static const char *const CONFIGS[] = {TINY_BERT, UNTIED_BERT};
    for (size_t k = 0; k < COUNT(CONFIGS); k++) {
        for (size_t i = 0; i < COUNT(CASES); i++) {
            const word_case *c = &CASES[i];
            fixture f = fixture_open(&backend_ref, CONFIGS[k], c, VERBALIZER_SOFT, 0);
            words w;
            fill_words(c, &w);
            param *soft = verbalizer_param(f.verbalizer), *decoder, *bias;
            model_masked_lm_decoder(f.model, &decoder, &bias);
            assert_string_equal(soft->name, "verbalizer.weight");
            assert_int_equal(soft->group, PARAM_GROUP_PROMPT);
            assert_true(soft->requires_grad && !soft->no_decay && !soft->row_lazy);
            assert_int_equal(soft->w.t.rows, c->n_labels);
            assert_int_equal(soft->w.t.cols, 16);
            for (int32_t l = 0; l < c->n_labels; l++) {
                int32_t word = w.word_offsets[l], n = c->lengths[word];
                for (int h = 0; h < 16; h++) {
                    double mean = 0;
                    for (int32_t t = 0; t < n; t++)
                        mean +=
                            ((const float *)
                                 decoder->w.t.data)[c->tokens[w.token_offsets[word] + t] * 16 + h];
                    assert_near(c->name, ((const float *)soft->w.t.data)[l * 16 + h], mean / n,
                                1e-6);
                }
            }
            fixture_close(&f);
        }
    }
}

/* One mask unless the template fixes more; then their scores are averaged. */
static void soft_scores_are_averaged_over_masks(void **unused) {
    for (int32_t fixed = 0; fixed <= MAX_MASKS; fixed++) {
        fixture f = fixture_open(&backend_ref, TINY_BERT, &CASES[1], VERBALIZER_SOFT, fixed);
        int32_t k = fixed ? fixed : 1;
        tape *t = f.e.tape;
        view_batch v;
        fill_view(&v, k);
        assert_int_equal(verbalizer_n_views(f.verbalizer), 1);
        assert_int_equal(verbalizer_view_masks(f.verbalizer, 0), k);
        tape_begin_step(t, false, 0, NULL, 0);
        float *got = read_var(&f.e, scores_of(&f));
        var *hidden = model_encode(t, f.model, &v.batch, false);
        float *rows = read_var(
            &f.e,
            model_masked_lm_transform(t, f.model, op_gather_rows(t, hidden, v.mask_rows, B * k)));
        const float *soft = verbalizer_param(f.verbalizer)->w.t.data;
        for (int32_t b = 0; b < B; b++) {
            for (int32_t l = 0; l < 3; l++) {
                double want = 0;
                for (int32_t i = 0; i < k; i++)
                    for (int h = 0; h < 16; h++)
                        want += (double)rows[(b * k + i) * 16 + h] * soft[l * 16 + h] / k;
                assert_near("score", got[b * 3 + l], want, 1e-5);
            }
        }
        mem_free(got);
        mem_free(rows);
        fixture_close(&f);
    }
}

/* A 16-bit vocabulary matrix gives the same rows, to its own rounding. */
static void soft_rows_from_sixteen_bits(void **unused) {
    words w;
    fill_words(&CASES[2], &w);
    for (int bf16 = 0; bf16 < 2; bf16++) {
        model *made = tiny_model(TINY_BERT, MODEL_HEAD_MASKED_LM, 5), *opened = NULL;
        verbalizer *full = NULL, *half = NULL;
        MUST(model_save(made, test_dir, bf16 ? DTYPE_BF16 : DTYPE_F16, err));
        model_open_options o = {.head = MODEL_HEAD_MASKED_LM, .require_head = true};
        MUST(model_open(test_dir, &o, &opened, err));
        MUST(verbalizer_create(VERBALIZER_SOFT, made, &w.w, 0, &full, err));
        MUST(verbalizer_create(VERBALIZER_SOFT, opened, &w.w, 0, &half, err));
        for (int i = 0; i < 2 * 16; i++)
            assert_near("row", ((const float *)verbalizer_param(half)->w.t.data)[i],
                        ((const float *)verbalizer_param(full)->w.t.data)[i], bf16 ? 5e-3 : 1e-3);
        verbalizer_destroy(full);
        verbalizer_destroy(half);
        model_destroy(made);
        model_destroy(opened);
    }
}

/* ---- gradients ---- */

static void check_gradients(const word_case *c, verbalizer_kind kind, const char *config,
                            int32_t fixed_masks) {
    fixture f = fixture_open(&backend_ref, config, c, kind, fixed_masks);
    param_block *block = NULL;
    param *soft = verbalizer_param(f.verbalizer);
    model_set_requires_grad(f.model, true);
    MUST(model_train_begin(f.model, &soft, soft ? 1 : 0, &block, err));
    param_block_zero_grad(block);
    var *root = loss_of(&f, true);
    must_tape(&f.e);
    MUST(tape_backward(f.e.tape, &root, NULL, 1, err));
    const char *const names[] = {"bert.encoder.layer.0.attention.self.query.weight",
                                 "bert.encoder.layer.1.output.dense.bias",
                                 "bert.embeddings.LayerNorm.weight",
                                 "cls.predictions.transform.dense.weight"};
    for (size_t i = 0; i < COUNT(names); i++)
        check_gradient(&f.e, loss_of, &f, find_param(f.model, names[i]), NULL, 0);
    /* A label's word, an input's word and the mask: the tied table gathers both ends. */
    const int64_t rows[] = {7 * 16, 9 * 16 + 3, 20 * 16 + 1, MASK * 16 + 2, 39 * 16};
    check_gradient(&f.e, loss_of, &f, find_param(f.model, "bert.embeddings.word_embeddings.weight"),
                   rows, 5);
    const int64_t biases[] = {7, 9, 20};
    if (soft)
        check_gradient(&f.e, loss_of, &f, soft, NULL, 0);
    else
        check_gradient(&f.e, loss_of, &f, find_param(f.model, "cls.predictions.bias"), biases, 3);
    fixture_close(&f);
}

static void gradients_equal_differences(void **unused) {
    check_gradients(&CASES[1], VERBALIZER_SOFT, TINY_BERT, 0);
    check_gradients(&CASES[2], VERBALIZER_SOFT, TINY_BERT, 2);
    check_gradients(&CASES[3], VERBALIZER_MANUAL, TINY_BERT, 0); /* unnormalised */
    check_gradients(&CASES[6], VERBALIZER_MANUAL, TINY_BERT, 0); /* normalised, three views */
    check_gradients(&CASES[7], VERBALIZER_MANUAL, UNTIED_BERT, 0);
}

/* ---- errors ---- */

static void wrong_words_are_refused(void **unused) {
    model *m = tiny_model(TINY_BERT, MODEL_HEAD_MASKED_LM, 5);
    verbalizer *v = NULL;
    words w;
    fill_words(&CASES[2], &w); /* two tokens */
    MUST_FAIL(CLOZE_ERR_USAGE, "3 masks but a label word has 2",
              verbalizer_create(VERBALIZER_MANUAL, m, &w.w, 3, &v, err));
    assert_null(v);
    const word_case beyond = {"", 2, {1, 1}, {1, 1}, {7, 40}, {0}},
                    negative = {"", 2, {1, 1}, {1, 1}, {-1, 7}, {0}},
                    empty = {"", 2, {1, 1}, {1, 0}, {7}, {0}},
                    wordless = {"", 2, {1, 0}, {1}, {7}, {0}};
    for (int kind = 0; kind < 2; kind++) {
        fill_words(&beyond, &w);
        MUST_FAIL(CLOZE_ERR_MODEL, "token id 40",
                  verbalizer_create((verbalizer_kind)kind, m, &w.w, 0, &v, err));
        fill_words(&negative, &w);
        MUST_FAIL(CLOZE_ERR_MODEL, "token id -1",
                  verbalizer_create((verbalizer_kind)kind, m, &w.w, 0, &v, err));
        fill_words(&empty, &w);
        MUST_FAIL(CLOZE_ERR_DATA, "no tokens",
                  verbalizer_create((verbalizer_kind)kind, m, &w.w, 0, &v, err));
        fill_words(&wordless, &w);
        MUST_FAIL(CLOZE_ERR_DATA, "label 1 has no word",
                  verbalizer_create((verbalizer_kind)kind, m, &w.w, 0, &v, err));
    }
    model_destroy(m);
    verbalizer_destroy(NULL);
}

typedef struct memory_case {
    model *model;
    verbalizer_kind kind;
    const word_case *words;
} memory_case;

static cloze_status create_and_destroy(void *ctx, cloze_error *err) {
    const memory_case *c = ctx;
    verbalizer *v = NULL;
    words w;
    fill_words(c->words, &w);
    cloze_status status = verbalizer_create(c->kind, c->model, &w.w, 0, &v, err);
    verbalizer_destroy(v);
    return status;
}

static cloze_status forward(void *ctx, cloze_error *err) {
    fixture *f = ctx;
    tape_begin_step(f->e.tape, false, 0, NULL, 0);
    scores_of(f);
    return tape_status(f->e.tape, err);
}

static void want_of_memory_is_survived(void **unused) {
    model *m = tiny_model(TINY_BERT, MODEL_HEAD_MASKED_LM, 5);
    for (int kind = 0; kind < 2; kind++) {
        memory_case c = {m, (verbalizer_kind)kind, &CASES[6]};
        assert_true(fail_each_allocation(create_and_destroy, &c, 1) > 3);
    }
    model_destroy(m);
    for (int kind = 0; kind < 2; kind++) {
        fixture f = fixture_open(&backend_ref, TINY_BERT, &CASES[6], (verbalizer_kind)kind, 0);
        fail_each_allocation(forward, &f, 1);
        fixture_close(&f);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(manual_scores_are_mean_log_probabilities),
        cmocka_unit_test(soft_rows_start_at_the_mean_of_the_first_words_tokens),
        cmocka_unit_test(soft_scores_are_averaged_over_masks),
        cmocka_unit_test_setup_teardown(soft_rows_from_sixteen_bits, dir_setup, dir_teardown),
        cmocka_unit_test(gradients_equal_differences),
        cmocka_unit_test(wrong_words_are_refused),
        cmocka_unit_test(want_of_memory_is_survived),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
