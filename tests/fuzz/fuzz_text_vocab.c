/* covers: src/text/vocab.c src/text/wordpiece.c */
/* vocab.txt from anywhere (and word lists): refused with a message, or a tokenizer that takes any
 * text. Input: a byte of switches, the vocabulary, a NUL, a text. */
#include <stdlib.h>
#include <string.h>

#include "text/tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void use(const tokenizer *tok, const char *text, size_t n) {
    encoding e;
    cloze_error err = {0};
    encoding_init(&e, true, false);
    if (tokenizer_encode_text(tok, text, n, &e, &err) != CLOZE_OK) abort();
    int32_t last = 0;
    for (int32_t i = 0; i < e.n; i++) {
        if (e.ids[i] < 0 || !tokenizer_id_to_token(tok, e.ids[i])) abort();
        if (e.offsets[i][0] < last || e.offsets[i][1] <= e.offsets[i][0]) abort();
        if ((size_t)e.offsets[i][1] > n) abort();
        last = e.offsets[i][0];
    }
    encoding_deinit(&e);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 1) return 0;
    wordpiece_settings settings = {data[0] & 1, (data[0] >> 1 & 3) % 3 - 1, data[0] >> 3 & 1, 0};
    data++;
    size--;
    const uint8_t *nul = size ? memchr(data, 0, size) : NULL;
    size_t n = nul ? (size_t)(nul - data) : size;
    cloze_error err = {0};
    tokenizer *tok = NULL;
    cloze_status status = tokenizer_create_wordpiece((const char *)data, n, &settings, &tok, &err);
    if (status == CLOZE_OK)
        use(tok, nul ? (const char *)nul + 1 : "", nul ? size - n - 1 : 0);
    else if (err.code != CLOZE_ERR_MODEL || !err.message[0] || tok)
        abort();
    tokenizer_destroy(tok);
    return 0;
}
