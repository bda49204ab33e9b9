/*
 * The general path: normalise code points, find added tokens in the normalised text, cut it into
 * words, and give each word to the model. Any pipeline of tokenizer.json goes this way; the plain
 * ones only where the one-pass scans pass on to it.
 */
#include <string.h>

#include "base/mem.h"
#include "text/encoding.h"
#include "text/tokenizer_impl.h"
#include "text/unicode.h"

/* One word's bytes and the source of each, with room for the model's results. */
typedef struct word_room {
    char *bytes;       /* (cap) */
    int32_t *sources;  /* (cap) source code point of each byte */
    int32_t *ids;      /* (cap) WordPiece */
    int32_t *ends;     /* (cap) WordPiece */
    uint64_t *hashes;  /* (cap + 1) WordPiece */
    bpe_token *tokens; /* (cap) BPE */
    size_t cap;
} word_room;

static void word_room_deinit(word_room *r) {
    mem_free(r->bytes);
    mem_free(r->sources);
    mem_free(r->ids);
    mem_free(r->ends);
    mem_free(r->hashes);
    mem_free(r->tokens);
}

static cloze_status word_room_init(word_room *r, size_t cap, cloze_error *err) {
    memset(r, 0, sizeof *r);
    r->cap = cap;
    r->bytes = mem_alloc(cap);
    r->sources = mem_alloc(cap * sizeof *r->sources);
    r->ids = mem_alloc(cap * sizeof *r->ids);
    r->ends = mem_alloc(cap * sizeof *r->ends);
    r->hashes = mem_alloc((cap + 1) * sizeof *r->hashes);
    r->tokens = mem_alloc(cap * sizeof *r->tokens);
    if (r->bytes && r->sources && r->ids && r->ends && r->hashes && r->tokens) return CLOZE_OK;
    word_room_deinit(r);
    CLOZE_FAIL(err, MEMORY, "out of memory (a word of %zu bytes)", cap);
}

static cloze_status wordpiece_word(const tokenizer *tok, const word_room *r, int32_t n,
                                   int32_t chars, encoding *out, cloze_error *err) {
    int count = 0;
    if (chars <= tok->wordpiece.max_chars)
        count = wordpiece_match(&tok->wordpiece, r->bytes, n, r->ids, r->ends, r->hashes);
    if (!count) {
        if (tok->wordpiece.unk < 0) return CLOZE_OK;
        return encoding_append(out, tok->wordpiece.unk, r->sources[0], r->sources[n - 1] + 1, err);
    }
    for (int i = 0, begin = 0; i < count; begin = r->ends[i++])
        CLOZE_TRY(encoding_append(out, r->ids[i], r->sources[begin], r->sources[r->ends[i] - 1] + 1,
                                  err));
    return CLOZE_OK;
}

static cloze_status bpe_word(const tokenizer *tok, const word_room *r, int32_t n, encoding *out,
                             cloze_error *err) {
    bpe_token *tokens = NULL;
    size_t count = 0;
    CLOZE_TRY(
        bpe_encode_word(&tok->bpe, r->bytes, (size_t)n, r->tokens, r->cap, &tokens, &count, err));
    cloze_status status = CLOZE_OK;
    int32_t begin = 0;
    for (size_t i = 0; i < count && status == CLOZE_OK; begin = tokens[i++].end)
        status = encoding_append(out, tokens[i].id, r->sources[begin],
                                 r->sources[tokens[i].end - 1] + 1, err);
    bpe_release(tokens, r->tokens);
    return status;
}

static cloze_status encode_words(const tokenizer *tok, const norm_text *t, const word_list *words,
                                 encoding *out, cloze_error *err) {
    int32_t longest = 0;
    for (int32_t w = 0; w < words->n; w++) {
        int32_t n = words->items[w].end - words->items[w].begin;
        if (n > longest) longest = n;
    }
    if (!longest) return CLOZE_OK;
    word_room room;
    CLOZE_TRY(word_room_init(&room, (size_t)longest * 4, err));
    cloze_status status = CLOZE_OK;
    for (int32_t w = 0; w < words->n && status == CLOZE_OK; w++) {
        pattern_range range = words->items[w];
        int32_t n = 0;
        for (int32_t i = range.begin; i < range.end; i++) {
            int len = unicode_put(t->cp[i], (uint8_t *)room.bytes + n);
            for (int k = 0; k < len; k++) room.sources[n + k] = t->source[i];
            n += len;
        }
        status = tok->kind == TOKENIZER_WORDPIECE
                     ? wordpiece_word(tok, &room, n, range.end - range.begin, out, err)
                     : bpe_word(tok, &room, n, out, err);
    }
    word_room_deinit(&room);
    return status;
}

/* Pre-tokenizes and encodes the code points [begin,end) of t. */
static cloze_status encode_piece(const tokenizer *tok, const norm_text *t, int32_t begin,
                                 int32_t end, encoding *out, cloze_error *err) {
    norm_text piece = {0}; /* its own copy: a pre-tokenizer may insert spaces */
    word_list words = {0};
    cloze_status status = CLOZE_OK;
    for (int32_t i = begin; i < end && status == CLOZE_OK; i++)
        status = norm_text_push(&piece, t->cp[i], t->source[i], err);
    if (status == CLOZE_OK) status = pretokenizer_apply(&tok->pretokenizer, &piece, &words, err);
    if (status == CLOZE_OK) status = encode_words(tok, &piece, &words, out, err);
    word_list_deinit(&words);
    norm_text_deinit(&piece);
    return status;
}

/* Finds added tokens in the normalised text and encodes what is between them. */
static cloze_status encode_normalized(const tokenizer *tok, const norm_text *t, encoding *out,
                                      cloze_error *err) {
    if (!tok->normalized_search.n) return encode_piece(tok, t, 0, t->n, out, err);
    size_t n = 0, from = 0;
    char *bytes = mem_alloc((size_t)t->n * 4);
    if (!bytes) CLOZE_FAIL(err, MEMORY, "out of memory (%d code points)", t->n);
    for (int32_t i = 0; i < t->n; i++) n += (size_t)unicode_put(t->cp[i], (uint8_t *)bytes + n);
    cloze_status status = CLOZE_OK;
    int32_t at = 0; /* code point at byte `from` */
    added_match m;
    while (status == CLOZE_OK && added_search_next(&tok->normalized_search, bytes, from, n, &m)) {
        int32_t begin = at + utf8_length(bytes + from, m.begin - from);
        int32_t end = begin + utf8_length(bytes + m.begin, m.end - m.begin);
        status = encode_piece(tok, t, at, begin, out, err);
        if (status == CLOZE_OK)
            status =
                encoding_append(out, m.token->id, t->source[begin], t->source[end - 1] + 1, err);
        from = m.end;
        at = end;
    }
    if (status == CLOZE_OK) status = encode_piece(tok, t, at, t->n, out, err);
    mem_free(bytes);
    return status;
}

cloze_status encode_general(const tokenizer *tok, const char *text, size_t n, int32_t base,
                            encoding *out, cloze_error *err) {
    norm_text t = {0};
    cloze_status status = norm_text_set(&t, text, n, base, err);
    if (status == CLOZE_OK) status = normalizer_apply(&tok->normalizer, &t, err);
    if (status == CLOZE_OK) status = encode_normalized(tok, &t, out, err);
    norm_text_deinit(&t);
    return status;
}
