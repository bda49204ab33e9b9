/* covers: src/text/load_json.c src/text/load_json_steps.c */
/* dictionary: tokenizer.dict */
/* tokenizer.json from anywhere: it is refused with a message, or encodes and decodes any bytes to
 * ids of its vocabulary and offsets inside the text. Input: the file, a NUL, a text. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "text/load.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_encoding(const tokenizer *tok, const encoding *e, size_t n) {
    for (int32_t i = 0; i < e->n; i++) {
        if (e->ids[i] < 0 || e->ids[i] >= tokenizer_vocab_size(tok)) abort();
        if (e->offsets[i][0] < 0 || e->offsets[i][1] < e->offsets[i][0]) abort();
        if ((size_t)e->offsets[i][1] > n) abort();
    }
}

static void use(const tokenizer *tok, const char *text, size_t n) {
    encoding e;
    cloze_error err = {0};
    buf out;
    tokenizer_encode_options cut = {.max_length = 12, .truncate_left = n & 1};
    encoding_init(&e, true, true);
    buf_init(&out, 1 << 24);
    cloze_status status =
        tokenizer_encode(tok, text, n, text, n / 2, n & 2 ? &cut : NULL, &e, &err);
    if (status == CLOZE_OK) {
        check_encoding(tok, &e, n);
        status = tokenizer_decode(tok, e.ids, (size_t)e.n, n & 4, &out, &err);
    }
    if (status != CLOZE_OK && (err.code != status || !err.message[0])) abort();
    buf_deinit(&out);
    encoding_deinit(&e);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const uint8_t *nul = size ? memchr(data, 0, size) : NULL;
    size_t n = nul ? (size_t)(nul - data) : size;
    const char *text = nul ? (const char *)nul + 1 : "a 中 [MASK]";
    size_t text_n = nul ? size - n - 1 : strlen(text);
    cloze_error err = {0};
    source_file file = {"tokenizer.json", mem_strndup((const char *)data, n), n};
    tokenizer *tok = mem_calloc(1, sizeof *tok);
    if (!tok || !file.data) abort();
    tok->forced_lower_case = -1;
    load_state s = {.tok = tok, .dir = "fuzz"};
    cloze_status status = load_tokenizer_json(&s, &file, &err);
    if (status == CLOZE_OK) status = tokenizer_finish(tok, &err);
    if (status == CLOZE_OK)
        use(tok, text, text_n);
    else if (err.code != status || !err.message[0])
        abort();
    tokenizer_destroy(tok);
    mem_free(file.data);
    return 0;
}
