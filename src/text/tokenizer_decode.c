/* Ids back to text, as the decoders of Hugging Face's tokenizers do it. */
#include <string.h>

#include "base/mem.h"
#include "text/bpe.h"
#include "text/tokenizer_impl.h"
#include "text/unicode.h"

typedef struct replacement {
    const char *from, *to;
} replacement;

/* What the WordPiece decoder does to every token (with the space before it), in this order. */
static const replacement token_cleanup[] = {
    {" .", "."},   {" ?", "?"},     {" !", "!"},     {" ,", ","},
    {" ' ", "'"},  {" n't", "n't"}, {" 'm", "'m"},   {" do not", " don't"},
    {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"},
};
/* What transformers' clean_up_tokenization does to the whole text. */
static const replacement text_cleanup[] = {
    {" .", "."},     {" ?", "?"},   {" !", "!"},   {" ,", ","},     {" ' ", "'"},
    {" n't", "n't"}, {" 'm", "'m"}, {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"},
};

/* Replaces all occurrences in b->data[begin..), left to right. No replacement is longer. */
static void replace_all(buf *b, size_t begin, const replacement *list, size_t n_list) {
    for (size_t k = 0; k < n_list; k++) {
        size_t from_n = strlen(list[k].from), to_n = strlen(list[k].to), w = begin;
        for (size_t r = begin; r < b->len;) {
            if (b->len - r >= from_n && !memcmp(b->data + r, list[k].from, from_n)) {
                memcpy(b->data + w, list[k].to, to_n);
                r += from_n;
                w += to_n;
            } else {
                b->data[w++] = b->data[r++];
            }
        }
        if (b->len > begin) {
            b->len = w;
            b->data[w] = '\0';
        }
    }
}

static void decode_wordpiece(const tokenizer *tok, const char *token, bool first, buf *out) {
    size_t prefix_n = strlen(tok->continuing_prefix), begin = out->len;
    if (first)
        buf_puts(out, token);
    else if (prefix_n && !strncmp(token, tok->continuing_prefix, prefix_n))
        buf_puts(out, token + prefix_n);
    else {
        buf_putc(out, ' ');
        buf_puts(out, token);
    }
    if (tok->decoder_cleanup && buf_ok(out))
        replace_all(out, begin, token_cleanup, sizeof token_cleanup / sizeof *token_cleanup);
}

/* The bytes that a byte-level token stands for; a token with other characters stands for itself. */
static void decode_byte_level(const char *token, buf *out) {
    const uint8_t *begin = (const uint8_t *)token, *end = begin + strlen(token), *p = begin;
    size_t len = out->len;
    while (p < end) {
        uint32_t cp = 0;
        p += unicode_next(p, end, &cp);
        int byte = bpe_char_to_byte(cp);
        if (byte < 0) {
            out->len = len;
            buf_append(out, token, (size_t)(end - begin));
            return;
        }
        buf_putc(out, (char)byte);
    }
}

/* Length of the longest prefix of p[0..n) that could begin a valid sequence (at least 1): what
 * becomes one U+FFFD when it is not valid, as in Rust's and Python's decoders. */
static size_t maximal_subpart(const uint8_t *p, size_t n) {
    uint8_t low = 0x80, high = 0xBF;
    size_t need = 0;
    if (p[0] >= 0xC2 && p[0] < 0xE0)
        need = 1;
    else if (p[0] >= 0xE0 && p[0] < 0xF0)
        need = 2;
    else if (p[0] >= 0xF0 && p[0] < 0xF5)
        need = 3;
    if (p[0] == 0xE0) low = 0xA0;
    if (p[0] == 0xED) high = 0x9F;
    if (p[0] == 0xF0) low = 0x90;
    if (p[0] == 0xF4) high = 0x8F;
    size_t i = 1;
    for (; i < n && i <= need && p[i] >= low && p[i] <= high; i++) low = 0x80, high = 0xBF;
    return i;
}

/* Appends raw bytes as valid UTF-8. */
static void append_lossy(const buf *raw, buf *out) {
    const uint8_t *p = (const uint8_t *)raw->data, *end = p + raw->len;
    while (p < end) {
        uint32_t cp = 0;
        int len = unicode_next(p, end, &cp);
        bool bad = len == 1 && *p >= 0x80;
        size_t used = bad ? maximal_subpart(p, (size_t)(end - p)) : (size_t)len;
        if (bad)
            buf_append(out, "\xEF\xBF\xBD", 3);
        else
            buf_append(out, p, used);
        p += used;
    }
}

cloze_status tokenizer_decode(const tokenizer *tok, const int32_t *ids, size_t n, bool skip_special,
                              buf *out, cloze_error *err) {
    size_t begin = out->len;
    bool first = true;
    buf raw;
    buf_init(&raw, out->max);
    for (size_t i = 0; i < n; i++) {
        const char *token = tokenizer_id_to_token(tok, ids[i]);
        if (!token || (skip_special && tokenizer_is_special(tok, ids[i]))) continue;
        if (tok->kind == TOKENIZER_WORDPIECE)
            decode_wordpiece(tok, token, first, out);
        else
            decode_byte_level(token, &raw);
        first = false;
    }
    bool ok = buf_ok(&raw);
    if (ok && raw.len) append_lossy(&raw, out);
    buf_deinit(&raw);
    if (!ok || !buf_ok(out))
        CLOZE_FAIL(err, MEMORY, "the decoded text is too long or there is no memory");
    if (tok->clean_up_spaces && out->len > begin)
        replace_all(out, begin, text_cleanup, sizeof text_cleanup / sizeof *text_cleanup);
    return CLOZE_OK;
}
