/* covers: src/text/load.c src/text/load_files.c src/text/load_special.c src/text/bpe.c */
/* covers: src/text/tokenizer.c src/text/tokenizer_decode.c src/text/tokenizer_save.c */
/* dictionary: tokenizer.dict */
/*
 * A tokenizer's directory from anywhere: refused with a message, or a tokenizer that takes any text
 * and, saved and opened again, makes the same ids of it. Input: a byte of switches, then the files,
 * each ended by NUL, then a text.
 */
#include "base/mem.h"
#include "text/tokenizer.h"
#include "fuzz_files.h"

static const char *const names[] = {"tokenizer_config.json", "special_tokens_map.json",
                                    "added_tokens.json",     "config.json",
                                    "vocab.txt",             "vocab.json",
                                    "merges.txt",            "tokenizer.json"};
#define N_NAMES (sizeof names / sizeof *names)

static tokenizer *open_dir(const char *dir, int lower) {
    tokenizer *tok = NULL;
    tokenizer_options opts = {lower};
    cloze_error err = {0};
    cloze_status status = tokenizer_open(dir, &opts, &tok, &err);
    if (status == CLOZE_OK) return tok;
    if (tok || err.code != status || !err.message[0]) abort();
    return NULL;
}

static void check_names(const tokenizer *tok) {
    for (int32_t id = 0; id < tokenizer_vocab_size(tok) && id < 300; id++) {
        const char *text = tokenizer_id_to_token(tok, id);
        if (text && tokenizer_token_to_id(tok, text, strlen(text)) < 0) abort();
        tokenizer_is_special(tok, id);
        tokenizer_is_continuation(tok, id);
    }
}

/* Ids and what they decode to. */
static void encode(const tokenizer *tok, const char *text, size_t n, bool pair, encoding *e,
                   buf *decoded) {
    cloze_error err = {0};
    tokenizer_encode_options cut = {.max_length = n & 8 ? 9 : 0,
                                    .truncation = (tokenizer_truncation)(n % 3),
                                    .truncate_left = n & 1};
    encoding_init(e, true, true);
    buf_init(decoded, 1 << 24);
    cloze_status status =
        tokenizer_encode(tok, text, n, pair ? text : NULL, pair ? n / 2 : 0, &cut, e, &err);
    for (int32_t i = 0; i < e->n; i++)
        if (e->ids[i] < 0 || e->ids[i] >= tokenizer_vocab_size(tok)) abort();
    if (status == CLOZE_OK)
        status = tokenizer_decode(tok, e->ids, (size_t)e->n, n & 4, decoded, &err);
    if (status != CLOZE_OK && (err.code != status || !err.message[0])) abort();
}

static void check_saved(const tokenizer *tok, const char *text, size_t n, bool pair) {
    encoding first, second;
    buf text_a, text_b;
    cloze_error err = {0};
    const char *dir = fuzz_path("saved");
    if (dir_remove(dir, &err) != CLOZE_OK || tokenizer_save(tok, dir, &err) != CLOZE_OK) abort();
    fuzz_put("saved/config.json", NULL, 0);
    tokenizer *again = open_dir(dir, -1);
    encode(tok, text, n, pair, &first, &text_a);
    if (again) { /* config.json, which the model writes, may have told the family */
        encode(again, text, n, pair, &second, &text_b);
        if (first.n != second.n ||
            (first.n && memcmp(first.ids, second.ids, (size_t)first.n * sizeof *first.ids) != 0))
            abort();
        encoding_deinit(&second);
        buf_deinit(&text_b);
    }
    encoding_deinit(&first);
    buf_deinit(&text_a);
    tokenizer_destroy(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0) return 0;
    unsigned choice = *data++;
    size--;
    fuzz_path("");
    for (size_t i = 0; i < N_NAMES; i++) fuzz_put_part(names[i], &data, &size);
    tokenizer *tok = open_dir(fuzz_dir, (int)(choice % 3) - 1);
    if (!tok) return 0;
    check_names(tok);
    check_saved(tok, (const char *)data, size, choice & 4);
    tokenizer_destroy(tok);
    return 0;
}
