/* Encoding through templates: PaddleNLP's own answers, then what it does not answer. */
#include "prompt_check.h"

#include <stdlib.h>

#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "prompt/input_encoder.h"

#define DATA_DIR TESTS_DIR "/unit/prompt/data/"

/* Characters, so that every text below is one token a letter. [CLS] 2, [SEP] 3, [MASK] 4, a 5, b 6.
 */
static const char LETTERS[] =
    "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\nb\nc\nd\ne\n一\n二\n三\n四\n五\n##b\n";

static tokenizer *make_tokenizer(const char *vocab, int max_length) {
    wordpiece_settings settings = {1, -1, 1, max_length};
    tokenizer *tok = NULL;
    cloze_error err = {0};
    CHECK_OK(tokenizer_create_wordpiece(vocab, strlen(vocab), &settings, &tok, &err), err);
    return tok;
}

static example make_example(const char *text, const char *text_b) {
    return (example){.text = text,
                     .text_len = strlen(text),
                     .text_b = text_b,
                     .text_b_len = text_b ? strlen(text_b) : 0,
                     .label = -1,
                     .line = 5};
}

/* ---- golden ---- */

static void check_array(const cJSON *row, const char *key, const int32_t *got, int32_t n,
                        int line) {
    const cJSON *list = cJSON_GetObjectItemCaseSensitive(row, key);
    bool same = cJSON_GetArraySize(list) == n;
    const cJSON *item = list->child;
    for (int32_t i = 0; same && i < n; i++, item = item->next) same = item->valueint == got[i];
    if (same) return;
    char *want = cJSON_PrintUnformatted(list);
    print_error("template_golden.jsonl:%d: %s, wanted %s, got", line, key, want);
    for (int32_t i = 0; i < n; i++) print_error(" %d", (int)got[i]);
    print_error("\n");
    free(want);
    fail();
}

static const char *get_text(const cJSON *row, const char *key) {
    return cJSON_GetObjectItemCaseSensitive(row, key)->valuestring;
}

static void check_row(const cJSON *row, const tokenizer *tok, int line) {
    template_t tmpl;
    encoded_example got = {0};
    cloze_error err = {0};
    input_options opts = {.max_seq_length =
                              cJSON_GetObjectItemCaseSensitive(row, "max_seq_length")->valueint};
    example ex = make_example(get_text(row, "text"), get_text(row, "text_b"));
    CHECK_OK(template_parse(get_text(row, "template"), &tmpl, &err), err);
    cloze_status status = template_encode(&tmpl, tok, &ex, &opts, &got, &err);
    if (cJSON_GetObjectItemCaseSensitive(row, "refused")) {
        CHECK_ERROR(status, err, CLOZE_ERR_DATA, "leave no room");
    } else {
        CHECK_OK(status, err);
        check_array(row, "input_ids", got.input_ids, got.n, line);
        check_array(row, "token_type_ids", got.token_type_ids, got.n, line);
        check_array(row, "position_ids", got.position_ids, got.n, line);
        check_array(row, "soft_token_ids", got.soft_token_ids, got.n, line);
        check_array(row, "masked_positions", got.masked_positions, got.n_masks, line);
    }
    encoded_example_deinit(&got);
    template_deinit(&tmpl);
}

static void test_golden(void **state) {
    (void)state;
    char *vocab = NULL, *rows = NULL;
    size_t vocab_n = 0, rows_n = 0;
    int line = 0;
    cloze_error err = {0};
    CHECK_OK(file_read(DATA_DIR "vocab.txt", 1 << 20, CLOZE_ERR_DATA, &vocab, &vocab_n, &err), err);
    CHECK_OK(
        file_read(DATA_DIR "template_golden.jsonl", 1 << 22, CLOZE_ERR_DATA, &rows, &rows_n, &err),
        err);
    tokenizer *tok = make_tokenizer(vocab, 2048);
    for (const char *at = rows; at < rows + rows_n;) {
        cJSON *row = NULL;
        size_t n = strcspn(at, "\n");
        CHECK_OK(json_parse(at, n, "template_golden.jsonl", CLOZE_ERR_DATA, &row, &err), err);
        check_row(row, tok, ++line);
        json_destroy(row);
        at += n + 1;
    }
    assert_int_equal(line, 210);
    tokenizer_destroy(tok);
    mem_free(vocab);
    mem_free(rows);
}

/* ---- what PaddleNLP does not answer ---- */

/* "ids/types/positions/masks" as strings of numbers. */
static void print_example(const encoded_example *e, buf *out) {
    const int32_t *arrays[] = {e->input_ids, e->token_type_ids, e->position_ids};
    for (int a = 0; a < 3; a++) {
        for (int32_t i = 0; i < e->n; i++) buf_printf(out, "%s%d", i ? " " : "", (int)arrays[a][i]);
        buf_puts(out, "/");
    }
    for (int32_t i = 0; i < e->n_masks; i++)
        buf_printf(out, "%s%d", i ? " " : "", (int)e->masked_positions[i]);
}

typedef struct encode_case {
    const char *tmpl; /* NULL = plain */
    const char *text, *text_b;
    input_options opts;
    const char *want;
    int32_t n_cut;
} encode_case;

static const encode_case CASES[] = {
    {"c", "a", NULL, {.max_seq_length = 16}, "2 5 7 4 3/0 0 0 0 0/0 1 2 3 0/3", 0},
    {"c", "a", NULL, {.natural_sep_position = true}, "2 5 7 4 3/0 0 0 0 0/0 1 2 3 4/3", 0},
    {"c", "a", NULL, {.n_masks = 3}, "2 5 7 4 4 4 3/0 0 0 0 0 0 0/0 1 2 3 4 5 0/3 4 5", 0},
    {"{'mask':None,'length':2}", "a", NULL, {.n_masks = 3}, "2 5 4 4 3/0 0 0 0 0/0 1 2 3 0/2 3", 0},
    {"{'mask'}{'mask'}", "a", NULL, {.n_masks = 3}, "2 5 4 4 3/0 0 0 0 0/0 1 2 3 0/2 3", 0},
    {"{'text':'text_a'}{'hard':'c[MASK]'}", "a", NULL, {0}, "2 5 7 4 3/0 0 0 0 0/0 1 2 3 0/3", 0},
    /* a mask token in the text stays a token, and is no place to predict */
    {"c", "[MASK]", NULL, {0}, "2 4 7 4 3/0 0 0 0 0/0 1 2 3 0/3", 0},
    {"{'cls'}{'text':'text_a'}{'mask'}", "a", NULL, {0}, "2 2 5 4 3/0 0 0 0 0/0 1 2 3 0/3", 0},
    {"c", "一二三四五", NULL, {.max_seq_length = 6}, "2 10 11 7 4 3/0 0 0 0 0 0/0 1 2 3 4 0/4", 3},
    {"c",
     "一二三四五",
     NULL,
     {.max_seq_length = 6, .truncate_left = true},
     "2 13 14 7 4 3/0 0 0 0 0 0/0 1 2 3 4 0/4",
     3},
    {"{'text':'sentence1'}{'text':'sentence2'}{'mask'}",
     "a",
     "b",
     {.text_field = "sentence1", .text_b_field = "sentence2"},
     "2 5 6 4 3/0 0 0 0 0/0 1 2 3 0/3",
     0},
    /* plain */
    {NULL, "一 二", NULL, {0}, "2 10 11 3/0 0 0 0/0 1 2 3/", 0},
    {NULL, "一", "二三", {0}, "2 10 3 11 12 3/0 0 0 1 1 1/0 1 2 3 4 5/", 0},
    {NULL, "一二三四", NULL, {.max_seq_length = 4}, "2 10 11 3/0 0 0 0/0 1 2 3/", 2},
    {NULL, "一二三四", "五", {.max_seq_length = 6}, "2 10 11 3 14 3/0 0 0 0 1 1/0 1 2 3 4 5/", 2},
    {NULL, "", NULL, {0}, "2 3/0 0/0 1/", 0},
};

/* One storage for all, so that what a longer example left behind would show. */
static void test_cases(void **state) {
    (void)state;
    encoded_example e = {0};
    tokenizer *tok = make_tokenizer(LETTERS, 512);
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        const encode_case *c = &CASES[i];
        template_t tmpl = {0};
        cloze_error err = {0};
        example ex = make_example(c->text, c->text_b);
        buf got;
        buf_init(&got, 1 << 16);
        if (c->tmpl) CHECK_OK(template_parse(c->tmpl, &tmpl, &err), err);
        CHECK_OK(template_encode(c->tmpl ? &tmpl : NULL, tok, &ex, &c->opts, &e, &err), err);
        print_example(&e, &got);
        assert_string_equal(got.data, c->want);
        assert_int_equal(e.n_cut, c->n_cut);
        buf_deinit(&got);
        template_deinit(&tmpl);
    }
    encoded_example_deinit(&e);
    tokenizer_destroy(tok);
}

static void test_spans(void **state) {
    (void)state;
    static const input_span want[] = {{TEMPLATE_CLS, -1, 0, 1},
                                      {TEMPLATE_TEXT, 0, 1, 3},
                                      {TEMPLATE_HARD, 1, 3, 4},
                                      {TEMPLATE_MASK, 2, 4, 5},
                                      {TEMPLATE_SEP, -1, 5, 6}};
    encoded_example e = {0};
    template_t tmpl;
    cloze_error err = {0};
    tokenizer *tok = make_tokenizer(LETTERS, 512);
    example ex = make_example("一二", NULL);
    CHECK_OK(template_parse("c", &tmpl, &err), err);
    CHECK_OK(template_encode(&tmpl, tok, &ex, NULL, &e, &err), err);
    assert_int_equal(e.n_spans, 5);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(e.spans[i].kind, want[i].kind);
        assert_int_equal(e.spans[i].part, want[i].part);
        assert_int_equal(e.spans[i].begin, want[i].begin);
        assert_int_equal(e.spans[i].end, want[i].end);
    }
    encoded_example_deinit(&e);
    template_deinit(&tmpl);
    tokenizer_destroy(tok);
}

typedef struct refused_case {
    const char *tmpl;
    input_options opts;
    cloze_status code;
    const char *piece;
} refused_case;

static const refused_case REFUSED[] = {
    {"一二三四",
     {.max_seq_length = 7},
     CLOZE_ERR_USAGE,
     "the template takes 7 of the 7 tokens of --max_seq_length (2 special, 1 mask) and leaves no "
     "room for "
     "text; shorten it, or give at least 8"},
    {"一二三", {.max_seq_length = 6, .n_masks = 2}, CLOZE_ERR_USAGE, "takes 7 of the 6 tokens"},
    {"{'text':'text_a'}{'text':'text_b'}{'mask'}",
     {.max_seq_length = 4},
     CLOZE_ERR_USAGE,
     "give at least 5"},
    {NULL,
     {.max_seq_length = 2},
     CLOZE_ERR_USAGE,
     "--max_seq_length 2 leaves no room for text beside 2 special"},
    {"一", {.max_seq_length = -1}, CLOZE_ERR_USAGE, "--max_seq_length -1"},
    {"一", {.n_masks = 1000}, CLOZE_ERR_USAGE, "1000 masks"},
    {"{'text':'text_a'}", {0}, CLOZE_ERR_USAGE, "the template has no mask"},
    {"{'text':'text_a'}{'hard':'<mask>'}", {0}, CLOZE_ERR_USAGE, "the template has no mask"},
    {"{'text':'title'}{'mask'}",
     {0},
     CLOZE_ERR_USAGE,
     "the template reads the field 'title', but the data has 'text_a'"},
    {"{'soft'}{'text':'text_a'}{'mask'}", {0}, CLOZE_ERR_USAGE, "not built yet"},
    {"{'hard':'[MASK]','truncate':True}{'text':'text_a'}",
     {0},
     CLOZE_ERR_USAGE,
     "cuts a part with a mask in it"},
    {"{'text':'text_b'}{'mask'}",
     {0},
     CLOZE_ERR_DATA,
     "line 5: the template reads 'text_b', which the example does not have"},
    {"{'text':'text_a','truncate':False}{'hard':'一','truncate':True}{'mask'}",
     {.max_seq_length = 6},
     CLOZE_ERR_DATA,
     "line 5: the parts that may not be cut take 7 of 6 tokens"},
    {"{'text':'text_a','truncate':False}{'mask'}",
     {.max_seq_length = 6},
     CLOZE_ERR_DATA,
     "line 5: 7 tokens, but the model takes 6 and no part"},
};

static void test_refused(void **state) {
    (void)state;
    tokenizer *tok = make_tokenizer(LETTERS, 6);
    for (size_t i = 0; i < sizeof REFUSED / sizeof *REFUSED; i++) {
        const refused_case *c = &REFUSED[i];
        template_t tmpl = {0};
        encoded_example e = {0};
        cloze_error err = {0};
        example ex = make_example("一二三四", NULL);
        if (c->tmpl) CHECK_OK(template_parse(c->tmpl, &tmpl, &err), err);
        CHECK_ERROR(template_encode(c->tmpl ? &tmpl : NULL, tok, &ex, &c->opts, &e, &err), err,
                    c->code, c->piece);
        encoded_example_deinit(&e);
        template_deinit(&tmpl);
    }
    tokenizer_destroy(tok);
}

/* Spaces matter to byte-level BPE: a part with a space before it has other tokens. */
static void test_add_space(void **state) {
    (void)state;
    const char *shared =
        getenv("CLOZE_SHARED") ? getenv("CLOZE_SHARED") : TESTS_DIR "/../../shared";
    char *dir = path_join(shared, "data/tokenizers/roberta");
    tokenizer *tok = NULL;
    template_t tmpl;
    encoded_example e = {0};
    cloze_error err = {0};
    encoding want;
    if (!file_is_dir(dir)) {
        print_message("SKIP: no tokenizer in %s\n", dir);
        mem_free(dir);
        skip();
    }
    CHECK_OK(tokenizer_open(dir, NULL, &tok, &err), err);
    CHECK_OK(template_parse("{'text':'text_a'} It was{'mask'}. {'text':'text_b'}", &tmpl, &err),
             err);
    example ex = make_example("Great film", "indeed");
    CHECK_OK(template_encode(&tmpl, tok, &ex, NULL, &e, &err), err);
    encoding_init(&want, false, false);
    const char *joined = "Great film It was<mask>. indeed";
    CHECK_OK(tokenizer_encode(tok, joined, strlen(joined), NULL, 0, NULL, &want, &err), err);
    /* the space behind "." belongs to no part, as in PaddleNLP; put there, it is text_b's */
    for (int32_t i = 0; i + 2 < want.n; i++) assert_int_equal(want.ids[i], e.input_ids[i]);
    assert_int_not_equal(want.ids[want.n - 2], e.input_ids[want.n - 2]);
    template_deinit(&tmpl);
    CHECK_OK(template_parse("{'text':'text_a'} It was{'mask'}.{'text':'text_b','add_space':True}",
                            &tmpl, &err),
             err);
    CHECK_OK(template_encode(&tmpl, tok, &ex, NULL, &e, &err), err);
    assert_int_equal(want.n, e.n);
    assert_memory_equal(want.ids, e.input_ids, (size_t)e.n * sizeof(int32_t));
    encoding_deinit(&want);
    encoded_example_deinit(&e);
    template_deinit(&tmpl);
    tokenizer_destroy(tok);
    mem_free(dir);
}

static void test_no_memory(void **state) {
    (void)state;
    tokenizer *tok = make_tokenizer(LETTERS, 512);
    template_t tmpl;
    cloze_error err = {0};
    cloze_status status = CLOZE_ERR_MEMORY;
    example ex = make_example("一二三四", NULL);
    CHECK_OK(template_parse("一 二", &tmpl, &err), err);
    for (int64_t k = 0; status != CLOZE_OK && k < 100; k++) {
        encoded_example e = {0};
        mem_fail_after(k);
        status = template_encode(&tmpl, tok, &ex, NULL, &e, &err);
        mem_fail_after(-1);
        if (status != CLOZE_OK) assert_int_equal(status, CLOZE_ERR_MEMORY);
        encoded_example_deinit(&e);
    }
    assert_int_equal(status, CLOZE_OK);
    template_deinit(&tmpl);
    tokenizer_destroy(tok);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden),    cmocka_unit_test(test_cases),
        cmocka_unit_test(test_spans),     cmocka_unit_test(test_refused),
        cmocka_unit_test(test_add_space), cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
